"""Which folder a model's name stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from narthex.base.config import did_you_mean
from narthex.base.errors import WeightsError
from narthex.base.paths import SHIPPED_NANO, narthex_home

NANO = SHIPPED_NANO.name


class Place(NamedTuple):
    """A model that can be named: where it lies, and whether it came with the package."""

    name: str
    folder: Path
    is_shipped: bool


def places() -> list[Place]:
    """The shipped model and the folders of NARTHEX_HOME/models, by name; a name that is there twice stands for ours."""
    found = [Place(NANO, SHIPPED_NANO, True)] if SHIPPED_NANO.is_dir() else []
    try:
        own = [path for path in sorted((narthex_home() / "models").iterdir()) if path.is_dir()]
    except OSError:  # not there, or not to be looked into: then nothing in it can be named
        own = []
    return found + [Place(path.name, path, False) for path in own]


def find_model(name: str | None) -> Path:
    """The folder of a model: the shipped one (default), one of NARTHEX_HOME/models, or any path.

    Whether it holds a sound model is for `narthex.weights` to say. Raises: WeightsError if there is no such folder.
    """
    known = {place.name: place.folder for place in reversed(places())}
    wanted = NANO if name is None else name
    if wanted in known:
        return known[wanted]
    if wanted == NANO:
        raise WeightsError(
            f"{NANO} is not in this installation", hint="name a model folder with -m, or install a released version"
        )
    folder = Path(wanted).expanduser()
    looks_like_path = os.sep in wanted or "/" in wanted or wanted.startswith((".", "~"))
    if looks_like_path or folder.exists():
        return folder
    guess = did_you_mean(wanted, known)
    hint = f"did you mean '{guess}'?" if guess else f"the models here: {', '.join(known) or 'none'}; or name a folder"
    raise WeightsError(f"there is no model '{wanted}'", hint=hint)
