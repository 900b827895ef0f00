"""Worlds: generators of fresh, checkable tasks. `get_world("panels").item(seed, index)` makes one."""

from __future__ import annotations

from importlib import import_module

from narthex.evals.worlds.item import Answer, Call, Crop, Glyph, Item, Kind, Look, Split, Step, World, stream

# Name -> (module, attribute). Modules are imported when asked for: drawing needs Pillow, listing the names does not.
_WORLDS = {
    "panels": ("narthex.evals.worlds.panels", "PANELS"),
    "panels-unseen": ("narthex.evals.worlds.panels", "PANELS_UNSEEN"),
    "charts": ("narthex.evals.worlds.charts", "CHARTS"),
    "charts-unseen": ("narthex.evals.worlds.charts", "CHARTS_UNSEEN"),
    "charts-reworded": ("narthex.evals.worlds.charts", "CHARTS_REWORDED"),
    "charts-matplotlib": ("narthex.evals.worlds.charts", "CHARTS_MATPLOTLIB"),
    "dials": ("narthex.evals.worlds.dials", "DIALS"),
    "dials-unseen": ("narthex.evals.worlds.dials", "DIALS_UNSEEN"),
    "dials-reworded": ("narthex.evals.worlds.dials", "DIALS_REWORDED"),
    "shapes": ("narthex.evals.worlds.shapes", "SHAPES"),
    "shapes-unseen": ("narthex.evals.worlds.shapes", "SHAPES_UNSEEN"),
    "shapes-reworded": ("narthex.evals.worlds.shapes", "SHAPES_REWORDED"),
    "tables": ("narthex.evals.worlds.tables", "TABLES"),
    "tables-unseen": ("narthex.evals.worlds.tables", "TABLES_UNSEEN"),
    "tables-reworded": ("narthex.evals.worlds.tables", "TABLES_REWORDED"),
    "forms": ("narthex.evals.worlds.forms", "FORMS"),
    "forms-unseen": ("narthex.evals.worlds.forms", "FORMS_UNSEEN"),
    "forms-reworded": ("narthex.evals.worlds.forms", "FORMS_REWORDED"),
    "words": ("narthex.evals.worlds.words", "WORDS"),
    "words-unseen": ("narthex.evals.worlds.words", "WORDS_UNSEEN"),
    "words-reworded": ("narthex.evals.worlds.words", "WORDS_REWORDED"),
    "routes": ("narthex.evals.worlds.routes", "ROUTES"),
    "routes-unseen": ("narthex.evals.worlds.routes", "ROUTES_UNSEEN"),
    "routes-reworded": ("narthex.evals.worlds.routes", "ROUTES_REWORDED"),
    "edge": ("narthex.evals.worlds.edge", "EDGE"),
}

# Worlds that are asked in other languages, too, and what is put behind their names then.
_TRANSLATED = ("panels", "charts", "tables", "dials", "shapes", "forms", "words", "routes")
_OTHER_LANGUAGES = ("ru", "uk", "pt", "zh", "multilingual", "multilingual-reworded")
# Worlds whose demonstrations reckon with the python tool.
_RECKONING = frozenset({"tables", "words"})


def tools_for(world: str) -> tuple[str, ...]:
    """The names of the tools, beyond a mode's own, that whoever answers the items of a world is given."""
    return ("python",) if world.partition("-")[0] in _RECKONING else ()


def world_names() -> tuple[str, ...]:
    """The names `get_world` knows, but for those of `multilingual_names`."""
    return tuple(_WORLDS)


def multilingual_names(*bases: str) -> tuple[str, ...]:
    """The names of worlds asked in other languages, such as "panels-ru": of all worlds, or of these `bases`."""
    wanted = bases or _TRANSLATED
    return tuple(f"{base}-{ending}" for base in wanted for ending in _OTHER_LANGUAGES)


def get_world(name: str) -> World:
    """Find a world by its name.

    Raises: ConfigError if there is none of that name.
    """
    if name in multilingual_names():
        from narthex.evals.worlds.multilingual import world_of

        return world_of(name)
    if name not in _WORLDS:
        from narthex.base.errors import ConfigError

        raise ConfigError(f"there is no world {name!r}", hint=f"the worlds are: {', '.join(_WORLDS)}")
    module, attribute = _WORLDS[name]
    world: World = getattr(import_module(module), attribute)
    return world


__all__ = [
    "Answer", "Call", "Crop", "Glyph", "Item", "Kind", "Look", "Split", "Step", "World", "get_world", "stream",
    "tools_for", "world_names",
]  # fmt: skip
