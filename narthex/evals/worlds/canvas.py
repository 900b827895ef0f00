"""A drawing in progress, for worlds that print upright: the picture, its characters, and shapes with smooth edges."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageDraw

from narthex.evals.worlds.drawing import Box, Colour, Run, add_light, add_noise, colour
from narthex.evals.worlds.item import Glyph

SIZES = (256,) * 9 + (320, 320, 384, 384, 448, 448, 512, 512, 512, 768, 1024)  # pixels; half as panels draw them
FACES = ("regular", "regular", "bold", "slanted", "condensed")
UNSEEN_FACE = "wide"
SEEN_HUES, UNSEEN_HUES = 0.7, (0.76, 0.9)  # hues from 0 on; and a band of them that training never draws
PenMap = Callable[[float, float], tuple[float, float]]


class Paper(NamedTuple):
    """Colours of a page: its ground, a second ground a little off it, ink, ink of values, one stronger colour."""

    ground: Colour
    card: Colour
    ink: Colour
    value_ink: Colour
    accent: Colour


def draw_paper(rng: random.Random, *, unseen: bool) -> Paper:
    """Choose colours as people do for pages: near white, near black, or softly tinted; ink stands out."""
    hue = rng.uniform(*UNSEEN_HUES) if unseen else rng.uniform(0.0, SEEN_HUES)
    mode = "tinted" if unseen else rng.choices(("white", "light", "dark", "tinted"), (25, 30, 30, 15))[0]
    luma, strength = 1.0, 0.0
    if mode == "light":
        luma, strength = rng.uniform(0.86, 0.98), rng.uniform(0.0, 0.5)
    elif mode == "dark":
        luma, strength = rng.uniform(0.04, 0.2), rng.uniform(0.0, 0.45)
    elif mode == "tinted":
        luma, strength = rng.choice((rng.uniform(0.2, 0.3), rng.uniform(0.72, 0.84))), rng.uniform(0.1, 0.4)
    is_dark = luma < 0.5

    def ink(saturation: float) -> Colour:
        spread = rng.uniform(0.0, 0.16)
        return colour(hue + rng.uniform(-0.05, 0.05), 1.0 - spread if is_dark else spread, saturation)

    accent = colour(rng.uniform(*UNSEEN_HUES) if unseen else rng.uniform(0.0, SEEN_HUES), 0.6 if is_dark else 0.35, 0.8)
    shift = rng.uniform(0.04, 0.09)
    card = colour(hue, luma + shift if is_dark else luma - shift, strength)
    return Paper(colour(hue, luma, strength), card, ink(rng.uniform(0, 0.4)), ink(rng.uniform(0, 0.8)), accent)


class Canvas:
    """A square picture of `size` pixels; `du` is 1/256 of its side, the measure in which worlds are designed."""

    def __init__(self, size: int, ground: Colour) -> None:
        self.size, self.du = size, size / 256
        self.picture = Image.new("RGB", (size, size), ground)
        self.draw = ImageDraw.Draw(self.picture)
        self.glyphs: list[Glyph] = []

    def text(self, run: Run, x: float, y: float, ink: Colour) -> None:
        """Print `run` with its ink's top left corner at (x, y), pixels."""
        left, top = round(x), round(y)
        for char, mask, dx, dy in run.glyphs:
            self.picture.paste(ink, (left + dx, top + dy), mask)
            middle = left + dx + mask.width / 2, top + dy + mask.height / 2
            self.glyphs.append(Glyph(char, *middle, float(mask.height)))

    def width(self, du: float) -> int:
        """A line's width in whole pixels, at least one."""
        return max(1, round(du * self.du))

    def smooth(self, box: Box, paint: Callable[[ImageDraw.ImageDraw, PenMap, int], None]) -> None:
        """Paint slanted or round shapes within `box` (pixels) with smooth edges: drawn larger, then averaged down.

        `paint` is given a pen, a map from the picture's pixels to the pen's, and how many of the latter make one.
        """
        scale = 3 if self.size <= 320 else 2 if self.size <= 512 else 1  # larger pictures are shrunk to be seen anyway
        x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
        x1, y1 = min(self.size, int(box[2]) + 1), min(self.size, int(box[3]) + 1)
        part = self.picture.crop((x0, y0, x1, y1))
        if scale > 1:
            part = part.resize((part.width * scale, part.height * scale), Image.Resampling.NEAREST)
        paint(ImageDraw.Draw(part), lambda x, y: ((x - x0) * scale, (y - y0) * scale), scale)
        self.picture.paste(part.reduce(scale) if scale > 1 else part, (x0, y0))

    def finish(self, rng: random.Random, noise: float) -> Image.Image:
        """Now and then light from one side; then grain of strength `noise` (0 for none)."""
        picture = self.picture
        if noise and rng.random() < 0.3:
            picture = add_light(picture, rng.uniform(0.04, 0.12), turns=rng.randrange(4), window=(0, 0, 1, 1))
        if noise:
            offset = (rng.randrange(128), rng.randrange(128))
            picture = add_noise(picture, noise, coloured=rng.random() < 0.3, offset=offset)
        return picture
