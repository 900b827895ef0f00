"""docs/recipe.md says what the recipe does: its files, commands and numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from narthex.model import Transformer, count_parameters
from narthex.tokens import ChatFormat
from narthex.train.__main__ import app
from narthex.train.nano import nano_config
from narthex.train.rl import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "recipes" / "nano.sh").read_text(encoding="utf-8")


def test_its_files_exist():
    named = set(re.findall(r"`((?:train|tokens)/\w+\.py)`", PAGE))
    assert len(named) > 8 and not [name for name in named if not (ROOT / "narthex" / name).is_file()]
    assert not [name for name in re.findall(r"\]\(([\w./-]+\.md)\)", PAGE) if not (ROOT / "docs" / name).is_file()]


def test_its_stages_are_commands_of_the_recipe():
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"python -m narthex\.train (\w+)", PAGE))
    assert {"tokenizer", "supervised", "rl", "report"} == named <= known
    assert set(re.findall(r"narthex\.train (\w+)", SCRIPT)) <= known
    for name in ("OUT", "SEED", "THREADS", "MINUTES", "SIZE", "START_FROM"):
        assert f"{name}=" in PAGE or f"`{name}`" in PAGE
        assert f"${{{name}:-" in SCRIPT
    assert all(option in SCRIPT for option in re.findall(r"recipes/nano\.sh (--\w+)", PAGE))


def test_its_numbers_are_the_codes():
    s = Settings()
    assert f"draws {s.groups} fresh items" in PAGE and s.group_size == 8 and "each eight times" in PAGE
    assert f"up to {s.compression} of its reward" in PAGE and s.peers_share == 0.2 and "a fifth of the groups" in PAGE
    assert f"{s.shown} demonstrations a step" in PAGE
    assert "samples=6400" in SCRIPT and "6,400 samples" in PAGE and "scope=128" in SCRIPT and "128 held-out" in PAGE
    assert "samples=500000" in SCRIPT and "500,000 samples" in PAGE and "--tile-size 48" in SCRIPT


def test_mini_is_as_large_as_it_says():
    chat = ChatFormat.open(ROOT / "narthex" / "models" / "narthex-nano")
    with torch.device("meta"):
        model, nano = (Transformer(nano_config(chat, size)) for size in ("mini", "nano"))
    every, active = count_parameters(model)
    eyes = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("vision", "multi")))
    told = f"{every / 1e6:.0f} million parameters, of which {active / 1e6:.0f} million work on a token, eleven times"
    assert told in PAGE and f"an encoder of {eyes / 1e6:.0f} million" in PAGE
    assert round(active / count_parameters(nano)[1]) == 11
