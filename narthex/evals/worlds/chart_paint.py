"""Paint a chart that is laid out, and list every character drawn."""

from __future__ import annotations

import math
import random
from itertools import pairwise

from PIL import Image, ImageDraw

from narthex.evals.worlds.canvas import Canvas, PenMap
from narthex.evals.worlds.chart_scene import Chart, Mark
from narthex.evals.worlds.drawing import Box, Colour
from narthex.evals.worlds.item import Glyph


def paint_chart(chart: Chart) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `chart`. Returns the RGB picture and its characters, in its pixels."""
    rng = random.Random(chart.seed + 1)
    canvas = Canvas(chart.size, chart.style.paper.ground)
    if chart.style.frame:
        edge = canvas.width(rng.uniform(0.8, 1.6))
        canvas.draw.rectangle((0, 0, chart.size - 1, chart.size - 1), outline=chart.style.paper.ink, width=edge)
    if chart.shape == "pie":
        _pie(canvas, chart)
    else:
        _grid(canvas, chart)
        for mark in chart.marks if chart.shape != "line" else ():
            _bar(canvas, chart, mark)
        if chart.shape == "line":
            _line(canvas, chart)
        _axes(canvas, chart)
    for run, x, y, ink in chart.prints:
        canvas.text(run, x, y, ink)
    return canvas.finish(rng, chart.noise), tuple(canvas.glyphs)


def mixed(one: Colour, two: Colour, share: float) -> Colour:
    """A colour between two: `share` (0 to 1) of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, two, strict=True))
    return red, green, blue


def _grid(canvas: Canvas, chart: Chart) -> None:
    style, (left, top, right, bottom) = chart.style, chart.plot
    if style.chance < 0.25:
        canvas.draw.rectangle((left, top, right, bottom), fill=style.paper.card)
    # Where values are read off the axis its lines must be there to count.
    if style.grid == "none" and not chart.on_axis:
        return
    ink = mixed(style.paper.ground, style.paper.ink, 0.3 if chart.on_axis else 0.18)
    width = canvas.width(0.7)
    for at, _ in chart.ticks[1:]:
        ends = (at, top, at, bottom) if chart.shape == "rows" else (left, at, right, at)
        if style.grid == "dashes":
            _dashed(canvas, ends, ink, width)
        else:
            canvas.draw.line(ends, fill=ink, width=width)


def _dashed(canvas: Canvas, ends: Box, ink: Colour, width: int) -> None:
    x0, y0, x1, y1 = ends
    length, dash = abs(x1 - x0) + abs(y1 - y0), 3 * canvas.du
    for i in range(int(length / (2 * dash))):
        a, b = 2 * i * dash / length, (2 * i + 1) * dash / length
        part = (x0 + (x1 - x0) * a, y0 + (y1 - y0) * a, x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)
        canvas.draw.line(part, fill=ink, width=width)


def _axes(canvas: Canvas, chart: Chart) -> None:
    left, top, right, bottom = chart.plot
    ink, width = chart.style.paper.ink, canvas.width(1.0)
    if chart.shape == "rows" or chart.style.chance > 0.6:
        canvas.draw.line((left, top, left, bottom), fill=ink, width=width)
    if chart.shape != "rows" or chart.style.chance > 0.6:
        canvas.draw.line((left, bottom, right, bottom), fill=ink, width=width)


def _bar(canvas: Canvas, chart: Chart, mark: Mark) -> None:
    style, du = chart.style, canvas.du
    x0, y0, x1, y1 = (round(v) for v in mark.box)
    across = chart.shape == "rows"
    if style.fill == "stick":
        _stick(canvas, mark, across)
    elif style.fill == "outline":
        inner = mixed(mark.colour, style.paper.ground, 0.7)
        canvas.draw.rectangle((x0, y0, x1, y1), fill=inner, outline=mark.colour, width=canvas.width(1.8))
    elif style.fill == "round":
        corners = (False, True, True, False) if across else (True, True, False, False)
        radius = min((y1 - y0) if across else (x1 - x0), 12 * du) / 2
        canvas.draw.rounded_rectangle((x0, y0, x1, y1), radius, fill=mark.colour, corners=corners)
    else:
        canvas.draw.rectangle((x0, y0, x1, y1), fill=mark.colour)
        if style.fill == "hatch":
            _hatch(canvas, (x0, y0, x1, y1), mixed(mark.colour, style.paper.ground, 0.75), mark.colour)


def _hatch(canvas: Canvas, box: tuple[int, int, int, int], ground: Colour, ink: Colour) -> None:
    x0, y0, x1, y1 = box
    edge = canvas.width(1.2)
    tile = Image.new("RGB", (x1 - x0 + 1, y1 - y0 + 1), ground)
    pen, step = ImageDraw.Draw(tile), max(3, round(6 * canvas.du))
    for at in range(-tile.height, tile.width, step):
        pen.line((at, tile.height, at + tile.height, 0), fill=ink, width=canvas.width(1.3))
    pen.rectangle((0, 0, tile.width - 1, tile.height - 1), outline=ink, width=edge)
    canvas.picture.paste(tile, (x0, y0))


def _stick(canvas: Canvas, mark: Mark, across: bool) -> None:
    x0, y0, x1, y1 = mark.box
    radius, width = 5 * canvas.du, canvas.width(2.5)
    x, y = (x1, (y0 + y1) / 2) if across else ((x0 + x1) / 2, y0)
    canvas.draw.line((x0, y, x1, y) if across else (x, y0, x, y1), fill=mark.colour, width=width)

    def knob(pen: ImageDraw.ImageDraw, to: PenMap, scale: int) -> None:
        pen.ellipse((*to(x - radius, y - radius), *to(x + radius, y + radius)), fill=mark.colour)

    canvas.smooth((x - radius, y - radius, x + radius, y + radius), knob)


def _line(canvas: Canvas, chart: Chart) -> None:
    style, (left, _, right, bottom) = chart.style, chart.plot
    ink, du = chart.marks[0].colour, canvas.du
    points = [((mark.box[0] + mark.box[2]) / 2, mark.box[1]) for mark in chart.marks]
    bounds = (left, min(y for _, y in points) - 6 * du, right, bottom)

    def curve(pen: ImageDraw.ImageDraw, to: PenMap, scale: int) -> None:
        mapped = [to(x, y) for x, y in points]
        if style.fill == "area":
            foot = [to(points[-1][0], bottom), to(points[0][0], bottom)]
            pen.polygon([*mapped, *foot], fill=mixed(style.paper.ground, ink, 0.3))
        width = max(1, round(2.2 * du * scale))
        if style.fill == "dashes":
            _dash_along(pen, mapped, ink, width, 6 * du * scale)
        else:
            pen.line(mapped, fill=ink, width=width, joint="curve")
        radius = (3.6 if style.fill in ("dots", "squares") else 2.6) * du * scale
        for x, y in mapped if style.fill != "line" else ():
            spot = (x - radius, y - radius, x + radius, y + radius)
            if style.fill == "squares":
                pen.rectangle(spot, fill=ink)
            else:
                inner = style.paper.ground if style.chance < 0.3 else ink
                pen.ellipse(spot, fill=inner, outline=ink, width=width // 2 + 1)

    canvas.smooth(bounds, curve)


def _dash_along(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], ink: Colour, width: int, dash: float
) -> None:
    for (x0, y0), (x1, y1) in pairwise(points):
        count = max(1, round(math.hypot(x1 - x0, y1 - y0) / dash / 2))
        for i in range(count):
            a, b = i / count, (i + 0.6) / count
            ends = (x0 + (x1 - x0) * a, y0 + (y1 - y0) * a, x0 + (x1 - x0) * b, y0 + (y1 - y0) * b)
            pen.line(ends, fill=ink, width=width)


def _pie(canvas: Canvas, chart: Chart) -> None:
    style, du = chart.style, canvas.du
    x0, y0, x1, y1 = chart.plot
    ground = style.paper.ground
    shift = 3.0 * du if style.fill == "burst" else 0.0

    def slices(pen: ImageDraw.ImageDraw, to: PenMap, scale: int) -> None:
        for mark in chart.marks:
            start, end = mark.box[:2]
            middle = math.radians((start + end) / 2)
            dx, dy = shift * math.cos(middle), shift * math.sin(middle)
            spot = (*to(x0 + dx, y0 + dy), *to(x1 + dx, y1 + dy))
            pen.pieslice(spot, start, end, fill=mark.colour)
        if style.chance < 0.7 and not shift:
            x, y, radius = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 + du
            for mark in chart.marks:
                a = math.radians(mark.box[0])
                rim = to(x + radius * math.cos(a), y + radius * math.sin(a))
                pen.line((*to(x, y), *rim), fill=ground, width=max(1, round(1.2 * du * scale)))
        if style.fill == "ring":
            hole = 0.26 * (x1 - x0)
            centre = (x0 + x1) / 2, (y0 + y1) / 2
            pen.ellipse((*to(centre[0] - hole, centre[1] - hole), *to(centre[0] + hole, centre[1] + hole)), fill=ground)

    canvas.smooth((x0 - 5 * du, y0 - 5 * du, x1 + 5 * du, y1 + 5 * du), slices)
