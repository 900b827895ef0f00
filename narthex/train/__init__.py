"""Recipes: how a model of ours is made. Each stage is a function over model, tokens and worlds; `python -m narthex.train` runs one."""
