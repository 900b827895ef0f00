"""Recipes: how a model of ours is made. `python -m narthex.train STAGE` runs one stage; recipes/ has them in order."""
