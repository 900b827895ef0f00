"""Paint a planned panel, whole or only a window of it, and list every character drawn."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from narthex.evals.worlds.drawing import Box, Colour, Run, add_light, add_noise, text_run
from narthex.evals.worlds.item import Glyph
from narthex.evals.worlds.panel_scene import Scene

_WORDS = ("PUMP", "MAIN", "UNIT", "LINE", "TANK", "BOILER", "MOTOR", "FEED", "PANEL", "STATION", "COOLANT", "SUPPLY")


class _Sheet:
    """A drawing in progress: the picture, and the characters on it in unrotated pixels."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene, self.rng, self.du = scene, rng, scene.size / 256
        self.picture = Image.new("RGB", (scene.size, scene.size), scene.palette.ground)
        self.draw = ImageDraw.Draw(self.picture)
        self.glyphs: list[tuple[str, float, float, int]] = []

    def text(self, run: Run, x: int, y: int, ink: Colour) -> None:
        for char, mask, dx, dy in run.glyphs:
            self.picture.paste(ink, (x + dx, y + dy), mask)
            self.glyphs.append((char, x + dx + mask.width / 2, y + dy + mask.height / 2, mask.height))

    def line_width(self, du: float) -> int:
        return max(1, round(du * self.du))


def paint(scene: Scene, window: tuple[int, int, int, int] | None = None) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `scene`; window: only these pixels (x0, y0, x1, y1) of the final picture, equal to a crop of the whole.

    Returns the RGB picture and the characters whose centre it shows, in its own pixels.
    """
    sheet = _Sheet(scene, random.Random(scene.style))
    _ground(sheet)
    if scene.title is not None:
        _title(sheet, scene.title)
    for cell in scene.free:
        _decorate(sheet, cell)
    _readouts(sheet)
    x0, y0, x1, y1 = window or (0, 0, scene.size, scene.size)
    return _finish(sheet, (x0, y0, x1, y1)), _seen(sheet, (x0, y0, x1, y1))


def _ground(sheet: _Sheet) -> None:
    scene, rng, du = sheet.scene, sheet.rng, sheet.du
    style = rng.random()
    if style < 0.3:  # a card behind every readout
        for readout in scene.readouts:
            sheet.draw.rectangle(_inset(readout.cell, 0.8 * du), fill=scene.palette.card)
    elif style < 0.5:  # a frame around every readout
        for readout in scene.readouts:
            sheet.draw.rectangle(
                _inset(readout.cell, 0.6 * du), outline=scene.palette.accent, width=sheet.line_width(0.8)
            )
    elif style < 0.62:  # a frame around the block alone
        for readout in scene.readouts:
            x0, y0, x1, y1 = readout.block
            sheet.draw.rectangle(
                _inset((x0, y0, x1, y1), -2.4 * du), outline=scene.palette.ink, width=sheet.line_width(0.7)
            )
    if rng.random() < 0.4:
        edge = sheet.line_width(rng.uniform(0.8, 2.0))
        sheet.draw.rectangle((0, 0, scene.size - 1, scene.size - 1), outline=scene.palette.accent, width=edge)


def _inset(box: Box, by: float) -> tuple[int, int, int, int]:
    return round(box[0] + by), round(box[1] + by), round(box[2] - by), round(box[3] - by)


def _title(sheet: _Sheet, strip: Box) -> None:
    scene, rng, du = sheet.scene, sheet.rng, sheet.du
    words = f"{rng.choice(_WORDS)} {rng.choice((rng.choice(_WORDS), str(rng.randint(1, 40))))}"
    run = text_run(words, scene.label_face, round(rng.uniform(11, 13) * du))
    y = round((strip[1] + strip[3] - run.height) / 2 + du)
    room = strip[2] - strip[0] - run.width - 8 * du
    if room > 0:
        sheet.text(run, round(strip[0] + 4 * du + rng.random() * room), y, scene.palette.ink)


def _decorate(sheet: _Sheet, cell: Box) -> None:
    """Something that is no readout, in a cell of its own; three in eight cells stay empty."""
    rng, du, palette = sheet.rng, sheet.du, sheet.scene.palette
    what = rng.choice(("none", "none", "none", "screw", "vent", "print", "print", "logo", "dial", "lamp"))
    radius = rng.uniform(8, 20) * du
    x = rng.uniform(cell[0] + radius + 3 * du, cell[2] - radius - 3 * du)
    y = rng.uniform(cell[1] + radius + 3 * du, cell[3] - radius - 3 * du)
    around = (round(x - radius), round(y - radius), round(x + radius), round(y + radius))
    thin = sheet.line_width(0.9)
    if what == "screw":
        small = 0.45 * radius
        sheet.draw.ellipse(
            (x - small, y - small, x + small, y + small), fill=palette.card, outline=palette.ink, width=thin
        )
        a = rng.uniform(0, math.pi)
        dx, dy = small * math.cos(a), small * math.sin(a)
        sheet.draw.line((x - dx, y - dy, x + dx, y + dy), fill=palette.ink, width=sheet.line_width(1.2))
    elif what == "vent":
        bars = rng.randint(3, 6)
        for i in range(bars):
            top = y - radius + 2 * radius * i / bars
            sheet.draw.rectangle(
                (around[0], round(top), around[2], round(top + 0.7 * radius / bars)), fill=palette.accent
            )
    elif what == "print":
        _fine_print(sheet, cell)
    elif what == "logo":
        if rng.random() < 0.5:
            sheet.draw.polygon([(x, around[1]), (around[2], around[3]), (around[0], around[3])], fill=palette.accent)
        else:
            sheet.draw.polygon([(x, around[1]), (around[2], y), (x, around[3]), (around[0], y)], fill=palette.accent)
    elif what == "dial":
        _dial(sheet, x, y, radius)
    elif what == "lamp":
        sheet.draw.ellipse(around, fill=palette.accent, outline=palette.ink, width=thin)


def _fine_print(sheet: _Sheet, cell: Box) -> None:
    """A serial number, a rating, a year: numbers that belong to no label."""
    rng, du = sheet.rng, sheet.du
    texts = (
        f"SN {rng.randint(10000, 99999)}", f"No. {rng.randint(100, 9999)}", f"IP{rng.randint(20, 68)}",
        f"REV {rng.randint(1, 9)}.{rng.randint(0, 9)}", f"MAX {rng.randint(10, 999)}", f"MIN {rng.randint(1, 99)}",
        str(rng.randint(1950, 2026)), str(rng.randint(10, 999)), f"{rng.randint(10, 400)} V~",
    )  # fmt: skip
    y = cell[1] + (4 + 10 * rng.random()) * du
    for text in rng.sample(texts, rng.randint(1, 3)):
        run = text_run(text, sheet.scene.label_face, max(9, round(rng.uniform(9.5, 12) * du)))
        room = cell[2] - cell[0] - run.width - 6 * du
        if room > 0 and y + run.height < cell[3] - 3 * du:
            sheet.text(run, round(cell[0] + 3 * du + rng.random() * room), round(y), sheet.scene.palette.ink)
        y += run.height + rng.uniform(3, 8) * du


def _dial(sheet: _Sheet, x: float, y: float, radius: float) -> None:
    """Tick marks on an arc and a needle, with nothing printed: no readout."""
    rng, ink = sheet.rng, sheet.scene.palette.ink
    ticks, thin = rng.randint(5, 11), sheet.line_width(0.9)
    for i in range(ticks):
        a = math.radians(-210 + 240 * i / (ticks - 1))
        c, s = math.cos(a), math.sin(a)
        sheet.draw.line(
            (x + radius * c, y + radius * s, x + 0.78 * radius * c, y + 0.78 * radius * s), fill=ink, width=thin
        )
    a = math.radians(rng.uniform(-210, 30))
    sheet.draw.line(
        (x, y, x + 0.7 * radius * math.cos(a), y + 0.7 * radius * math.sin(a)),
        fill=sheet.scene.palette.accent,
        width=2 * thin,
    )


def _readouts(sheet: _Sheet) -> None:
    palette, du = sheet.scene.palette, sheet.du
    for readout in sheet.scene.readouts:
        value_ink = palette.value_ink
        if palette.lcd is not None:
            value_ink = palette.lcd[1]
            sheet.draw.rectangle(_inset(readout.value_box, -1.6 * du), fill=palette.lcd[0])
        for name, run, x, y in readout.parts:
            sheet.text(run, x, y, value_ink if name == "value" else palette.ink)


def _finish(sheet: _Sheet, window: tuple[int, int, int, int]) -> Image.Image:
    """Turn, cut out, light and grain, in that order; only the window's pixels are worked on."""
    scene, rng, picture = sheet.scene, sheet.rng, sheet.picture
    x0, y0, x1, y1 = window
    if scene.angle:
        a, centre = math.radians(scene.angle), scene.size / 2
        c, s = math.cos(a), math.sin(a)
        dx, dy = x0 - centre, y0 - centre
        matrix = (c, s, centre + c * dx + s * dy, -s, c, centre - s * dx + c * dy)
        # Bicubic keeps 11-pixel print crisp; where print is larger bilinear is as good and twice as fast.
        manner = Image.Resampling.BICUBIC if scene.size <= 384 else Image.Resampling.BILINEAR
        picture = picture.transform(
            (x1 - x0, y1 - y0), Image.Transform.AFFINE, matrix, manner, fillcolor=scene.palette.ground
        )
    elif window != (0, 0, scene.size, scene.size):
        picture = picture.crop(window)
    if rng.random() < 0.3:
        part = tuple(v / scene.size for v in window)
        picture = add_light(
            picture, rng.uniform(0.04, 0.16), turns=rng.randrange(4), window=(part[0], part[1], part[2], part[3])
        )
    if scene.noise:
        offset = (rng.randrange(128) + x0, rng.randrange(128) + y0)
        picture = add_noise(picture, scene.noise, coloured=rng.random() < 0.4, offset=offset)
    return picture


def _seen(sheet: _Sheet, window: tuple[int, int, int, int]) -> tuple[Glyph, ...]:
    x0, y0, x1, y1 = window
    found = []
    for char, x, y, height in sheet.glyphs:
        tx, ty = sheet.scene.turned(x, y)
        if x0 <= tx < x1 and y0 <= ty < y1:
            found.append(Glyph(char, tx - x0, ty - y0, float(height)))
    return tuple(found)
