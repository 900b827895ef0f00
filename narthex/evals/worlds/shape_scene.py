"""Coloured objects on plain ground: what Sort-of-CLEVR draws, and crowds of more forms; planned, then painted.

Places and sizes are thousandths of the side.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from narthex.evals.worlds.drawing import Colour, colour, luma_of
from narthex.evals.worlds.item import Glyph, Split
from narthex.evals.worlds.sheet import FACES, SIDE_DU, SIZES, UNSEEN_FACE, Point, Sheet, cap_size, split_of

# Sort-of-CLEVR: 75 x 75 pixels, six objects, each of a colour of its own, circles or squares of 10 pixels.
CLEVR_COLOURS = ("red", "green", "blue", "orange", "gray", "yellow")
CLEVR_FORMS = ("circle", "square")
CLEVR_HALF = 1000 * 5 / 75
COLOURS = (*CLEVR_COLOURS, "purple", "pink")
FORMS = ("circle", "square", "triangle", "diamond", "star", "cross")
# Hue, brightness from and to, saturation; the unseen world takes brightnesses of its own, beside these.
_SHADES: dict[str, tuple[float, float, float, float]] = {
    "red": (0.0, 0.32, 0.4, 0.9), "green": (0.35, 0.38, 0.5, 0.8), "blue": (0.62, 0.26, 0.36, 0.85),
    "orange": (0.075, 0.54, 0.62, 1.0), "gray": (0.0, 0.44, 0.56, 0.0), "yellow": (0.155, 0.76, 0.84, 1.0),
    "purple": (0.78, 0.24, 0.32, 0.75), "pink": (0.92, 0.66, 0.76, 0.9),
}  # fmt: skip
_UNSEEN_SHIFT = {
    "red": -0.09, "green": 0.12, "blue": 0.13, "orange": 0.09, "yellow": -0.09, "purple": 0.12, "gray": 0.13,
    "pink": -0.11,
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object. `half`: half its width; `number`: printed on it, or ""."""

    colour: str
    form: str
    x: float
    y: float
    half: float
    number: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.half, self.y - self.half, self.x + self.half, self.y + self.half


@dataclass(frozen=True)
class Scene:
    """A planned picture."""

    size: int
    things: tuple[Thing, ...]
    noise: float
    face: str
    unseen: bool
    style: int


def distance(a: Thing, b: Thing) -> float:
    """Between the middles of two objects, thousandths."""
    return math.hypot(a.x - b.x, a.y - b.y)


def key_of(things: tuple[Thing, ...]) -> str:
    """What the picture says, in whatever order: what keeps the splits apart."""
    return " ".join(sorted(f"{t.colour} {t.form} {t.number} {t.x / 10:.0f} {t.y / 10:.0f}" for t in things))


def _scatter(rng: random.Random, halves: list[float]) -> list[Point]:
    """Places for objects of these half widths that neither touch nor leave the picture."""
    while True:
        places: list[Point] = []
        for half in halves:
            for _ in range(60):
                x, y = (rng.uniform(half + 12, 988 - half) for _ in "xy")
                clear = [max(abs(x - px), abs(y - py)) > half + halves[i] + 10 for i, (px, py) in enumerate(places)]
                if all(clear):
                    places.append((x, y))
                    break
        if len(places) == len(halves):
            return places


def plan_clevr(rng: random.Random, difficulty: float, *, split: Split, unseen: bool) -> Scene:
    """Six objects as in Sort-of-CLEVR: one of each colour, circle or square, all of one size."""

    def draw() -> tuple[Thing, ...]:
        return _things(rng, CLEVR_COLOURS, [rng.choice(CLEVR_FORMS) for _ in CLEVR_COLOURS], [CLEVR_HALF] * 6)

    return _scene(rng, draw, difficulty, split, unseen, SIZES)


def plan_crowd(rng: random.Random, difficulty: float, *, split: Split, unseen: bool) -> Scene:
    """Three to fourteen objects of few colours and forms, as counting needs them."""
    count = round(3 + 11 * min(1.0, max(0.0, difficulty + rng.uniform(-0.2, 0.2))))

    def draw() -> tuple[Thing, ...]:
        colours = rng.sample(COLOURS, rng.randint(2, 4))
        forms = rng.sample(FORMS, rng.randint(1, 4))
        halves = [rng.uniform(48, 62 if count > 8 else 85) for _ in range(count)]
        return _things(rng, rng.choices(colours, k=count), rng.choices(forms, k=count), halves)

    return _scene(rng, draw, difficulty, split, unseen, SIZES)


def plan_tiny(rng: random.Random, difficulty: float, *, split: Split, unseen: bool) -> Scene:
    """Objects too small for the small view to show their form, each of a colour of its own."""
    count = round(3 + 5 * min(1.0, max(0.0, difficulty)))

    def draw() -> tuple[Thing, ...]:
        halves = [rng.uniform(14.5, 17.0) for _ in range(count)]
        return _things(rng, rng.sample(COLOURS, count), rng.choices(FORMS, k=count), halves)

    return _scene(rng, draw, difficulty, split, unseen, (384, 448, 512, 512))


def plan_numbered(rng: random.Random, difficulty: float, *, split: Split, unseen: bool) -> Scene:
    """Objects of different colours, each with a number in fine print on it."""
    count = round(3 + 5 * min(1.0, max(0.0, difficulty)))

    def draw() -> tuple[Thing, ...]:
        halves = [rng.uniform(60, 80) for _ in range(count)]
        plain = _things(rng, rng.sample(COLOURS, count), rng.choices(CLEVR_FORMS, k=count), halves)
        return tuple(replace(thing, number=str(rng.randint(10, 99))) for thing in plain)

    return _scene(rng, draw, difficulty, split, unseen, SIZES)


def _things(rng: random.Random, colours: Sequence[str], forms: list[str], halves: list[float]) -> tuple[Thing, ...]:
    rows = zip(colours, forms, halves, _scatter(rng, halves), strict=True)
    return tuple(Thing(name, form, x, y, half) for name, form, half, (x, y) in rows)


def _scene(
    rng: random.Random, draw: Callable[[], tuple[Thing, ...]], difficulty: float, split: Split, unseen: bool,
    sizes: tuple[int, ...],
) -> Scene:  # fmt: skip
    """Draw objects until they are of the split, and how they will be painted."""
    size = rng.choice(sizes)
    while True:
        things = draw()
        if split_of(key_of(things)) == split:
            break
    noise = rng.uniform(0.0, 0.02 + 0.09 * difficulty) if rng.random() < 0.7 else 0.0
    face = UNSEEN_FACE if unseen else rng.choice(FACES)
    return Scene(size, things, noise, face, unseen, rng.getrandbits(32))


def shade(rng: random.Random, name: str, *, unseen: bool) -> Colour:
    """A colour that goes by this name; the unseen world's are lighter or darker than any of the others."""
    hue, low, high, saturation = _SHADES[name]
    luma = rng.uniform(low, high)
    if unseen:
        luma += _UNSEEN_SHIFT.get(name, 0.0)
        saturation *= 0.75
    return colour(hue + rng.uniform(-0.012, 0.012), luma, saturation)


def paint(scene: Scene) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `scene`; the RGB picture and the characters it shows."""
    rng = random.Random(scene.style)
    is_dark = rng.random() < 0.3
    luma = rng.uniform(0.0, 0.08) if is_dark else rng.choice((1.0, rng.uniform(0.92, 1.0)))
    ground = colour(rng.random(), luma, rng.uniform(0.0, 0.25))
    sheet = Sheet(scene.size, ground)
    _background(sheet, rng, scene, luma)
    shades = {name: shade(rng, name, unseen=scene.unseen) for name in COLOURS}
    rim = None
    if not scene.unseen and rng.random() < 0.25 and scene.things[0].half > 30:
        rim = colour(0.6, 0.9 if is_dark else 0.06, 0.2)
    k = SIDE_DU / 1000
    for thing in scene.things:
        x, y, half, fill = thing.x * k, thing.y * k, thing.half * k, shades[thing.colour]
        if scene.unseen and not thing.number and thing.half > 30:
            _hollow(sheet, thing.form, x, y, half, fill, ground)
        else:
            draw_form(sheet, thing.form, x, y, half, fill, rim)
        if thing.number:
            ink = colour(0.6, 0.02 if luma_of(fill) > 0.43 else 1.0, 0.1)
            sheet.text(thing.number, scene.face, cap_size(max(8.2, 7.9 * SIDE_DU / scene.size)), x, y, ink, (0.5, 0.5))
    return sheet.finish(rng, scene.noise)


def _background(sheet: Sheet, rng: random.Random, scene: Scene, luma: float) -> None:
    """Now and then squared paper or a frame; faint, so that no object hides in it."""
    faint = colour(rng.random(), luma + 0.1 if luma < 0.5 else luma - 0.1, 0.15)
    manner = rng.random()
    if scene.unseen or manner < 0.15:
        step = rng.uniform(14, 30)
        for i in range(1, int(SIDE_DU / step) + 1):
            sheet.line([(0, i * step), (SIDE_DU, i * step)], faint, 0.5)
            if not scene.unseen:
                sheet.line([(i * step, 0), (i * step, SIDE_DU)], faint, 0.5)
    elif manner < 0.3:
        sheet.rectangle((1, 1, 255, 255), None, faint, rng.uniform(1.0, 2.5))


def _corners(form: str, x: float, y: float, half: float) -> list[Point]:
    if form == "square":
        return [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    if form == "diamond":
        return [(x, y - half), (x + half, y), (x, y + half), (x - half, y)]
    if form == "triangle":
        return [(x, y - half), (x + half, y + half), (x - half, y + half)]
    if form == "cross":
        arm = 0.36 * half
        right = [(arm, -half), (arm, -arm), (half, -arm), (half, arm), (arm, arm), (arm, half)]
        left = [(-dx, -dy) for dx, dy in right]
        return [(x + dx, y + dy) for dx, dy in right + left]
    spikes = [(half if i % 2 == 0 else 0.42 * half, math.radians(36 * i - 90)) for i in range(10)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in spikes]


def draw_form(sheet: Sheet, form: str, x: float, y: float, half: float, fill: Colour, rim: Colour | None) -> None:
    """A filled form around (x, y), du."""
    if form == "circle":
        sheet.disc(x, y, half, fill, rim)
    else:
        sheet.polygon(_corners(form, x, y, half), fill, rim)


def _hollow(sheet: Sheet, form: str, x: float, y: float, half: float, ink: Colour, ground: Colour) -> None:
    """A form as a thick outline."""
    draw_form(sheet, form, x, y, half, ink, None)
    draw_form(sheet, form, x, y + (0.12 * half if form == "triangle" else 0.0), half * 0.55, ground, None)
