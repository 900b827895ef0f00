"""Boxes to look into, as demonstrations use them: thousandths of the sides, corners at multiples of BOX_STEP."""

from __future__ import annotations

from narthex.evals.worlds.drawing import Box

BOX_SIDE = 250  # a quarter of the side: shows fine print at full size
BOX_STEP = 50

LookBox = tuple[int, int, int, int]


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
