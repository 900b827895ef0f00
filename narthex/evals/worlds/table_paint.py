"""Paint a table that is placed, and list every character drawn."""

from __future__ import annotations

import random

from PIL import Image

from narthex.evals.worlds.canvas import Canvas
from narthex.evals.worlds.drawing import Colour
from narthex.evals.worlds.item import Glyph
from narthex.evals.worlds.table_scene import Table


def paint_table(table: Table) -> tuple[Image.Image, tuple[Glyph, ...]]:
    """Paint `table`. Returns the RGB picture and its characters, in its pixels."""
    rng = random.Random(table.seed + 1)
    canvas = Canvas(table.size, table.style.paper.ground)
    if table.style.tiles:
        _tiles(canvas, table)
    else:
        _lines(canvas, table)
    for run, x, y, ink in table.prints:
        canvas.text(run, x, y, ink)
    return canvas.finish(rng, table.noise), tuple(canvas.glyphs)


def _faint(table: Table, share: float) -> Colour:
    """A line's colour: the paper's, with `share` (0 to 1) of the ink."""
    paper = table.style.paper
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(paper.ground, paper.ink, strict=True))
    return red, green, blue


def _lines(canvas: Canvas, table: Table) -> None:
    """A band under the heads, stripes, rules between rows and columns: whatever the style has."""
    style, (xs, ys) = table.style, table.edges
    left, right = xs[0], xs[-1]
    if style.lines == "zebra":
        for row in range(1, len(ys) - 1, 2):
            canvas.draw.rectangle((left, ys[row], right, ys[row + 1]), fill=style.paper.card)
    if style.has_band:
        canvas.draw.rectangle((left, ys[0], right, ys[1]), fill=style.paper.ink)
    thin, thick = canvas.width(0.6), canvas.width(1.3)
    if style.lines == "grid":
        for y in ys:
            canvas.draw.line((left, y, right, y), fill=_faint(table, 0.45), width=thin)
        for x in xs:
            canvas.draw.line((x, ys[0], x, ys[-1]), fill=_faint(table, 0.45), width=thin)
    elif style.lines == "rows":
        for y in ys[2:]:
            canvas.draw.line((left, y, right, y), fill=_faint(table, 0.25), width=thin)
    if style.lines != "grid" and not style.has_band:
        canvas.draw.line((left, ys[1], right, ys[1]), fill=_faint(table, 0.8), width=thick)
        if style.lines == "bare":
            canvas.draw.line((left, ys[0], right, ys[0]), fill=_faint(table, 0.8), width=thick)
            canvas.draw.line((left, ys[-1], right, ys[-1]), fill=_faint(table, 0.8), width=thick)


def _tiles(canvas: Canvas, table: Table) -> None:
    """Every cell a tile of its own, with rounded corners."""
    style, (xs, ys) = table.style, table.edges
    gap = 1.2 * canvas.du
    for row in range(len(ys) - 1):
        for column in range(len(xs) - 1):
            if row == 0 and column == 0:
                continue
            fill = style.paper.ink if row == 0 and style.has_band else style.paper.card
            spot = (xs[column] + gap, ys[row] + gap, xs[column + 1] - gap, ys[row + 1] - gap)
            canvas.draw.rounded_rectangle(spot, 3 * canvas.du, fill=fill)
