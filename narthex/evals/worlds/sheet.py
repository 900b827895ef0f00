"""A square sheet to draw on, measured in du (1/256 of the side), for worlds that draw more than print.

Small pictures are drawn at twice their size and averaged down, so that needles and circles have smooth rims. Every
character set on the sheet is listed with its place after rotation. Faces of the unseen worlds are named here.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Sequence

from PIL import Image, ImageDraw

from narthex.evals.worlds.drawing import Box, Colour, Run, add_light, add_noise, text_run
from narthex.evals.worlds.item import Answer, Call, Glyph, Split, Step

SIDE_DU = 256.0
FACES = ("regular", "regular", "bold", "slanted", "condensed")
UNSEEN_FACE = "wide"  # of the "-unseen" worlds alone, as in panels
SIZES = (256,) * 20 + (320, 384, 448) * 4 + (512,) * 6 + (768, 1024)
LARGE_DU = 15.0  # ink this high can be read in a view of 96 pixels (5.6 of them); panels promise as much
FINE_DU = 12.0  # ink less high cannot (4.5 pixels)
BOX_STEP = 50
SMALLEST_BOX = 250
_SMOOTH_UP_TO = 512  # larger pictures are drawn once: their rims are smooth enough when they are looked at
_TEST_BUCKETS = 8

Point = tuple[float, float]


def split_of(key: str) -> Split:
    """The split that an item with this content belongs to: one content in eight is the test split's."""
    return "test" if zlib.crc32(key.encode()) % _TEST_BUCKETS == 0 else "train"


def cap_size(height_du: float) -> float:
    """The size in du at which figures and capitals of the built-in font have ink of this height."""
    return height_du / 0.72


def turned(x: float, y: float, angle: float) -> Point:
    """Where a point stands after the picture has been turned by `angle` degrees, clockwise, around its centre."""
    centre = SIDE_DU / 2
    a, dx, dy = math.radians(angle), x - centre, y - centre
    return centre + dx * math.cos(a) - dy * math.sin(a), centre + dx * math.sin(a) + dy * math.cos(a)


def turned_bounds(box: Box, angle: float) -> Box:
    """Upright bounds of a box (du) after the picture has been turned."""
    corners = [turned(x, y, angle) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    return min(xs), min(ys), max(xs), max(ys)


def half_side(angle: float) -> float:
    """Half the side (du) of the largest square that stays inside the picture when it is turned, less a rim."""
    turn = math.radians(abs(angle))
    return 0.49 * SIDE_DU / (math.cos(turn) + math.sin(turn))


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def thousandths(box: Box, angle: float = 0.0) -> Box:
    """A box in du as thousandths of the turned picture's sides."""
    x0, y0, x1, y1 = turned_bounds(box, angle) if angle else box
    part = 1000 / SIDE_DU
    return x0 * part, y0 * part, x1 * part, y1 * part


def holds(outer: Sequence[float], inner: Sequence[float]) -> bool:
    """Whether one box lies within another; both in the same measure."""
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def look_box(box: Box, angle: float = 0.0, *, smallest: int = SMALLEST_BOX) -> tuple[int, int, int, int]:
    """The smallest square zoom box (thousandths, multiples of BOX_STEP) around a box in du, centred as they allow."""
    wanted = thousandths(box, angle)
    for side in range(smallest, 1000, BOX_STEP):
        x, y = (
            min(1000 - side, max(0, BOX_STEP * round((wanted[i] + wanted[i + 2] - side) / 2 / BOX_STEP)))
            for i in (0, 1)
        )
        if holds((x, y, x + side, y + side), wanted):
            return x, y, x + side, y + side
    return 0, 0, 1000, 1000


def trace_length(trace: Sequence[Step]) -> int:
    """Characters that a demonstration says: thoughts, the answer, and 24 for every call, which is about a zoom's."""
    said = sum(len(step.thought) for step in trace)
    return said + sum(len(step.text) if isinstance(step, Answer) else 24 for step in trace)


def shortest_first(
    traces: Sequence[tuple[Step, ...]],
) -> tuple[tuple[Step, ...], tuple[tuple[Step, ...], ...]]:
    """The shortest demonstration, and the others that are at most half as long again, without repetition."""
    ordered = sorted(dict.fromkeys(_hashable(trace) for trace in traces), key=trace_length)
    return ordered[0], tuple(trace for trace in ordered[1:] if trace_length(trace) <= 1.5 * trace_length(ordered[0]))


def _hashable(trace: tuple[Step, ...]) -> tuple[Step, ...]:
    if any(isinstance(step, Call) for step in trace):
        raise TypeError("demonstrations with calls cannot be told apart by their hash")
    return trace


def _drawn_px(size: int) -> float:
    """Drawn pixels a du, for a picture of `size` pixels."""
    return size * (2 if size <= _SMOOTH_UP_TO else 1) / SIDE_DU


def _run(text: str, face: str, size_du: float, px: float) -> Run:
    return text_run(text, face, max(6, round(size_du * px)))


def text_size(text: str, face: str, size_du: float, picture_size: int) -> tuple[float, float]:
    """Width and height in du of a line's ink, as a sheet of `picture_size` pixels sets it."""
    px = _drawn_px(picture_size)
    run = _run(text, face, size_du, px)
    return run.width / px, run.height / px


class Sheet:
    """A square drawing in progress. All coordinates and lengths are du; `angle` turns the finished picture."""

    def __init__(self, size: int, ground: Colour, angle: float = 0.0) -> None:
        self.size, self.angle, self.ground = size, angle, ground
        self._scale = 2 if size <= _SMOOTH_UP_TO else 1
        side = size * self._scale
        self.px = _drawn_px(size)
        self.picture = Image.new("RGB", (side, side), ground)
        self.draw = ImageDraw.Draw(self.picture)
        self._glyphs: list[tuple[str, float, float, float]] = []

    def _width(self, du: float) -> int:
        return max(self._scale, round(du * self.px))

    def rectangle(
        self, box: Box, fill: Colour | None = None, outline: Colour | None = None, width: float = 0.8,
        radius: float = 0.0,
    ) -> None:  # fmt: skip
        """A box, with round corners if `radius` is not 0."""
        x0, y0, x1, y1 = (v * self.px for v in box)
        line = self._width(width) if outline else 0
        if radius:
            self.draw.rounded_rectangle((x0, y0, x1, y1), radius * self.px, fill=fill, outline=outline, width=line)
        else:
            self.draw.rectangle((x0, y0, x1, y1), fill=fill, outline=outline, width=line)

    def disc(
        self, x: float, y: float, radius: float, fill: Colour | None = None, outline: Colour | None = None,
        width: float = 0.8,
    ) -> None:  # fmt: skip
        """A circle around (x, y)."""
        x, y, radius = x * self.px, y * self.px, radius * self.px
        line = self._width(width) if outline else 0
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, width=line)

    def arc(self, x: float, y: float, radius: float, start: float, end: float, ink: Colour, width: float) -> None:
        """Part of a ring with outer radius `radius`; degrees clockwise from the right."""
        x, y, radius = x * self.px, y * self.px, radius * self.px
        self.draw.arc((x - radius, y - radius, x + radius, y + radius), start, end, fill=ink, width=self._width(width))

    def line(self, points: Sequence[Point], ink: Colour, width: float, *, is_round: bool = False) -> None:
        """A line through points; round ends and joints where `is_round`."""
        drawn, line = [(x * self.px, y * self.px) for x, y in points], self._width(width)
        self.draw.line(drawn, fill=ink, width=line, joint="curve" if is_round else None)
        if is_round and line > 2:
            half = line / 2 - 0.5
            for x, y in (drawn[0], drawn[-1]):
                self.draw.ellipse((x - half, y - half, x + half, y + half), fill=ink)

    def polygon(
        self, points: Sequence[Point], fill: Colour | None, outline: Colour | None = None, width: float = 0.8
    ) -> None:
        """A filled polygon, or its outline, or both."""
        drawn = [(x * self.px, y * self.px) for x, y in points]
        if fill:
            self.draw.polygon(drawn, fill=fill)
        if outline:
            self.draw.line([*drawn, drawn[0], drawn[1]], fill=outline, width=self._width(width), joint="curve")

    def measure(self, text: str, face: str, size: float) -> tuple[float, float]:
        """Width and height of a line's ink in du, as `text` would set it."""
        return text_size(text, face, size, self.size)

    def text(
        self, text: str, face: str, size: float, x: float, y: float, ink: Colour, anchor: Point = (0.0, 0.0),
        *, by_baseline: bool = False,
    ) -> Box:  # fmt: skip
        """Set a line of text and list its characters; returns the ink's bounds.

        anchor: which part of the ink stands at (x, y), (0, 0) the top left and (0.5, 0.5) the middle; by_baseline: y is
        the baseline.
        """
        run = _run(text, face, size, self.px)
        left = round(x * self.px - anchor[0] * run.width)
        top = round(y * self.px - (run.baseline if by_baseline else anchor[1] * run.height))
        px = self.px
        for char, mask, dx, dy in run.glyphs:
            self.picture.paste(ink, (left + dx, top + dy), mask)
            at = (left + dx + mask.width / 2) / px, (top + dy + mask.height / 2) / px
            self._glyphs.append((char, *at, mask.height / px))
        return left / px, top / px, (left + run.width) / px, (top + run.height) / px

    def finish(self, rng: random.Random, noise: float) -> tuple[Image.Image, tuple[Glyph, ...]]:
        """Average down, turn, light and grain; the RGB picture and the characters it shows, in its pixels."""
        if self.angle:  # turned and averaged down in one go: between four drawn pixels is their average
            a, c, scale = math.radians(self.angle), self.size / 2, self._scale
            cos, sin = scale * math.cos(a), scale * math.sin(a)
            matrix = (cos, sin, c * (scale - cos - sin), -sin, cos, c * (scale + sin - cos))
            picture = self.picture.transform(
                (self.size, self.size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=self.ground
            )
        else:
            picture = self.picture.reduce(2) if self._scale == 2 else self.picture
        if rng.random() < 0.25:
            window = (0.0, 0.0, 1.0, 1.0)
            picture = add_light(picture, rng.uniform(0.04, 0.14), turns=rng.randrange(4), window=window)
        if noise > 0.004:
            offset = (rng.randrange(128), rng.randrange(128))
            picture = add_noise(picture, noise, coloured=rng.random() < 0.4, offset=offset)
        return picture, self._seen()

    def _seen(self) -> tuple[Glyph, ...]:
        part, found = self.size / SIDE_DU, []
        for char, x, y, height in self._glyphs:
            tx, ty = turned(x, y, self.angle) if self.angle else (x, y)
            if 0 <= tx < SIDE_DU and 0 <= ty < SIDE_DU:
                found.append(Glyph(char, tx * part, ty * part, height * part))
        return tuple(found)
