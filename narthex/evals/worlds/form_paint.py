"""Paint planned forms: header, rules between rows, print, and what belongs to no question (stamps, bar codes)."""

from __future__ import annotations

import math
import random

from PIL import Image

from narthex.evals.worlds.drawing import Colour, colour, luma_of
from narthex.evals.worlds.form_scene import Scene
from narthex.evals.worlds.item import Glyph
from narthex.evals.worlds.sheet import Sheet, cap_size, text_size


def paint(scene: Scene) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `scene`; the RGB picture and the characters it shows."""
    rng, palette = random.Random(scene.style), scene.palette
    sheet = Sheet(scene.size, palette.ground, scene.angle)
    is_dark = luma_of(palette.ground) < 0.5
    faint = colour(0.6, luma_of(palette.ground) + (0.16 if is_dark else -0.14), 0.1)
    entry = palette.ink
    if scene.entry_face != scene.face and not is_dark and luma_of(palette.ground) > 0.7:
        entry = colour(rng.choice((0.62, 0.65, 0.0)), rng.uniform(0.08, 0.2), 0.9)  # filled in by pen
    _header(sheet, rng, scene, faint)
    _rules(sheet, rng, scene, faint)
    _margin(sheet, rng, scene, faint)
    for row in scene.rows:
        for text, face, cap, x, y in row.parts:
            sheet.text(text, face, cap_size(cap), x, y, entry if text == row.shown else palette.ink, (0.0, 0.5))
    return sheet.finish(rng, scene.noise)


def _header(sheet: Sheet, rng: random.Random, scene: Scene, faint: Colour) -> None:
    x0, y0, x1, _ = scene.area
    ink, manner = scene.palette.ink, rng.random()
    if manner < 0.35:  # a band in colour
        sheet.rectangle((x0, y0, x1, y0 + 19), scene.palette.accent)
        ink = colour(0.6, 0.02 if luma_of(scene.palette.accent) > 0.5 else 1.0, 0.1)
    elif manner < 0.7:
        sheet.line([(x0, y0 + 19.5), (x1, y0 + 19.5)], scene.palette.ink, rng.choice((0.6, 1.4)))
    size = cap_size(11.0)
    width, _ = text_size(scene.title, scene.face, size, scene.size)
    left = x0 + 6 + rng.choice((0.0, 0.5, 1.0)) * max(0.0, x1 - x0 - 12 - width)
    sheet.text(scene.title, scene.face, size, left, y0 + 10, ink, (0.0, 0.5))
    for text, x, y in scene.field_parts:
        sheet.text(text, scene.face, cap_size(scene.field_cap), x, y, scene.palette.ink, (0.0, 0.5))
    if rng.random() < 0.5:
        y = scene.header[3] + 2.5
        sheet.line([(x0, y), (x1, y)], faint, 0.8)


def _rules(sheet: Sheet, rng: random.Random, scene: Scene, faint: Colour) -> None:
    """Lines, bands or boxes that keep rows apart, or nothing."""
    manner = rng.choice(("lines", "lines", "bands", "boxes", "none")) if not scene.unseen else "boxes"
    right = scene.area[2] - scene.area[0]
    for place, row in enumerate(scene.rows):
        x0, y0, _, y1 = row.block
        end = x0 + right / scene.num_columns - 8
        if manner == "lines":
            sheet.line([(x0, y1 + 1.2), (end, y1 + 1.2)], faint, 0.8)
        elif manner == "boxes":
            sheet.rectangle((x0 - 2.5, y0 - 1.0, end, y1 + 1.0), None, faint, 0.8, radius=3 if scene.unseen else 0)
        elif manner == "bands" and place % 2:
            ground = luma_of(scene.palette.ground)
            band = colour(0.6, ground + (0.06 if ground < 0.5 else -0.06), 0.2)
            sheet.rectangle((x0 - 3, y0 - 0.8, end, y1 + 0.8), band)


def _margin(sheet: Sheet, rng: random.Random, scene: Scene, faint: Colour) -> None:
    """Where one column leaves the right side free: a stamp, a bar code, a signature, or boxes to tick."""
    _, _, x1, y1 = scene.area
    if scene.num_columns > 1 or scene.is_large:
        return
    left, top = max(row.block[2] for row in scene.rows) + 12, scene.header[3] + 10
    if x1 - left < 30:
        return
    middle, manner = (left + x1) / 2, rng.choice(("stamp", "bars", "name", "ticks", "none"))
    if manner == "stamp":
        radius, y = min(24.0, (x1 - left) / 2 - 3), rng.uniform(top + 30, y1 - 40)
        ink = colour(rng.choice((0.0, 0.62)), 0.5, 0.7)
        sheet.disc(middle, y, radius, None, ink, 1.6)
        sheet.disc(middle, y, radius * 0.72, None, ink, 0.8)
    elif manner == "bars":
        x, y = left, y1 - 34
        while x < x1 - 6:
            wide = rng.choice((0.9, 0.9, 1.8, 2.7))
            sheet.rectangle((x, y, x + wide, y + 26), scene.palette.ink)
            x += wide + rng.choice((0.9, 1.8, 2.7))
    elif manner == "name":
        y = y1 - 20
        wave = [(left + (x1 - left - 8) * i / 24, y - rng.uniform(0, 13) * math.sin(i * 1.3) ** 2) for i in range(25)]
        sheet.line(wave, colour(0.63, 0.25, 0.8) if luma_of(scene.palette.ground) > 0.5 else scene.palette.ink, 0.9)
        sheet.line([(left, y + 3), (x1 - 4, y + 3)], faint, 0.8)
    elif manner == "ticks":
        for i in range(rng.randint(2, 4)):
            y = top + 16 * i
            sheet.rectangle((left, y, left + 8, y + 8), None, scene.palette.ink, 0.8)
            if rng.random() < 0.5:
                sheet.line([(left + 1.5, y + 4), (left + 3.5, y + 6.5), (left + 8, y - 1)], scene.palette.ink, 1.2)
            sheet.line([(left + 13, y + 7), (x1 - 8, y + 7)], faint, 0.8)
