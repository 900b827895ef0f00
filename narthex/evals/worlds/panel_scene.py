"""An instrument panel: planned in units of 1/256 of its side ("du"), then painted at any size.

Three measures to keep apart: du (what a designer thinks in), pixels of the unrotated drawing, pixels of the final
picture (`Scene.turned` maps the second to the third). Fine print is sized so that a view of the whole panel in 64 to
96 pixels a side cannot show it and a 64 du crop can; large print can be read in the view.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from narthex.evals.worlds.drawing import Box, Colour, Run, colour, text_run
from narthex.evals.worlds.item import Split

PARTS = ("label", "value", "unit")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNITS = ("bar", "V", "A", "W", "rpm", "kPa", "mA", "%", "°C", "L", "Hz", "s")
# A unit in large print that looks like a label would make the question about that label ambiguous.
MISTAKABLE_UNITS = {"V": "V", "A": "A", "W": "W", "L": "L", "°C": "C", "s": "S"}
# A box of 250 thousandths (64 du) with corners at multiples of 50 (12.8 du) can hold whatever is at most 51.2 du wide,
# wherever it stands; the rest allows for rounding to pixels.
FINE_BLOCK_DU = 50.0
_TEST_BUCKETS = 8  # one panel in eight, by its readings, can only be a test panel
_SIZES = (256,) * 18 + (320, 384, 448, 512) * 4 + (320, 512) + (768, 768, 1024, 1024)  # 45 %, 45 %, 10 % of 40
_GRIDS = (((2, 2), 2), ((2, 3), 2), ((3, 2), 2), ((3, 3), 6), ((3, 4), 3), ((4, 3), 5), ((4, 4), 7))
_LARGE_GRIDS = (((2, 2), 2), ((2, 3), 3), ((3, 2), 3), ((3, 3), 7), ((4, 3), 3))
_FACES = ("regular", "regular", "bold", "slanted", "condensed")
_VALUE_FACES = (*_FACES, "segments", "segments", "dots")
# Faces whose figures are taller, or need more pixels: fine figures stay under 11 du (2.7 pixels of the view) in all.
_FINE_DU = {"segments": (12.5, 13.5), "dots": (12.5, 14), "bold": (11, 12.5)}
# Kept out of training and out of "panels": a face and a band of hues, for the world "panels-unseen".
_UNSEEN_FACE = "wide"
_UNSEEN_HUES = (0.76, 0.9)


class Need(NamedTuple):
    """What the question needs of the panel: print sizes of the readouts asked about, and how they hang together."""

    large: tuple[bool, ...]
    same_unit: bool = False
    integers: bool = False
    alike: bool = False  # same number of digits: their smear in the small view then says nothing about which is higher


@dataclass
class Readout:
    """One labelled value. `block`: bounds of label, value and unit in the unrotated drawing, pixels."""

    label: str
    value: str
    unit: str
    is_large: bool
    cell: Box
    block: Box = (0.0, 0.0, 0.0, 0.0)
    value_box: Box = (0.0, 0.0, 0.0, 0.0)
    parts: list[tuple[str, Run, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Palette:
    """Colours of a panel. `lcd`: ground and ink of little displays behind the values, or None."""

    ground: Colour
    card: Colour
    ink: Colour
    value_ink: Colour
    accent: Colour
    lcd: tuple[Colour, Colour] | None


@dataclass
class Scene:
    """A planned panel: where everything stands. The first readouts are those asked about."""

    size: int
    angle: float  # degrees, positive turns clockwise on the screen
    grid: tuple[int, int]
    readouts: list[Readout]
    free: list[Box]
    title: Box | None
    palette: Palette
    label_face: str
    value_face: str
    noise: float
    style: int  # seeds what is decoration only

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the unrotated drawing stands in the final picture."""
        centre, a = self.size / 2, math.radians(self.angle)
        dx, dy = x - centre, y - centre
        return centre + dx * math.cos(a) - dy * math.sin(a), centre + dx * math.sin(a) + dy * math.cos(a)

    def bounds(self, box: Box) -> Box:
        """Upright bounds, in the final picture, of a box of the unrotated drawing."""
        corners = [self.turned(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        xs, ys = [c[0] for c in corners], [c[1] for c in corners]
        return min(xs), min(ys), max(xs), max(ys)


def _weighted(rng: random.Random, choices: tuple[tuple[tuple[int, int], int], ...]) -> tuple[int, int]:
    return rng.choices([c for c, _ in choices], [w for _, w in choices])[0]


def draw_palette(rng: random.Random, *, unseen: bool) -> Palette:
    """Choose colours; ground and ink differ by at least 0.5 in brightness."""
    hue = rng.uniform(*_UNSEEN_HUES) if unseen else rng.uniform(0.0, 0.7)
    mode = "tinted" if unseen else rng.choices(("light", "dark", "tinted"), (45, 35, 20))[0]
    saturation = rng.uniform(0.3, 0.9) if mode == "tinted" else rng.uniform(0.0, 0.15)
    if mode == "light":
        luma = rng.uniform(0.76, 1.0)
    elif mode == "dark":
        luma = rng.uniform(0.03, 0.22)
    else:
        luma = rng.choice((rng.uniform(0.18, 0.34), rng.uniform(0.64, 0.8)))
    is_dark = luma < 0.5

    def ink(strength: float) -> Colour:
        spread = rng.uniform(0.0, 0.16)
        return colour(hue + rng.uniform(-0.05, 0.05), 1.0 - spread if is_dark else spread, strength)

    accent_hue = rng.uniform(*_UNSEEN_HUES) if unseen else rng.uniform(0.0, 0.7)
    lcd = None
    if rng.random() < 0.3:
        ground, text = rng.uniform(0.02, 0.1), rng.uniform(0.66, 1.0)
        if rng.random() < 0.4:
            ground, text = rng.uniform(0.68, 0.9), rng.uniform(0.02, 0.14)
        lcd = colour(accent_hue, ground, rng.uniform(0.1, 0.5)), colour(accent_hue, text, rng.uniform(0.3, 1.0))
    card = min(1.0, max(0.0, luma + rng.uniform(-0.07, 0.07)))
    return Palette(
        colour(hue, luma, saturation), colour(hue, card, saturation), ink(rng.uniform(0, 0.4)), ink(rng.uniform(0, 1)),
        colour(accent_hue, 0.35 if luma > 0.5 else 0.6, 0.8), lcd,
    )  # fmt: skip


def draw_value(rng: random.Random, is_large: bool, *, integer: bool = False) -> str:
    """10..99 in large print; 10..999 in fine print, now and then with one decimal."""
    roll = rng.random()
    if is_large or roll < 0.2:
        return str(rng.randint(10, 99))
    if not integer and roll > 0.85:
        return f"{rng.randint(1, 99)}.{rng.randint(0, 9)}"
    return str(rng.randint(100, 999))


def _unit_fits(unit: str, is_large: bool, labels: list[str]) -> bool:
    return not is_large or MISTAKABLE_UNITS.get(unit, "") not in labels


def _draw_units(rng: random.Random, sizes: list[bool], labels: list[str], need: Need) -> list[str]:
    """Units of all readouts, from a small pool: one panel measures few kinds of things."""
    plain = [u for u in UNITS if _unit_fits(u, True, labels)]
    pool = rng.sample(UNITS, rng.randint(1, 4))
    units = []
    for is_large in sizes:
        fitting = [u for u in pool if _unit_fits(u, is_large, labels)]
        units.append(rng.choice(fitting or plain))
    if need.same_unit:
        first = rng.choice(plain) if any(need.large) else units[0]
        units[: len(need.large)] = [first] * len(need.large)
    return units


def _draw_values(rng: random.Random, sizes: list[bool], need: Need) -> list[str]:
    values = [draw_value(rng, is_large) for is_large in sizes]
    asked = len(need.large)
    for i in range(asked):
        small = sizes[i] or (need.alike and any(sizes[:asked]))
        values[i] = draw_value(rng, small, integer=need.integers)
        while i and (values[i] == values[0] or (need.alike and not _alike(values[i], values[0]))):
            values[i] = draw_value(rng, small, integer=need.integers)
    return values


def _alike(a: str, b: str) -> bool:
    return len(a) == len(b) and a.find(".") == b.find(".")


def split_of(readings: Iterable[tuple[str, str, str]]) -> Split:
    """The split that a panel with these (label, value, unit) belongs to, in whatever order they come."""
    text = " ".join(sorted("".join(reading) for reading in readings))
    return "test" if zlib.crc32(text.encode()) % _TEST_BUCKETS == 0 else "train"


def plan_scene(rng: random.Random, need: Need, difficulty: float, *, split: Split, unseen: bool = False) -> Scene:
    """Plan a panel of `split` with the readouts a question needs; tries again where print found no room."""
    while True:
        scene = _try_plan(rng, need, difficulty, split, unseen)
        if scene is not None and split_of((r.label, r.value, r.unit) for r in scene.readouts) == split:
            return scene


def _try_plan(rng: random.Random, need: Need, difficulty: float, split: Split, unseen: bool) -> Scene | None:
    size = rng.choice(_SIZES)
    angle = rng.uniform(-4.0, 4.0) if rng.random() < 0.7 * difficulty else 0.0
    columns, rows = _weighted(rng, _LARGE_GRIDS if any(need.large) else _GRIDS)
    wanted = round(3 + 5 * min(1.0, max(0.0, difficulty + rng.uniform(-0.2, 0.2))))
    count = min(columns * rows, wanted)
    # Turned by `angle`, a square of this half side still lies inside the picture.
    turn = math.radians(abs(angle))
    half = 0.49 * size / (math.cos(turn) + math.sin(turn))
    left, top, side = size / 2 - half, size / 2 - half, 2 * half
    title = None
    if rows < 4 and rng.random() < 0.35:
        title = (left, top, left + side, top + side * 0.075)
        top += side * 0.075
    width, height = side / columns, (size / 2 + half - top) / rows
    order = rng.sample(range(columns * rows), columns * rows)
    cells: list[Box] = []
    for place in order:
        row, column = divmod(place, columns)
        cells.append((left + column * width, top + row * height, left + (column + 1) * width, top + (row + 1) * height))
    roomy = height * 256 / size > 72 and width * 256 / size > 48
    share = rng.choice((0.0, 0.3, 0.6)) if roomy else 0.0
    sizes = [need.large[i] if i < len(need.large) else rng.random() < share for i in range(count)]
    labels = rng.sample(LETTERS, count)
    units, values = _draw_units(rng, sizes, labels, need), _draw_values(rng, sizes, need)
    while split_of(zip(labels, values, units, strict=True)) != split:  # before laying out, which is what costs time
        values = _draw_values(rng, sizes, need)
    label_face, value_face = rng.choice(_FACES), rng.choice(_VALUE_FACES)
    if unseen:
        label_face, value_face = _UNSEEN_FACE, rng.choice((_UNSEEN_FACE, value_face))
    readouts = [Readout(*row) for row in zip(labels, values, units, sizes, cells, strict=False)]
    noise = rng.uniform(0.0, 0.03 + 0.09 * difficulty) if rng.random() < 0.8 else 0.0
    scene = Scene(
        size, angle, (columns, rows), readouts, cells[count:], title, draw_palette(rng, unseen=unseen),
        label_face, value_face, noise, rng.getrandbits(32),
    )  # fmt: skip
    for place, readout in enumerate(readouts):
        if not _lay_out(rng, scene, readout):
            if place < len(need.large):
                return None
            readout.is_large, readout.value = False, draw_value(rng, False)
            if not _lay_out(rng, scene, readout):
                return None
    return scene


def _lay_out(rng: random.Random, scene: Scene, readout: Readout) -> bool:
    """Place label, value and unit as one block in the readout's cell; False if no arrangement fits."""
    du, cell = scene.size / 256, readout.cell
    fine = _FINE_DU.get(scene.value_face, (11, 14))
    ranges = ((24, 30), (30, 36), (21, 26)) if readout.is_large else ((24, 30), fine, (10, 11))
    unit_face = scene.label_face if scene.value_face in ("segments", "dots") else scene.value_face
    rim = 1.8 * du if scene.palette.lcd else 0.0
    for attempt in range(8):  # the last four with the smallest print
        sizes = [round((low if attempt >= 4 else rng.uniform(low, high)) * du) for low, high in ranges]
        label = text_run(readout.label, scene.label_face, sizes[0])
        value = text_run(readout.value, scene.value_face, sizes[1])
        unit = text_run(readout.unit, unit_face, sizes[2])
        parts = _arrange(rng, (label, value, unit), du * (1.4 if readout.is_large else 1.0), rim)
        width = max(x + run.width for _, run, x, _ in parts)
        height = max(y + run.height for _, run, _, y in parts)
        pad = 3 * du
        room_x, room_y = cell[2] - cell[0] - width - 2 * pad, cell[3] - cell[1] - height - 2 * pad
        bounds = scene.bounds((0, 0, width, height))
        too_wide = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) > FINE_BLOCK_DU * du
        if room_x < 0 or room_y < 0 or (too_wide and not readout.is_large):
            continue
        x0 = int(cell[0] + pad + rng.random() * room_x)
        y0 = int(cell[1] + pad + rng.random() * room_y)
        readout.parts = [(name, run, x0 + x, y0 + y) for name, run, x, y in parts]
        readout.block = (x0, y0, x0 + width, y0 + height)
        _, run, x, y = readout.parts[1]
        readout.value_box = (x, y, x + run.width, y + run.height)
        return True
    return False


def _arrange(rng: random.Random, runs: tuple[Run, Run, Run], du: float, rim: float) -> list[tuple[str, Run, int, int]]:
    """Label, value, unit relative to the block's corner: stacked, value and unit in a line, or value beside the label.

    rim: pixels that a display's ground reaches out beyond the value.
    """
    label, value, unit = runs
    gap, small = rng.uniform(4.0, 6.0) * du + rim, rng.uniform(2.8, 4.0) * du + rim
    manner = rng.choice(("stack", "line", "line", "side"))
    align = rng.choice((0.0, 0.5, 0.5, 1.0))
    if manner == "side":
        x, tall = label.width + gap, value.height + small + unit.height
        top = max(0.0, (label.height - tall) / 2)
        drop = max(0.0, (tall - label.height) / 2)
        spots = [(0.0, drop), (x, top), (x + align * max(0, value.width - unit.width), top + value.height + small)]
    elif manner == "line":
        line = value.width + small + unit.width
        wide, y = max(label.width, line), label.height + gap
        start = align * (wide - line)
        rise = max(0, unit.baseline - value.baseline)
        spots = [(align * (wide - label.width), 0.0), (start, y + rise)]
        spots.append((start + value.width + small, y + rise + value.baseline - unit.baseline))
    else:
        wide, y = max(label.width, value.width, unit.width), label.height + gap
        tops = (0.0, y, y + value.height + small)
        spots = [(align * (wide - run.width), top) for run, top in zip(runs, tops, strict=True)]
    return [(name, run, round(x), round(y)) for name, run, (x, y) in zip(PARTS, runs, spots, strict=True)]
