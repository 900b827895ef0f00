"""What all agents of a run share: model, pictures, clock, folder, who approves, and what the run may still spend."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from narthex.backends.base import Backend
from narthex.base.errors import ModelMistake
from narthex.chat import FilePart
from narthex.reason.approvals import Approve, never
from narthex.reason.clock import Clock
from narthex.tokens.gallery import Gallery

MAX_FILE_BYTES = 32 * 2**20  # of one file that a tool hands over


@dataclass
class Purse:
    """Tool calls that the run has left, whichever agent makes them."""

    calls: int
    limit: int = field(init=False)

    def __post_init__(self) -> None:
        self.limit = self.calls

    def take_call(self) -> None:
        """Raises: ModelMistake when none is left."""
        if self.calls <= 0:
            raise ModelMistake(f"no calls are left of {self.limit}; answer now")
        self.calls -= 1


class Folder:
    """Where a conversation's tools keep files: the caller's, or one that ends with the run. Made on first use."""

    def __init__(self, given: Path | None = None) -> None:
        self._given = given
        self._made: Path | None = None

    @property
    def path(self) -> Path:
        if self._made is None:
            if self._given is None:
                self._made = Path(tempfile.mkdtemp(prefix="narthex-"))
            else:
                self._given.mkdir(parents=True, exist_ok=True)
                self._made = self._given
        return self._made

    def close(self) -> None:
        """Remove what was made for this run alone."""
        if self._given is None and self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)


@dataclass
class Desk:
    """Shared by reference; agents of one run read and write it from one event loop."""

    backend: Backend
    gallery: Gallery
    clock: Clock
    purse: Purse
    folder: Folder = field(default_factory=Folder)
    approve: Approve = field(default_factory=never)

    def keep_file(self, path: Path) -> FilePart:
        """Keep a file that a tool made. Raises: ModelMistake for what is no plain file, or too large."""
        try:
            # Model-written code may have planted a link to a file of ours.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(number, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ModelMistake(f"{path.name} cannot be handed over: {error.strerror}") from None
        if len(data) > MAX_FILE_BYTES:
            raise ModelMistake(f"{path.name} is larger than {MAX_FILE_BYTES} bytes, which is too much to hand over")
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        sha256 = self.gallery.add_file(data, media_type)
        return FilePart(sha256=sha256, name=path.name, media_type=media_type, num_bytes=len(data))
