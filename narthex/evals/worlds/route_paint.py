"""Paint planned maps: country with parks and water, roads in several manners, lines with stops."""

from __future__ import annotations

import math
import random

from PIL import Image

from narthex.evals.worlds.drawing import Colour, colour, luma_of
from narthex.evals.worlds.item import Glyph
from narthex.evals.worlds.route_scene import LETTER_DU, NODE_DU, Scene
from narthex.evals.worlds.sheet import SIDE_DU, Point, Sheet, cap_size, half_side

_LINE_SHADES = {
    "red": (0.0, 0.36, 0.9), "blue": (0.61, 0.36, 0.85), "green": (0.37, 0.42, 0.8), "orange": (0.08, 0.6, 1.0),
    "purple": (0.79, 0.3, 0.7),
}  # fmt: skip


def paint(scene: Scene) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `scene`; the RGB picture and the characters it shows."""
    rng, palette = random.Random(scene.style), scene.palette
    ground = palette.ground
    if scene.lines:  # colours must go by their names: on white, or nearly black
        is_dark = luma_of(ground) < 0.5
        ground = colour(rng.random(), rng.uniform(0.04, 0.1) if is_dark else rng.uniform(0.93, 1.0), 0.15)
    sheet = Sheet(scene.size, ground, scene.angle)
    is_dark = luma_of(ground) < 0.5
    _country(sheet, rng, luma_of(ground), plain=bool(scene.lines))
    ink = colour(0.6, 0.97 if is_dark else 0.05, 0.1)
    if scene.lines:
        width = rng.uniform(5.0, 7.5)
        for name, stops in scene.lines.items():
            hue, luma, saturation = _LINE_SHADES[name]
            shade = colour(hue + rng.uniform(-0.01, 0.01), luma + (0.08 if is_dark else 0.0), saturation)
            sheet.line([scene.places[stop] for stop in stops], shade, width, is_round=True)
    else:
        _roads(sheet, rng, scene, ground, ink)
    _marks(sheet, rng, scene, ground, ink)
    return sheet.finish(rng, scene.noise)


def _country(sheet: Sheet, rng: random.Random, luma: float, *, plain: bool) -> None:
    """Parks, water and blocks behind the map, faint; nothing now and then."""
    shift = 0.05 if luma < 0.5 else -0.06
    for _ in range(rng.choice((0, 0, 1, 2, 3)) if not plain else rng.choice((0, 0, 1))):
        hue, saturation = rng.choice(((0.33, 0.4), (0.57, 0.5), (0.1, 0.2)))
        fill = colour(hue, min(1.0, max(0.0, luma + shift)), saturation)
        x, y, radius = rng.uniform(0, SIDE_DU), rng.uniform(0, SIDE_DU), rng.uniform(25, 80)
        turns = [2 * math.pi * (i + rng.uniform(-0.3, 0.3)) / 8 for i in range(8)]
        reach = [radius * rng.uniform(0.6, 1.0) for _ in turns]
        sheet.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(turns, reach, strict=True)], fill)


def _roads(sheet: Sheet, rng: random.Random, scene: Scene, ground: Colour, ink: Colour) -> None:
    """Plain, cased or double lines, dashes on unseen maps; then the lengths on plates of the ground's colour."""
    accent = colour(rng.choice((0.09, 0.14, 0.58, 0.0)), 0.45 if luma_of(ground) > 0.5 else 0.6, 0.4)
    manner = rng.choice(("plain", "plain", "cased", "grey")) if not scene.unseen else "dashed"
    body = colour(0.12, 0.9 if luma_of(ground) < 0.5 else 0.99, 0.5)
    width = rng.uniform(2.4, 4.2)
    for a, b in scene.roads:
        points = [scene.places[a], scene.places[b]]
        if manner == "dashed":
            _dashes(sheet, points[0], points[1], ink, width)
        elif manner == "cased":
            sheet.line(points, ink, width + 2.4, is_round=True)
            sheet.line(points, body, width, is_round=True)
        else:
            sheet.line(points, ink if manner == "plain" else accent, width, is_round=True)
    for ends, length in scene.roads.items():
        if length:
            x0, y0, x1, y1 = scene.label_box(ends)
            sheet.rectangle((x0 - 1.4, y0 - 1.4, x1 + 1.4, y1 + 1.4), ground)
            middle = (x0 + x1) / 2, (y0 + y1) / 2
            sheet.text(str(length), scene.face, cap_size(scene.label_du), *middle, ink, (0.5, 0.5))
    if any(scene.roads.values()):
        _legend(sheet, scene, ink)


def _dashes(sheet: Sheet, a: Point, b: Point, ink: Colour, width: float) -> None:
    count = max(3, int(math.dist(a, b) / 9))
    for i in range(count):
        low, high = i / count, (i + 0.6) / count
        ends = [(a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part) for part in (low, high)]
        sheet.line(ends, ink, width)


def _legend(sheet: Sheet, scene: Scene, ink: Colour) -> None:
    """The unit of the lengths, in whichever corner no place stands near."""
    text = f"in {scene.unit}"
    corners = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    low, room = SIDE_DU / 2 - half_side(scene.angle), 2 * half_side(scene.angle)

    def free(corner: Point) -> float:
        at = low + 10 + corner[0] * (room - 20), low + 10 + corner[1] * (room - 20)
        return min(math.dist(at, place) for place in scene.places)

    corner = max(corners, key=free)
    if free(corner) > 34:
        x, y = low + corner[0] * room, low + corner[1] * room
        sheet.text(text, scene.face, cap_size(min(scene.label_du, 11.0)), x, y, ink, corner)


def _marks(sheet: Sheet, rng: random.Random, scene: Scene, ground: Colour, ink: Colour) -> None:
    """The places: discs or squares, filled or not, each with its letter."""
    is_filled = rng.random() < 0.5 and not scene.lines
    fill = ink if is_filled else ground
    if not is_filled and rng.random() < 0.4 and not scene.lines:
        fill = colour(rng.random(), 0.2 if luma_of(ground) < 0.5 else 0.9, 0.5)
    letter = ground if is_filled else ink
    is_square = scene.unseen or rng.random() < 0.2
    for text, (x, y) in zip(scene.letters, scene.places, strict=True):
        if is_square:
            box = (x - NODE_DU + 0.5, y - NODE_DU + 0.5, x + NODE_DU - 0.5, y + NODE_DU - 0.5)
            sheet.rectangle(box, fill, ink, 1.6, radius=4 if scene.unseen else 0)
        else:
            sheet.disc(x, y, NODE_DU, fill, ink, 1.6)
        sheet.text(text, scene.face, cap_size(LETTER_DU), x, y, letter, (0.5, 0.5))
