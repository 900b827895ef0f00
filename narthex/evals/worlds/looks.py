"""Boxes to look into, as demonstrations use them: thousandths of the sides, corners at multiples of BOX_STEP."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from PIL import Image

from narthex.chat import boxes
from narthex.evals.worlds.drawing import Box, Colour, Run
from narthex.evals.worlds.item import Crop, Glyph

BOX_SIDE = 250  # a quarter of the side: shows fine print at full size
BOX_STEP = 50

LookBox = tuple[int, int, int, int]
Print = tuple[Run, float, float, Colour]  # a line of text, where its ink begins (pixels), its colour


def joined(*boxes: Box) -> Box:
    """The least box that holds all of these."""
    x0s, y0s, x1s, y1s = zip(*boxes, strict=True)
    return min(x0s), min(y0s), max(x1s), max(y1s)


def box_around(bounds: Box, size: int, side: int = BOX_SIDE) -> LookBox | None:
    """The look of `side` thousandths that holds `bounds` (pixels of a square picture of `size`) best centred, if any.

    Whatever is at most side - BOX_STEP wide and high fits wherever it stands; wider things may fall between corners.
    """
    x0, y0, x1, y1 = (v * 1000 / size for v in bounds)
    last = (1000 - side) // BOX_STEP * BOX_STEP
    corners = (BOX_STEP * round(((low + high - side) / 2) / BOX_STEP) for low, high in ((x0, x1), (y0, y1)))
    x, y = (min(last, max(0, corner)) for corner in corners)
    return (x, y, x + side, y + side) if x <= x0 and y <= y0 and x1 <= x + side and y1 <= y + side else None


def holds(box: LookBox, bounds: Box, size: int) -> bool:
    """Whether a look shows all of `bounds` (pixels of a square picture of `size`)."""
    x0, y0, x1, y1 = (v * 1000 / size for v in bounds)
    return box[0] <= x0 and box[1] <= y0 and x1 <= box[2] and y1 <= box[3]


def nearby(rng: random.Random, box: LookBox, bounds: Box, size: int) -> LookBox:
    """The look itself, or now and then one a step aside that still holds `bounds`: a model's looks are not centred."""
    if rng.random() < 0.65:
        return box
    steps = (-BOX_STEP, 0, BOX_STEP)
    moved = [(box[0] + i, box[1] + j, box[2] + i, box[3] + j) for i in steps for j in steps]
    return rng.choice([b for b in moved if min(b) >= 0 and max(b) <= 1000 and holds(b, bounds, size)] or [box])


def read_whole(box: LookBox, prints: Sequence[Print], size: int, untold: Collection[str] = ()) -> list[str]:
    """The texts that a look shows whole, in lines from the top left; none if it shows the middle of one but not all.

    A print whose text is in `untold` (of several words, say) must not be seen at all.
    """
    found: list[tuple[int, float, str]] = []
    for run, x, y, _ in prints:
        text = "".join(glyph.char for glyph in run.glyphs)
        bounds = (x, y, x + run.width, y + run.height)
        middle = (x + run.width / 2, y + run.height / 2)
        if holds(box, bounds, size) and text not in untold:
            found.append((round(middle[1] * 32 / size), x, text))
        elif holds(box, middle * 2, size):
            return []
    return [text for _, _, text in sorted(found)]


def cropped(picture: Image.Image, glyphs: Sequence[Glyph], box: LookBox, text: str) -> Crop:
    """What the zoom tool returns for a look into a square picture, with its text and the characters on it."""
    left, top, right, bottom = boxes.Box(*box).pixels(picture.width, picture.height)
    seen = [glyph for glyph in glyphs if left <= glyph.x < right and top <= glyph.y < bottom]
    moved = tuple(Glyph(glyph.char, glyph.x - left, glyph.y - top, glyph.height) for glyph in seen)
    return Crop(picture.crop((left, top, right, bottom)), text, moved)
