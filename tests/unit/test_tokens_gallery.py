"""Pictures come in as bytes or images, go out upright, and are named by what they hold."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image

from narthex.base.errors import InputError
from narthex.chat import ImagePart
from narthex.tokens.gallery import Gallery, MemoryBlobs


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_bytes_are_kept_as_they_came(kind):
    blobs = MemoryBlobs()
    data = encoded(Image.new("RGB", (30, 20), "teal"), kind)
    part = Gallery(blobs).add_bytes(data)
    assert part.sha256 == hashlib.sha256(data).hexdigest() and blobs.get(part.sha256).data == data
    assert (part.media_type, part.width, part.height) == (f"image/{kind.lower()}", 30, 20)
    again = Gallery(blobs).load(part)  # one that has not seen it
    assert (again.mode, again.size) == ("RGB", (30, 20))


def test_a_turned_photograph_is_measured_and_shown_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    gallery = Gallery(MemoryBlobs())
    part = gallery.add_bytes(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert (part.width, part.height) == (20, 30) == gallery.load(part).size


def test_an_image_survives_without_loss_and_is_found_again_when_forgotten():
    gallery = Gallery(MemoryBlobs())
    pictures = [Image.effect_noise((9, 9), 60 + i).convert("RGB") for i in range(40)]  # more than are kept decoded
    parts = [gallery.add_image(picture) for picture in pictures]
    assert [gallery.load(part).tobytes() for part in parts] == [picture.tobytes() for picture in pictures]
    assert gallery.add_image(pictures[0]) == parts[0], "the same picture has the same name"


def test_what_is_no_picture_or_gone_is_said():
    gallery = Gallery(MemoryBlobs())
    for data in (b"", b"text", encoded(Image.new("RGB", (30, 20)), "PNG")[:40]):
        with pytest.raises(InputError):
            gallery.add_bytes(data)
    with pytest.raises(InputError, match="nothing is kept"):
        gallery.load(ImagePart(sha256="a" * 64, media_type="image/png", width=1, height=1))
