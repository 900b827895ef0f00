"""Paint planned instruments: gauges, clocks, thermometers, syringes."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from PIL import Image

from narthex.evals.worlds.dial_scene import LABEL_DU, Dial, Scene, mark_length, plain, round_print
from narthex.evals.worlds.drawing import Box, Colour, colour, luma_of
from narthex.evals.worlds.item import Glyph
from narthex.evals.worlds.sheet import Point, Sheet, cap_size

_ROMAN = ("XII", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
_ZONE_HUES = (0.36, 0.15, 0.0)  # green, yellow, red


class _Look(NamedTuple):
    """Colours and habits that all instruments of a picture share."""

    plate: Colour
    ink: Colour
    rim: Colour
    hand: Colour
    fluid: Colour
    face: str
    unseen: bool


def paint(scene: Scene) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `scene`; the RGB picture and the characters it shows."""
    rng = random.Random(scene.style)
    sheet = Sheet(scene.size, scene.palette.ground, scene.angle)
    look = _draw_look(rng, scene)
    if rng.random() < 0.3:
        for dial in scene.dials:
            x0, y0, x1, y1 = dial.cell
            sheet.rectangle((x0 + 0.8, y0 + 0.8, x1 - 0.8, y1 - 0.8), scene.palette.card, radius=rng.choice((0, 4)))
    for dial in scene.dials:
        _PAINTERS[dial.family](sheet, random.Random(dial.style), dial, look)
        if dial.label:
            x, y = (v + LABEL_DU / 2 for v in dial.label_at)
            sheet.text(dial.label, scene.face, cap_size(16.2), x, y, scene.palette.ink, (0.5, 0.5))
    return sheet.finish(rng, scene.noise)


def _draw_look(rng: random.Random, scene: Scene) -> _Look:
    """Plates are light or dark whatever the ground is; hands stand out from them."""
    hue = rng.uniform(0.76, 0.9) if scene.unseen else rng.uniform(0.0, 0.7)
    is_dark = rng.random() < 0.35
    plate = colour(hue, rng.uniform(0.03, 0.16) if is_dark else rng.uniform(0.88, 1.0), rng.uniform(0, 0.3))
    ink = colour(hue, rng.uniform(0.86, 1.0) if is_dark else rng.uniform(0.0, 0.16), rng.uniform(0, 0.3))
    hand_hue = hue if scene.unseen else rng.choice((0.0, 0.02, 0.07, 0.58, 0.62))
    hand = ink if rng.random() < 0.35 else colour(hand_hue, 0.58 if is_dark else 0.36, 0.9)
    rim = colour(hue, rng.choice((0.1, 0.25, 0.45, 0.6, 0.75)), rng.uniform(0, 0.35))
    if abs(luma_of(rim) - luma_of(scene.palette.ground)) < 0.12:
        rim = scene.palette.ink
    fluid_hue = hue if scene.unseen else rng.choice((0.0, 0.0, 0.97, 0.55, 0.6, 0.1, 0.35))
    fluid = colour(fluid_hue, 0.55 if is_dark else 0.42, 0.85)
    return _Look(plate, ink, rim, hand, fluid, scene.face, scene.unseen)


def _polar(x: float, y: float, radius: float, degrees: float) -> Point:
    a = math.radians(degrees)
    return x + radius * math.cos(a), y + radius * math.sin(a)


def _plate(sheet: Sheet, rng: random.Random, box: Box, look: _Look) -> tuple[float, float, float]:
    """A round plate with a rim; its middle and the radius left for the scale."""
    x, y, radius = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2
    thick = radius * rng.uniform(0.03, 0.06)
    if look.unseen:
        sheet.rectangle(box, look.plate, look.rim, thick, radius=radius * 0.14)
    else:
        sheet.disc(x, y, radius, look.rim)
        sheet.disc(x, y, radius - thick, look.plate)
    return x, y, radius * 0.91


def _mark_width(sheet: Sheet, du: float) -> float:
    """A mark's width: never less than a pixel of the finished picture."""
    return max(du, 256 / sheet.size)


def _gauge(sheet: Sheet, rng: random.Random, dial: Dial, look: _Look) -> None:
    x, y, radius = _plate(sheet, rng, dial.body, look)
    start, sweep = dial.sweep
    scale, long = dial.scale, mark_length(dial)

    def angle(part: float) -> float:
        return start + sweep * part

    if dial.zones:
        edges = (0.0, *dial.zones, 1.0)
        for hue, low, high in zip(_ZONE_HUES, edges, edges[1:], strict=False):
            ends = sorted((angle(low), angle(high)))
            bright = 0.78 if hue == 0.15 else 0.45
            sheet.arc(x, y, radius, ends[0], ends[1], colour(hue, bright, 0.85), long * 0.8)
    elif rng.random() < 0.5:
        sheet.arc(x, y, radius, min(start, start + sweep), max(start, start + sweep), look.ink, _mark_width(sheet, 0.7))
    for i in range(scale.steps * scale.parts + 1):
        is_main = i % scale.parts == 0
        is_half = scale.parts % 2 == 0 and i % (scale.parts // 2) == 0
        reach = long * (1.0 if is_main else 0.72 if is_half else 0.5)
        a = angle(i / (scale.steps * scale.parts))
        width = _mark_width(sheet, radius * (0.026 if is_main else 0.012))
        sheet.line([_polar(x, y, radius - reach, a), _polar(x, y, radius, a)], look.ink, width)
    layout, size = round_print(dial, wide=look.unseen), cap_size(dial.numeral_du)
    if layout is not None:  # the plan has seen to that
        for text, tx, ty in (*layout.numerals, (scale.unit, *layout.unit)):
            sheet.text(text, look.face, size, tx, ty, look.ink, (0.5, 0.5))
    _needle(sheet, rng, look, x, y, radius - long * rng.uniform(0.3, 0.9), angle(scale.part_of(dial.value)), radius)


def _needle(
    sheet: Sheet, rng: random.Random, look: _Look, x: float, y: float, reach: float, degrees: float, radius: float
) -> None:
    """A hand from the hub to the marks: a wedge, a bar or a thin line with a counterweight."""
    manner = rng.choice(("wedge", "wedge", "bar", "line"))
    side = radius * (0.045 if manner == "wedge" else 0.03)
    tip = _polar(x, y, reach, degrees)
    tail = _polar(x, y, -radius * rng.uniform(0.1, 0.25), degrees)
    if manner == "wedge":
        sheet.polygon(
            [tip, _polar(*tail, side, degrees + 90), _polar(*tail, side, degrees - 90)], look.hand
        )
    else:
        width = max(1.1, side * (1.3 if manner == "bar" else 0.8))
        sheet.line([tail, tip], look.hand, max(width, 256 / sheet.size), is_round=True)
    hub = max(2.0, radius * rng.uniform(0.07, 0.11))
    sheet.disc(x, y, hub, look.rim if rng.random() < 0.5 else look.hand, look.ink, 0.6)


def _clock(sheet: Sheet, rng: random.Random, dial: Dial, look: _Look) -> None:
    x, y, radius = _plate(sheet, rng, dial.body, look)
    minutes = int(dial.value)
    has_minutes = dial.has_minute_marks(sheet.size)
    for i in range(60 if has_minutes else 12):
        is_main = i % 5 == 0 or not has_minutes
        a = i * (6 if has_minutes else 30) - 90
        reach = radius * (0.1 if is_main else 0.05)
        sheet.line(
            [_polar(x, y, radius - reach, a), _polar(x, y, radius, a)], look.ink,
            _mark_width(sheet, radius * (0.03 if is_main else 0.012)),
        )  # fmt: skip
    _clock_numerals(sheet, rng, dial, look, x, y, radius * 0.84)
    hour, minute = minutes / 2 - 90, minutes % 60 * 6 - 90
    ends = rng.random() < 0.6
    for degrees, part, thick in ((hour, rng.uniform(0.46, 0.52), 0.085), (minute, rng.uniform(0.78, 0.86), 0.055)):
        tail, tip = _polar(x, y, -radius * 0.1, degrees), _polar(x, y, radius * part, degrees)
        if ends:
            sheet.line([tail, tip], look.ink, max(1.3, radius * thick), is_round=True)
        else:
            side = max(0.9, radius * thick * 0.7)
            sheet.polygon([tip, _polar(*tail, side, degrees + 90), _polar(*tail, side, degrees - 90)], look.ink)
    sheet.disc(x, y, max(1.4, radius * 0.05), look.hand)


def _clock_numerals(
    sheet: Sheet, rng: random.Random, dial: Dial, look: _Look, x: float, y: float, radius: float
) -> None:
    which = rng.choice((range(12), range(12), range(0, 12, 3), range(0)))
    size = cap_size(min(dial.numeral_du, radius * 0.22) * (0.8 if look.unseen else 1.0))
    for hour in which:
        text = _ROMAN[hour] if look.unseen else str(hour or 12)
        a = math.radians(hour * 30 - 90)
        w, h = sheet.measure(text, look.face, size)
        reach = radius - (abs(math.cos(a)) * w + abs(math.sin(a)) * h) / 2
        sheet.text(text, look.face, size, x + reach * math.cos(a), y + reach * math.sin(a), look.ink, (0.5, 0.5))


class _Line:
    """A straight scale: maps (along, across) to the sheet, upright or lying. `along` runs from the low end up."""

    def __init__(self, dial: Dial) -> None:
        x0, y0, x1, y1 = dial.body
        self.is_upright = dial.is_upright
        self.origin = (x0, y1) if dial.is_upright else (x0, y0)
        self.long = y1 - y0 if dial.is_upright else x1 - x0
        self.thick = x1 - x0 if dial.is_upright else y1 - y0

    def at(self, along: float, across: float) -> Point:
        x, y = self.origin
        return (x + across, y - along) if self.is_upright else (x + along, y + self.thick - across)

    def box(self, low: float, high: float, near: float, far: float) -> Box:
        (ax, ay), (bx, by) = self.at(low, near), self.at(high, far)
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


def _straight_marks(
    sheet: Sheet, dial: Dial, look: _Look, line: _Line, low: float, high: float, across: float, ink: Colour
) -> None:
    """Marks from `across` outwards and numerals beyond them, between two places along the line."""
    scale, size = dial.scale, cap_size(dial.numeral_du)
    reach, total = max(3.0, dial.numeral_du * 0.62), scale.steps * scale.parts
    for i in range(total + 1):
        along = low + (high - low) * i / total
        is_main = i % scale.parts == 0
        is_half = scale.parts % 2 == 0 and i % (scale.parts // 2) == 0
        end = across + reach * (1.0 if is_main else 0.72 if is_half else 0.5)
        sheet.line([line.at(along, across), line.at(along, end)], ink, _mark_width(sheet, 1.3 if is_main else 0.7))
    texts = [plain(n) for n in scale.numerals()]
    extents = [sheet.measure(t, look.face, size) for t in texts]
    room = (high - low) / scale.steps
    widest = max(h if line.is_upright else w for w, h in extents) + dial.numeral_du * 0.3
    every = next((n for n in (1, 2, 5, 10) if n * room >= widest), scale.steps)
    for i in range(0, scale.steps + 1, every):
        x, y = line.at(low + room * i, across + reach + dial.numeral_du * 0.42)
        sheet.text(texts[i], look.face, size, x, y, ink, (0.0, 0.5) if line.is_upright else (0.5, 1.0))


def _board(sheet: Sheet, rng: random.Random, dial: Dial, look: _Look) -> Colour:
    """A board behind a straight instrument; the colour that marks must have."""
    rim = look.rim if rng.random() < 0.6 else None
    sheet.rectangle(dial.body, look.plate, rim, 1.0, radius=rng.choice((0.0, 3.0, 6.0)))
    return look.ink


def _thermometer(sheet: Sheet, rng: random.Random, dial: Dial, look: _Look) -> None:
    ink = _board(sheet, rng, dial, look)
    line = _Line(dial)
    bore = max(2.4, line.thick * rng.uniform(0.1, 0.14))
    middle = line.thick * 0.24
    bulb = bore * 1.15
    low = line.long * 0.1 + bulb * 1.3
    high = line.long - (dial.numeral_du * 2.3 if line.is_upright else dial.numeral_du * 1.2)
    glass = colour(0.55, 0.93 if luma_of(look.plate) > 0.5 else 0.3, 0.1)
    top = high + dial.numeral_du * 0.3
    tube = line.box(bulb * 1.3, top, middle - bore * 0.7, middle + bore * 0.7)
    sheet.rectangle(tube, glass, look.rim, 0.7, radius=bore * 0.6)
    value = low + (high - low) * dial.scale.part_of(dial.value)
    sheet.rectangle(line.box(bulb * 1.3, value, middle - bore * 0.42, middle + bore * 0.42), look.fluid)
    x, y = line.at(bulb * 1.35 + 1, middle)
    sheet.disc(x, y, bulb, look.fluid, look.rim, 0.7)
    _straight_marks(sheet, dial, look, line, low, high, middle + bore * 0.95, ink)
    _unit_at_end(sheet, dial, look, line, 0.975 if line.is_upright else 0.95, ink)


def _unit_at_end(sheet: Sheet, dial: Dial, look: _Look, line: _Line, part: float, ink: Colour) -> None:
    """The unit at the far end of a straight scale, in the numerals' print."""
    size = cap_size(dial.numeral_du)
    if line.is_upright:
        x, y = line.at(line.long - dial.numeral_du * 0.25, line.thick / 2)
        sheet.text(dial.scale.unit, look.face, size, x, y, ink, (0.5, 0.0))
    else:
        x, y = line.at(line.long * part, line.thick * 0.12)
        sheet.text(dial.scale.unit, look.face, size, x, y, ink, (1.0, 1.0))


def _syringe(sheet: Sheet, rng: random.Random, dial: Dial, look: _Look) -> None:
    ink = _board(sheet, rng, dial, look)
    line = _Line(dial)
    half = line.thick * rng.uniform(0.13, 0.16)
    middle = line.thick * 0.25
    low, high = line.long * 0.14, line.long * 0.69
    end = line.long * 0.74
    is_light = luma_of(look.plate) > 0.5
    glass = colour(0.55, 0.95 if is_light else 0.22, 0.12)
    # The needle's hub and the needle, then the barrel, the fluid, the plunger with its rod and thumb rest, the flange.
    sheet.line([line.at(line.long * 0.015, middle), line.at(low, middle)], look.rim, max(0.9, half * 0.12))
    sheet.rectangle(line.box(low - line.long * 0.05, low, middle - half * 0.35, middle + half * 0.35), glass, ink, 0.7)
    sheet.rectangle(line.box(low, end, middle - half, middle + half), glass, ink, 0.9)
    front = low + (high - low) * dial.scale.part_of(dial.value)
    sheet.rectangle(line.box(low, front, middle - half * 0.86, middle + half * 0.86), look.fluid)
    rod_end = min(line.long * 0.985, front + line.long * 0.32)
    sheet.rectangle(line.box(front, rod_end, middle - half * 0.22, middle + half * 0.22), look.rim, ink, 0.5)
    seal = colour(0.6, 0.12 if is_light else 0.85, 0.1)
    back = front + max(2.0, line.long * 0.025)
    sheet.rectangle(line.box(front, back, middle - half * 0.9, middle + half * 0.9), seal)
    rest = line.box(rod_end - line.long * 0.015, rod_end, middle - half * 0.85, middle + half * 0.85)
    sheet.rectangle(rest, look.rim, ink, 0.5)
    sheet.rectangle(line.box(end - line.long * 0.012, end, middle - half * 1.6, middle + half * 1.6), glass, ink, 0.7)
    _straight_marks(sheet, dial, look, line, low, high, middle + half * 1.05, ink)
    x, y = line.at(line.long * 0.97, line.thick * (0.96 if line.is_upright else 0.93))
    sheet.text(dial.scale.unit, look.face, cap_size(dial.numeral_du), x, y, ink, (1.0, 0.0))


_PAINTERS = {"gauge": _gauge, "clock": _clock, "thermometer": _thermometer, "syringe": _syringe}
