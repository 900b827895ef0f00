"""What a run of model-written code left in its folder, taken out without trusting it.

The code may have planted links to files of ours, pipes that never end, or files that grow; it may still be at work in
another run. So every step of every path is opened without following links, only plain files are read, and only so far.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from narthex.tools.warden import walk

MAX_FILES = 4000  # looked at; a folder may hold half as many (`sandbox.Limits.files`)
_PLAIN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FOLDER = _PLAIN | getattr(os, "O_DIRECTORY", 0)


class Stamp(NamedTuple):
    """What changes when a file does. Code can set a file's size and time as it likes, but not `ctime_ns`."""

    inode: int
    num_bytes: int
    ctime_ns: int


def stamps(folder: Path) -> dict[str, Stamp]:
    """Every plain file below `folder` by its path in it, except what is hidden. Raises: OSError."""
    return {
        path: Stamp(found.st_ino, found.st_size, found.st_ctime_ns)
        for _, _, path, found in walk(str(folder), MAX_FILES)
        if stat.S_ISREG(found.st_mode) and not path.startswith(".") and "/." not in path
    }


def changed(before: dict[str, Stamp], after: dict[str, Stamp]) -> list[str]:
    """The files that are new or not as they were, in the order in which they were written."""
    names = [name for name, now in after.items() if before.get(name) != now]
    return sorted(names, key=lambda name: (after[name].ctime_ns, name))


def take(folder: Path, name: str, max_bytes: int) -> bytes | None:
    """The bytes of the plain file `name` (a path inside `folder`), or None where it is none or larger than that."""
    *steps, last = Path(name).parts
    try:
        fd = os.open(folder, _FOLDER)
        try:
            for step in steps:
                inner = os.open(step, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            with os.fdopen(os.open(last, _PLAIN, dir_fd=fd), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                data = file.read(max_bytes + 1)
        finally:
            os.close(fd)
    except OSError:
        return None
    return data if len(data) <= max_bytes else None


def put(folder: Path, name: str, data: bytes) -> None:
    """Write `data` as the new file `name` right in `folder`, in place of whatever bears that name. Raises: OSError."""
    fd = os.open(folder, _FOLDER)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        # EXCL: a link that somebody plants in this moment is an error, not a place to write to.
        number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
        with os.fdopen(number, "wb") as file:
            file.write(data)
    finally:
        os.close(fd)
