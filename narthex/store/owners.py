"""Who is alive: every open store holds a lock on a file of its own, and the kernel drops it when the process dies.

That is surer than a process id, which is used again and means nothing in another container, and quicker than a
heartbeat, which has to run out first. The lock does not work across machines: a store lives on one.
"""

from __future__ import annotations

import os
import sys
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".lock"


class Owner:
    """One open store. `id` is written beside its runs; `is_alive` tells of any other's."""

    def __init__(self, folder: Path) -> None:
        """Take a lock in `folder`. Call only inside `exclusive(folder)`: a file without its lock looks dead."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.id = uuid.uuid4().hex
        self._file: BinaryIO | None = (folder / (self.id + _SUFFIX)).open("wb")
        if not _try_lock(self._file):
            raise OSError(f"could not lock {self._file.name}")
        _open_owners.add(self)

    def is_alive(self, owner_id: str) -> bool:
        """Whether the process of that owner still runs. May be asked only inside `exclusive(folder)`."""
        if owner_id == self.id:
            return self._file is not None
        try:
            with (self.folder / (owner_id + _SUFFIX)).open("r+b") as file:
                return not _try_lock(file)
        except FileNotFoundError:
            return False

    def sweep(self) -> None:
        """Remove the lock files of the dead."""
        for path in self.folder.glob("*" + _SUFFIX):
            if not self.is_alive(path.stem):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self.forget()
            (self.folder / (self.id + _SUFFIX)).unlink(missing_ok=True)

    def forget(self) -> None:
        """Close the file and leave it there: for a forked child, whose copy would keep a dead parent alive."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; one process at a time gets past here, the others wait."""
    with path.open("ab") as file:
        _lock(file)
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        # LK_LOCK gives up after ten tries, a second apart.
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError:
                continue

    def _unlock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_open_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def _forget_all() -> None:
    for owner in list(_open_owners):
        owner.forget()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_forget_all)
