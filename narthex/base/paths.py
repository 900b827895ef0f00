"""Where Narthex keeps its files: one folder, moved as a whole by NARTHEX_HOME. And where it brought its own model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from narthex.base.errors import ConfigError

SHIPPED_NANO = Path(__file__).resolve().parents[1] / "models" / "narthex-nano"


def narthex_home() -> Path:
    """The folder of everything Narthex keeps. It is named here, not created.

    NARTHEX_HOME if set and not empty; else the platform's data folder: %LOCALAPPDATA%\\Narthex on Windows,
    ~/Library/Application Support/Narthex on macOS, $XDG_DATA_HOME/narthex or ~/.local/share/narthex elsewhere.
    Raises: ConfigError if no home folder can be found.
    """
    chosen = os.environ.get("NARTHEX_HOME")
    if chosen:
        return _expanded(chosen).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else _expanded("~") / "AppData" / "Local") / "Narthex"
    if sys.platform == "darwin":
        return _expanded("~") / "Library" / "Application Support" / "Narthex"
    # The XDG specification tells to ignore a relative path here.
    xdg = os.environ.get("XDG_DATA_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else _expanded("~") / ".local" / "share") / "narthex"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"no home folder found: {error}", hint="set NARTHEX_HOME to a folder") from error
