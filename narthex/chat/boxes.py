"""Boxes as the model says them: four integers 0..1000 of a picture's own width and height, origin top left."""

from __future__ import annotations

import math
from typing import NamedTuple

SIDE = 1000


class Box(NamedTuple):
    """A rectangle (left, top, right, bottom) in thousandths of a picture's sides."""

    left: int
    top: int
    right: int
    bottom: int

    def problem(self) -> str | None:
        """What is wrong with this box, in a few words for whoever drew it, or None."""
        if not all(0 <= edge <= SIDE for edge in self):
            return f"box {list(self)} leaves 0..{SIDE}"
        if self.left >= self.right or self.top >= self.bottom:
            return f"box {list(self)} is empty: it wants left < right and top < bottom"
        return None

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The smallest whole-pixel rectangle that holds the box in a picture of width x height pixels."""
        left, top = self.left * width // SIDE, self.top * height // SIDE
        return left, top, math.ceil(self.right * width / SIDE), math.ceil(self.bottom * height / SIDE)
