"""A ToolContext over pictures in memory, for tests of tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from narthex.base.errors import ModelMistake
from narthex.chat import FilePart, ImagePart
from narthex.tokens.gallery import Gallery, MemoryBlobs


class Table:
    """What a run hands to a tool. `reply` is what its model says when it is asked aside."""

    def __init__(self, *pictures: Image.Image, reply: str = "", folder: Path | None = None) -> None:
        self.gallery = Gallery(MemoryBlobs())
        self.pictures = [self.gallery.add_image(picture) for picture in pictures]
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.reply = reply
        self._folder = folder

    @property
    def num_pictures(self) -> int:
        return len(self.pictures)

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "this test needs no folder"
        return self._folder

    def open_picture(self, index: int) -> Image.Image:
        if not 0 <= index < len(self.pictures):
            raise ModelMistake(f"there is no picture {index}")
        return self.gallery.load(self.pictures[index])

    def keep_picture(self, image: Image.Image) -> ImagePart:
        self.pictures.append(self.gallery.add_image(image))
        return self.pictures[-1]

    def keep_file(self, path: Path) -> FilePart:
        self.files[path.name] = path.read_bytes()
        return FilePart(sha256="0" * 64, name=path.name, num_bytes=path.stat().st_size)

    async def ask_model(self, question: str, pictures: Sequence[int] = ()) -> str:
        for index in pictures:
            self.open_picture(index)
        self.asked.append((question, tuple(pictures)))
        return self.reply
