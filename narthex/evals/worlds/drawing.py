"""Shared drawing for worlds: glyph masks in several faces (cached), text runs, colours of a wanted brightness, noise.

Faces: "regular" is Pillow's built-in scalable font; "bold", "slanted", "condensed" and "wide" are made from it;
"segments" (seven-segment digits) and "dots" (a 5 x 7 dot matrix) are ours and hold digits and the point only. Pictures
are equal from run to run for one version of Pillow; another version may rasterise the built-in font differently.
"""

from __future__ import annotations

import colorsys
import random
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

_OVERSAMPLE = 8  # our own faces are drawn this much larger and averaged down
_INK = [255 if value > 40 else 0 for value in range(256)]  # fainter edges are not counted as ink
_NOISE_SIDE = 1152  # 1024, the largest picture, and room for 128 x 128 different offsets

# Which segments are lit: a top, b upper right, c lower right, d bottom, e lower left, f upper left, g middle.
_SEGMENTS = {
    "0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc",
    "5": "afgcd", "6": "afgedc", "7": "abc", "8": "abcdefg", "9": "abcdfg",
}  # fmt: skip
# Seven rows of five dots, as hexadecimal digits of two characters a row.
_DOTS = {
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
}  # fmt: skip


class GlyphMask(NamedTuple):
    """The ink of one character. Lengths in pixels; `top` is measured from the baseline, upwards negative."""

    mask: Image.Image | None
    left: int
    top: int
    advance: float


class Placed(NamedTuple):
    """A character's mask and the place of its top left corner."""

    char: str
    mask: Image.Image
    x: int
    y: int


class Run(NamedTuple):
    """A line of text; the ink's top left corner is (0, 0). `baseline` is measured from the top of the ink."""

    glyphs: tuple[Placed, ...]
    width: int
    height: int
    baseline: int


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        from narthex.base.errors import NarthexError

        raise NarthexError("this Pillow was built without FreeType", hint="install Pillow from its published wheels")
    return font


@lru_cache(maxsize=8192)
def glyph_mask(char: str, face: str, size: int) -> GlyphMask:
    """The ink of `char` at `size` pixels, for any face; digits and the point only for "segments" and "dots"."""
    if face in ("segments", "dots"):
        return _drawn_digit(char, face, size)
    font = _font(size)
    stroke = size / 26 if face == "bold" else 0.0
    left, top, right, bottom = (round(v) for v in font.getbbox(char, anchor="ls", stroke_width=stroke))
    advance = font.getlength(char) + 2 * stroke
    if right <= left or bottom <= top or char == " ":
        return GlyphMask(None, 0, 0, advance)
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), char, fill=255, font=font, anchor="ls", stroke_width=stroke)
    left, top = left - 1, top - 1
    if face == "slanted":
        lean, base = 0.22, -top  # the baseline stays where it is
        extra = int(lean * mask.height) + 2
        wide = Image.new("L", (mask.width + 2 * extra, mask.height))
        wide.paste(mask, (extra, 0))
        shear = (1, lean, -lean * base, 0, 1, 0)
        mask = wide.transform(wide.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)
        left -= extra
    elif face in ("condensed", "wide"):
        stretch = 0.86 if face == "condensed" else 1.2
        mask = mask.resize((max(2, round(mask.width * stretch)), mask.height), Image.Resampling.BICUBIC)
        left, advance = round(left * stretch), advance * stretch
    return _trimmed(mask, left, top, advance)


def _trimmed(mask: Image.Image, left: int, top: int, advance: float) -> GlyphMask:
    box = mask.point(_INK).getbbox()
    if box is None:
        return GlyphMask(None, 0, 0, advance)
    return GlyphMask(mask.crop(box), left + box[0], top + box[1], advance)


def _drawn_digit(char: str, face: str, size: int) -> GlyphMask:
    height = size * (0.77 if face == "segments" else 0.76)
    if char == ".":
        side = max(2, round(height * 0.2))
        return GlyphMask(Image.new("L", (side, side), 255), round(height * 0.06), -side, side + height * 0.16)
    width, unit = height * (0.56 if face == "segments" else 0.66), _OVERSAMPLE
    big = Image.new("L", (round(width) * unit, round(height) * unit))
    if face == "segments":
        _draw_segments(ImageDraw.Draw(big), _SEGMENTS[char], big.width, big.height)
    else:
        _draw_dots(ImageDraw.Draw(big), bytes.fromhex(_DOTS[char]), big.width, big.height)
    mask = big.resize((round(width), round(height)), Image.Resampling.BOX)
    return _trimmed(mask, 0, -mask.height, width + height * (0.2 if face == "segments" else 0.14))


def _draw_segments(draw: ImageDraw.ImageDraw, lit: str, width: int, height: int) -> None:
    w, h, t = width - 1, height - 1, round(height * 0.14)
    gap, m, half = max(1, t // 8), height // 2, t // 2
    bars = {
        "a": (gap, 0, w - gap, t), "g": (gap, m - half, w - gap, m + half), "d": (gap, h - t, w - gap, h),
        "f": (0, gap, t, m - gap), "b": (w - t, gap, w, m - gap),
        "e": (0, m + gap, t, h - gap), "c": (w - t, m + gap, w, h - gap),
    }  # fmt: skip
    for name in lit:
        draw.rectangle(bars[name], fill=255)


def _draw_dots(draw: ImageDraw.ImageDraw, rows: bytes, width: int, height: int) -> None:
    step_x, step_y = width / 5, height / 7
    for row, bits in enumerate(rows):
        for column in range(5):
            if bits >> (4 - column) & 1:
                x, y = column * step_x, row * step_y
                draw.rectangle((x, y, x + step_x * 0.94, y + step_y * 0.94), fill=255)


def text_run(text: str, face: str, size: int) -> Run:
    """Set a line of text. size: pixels per em. The text must have ink."""
    pen, placed = 0.0, []
    for char in text:
        ink = glyph_mask(char, face, size)
        if ink.mask is not None:
            placed.append(Placed(char, ink.mask, round(pen) + ink.left, ink.top))
        pen += ink.advance
    left, top = min(p.x for p in placed), min(p.y for p in placed)
    right, bottom = max(p.x + p.mask.width for p in placed), max(p.y + p.mask.height for p in placed)
    moved = tuple(Placed(p.char, p.mask, p.x - left, p.y - top) for p in placed)
    return Run(moved, right - left, bottom - top, -top)


def colour(hue: float, luma: float, saturation: float) -> Colour:
    """A colour whose perceived brightness is `luma` (0 to 1), whatever its hue: contrast can then be promised."""
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, 0.5, saturation)
    now = 0.299 * red + 0.587 * green + 0.114 * blue
    if now > luma:
        red, green, blue = (v * luma / now for v in (red, green, blue))
    else:
        mix = (luma - now) / (1.0 - now)
        red, green, blue = (v + (1.0 - v) * mix for v in (red, green, blue))
    return round(red * 255), round(green * 255), round(blue * 255)


def luma_of(rgb: Colour) -> float:
    """Perceived brightness of a colour, 0 to 1."""
    return (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255


@lru_cache(maxsize=2)
def _noise(coloured: bool) -> Image.Image:
    source = random.Random(20260 + coloured)
    if coloured:
        return Image.frombytes("RGB", (_NOISE_SIDE, _NOISE_SIDE), source.randbytes(3 * _NOISE_SIDE**2))
    grey = Image.frombytes("L", (_NOISE_SIDE, _NOISE_SIDE), source.randbytes(_NOISE_SIDE**2))
    return Image.merge("RGB", (grey, grey, grey))


@lru_cache(maxsize=4)
def _light(turns: int) -> Image.Image:
    return Image.linear_gradient("L").rotate(90 * turns)


def add_noise(picture: Image.Image, strength: float, *, coloured: bool, offset: tuple[int, int]) -> Image.Image:
    """Blend in grain from a stored tile, in one pass over the pixels. offset: below 128 each way."""
    x, y = offset
    return Image.blend(picture, _noise(coloured).crop((x, y, x + picture.width, y + picture.height)), strength)


def add_light(picture: Image.Image, strength: float, *, turns: int, window: Box) -> Image.Image:
    """Blend in light falling from one side. window: which part (0 to 1) of the whole scene `picture` shows."""
    part = tuple(v * 256 for v in window)
    grey = _light(turns % 4).resize(picture.size, Image.Resampling.BILINEAR, box=(part[0], part[1], part[2], part[3]))
    return Image.blend(picture, Image.merge("RGB", (grey, grey, grey)), strength)
