"""Pictures: bytes to a checked RGB image, and an image to the tiles that the vision model sees.

Raster convention: sizes here are (width, height) where Pillow says so and (rows, columns) or (height, width) in arrays.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from narthex.base.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_BYTES = 32 * 2**20
# A 64-megapixel photograph takes 192 MB as RGB: what a laptop can give for one moment.
MAX_PIXELS = 64_000_000

_HINT_FORMAT = "send it as PNG, JPEG, WEBP, GIF or BMP"
_OWN_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")
# Signatures of kinds that people do send, so that the refusal can name them: (offset, bytes, name).
_FOREIGN = (
    (0, b"%PDF", "a PDF document"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an XML file"),
    (0, b"PK\x03\x04", "a zip archive"),
)

# decode_picture refuses by its own limit, in words of its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Tiles(NamedTuple):
    """pixels: uint8 (num_tiles, 3, tile, tile), row by row, then the global view where there is more than one tile."""

    pixels: np.ndarray
    rows: int
    cols: int


def decode_picture(data: bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Turn the bytes of a picture into an upright RGB image (first frame of an animation; transparency over white).

    The size that the header declares is checked before any pixel is decoded or allocated.
    Raises: InputError for what is no picture, an unsupported format, too many bytes or pixels, damaged data.
    """
    if not data:
        raise InputError("the picture is empty (0 bytes)", hint=_HINT_FORMAT)
    if len(data) > max_bytes:
        raise InputError(
            f"the picture has {len(data):,} bytes, the limit is {max_bytes:,}",
            hint="scale it down or save it with stronger compression",
        )
    _check_pixels(_webp_size(data), max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if data.startswith(_OWN_SIGNATURES) or data[8:12] == b"WEBP":
            raise _damaged(ValueError("its header cannot be read")) from None
        raise InputError(f"this is not a picture that can be read: {_guess_kind(data)}", hint=_HINT_FORMAT) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels("more pixels than any photograph", max_pixels) from None
    except Exception as error:  # Pillow's parsers raise nearly anything on hostile headers
        raise _damaged(error) from None
    with image:
        _check_pixels(image.size, max_pixels)
        try:
            image.load()
            return _to_rgb(_upright(image))
        except MemoryError:
            raise _too_many_pixels(f"{image.width:,} x {image.height:,} pixels", max_pixels) from None
        except Exception as error:  # as above: zlib, struct, index, value and OS errors, by format
            raise _damaged(error) from None


def tile_picture(image: Image.Image, *, tile_size: int, max_tiles: int, resize_to_max_canvas: bool = False) -> Tiles:
    """Cut an RGB image into at most `max_tiles` square tiles of `tile_size` pixels, plus a stretched global view.

    The canvas (rows x cols tiles) is the one that shrinks the picture least; unless `resize_to_max_canvas`, a picture
    is enlarged no further than to one tile. It keeps its proportions; right and bottom are padded black.
    Raises: InputError for a picture without pixels.
    Source: Llama 4's image processor; pixels equal those of transformers (tests/parity/test_processor.py).
    """
    if image.width < 1 or image.height < 1:
        raise InputError("the picture has no pixels", hint="give its box a width and a height")
    pixels_HWC = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    height, width = pixels_HWC.shape[:2]
    rows, cols = _choose_canvas((height, width), tile_size, max_tiles, resize_to_max_canvas)
    canvas = (rows * tile_size, cols * tile_size)
    room = (
        canvas
        if resize_to_max_canvas
        else tuple(min(max(side, tile_size), limit) for side, limit in zip((height, width), canvas, strict=True))
    )
    fitted_CHW = _resize(pixels_HWC, _fit((height, width), room, single=resize_to_max_canvas))
    canvas_CHW = np.zeros((3, *canvas), dtype=np.uint8)
    canvas_CHW[:, : fitted_CHW.shape[1], : fitted_CHW.shape[2]] = fitted_CHW
    tiles = canvas_CHW.reshape(3, rows, tile_size, cols, tile_size).transpose(1, 3, 0, 2, 4)
    tiles = tiles.reshape(rows * cols, 3, tile_size, tile_size)
    if rows * cols > 1:
        tiles = np.concatenate([tiles, _resize(pixels_HWC, (tile_size, tile_size))[None]])
    return Tiles(tiles, rows, cols)


def normalise(pixels: np.ndarray, mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (0.5,) * 3) -> np.ndarray:
    """uint8 (n, 3, h, w) in 0..255 -> float32 (n, 3, h, w), (x / 255 - mean) / std by channel."""
    scale = np.array([1 / (255 * s) for s in std], dtype=np.float32).reshape(1, 3, 1, 1)
    shift = np.array([m / s for m, s in zip(mean, std, strict=True)], dtype=np.float32).reshape(1, 3, 1, 1)
    return pixels.astype(np.float32) * scale - shift


def _check_pixels(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise _too_many_pixels(f"{size[0]:,} x {size[1]:,} pixels", max_pixels)


def _too_many_pixels(what: str, max_pixels: int) -> InputError:
    return InputError(f"the picture declares {what}, the limit is {max_pixels:,} in all", hint="scale it down first")


def _damaged(error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"the picture is damaged or cut short: {reason}", hint="open it elsewhere and save it again")


def _guess_kind(data: bytes) -> str:
    head = data[:64].lstrip()
    for offset, signature, name in _FOREIGN:
        if head[offset : offset + len(signature)] == signature:
            return f"it looks like {name}"
    return "its first bytes belong to no format known here"


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from a WEBP header: Pillow's decoder allocates the canvas as soon as it is opened."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF says; unreadable EXIF is no reason to refuse the picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is a format of its own, parsed lazily, and raises as widely
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = image.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(white, above).convert("RGB")
    # A copy, so that nothing of the file (format, info, open handle) travels on.
    return image.convert("RGB") if image.mode != "RGB" else Image.Image.copy(image)


@lru_cache(maxsize=16)
def _canvases(max_tiles: int) -> np.ndarray:
    """All (rows, cols) with rows * cols <= max_tiles: int64 (n, 2).

    The order decides ties. It is the reference's: most tiles first, flat before tall, canvases of the same
    proportions moved up beside the first of them.
    """
    by_ratio: dict[float, list[tuple[int, int]]] = {}
    for num_tiles in range(max_tiles, 0, -1):
        for rows in range(1, num_tiles + 1):
            if num_tiles % rows == 0:
                cols = num_tiles // rows
                by_ratio.setdefault(rows / cols, []).append((rows, cols))
    return np.array([canvas for group in by_ratio.values() for canvas in group], dtype=np.int64)


def _choose_canvas(size: tuple[int, int], tile_size: int, max_tiles: int, largest: bool) -> tuple[int, int]:
    """(rows, cols) of the canvas that enlarges least (with `largest`: most); where none does, that shrinks least.

    float32 throughout, as in the reference: with float64 other canvases would tie.
    """
    canvases = _canvases(max_tiles)
    scales = (canvases * tile_size).astype(np.float32) / np.array(size, dtype=np.float32)
    scale = scales.min(axis=1)
    enlarging = scale[scale >= 1]
    if enlarging.size:
        chosen = enlarging.max() if largest else enlarging.min()
    else:
        chosen = scale.max()
    tied = canvases[scale == chosen]
    rows, cols = tied[tied.prod(axis=1).argmin()]
    return int(rows), int(cols)


def _fit(size: tuple[int, int], room: Sequence[int], *, single: bool) -> tuple[int, int]:
    """The largest (height, width) of the proportions of `size` inside `room`, at least one pixel each way.

    The reference divides in float32 where the room is smaller than the picture (or always, with `single`), else in
    float64; the floor below makes that visible in one pixel here and there, so it is kept.
    """

    def ratio(have: int, original: int) -> float | np.float32:
        if single or have < original:
            return np.float32(have) / np.float32(original)
        return have / original

    def times(original: int, scale: float | np.float32) -> int:
        return math.floor(np.float32(original) * scale if isinstance(scale, np.float32) else original * scale)

    height, width = size
    scale_h, scale_w = ratio(room[0], height), ratio(room[1], width)
    if np.float32(scale_w) < np.float32(scale_h) if type(scale_w) is not type(scale_h) else scale_w < scale_h:
        fitted = min(times(height, scale_w), room[0]), room[1]
    else:
        fitted = room[0], min(times(width, scale_h), room[1])
    return max(fitted[0], 1), max(fitted[1], 1)


def _resize(pixels_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bilinear, uint8 (h, w, 3) -> uint8 (3, *size).

    torch's kernel, not Pillow's: the reference uses it, and Pillow's differs by one step of 255 in places.
    """
    pixels_CHW = pixels_HWC.transpose(2, 0, 1)
    if pixels_CHW.shape[1:] == size:
        return pixels_CHW
    import torch  # here, because everything else in this room works without it

    pixels = torch.from_numpy(pixels_CHW)[None]  # channels last in memory: the fast path of the kernel
    resized = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(resized[0].numpy())
