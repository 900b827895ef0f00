"""Pictures: what is refused, in what words, and what comes out upright and right."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from narthex.base.errors import InputError
from narthex.tokens.pictures import decode_picture, normalise, tile_picture


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_declaring(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 9))
        + png_chunk(b"IEND", b"")
    )


GRADIENT = Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 40, 3))
WEBP_HEADERS = {
    "VP8X": b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (16382).to_bytes(3, "little") * 2,
    "VP8L": b"VP8L" + struct.pack("<I", 10) + b"\x2f" + (16382 | 16382 << 14).to_bytes(4, "little") + b"\0" * 5,
    "VP8": b"VP8 " + struct.pack("<I", 10) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383),
}
BOMBS = {
    "png": png_declaring(50_000, 50_000),
    "png, one row": png_declaring(2**31 - 1, 1),
    "png, below Pillow's own limit": png_declaring(9000, 9000),
    "png, where Pillow warns": png_declaring(10_000, 10_000),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    + b",\0\0\0\0"
    + struct.pack("<HH", 60_000, 60_000)
    + b"\0\2\0;",
    **{f"webp {name}": b"RIFF" + struct.pack("<I", 100) + b"WEBP" + head for name, head in WEBP_HEADERS.items()},
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_by_their_header(data):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"declares .* limit is 64,000,000") as caught:
            decode_picture(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello there", "not a picture"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"<svg xmlns='x'></svg>", "SVG"),
        (saved(GRADIENT, "TIFF"), "TIFF"),
        (saved(GRADIENT, "PPM"), "not a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (saved(GRADIENT, "PNG")[:-30], "damaged"),
        (saved(GRADIENT, "JPEG")[:400], "damaged"),
        (saved(GRADIENT, "WEBP")[:60], "damaged"),
        (saved(GRADIENT, "BMP")[:200], "damaged"),
        (saved(GRADIENT, "GIF")[:60], "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged|not a picture"),
    ],
)
def test_bad_data_is_refused_with_a_hint(data, words):
    with pytest.raises(InputError, match=words) as caught:
        decode_picture(data)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_too_many_bytes_are_refused():
    with pytest.raises(InputError, match="limit is 10"):
        decode_picture(b"x" * 11, max_bytes=10)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG", "GIF"])
def test_pictures_come_out_as_they_were(kind):
    decoded = decode_picture(saved(GRADIENT, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert decoded.mode == "RGB" and decoded.size == (40, 30)
    if kind in ("PNG", "BMP", "WEBP"):
        assert np.array_equal(np.asarray(decoded), np.asarray(GRADIENT))


def test_exif_turns_the_picture_and_broken_exif_does_not_matter():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    turned = decode_picture(saved(GRADIENT, "PNG", exif=exif))
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(GRADIENT), k=-1))
    assert decode_picture(saved(GRADIENT, "PNG", exif=b"Exif\0\0broken")).size == (40, 30)


def test_modes_become_rgb_as_people_see_them():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode_picture(saved(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    deep = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode_picture(saved(deep, "PNG")).getpixel((0, 0)) == (128, 128, 128)
    for mode in ("1", "L", "P", "LA", "CMYK"):
        kind = "JPEG" if mode == "CMYK" else "PNG"
        assert decode_picture(saved(GRADIENT.convert(mode), kind)).mode == "RGB"


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        decoded = decode_picture(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert decoded.getpixel((0, 0))[0] > 200 > 60 > decoded.getpixel((0, 0))[2]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), st.data())
def test_damage_of_any_kind_is_one_line_or_a_picture(kind, data):
    content = bytearray(saved(GRADIENT, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_picture(bytes(content), max_pixels=10_000).mode == "RGB"
    except InputError as error:
        assert error.hint and "\n" not in str(error)


def test_a_small_picture_is_enlarged_to_one_tile_and_padded_black():
    tiles = tile_picture(Image.new("RGB", (10, 5), "white"), tile_size=64, max_tiles=16)
    assert (tiles.rows, tiles.cols, tiles.pixels.shape) == (1, 1, (1, 3, 64, 64))
    assert tiles.pixels[0, :, :32].min() == 255 and tiles.pixels[0, :, 32:].max() == 0


def test_tiles_run_row_by_row_with_the_global_view_last():
    quarters = np.zeros((128, 128, 3), dtype=np.uint8)
    quarters[:64, 64:], quarters[64:, :64], quarters[64:, 64:] = 80, 160, 240
    tiles = tile_picture(Image.fromarray(quarters), tile_size=64, max_tiles=4)
    assert (tiles.rows, tiles.cols) == (2, 2)
    assert [int(tile.mean().round()) for tile in tiles.pixels] == [0, 80, 160, 240, 120]


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(InputError, match="no pixels"):
        tile_picture(Image.new("RGB", (0, 5)), tile_size=64, max_tiles=1)


def test_normalised_values():
    pixels = np.zeros((1, 3, 1, 3), dtype=np.uint8)
    pixels[0, :, 0] = [0, 51, 255]
    values = normalise(pixels)
    assert values.dtype == np.float32
    assert np.allclose(values[0, 0, 0], [-1, -0.6, 1], atol=1e-6)


def test_the_room_opens_without_torch():
    code = "import sys, narthex.tokens; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
