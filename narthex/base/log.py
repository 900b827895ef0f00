"""Logging: to stderr always, because stdout belongs to answers."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def get_logger(room: str) -> logging.Logger:
    """The logger of a room: `get_logger("store")` or `get_logger(__name__)`. Silent until `setup_logging`."""
    name = room if room == "narthex" or room.startswith("narthex.") else f"narthex.{room}"
    return logging.getLogger(name)


def setup_logging(verbosity: int = 0, *, stream: TextIO | None = None) -> None:
    """Show Narthex's log lines on `stream` (stderr): warnings, with 1 also info, with 2 also debug.

    May be called again; the last call holds. Other libraries' loggers are left alone.
    """
    target = stream if stream is not None else sys.stderr
    root = logging.getLogger("narthex")
    for handler in list(root.handlers):
        if isinstance(handler, _NarthexHandler):
            root.removeHandler(handler)
    handler = _NarthexHandler(target)
    handler.setFormatter(_Formatter(has_colour=wants_colour(target)))
    root.addHandler(handler)
    root.setLevel(_LEVELS[max(0, min(verbosity, len(_LEVELS) - 1))])
    root.propagate = False


def wants_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`: a terminal, and NO_COLOR (no-color.org) unset or empty."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


class _NarthexHandler(logging.StreamHandler[TextIO]):
    """Marks our handler, so that a second set-up replaces the first and nobody else's."""


class _Formatter(logging.Formatter):
    def __init__(self, *, has_colour: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self.has_colour = has_colour

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        colour = _COLOURS.get(record.levelno)
        return f"{colour}{text}\x1b[0m" if self.has_colour and colour else text
