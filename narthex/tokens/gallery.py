"""Pictures of conversations: bytes in blobs, references in messages, and decoded images only while they are used."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from typing import Protocol

from PIL import Image

from narthex.base.errors import InputError
from narthex.chat import ImagePart
from narthex.tokens.pictures import decode_picture

_CACHED_IMAGES = 16  # the pictures of a run are rendered again on each of its turns


class BlobLike(Protocol):
    @property
    def data(self) -> bytes: ...


class BlobStore(Protocol):
    """Where bytes live. `put` returns their sha256 in hex; `get` raises InputError where there is none of that name."""

    def put(self, data: bytes, media_type: str) -> str: ...
    def get(self, sha256: str) -> BlobLike: ...


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data


class MemoryBlobs:
    """Blobs of one process, gone with it: for evaluations, tests and runs that keep nothing."""

    def __init__(self) -> None:
        self._known: dict[str, _Bytes] = {}

    def put(self, data: bytes, media_type: str) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._known[sha256] = _Bytes(data)
        return sha256

    def get(self, sha256: str) -> _Bytes:
        if sha256 not in self._known:
            raise InputError(f"nothing is kept under '{sha256[:80]}'", hint="attach the picture again")
        return self._known[sha256]


class Gallery:
    """Takes pictures in and hands them out. One per run is meant; its tools may call it from threads of their own."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._lock = threading.RLock()
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()

    def add_bytes(self, data: bytes) -> ImagePart:
        """Keep a picture as it came. Raises: InputError for what is no picture (see `decode_picture`)."""
        image = decode_picture(data)
        with Image.open(io.BytesIO(data)) as raw:
            media_type = Image.MIME.get(raw.format or "", "image/png")
        return self._keep(image, data, media_type)

    def add_image(self, image: Image.Image) -> ImagePart:
        """Keep an image made here, as PNG without loss."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        return self._keep(image.convert("RGB"), buffer.getvalue(), "image/png")

    def add_file(self, data: bytes, media_type: str) -> str:
        """Keep the bytes of a file that is no picture, and return their sha256."""
        with self._lock:
            return self._blobs.put(data, media_type)

    def load(self, part: ImagePart) -> Image.Image:
        """The upright RGB image. Raises: InputError where its bytes are gone."""
        with self._lock:
            if part.sha256 not in self._decoded:
                self._remember(part.sha256, decode_picture(self._blobs.get(part.sha256).data))
            self._decoded.move_to_end(part.sha256)
            return self._decoded[part.sha256]

    def _keep(self, image: Image.Image, data: bytes, media_type: str) -> ImagePart:
        with self._lock:
            sha256 = self._blobs.put(data, media_type)
            self._remember(sha256, image)
        return ImagePart(sha256=sha256, media_type=media_type, width=image.width, height=image.height)

    def _remember(self, sha256: str, image: Image.Image) -> None:
        self._decoded.setdefault(sha256, image)  # agents crop alike: one image object for equal bytes
        while len(self._decoded) > _CACHED_IMAGES:
            self._decoded.popitem(last=False)
