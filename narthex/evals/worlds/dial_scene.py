"""Instruments with hands, columns and plungers: scales, values and a plan of where each stands, in du."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Split
from narthex.evals.worlds.panel_scene import LETTERS, Palette, draw_palette
from narthex.evals.worlds.sheet import FACES, SIDE_DU, SIZES, UNSEEN_FACE, split_of

Family = Literal["gauge", "clock", "thermometer", "syringe"]
FAMILIES: tuple[Family, ...] = ("gauge", "gauge", "clock", "thermometer", "syringe")
ZONES = ("green", "yellow", "red")
CLOCK_MINUTES = 720
# Unit -> steps between numerals, and how far numerals may start from 0, in steps.
_GAUGES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "bar": (("0.5", "1", "2", "5", "10", "20"), (0,)), "psi": (("5", "10", "20", "50", "100"), (0,)),
    "kPa": (("5", "10", "20", "50", "100"), (0,)), "MPa": (("0.2", "0.5", "1", "2", "5"), (0,)),
    "°C": (("5", "10", "20", "25", "50"), (0, 0, -1, -2, 1, 2)), "%": (("10", "20", "25"), (0,)),
    "rpm": (("50", "100", "200", "500"), (0,)), "km/h": (("10", "20", "25", "40"), (0,)),
    "V": (("1", "2", "5", "10", "50"), (0, 0, 2)), "A": (("0.5", "1", "2", "5", "10"), (0, 0, -3)),
    "kW": (("1", "2", "5", "10", "20"), (0,)), "L/min": (("1", "2", "5", "10"), (0,)),
    "Hz": (("1", "2", "5"), (9, 20)), "kg": (("0.5", "1", "2", "5", "10"), (0,)), "dB": (("5", "10"), (0, 4, -4)),
    "mm": (("1", "2", "5", "10"), (0, 0, -2)),
}  # fmt: skip
_THERMOMETERS = {"°C": (("5", "10", "10", "20"), (0, -1, -2, -3, 1, 2)), "°F": (("10", "20", "20"), (0, -2, -1, 1, 3))}
_SYRINGES = (
    ("0.1", 10, 5), ("0.2", 5, 4), ("0.2", 10, 2), ("0.5", 6, 5), ("1", 5, 5), ("1", 3, 10), ("1", 3, 5), ("1", 3, 2),
    ("2", 5, 4), ("2", 5, 2), ("5", 4, 5), ("5", 4, 2), ("5", 2, 5), ("10", 6, 10), ("10", 6, 5),
    ("10", 6, 2), ("10", 3, 5),
)  # fmt: skip
_PARTS = (1, 2, 4, 5, 10)
_FEWEST = 10  # divisions of a scale: half of one is 5 % of it at most
# Sweeps of hands: where the lowest mark stands (degrees clockwise from the right) and how far round the highest is.
SWEEPS = ((135, 270), (135, 270), (150, 240), (180, 180), (120, 300))
UNSEEN_SWEEPS = ((45, -270), (270, 270), (0, -180))  # the other way round; from the top; a half that turns back


class Scale(NamedTuple):
    """Marks from `low`, `steps` steps of `step` up, a numeral at each, every step split into `parts` divisions."""

    low: Decimal
    step: Decimal
    steps: int
    parts: int
    unit: str

    @property
    def high(self) -> Decimal:
        return self.low + self.step * self.steps

    @property
    def division(self) -> Decimal:
        return self.step / self.parts

    @property
    def tolerance(self) -> Decimal:
        """Half of the smallest division or 2 % of the scale, whichever is more."""
        return max(self.division / 2, (self.high - self.low) / 50)

    def part_of(self, value: Decimal) -> float:
        """Where a value stands between the lowest mark (0) and the highest (1)."""
        return float((value - self.low) / (self.high - self.low))

    def numerals(self) -> list[Decimal]:
        return [self.low + self.step * i for i in range(self.steps + 1)]


@dataclass
class Dial:
    """One instrument. A clock's value is the minutes since twelve. `body` and `block` (with the label) are du."""

    family: Family
    label: str
    scale: Scale
    value: Decimal
    cell: Box
    numeral_du: float
    sweep: tuple[int, int]
    zones: tuple[float, float] | None  # where yellow and red begin, as parts of the scale
    is_upright: bool
    style: int
    body: Box = (0.0, 0.0, 0.0, 0.0)
    label_at: tuple[float, float] = (0.0, 0.0)

    @property
    def shown(self) -> str:
        """The value as an answer says it: "24.5 bar", "10:08"."""
        return f"{self.number} {self.scale.unit}" if self.family != "clock" else self.number

    @property
    def number(self) -> str:
        if self.family == "clock":
            return clock_time(int(self.value))
        return plain(self.value)

    def has_minute_marks(self, size: int) -> bool:
        """Whether a clock in a picture of `size` pixels has sixty marks; there must be room for them."""
        return (self.body[2] - self.body[0]) / 2 * size / SIDE_DU > 40 and self.style % 10 < 7

    @property
    def zone(self) -> str:
        yellow, red = self.zones or (1.0, 1.0)
        part = self.scale.part_of(self.value)
        return ZONES[(part >= yellow) + (part >= red)]

    @property
    def block(self) -> Box:
        """What a look must show: the instrument and its label."""
        x0, y0, x1, y1 = self.body
        if not self.label:
            return self.body
        x, y = self.label_at
        return min(x0, x), min(y0, y), max(x1, x + LABEL_DU), max(y1, y + LABEL_DU)


_TRIES = 40  # scales drawn before a layout is given up
LABEL_DU = 18.0  # room for a label: a capital of about 16 du


class Need(NamedTuple):
    """What the question needs: how many instruments are asked about, in which print, and how they hang together."""

    asked: int
    is_large: bool
    same_unit: bool = False
    zones: bool = False


@dataclass
class Scene:
    """A planned picture; the first dials are those asked about."""

    size: int
    angle: float
    dials: list[Dial]
    palette: Palette
    face: str
    noise: float
    is_large: bool
    unseen: bool
    style: int


def plain(number: Decimal) -> str:
    """A decimal without needless zeros: "20", "2.5"."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def clock_time(minutes: int) -> str:
    """Minutes since twelve as a clock without noon and midnight shows them: 8 -> "12:08"."""
    return f"{minutes // 60 % 12 or 12}:{minutes % 60:02d}"


CLOCK_SCALE = Scale(Decimal(0), Decimal(60), 12, 60, "")


def draw_scale(rng: random.Random, family: Family, unit: str | None, room: int, most: int) -> Scale:
    """Draw a scale of at most `room` divisions and `most` numerals' steps; unit: which, or None for any.

    room >= 20 and most >= 4 leave something of every unit.
    """
    while True:
        if family == "syringe":
            step, count, parts = rng.choice(_SYRINGES)
            scale = Scale(Decimal(0), Decimal(step), count, parts, "mL")
        else:
            units = _GAUGES if family == "gauge" else _THERMOMETERS
            name = unit or rng.choice(tuple(units))
            steps, starts = units[name]
            width = Decimal(rng.choice(steps))
            count = {"%": int(100 / width)}.get(name, rng.randint(4, 10))
            scale = Scale(width * rng.choice(starts), width, count, rng.choice(_PARTS), name)
        if scale.steps <= most and _FEWEST <= scale.steps * scale.parts <= room and _decimals(scale.division) <= 2:
            return scale


def _decimals(number: Decimal) -> int:
    return len(plain(number).partition(".")[2])


def draw_value(rng: random.Random, scale: Scale) -> Decimal:
    """A value on a mark, or half way between two, that three figures tell exactly."""
    halves = rng.choice((1, 2, 2))
    total = scale.steps * scale.parts * halves
    while True:
        value = scale.low + scale.division / halves * rng.randint(1, total - 1)
        if len(plain(value).replace(".", "").strip("-0")) <= 3:
            return value


def key_of(dials: list[Dial]) -> str:
    """What the picture says, in whatever order: what keeps the splits apart."""
    return " ".join(sorted(f"{d.family} {d.label} {d.shown} {d.scale.low} {d.scale.high}" for d in dials))


def plan_scene(rng: random.Random, need: Need, difficulty: float, *, split: Split, unseen: bool = False) -> Scene:
    """Plan a picture of `split` with the instruments a question needs."""
    size = rng.choice(SIZES)
    angle = rng.uniform(-4.0, 4.0) if rng.random() < 0.5 * difficulty else 0.0
    if need.is_large:
        count = need.asked if need.asked == 2 or rng.random() < 0.7 - 0.4 * difficulty else 2
        columns, rows = rng.choice(((1, 2), (2, 1))) if count == 2 else (1, 1)
    else:
        count = max(need.asked, min(6, round(2 + 4 * difficulty + rng.uniform(-1, 1))))
        columns, rows = rng.choice([g for g in ((2, 2), (3, 2), (2, 3)) if g[0] * g[1] >= count])
    cells = _cells(rng, columns, rows, angle)
    rng.shuffle(cells)
    face = UNSEEN_FACE if unseen else rng.choice(FACES)
    while True:
        dials = _draw_dials(rng, need, cells[:count], size, unseen)
        if split_of(key_of(dials)) == split:
            break
    noise = rng.uniform(0.0, 0.02 + 0.08 * difficulty) if rng.random() < 0.8 else 0.0
    palette = draw_palette(rng, unseen=unseen)
    return Scene(size, angle, dials, palette, face, noise, need.is_large, unseen, rng.getrandbits(32))


def _cells(rng: random.Random, columns: int, rows: int, angle: float) -> list[Box]:
    turn = math.radians(abs(angle))
    half = 0.49 * SIDE_DU / (math.cos(turn) + math.sin(turn))
    left, width, height = SIDE_DU / 2 - half, 2 * half / columns, 2 * half / rows
    return [
        (left + c * width, left + r * height, left + (c + 1) * width, left + (r + 1) * height)
        for r in range(rows)
        for c in range(columns)
    ]


def _draw_dials(rng: random.Random, need: Need, cells: list[Box], size: int, unseen: bool) -> list[Dial]:
    while True:
        dials = _try_dials(rng, need, cells, size, unseen)
        if dials is not None:
            return dials


def _try_dials(rng: random.Random, need: Need, cells: list[Box], size: int, unseen: bool) -> list[Dial] | None:
    family = rng.choice(FAMILIES)
    if need.zones or (need.same_unit and family == "clock"):
        family = "gauge"
    is_mixed = rng.random() < 0.5
    unit: str | None = None
    labels = rng.sample(LETTERS, len(cells))
    if len(cells) == 1 and rng.random() < 0.5:
        labels = [""]
    dials: list[Dial] = []
    for place, cell in enumerate(cells):
        if place and is_mixed and not (need.same_unit and place < need.asked):
            family, unit = rng.choice(FAMILIES), None
        dial = _draw_dial(rng, family, labels[place], cell, size, need, unit, unseen)
        if dial is None:
            return None
        if need.same_unit and place < need.asked:
            unit = dial.scale.unit
            apart = 2 * max(dial.scale.tolerance, dials[0].scale.tolerance) if place else Decimal(0)
            if place and abs(dial.value - dials[0].value) < apart:
                return None
        dials.append(dial)
    return dials


def _draw_dial(
    rng: random.Random, family: Family, label: str, cell: Box, size: int, need: Need, unit: str | None, unseen: bool
) -> Dial | None:
    """One instrument with a value; None where the print of no scale found room."""
    wide, high = cell[2] - cell[0], cell[3] - cell[1]
    if family == "thermometer" and need.is_large and high < wide and not unseen:
        family = "gauge"  # too low a cell for a column with large numerals
    pixels = size / SIDE_DU
    # Fine numerals keep about 7.5 pixels, or nobody could read them in the picture itself.
    fine = min(10.4, max(7.6 / pixels, min(wide, high) * rng.uniform(0.085, 0.1)))
    numeral = rng.uniform(15.4, 17.5) if need.is_large else fine
    sweep = rng.choice(UNSEEN_SWEEPS if unseen else SWEEPS)
    is_upright = rng.random() < 0.5 if family == "syringe" else True
    if family == "syringe":
        is_upright = high > wide if abs(high - wide) > 20 else is_upright
    elif family == "thermometer":
        is_upright = high > 1.2 * wide if unseen and need.is_large else not unseen
    dial = Dial(family, label, CLOCK_SCALE, Decimal(0), cell, numeral, sweep, None, is_upright, rng.getrandbits(32))
    _place(rng, dial, is_large=need.is_large)
    if family == "clock":
        dial.value = Decimal(rng.randrange(CLOCK_MINUTES))
        return dial
    length = scale_length(dial)
    room = int(length * pixels / 2.6)
    per_numeral = numeral * (2.9 if family == "gauge" or not is_upright else 1.7)
    for _ in range(_TRIES):
        dial.scale = draw_scale(rng, family, unit, max(2 * _FEWEST, room), max(4, int(length / per_numeral * 2)))
        if family != "gauge" or round_print(dial, wide=unseen) is not None:
            break
        dial.sweep = rng.choice(UNSEEN_SWEEPS if unseen else SWEEPS)
    else:
        return None
    dial.value = draw_value(rng, dial.scale)
    if need.zones or (family == "gauge" and rng.random() < 0.2):
        yellow = rng.uniform(0.35, 0.6)
        dial.zones = (yellow, rng.uniform(yellow + 0.15, 0.88))
        while min(abs(dial.scale.part_of(dial.value) - edge) for edge in dial.zones) < 0.03:
            dial.value = draw_value(rng, dial.scale)
    return dial


def _place(rng: random.Random, dial: Dial, *, is_large: bool) -> None:
    """Body and label inside the cell: the label above or beside, whichever wastes less room."""
    x0, y0, x1, y1 = dial.cell
    pad = 3.0
    x0, y0, x1, y1 = x0 + pad, y0 + pad, x1 - pad, y1 - pad
    is_long = dial.family in ("thermometer", "syringe")
    if dial.label:
        if is_long and dial.is_upright:  # beside, at the top
            dial.label_at = (x0, y0)
            x0 += LABEL_DU
        elif not is_long and y1 - y0 <= x1 - x0 and rng.random() < 0.5:
            dial.label_at = (x0, y0 + rng.random() * 0.3 * (y1 - y0))
            x0 += LABEL_DU + 1
        else:
            dial.label_at = (x0 + rng.choice((0.0, 0.5)) * (x1 - x0 - LABEL_DU), y0)
            y0 += LABEL_DU + 2
    wide, high = x1 - x0, y1 - y0
    if is_long:
        thick = min(dial.numeral_du * 5.2, wide if dial.is_upright else high)
        long = (high if dial.is_upright else wide) * rng.uniform(0.9, 1.0)
        wide, high = (thick, long) if dial.is_upright else (long, thick)
    else:
        wide = high = min(wide, high) * rng.uniform(0.93, 1.0)
        if dial.family == "clock" and not is_large:  # hands tell the time without print: only small ones need a look
            wide = high = min(wide, rng.uniform(44.0, 52.0))
    left = x0 + rng.random() * (x1 - x0 - wide)
    top = y0 + rng.random() * (y1 - y0 - high)
    dial.body = (left, top, left + wide, top + high)


def scale_length(dial: Dial) -> float:
    """Length of the scale in du, at the numerals."""
    x0, y0, x1, y1 = dial.body
    if dial.family in ("gauge", "clock"):
        radius = (x1 - x0) / 2 - 2.4 * dial.numeral_du
        return max(20.0, math.radians(abs(dial.sweep[1])) * radius)
    long = y1 - y0 if dial.is_upright else x1 - x0
    return long * (0.72 if dial.family == "thermometer" else 0.55)


class Print(NamedTuple):
    """Where a round plate's numerals and its unit have their middles."""

    numerals: list[tuple[str, float, float]]
    unit: tuple[float, float]


def plate_radius(dial: Dial) -> float:
    """The radius at which a round plate's marks end."""
    return (dial.body[2] - dial.body[0]) * 0.455


def mark_length(dial: Dial) -> float:
    """Length of a round plate's main marks."""
    return max(3.2, plate_radius(dial) * 0.13)


def round_print(dial: Dial, *, wide: bool) -> Print | None:
    """Place numerals inside the arc, every second or fifth one alone where all would touch, and the unit.

    None where print would run into print or the hub, or fewer than three numerals would stand.
    """
    x, y = (dial.body[0] + dial.body[2]) / 2, (dial.body[1] + dial.body[3]) / 2
    high, (start, sweep) = dial.numeral_du, dial.sweep
    char = high * (0.96 if wide else 0.8)  # bold and slanted faces included
    radius = plate_radius(dial) - mark_length(dial) * 1.25
    spots: list[tuple[str, Box]] = []
    for i, number in enumerate(dial.scale.numerals()):
        text, a = plain(number), math.radians(start + sweep * i / dial.scale.steps)
        w = char * (len(text) - 0.5 * text.count(".") - 0.4 * text.count("-"))
        reach = radius - (abs(math.cos(a)) * w + abs(math.sin(a)) * high) / 2
        cx, cy = x + reach * math.cos(a), y + reach * math.sin(a)
        spots.append((text, (cx - w / 2, cy - high / 2, cx + w / 2, cy + high / 2)))
    every = next((n for n in (1, 2, 5) if dial.scale.steps // n >= 2 and not _any_touch([b for _, b in spots[::n]])), 0)
    hub = 0.16 * radius
    boxes = [box for _, box in spots[:: every or 1]]
    if not every or any(_touch(box, (x - hub, y - hub, x + hub, y + hub), 0.0) for box in boxes):
        return None
    away = math.radians(start + sweep / 2 + 180)
    half = char * 0.5 * len(dial.scale.unit)
    for part in (0.5, 0.4, 0.6, 0.7, 0.8, -0.4, -0.5):
        cx, cy = x + radius * part * math.cos(away), y + radius * part * math.sin(away)
        unit = (cx - half, cy - 0.6 * high, cx + half, cy + 0.6 * high)
        inside = max(math.hypot(ex - x, ey - y) for ex in (unit[0], unit[2]) for ey in (unit[1], unit[3])) < radius
        if inside and not any(_touch(unit, b, 0.3 * high) for b in (*boxes, (x - hub, y - hub, x + hub, y + hub))):
            return Print([(t, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for t, b in spots[::every]], (cx, cy))
    return None


def _touch(a: Box, b: Box, gap: float) -> bool:
    return a[0] - gap < b[2] and b[0] - gap < a[2] and a[1] - gap < b[3] and b[1] - gap < a[3]


def _any_touch(boxes: list[Box]) -> bool:
    return any(_touch(a, b, 1.2) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
