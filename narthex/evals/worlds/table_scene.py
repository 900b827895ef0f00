"""A table's contents and places: rows that have names, columns of numbers, in one of three prints.

"large": everything is legible in a view of 96 pixels. "guide": the names of rows and columns are, so it can be seen
where to look, but the numbers are not. "fine": nothing is, and the rows have to be searched; then the table stands so
that no print crosses the middle lines of the picture, and a look at a quarter shows whole cells.

Lengths are in units of 1/256 of the picture's side ("du") where they are planned, in pixels where they are placed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from narthex.evals.worlds.canvas import FACES, SIZES, UNSEEN_FACE, Paper, draw_paper
from narthex.evals.worlds.drawing import Box, Colour, Run, text_run
from narthex.evals.worlds.item import Split
from narthex.evals.worlds.labels import FAMILIES
from narthex.evals.worlds.panel_scene import split_of

Print = Literal["large", "guide", "fine"]
Form = Literal["lookup", "most", "count", "which", "together", "total", "mean"]

# Column heads, each with the unit of its numbers ("" for plain numbers).
HEADS = (
    ("kg", "kg"), ("cm", "cm"), ("mm", "mm"), ("kW", "kW"), ("min", "min"), ("L", "L"), ("m", "m"), ("W", "W"),
    ("g", "g"), ("Age", ""), ("Qty", ""), ("Pts", ""), ("Hits", ""), ("Runs", ""), ("Bags", ""), ("Lot", ""),
    ("Size", ""), ("Jobs", ""), ("Sold", ""), ("Wins", ""), ("Beds", ""), ("Cars", ""),
)  # fmt: skip
_CAPTIONS = ("Table", "List", "Sheet", "No.", "Page")
_CAPTION_ENDS = ("stock of", "as of May", "data of", "survey", "entries of", "state of")
_FAMILIES = ("word", "word", "name", "name", "letter", "month", "day", "year")
_LINES = ("grid", "rows", "rows", "zebra", "zebra", "bare")
# Sizes per em: names of rows, heads, numbers. Capitals and figures stand 0.72 em high.
_EMS: dict[Print, tuple[tuple[float, float], ...]] = {
    "large": ((22.0, 25.0), (21.5, 23.0), (27.0, 29.0)),
    "guide": ((21.5, 23.5), (21.5, 22.5), (12.8, 13.8)),
    "fine": ((13.4, 14.4), (13.4, 14.4), (13.4, 14.4)),
}
_BOLD = 0.93  # bold figures stand higher by their stroke
_ROWS: dict[Print, tuple[int, int]] = {"large": (2, 5), "guide": (3, 7), "fine": (4, 9)}


class Need(NamedTuple):
    """What the question needs: its form, and whether it can be answered without a look."""

    form: Form
    legible: bool


@dataclass(frozen=True)
class Style:
    """How a table looks. `tiles`: cells stand apart as tiles, which training never draws."""

    paper: Paper
    name_face: str
    number_face: str
    lines: str
    align: float  # of numbers in their columns: 0.5 centred, 1 right
    has_band: bool  # the heads stand on a band
    tiles: bool


@dataclass
class Table:
    """A table. `cells` are the numbers, `cells[row][column]`; boxes are pixels, of print alone."""

    size: int
    print: Print
    family: str
    names: list[str]
    heads: list[str]
    units: list[str]
    cells: list[list[str]]
    rows: list[int]  # asked about
    column: int  # asked about
    style: Style
    noise: float
    seed: int
    caption: str = ""  # what is printed above or below, without its spaces
    name_boxes: list[Box] = field(default_factory=list)
    head_boxes: list[Box] = field(default_factory=list)
    cell_boxes: list[list[Box]] = field(default_factory=list)
    edges: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))  # of columns and of rows
    prints: list[tuple[Run, float, float, Colour]] = field(default_factory=list)

    def numbers(self) -> list[str]:
        """The column that the question is about, from the top."""
        return [row[self.column] for row in self.cells]


def plan_table(rng: random.Random, need: Need, difficulty: float, *, split: Split, unseen: bool = False) -> Table:
    """Plan and place a table of `split`; what it reads says which split it belongs to, as in panels."""
    while True:
        table = _plan(rng, need, difficulty, unseen)
        readings = zip(table.names, (",".join(row) for row in table.cells), strict=True)
        if split_of((name, row, "") for name, row in readings) == split and _place(table):
            return table


def _plan(rng: random.Random, need: Need, difficulty: float, unseen: bool) -> Table:
    form = need.form
    level = min(1.0, max(0.0, difficulty + rng.uniform(-0.25, 0.25)))
    kind: Print = "large"
    if not need.legible:
        kind = "fine" if form != "together" and rng.random() < 0.15 + 0.5 * level else "guide"
    low, high = _ROWS[kind]
    count = round(low + (high - low) * level)
    columns = rng.choice((1, 2)) if kind == "fine" else rng.choice((1, 2, 2, 3) if kind == "large" else (1, 2, 3, 3, 4))
    family = rng.choice([name for name in _FAMILIES if count <= len(FAMILIES[name])])
    names = rng.sample(FAMILIES[family], count)
    if family in ("month", "day", "year"):
        start = rng.randrange(len(FAMILIES[family]) - count + 1)
        names = list(FAMILIES[family][start : start + count])
    elif rng.random() < 0.4:
        names.sort()
    # A head that is also a row's name would make the question about it ambiguous.
    heads = rng.sample([head for head in HEADS if family != "letter" or len(head[0]) > 1], columns)
    column = rng.randrange(columns)
    if kind == "fine" and form in ("most", "which"):
        column = 0  # names and numbers side by side in one look
    drawn = [_numbers(rng, count, kind, form if place == column else "other") for place in range(columns)]
    rows = rng.sample(range(count), 2 if form == "together" else 1)
    paper = draw_paper(rng, unseen=unseen)
    face = rng.choice(FACES)
    faces = (UNSEEN_FACE, rng.choice((UNSEEN_FACE, face))) if unseen else (face, rng.choice(("regular", face)))
    lines = "bare" if unseen else rng.choice(_LINES)
    style = Style(paper, *faces, lines, rng.choice((0.5, 0.5, 1.0)), rng.random() < 0.4, unseen)
    noise = rng.uniform(0.0, 0.02 + 0.06 * difficulty) if rng.random() < 0.2 + 0.4 * difficulty else 0.0
    return Table(
        rng.choice(SIZES), kind, family, names, [head for head, _ in heads], [unit for _, unit in heads],
        [list(row) for row in zip(*drawn, strict=True)], rows, column, style, noise, rng.getrandbits(32),
    )  # fmt: skip


def _numbers(rng: random.Random, count: int, kind: Print, form: str) -> list[str]:
    """One column, all of one measure. Large print holds two digits; what is summed by hand is whole."""
    low, high = 10, 99
    if kind != "large" and rng.random() < 0.6:
        low, high = rng.choice(((100, 999), (100, 499), (10, 300)))
    if form in ("most", "count", "which"):  # no two are equal, so that there is one greatest, and thresholds part them
        return [str(v) for v in rng.sample(range(low, high + 1), count)]
    if form in ("lookup", "other") and kind != "large" and rng.random() < 0.2:
        return [f"{rng.randint(1, 99)}.{rng.randint(0, 9)}" for _ in range(count)]
    numbers = [rng.randint(low, high) for _ in range(count)]
    while form == "mean" and 10 * sum(numbers) % count:  # one decimal is enough to tell the mean exactly
        numbers[-1] = rng.randint(low, high)
    return [str(number) for number in numbers]


def _place(table: Table) -> bool:
    """Find a place for everything; False where print finds no room."""
    rng = random.Random(table.seed)
    du, style = table.size / 256, table.style
    name_em, head_em, cell_em = (round(rng.uniform(*span) * du) for span in _EMS[table.print])
    if style.number_face == "bold" and table.print != "large":
        cell_em = round(cell_em * _BOLD)
    bold = "bold" if style.name_face in ("regular", "condensed") and rng.random() < 0.5 else style.name_face
    names = [text_run(name, style.name_face, name_em) for name in table.names]
    heads = [text_run(head, bold, head_em) for head in table.heads]
    cells = [[text_run(cell, style.number_face, cell_em) for cell in row] for row in table.cells]
    widths = [max(run.width for run in names) + 12 * du]
    for place, head in enumerate(heads):
        widths.append(max(head.width, *(row[place].width for row in cells)) + 12 * du)
    figures = tuple(
        float(text_run("0", face, em).height)
        for face, em in ((style.name_face, name_em), (bold, head_em), (style.number_face, cell_em))
    )
    tall = max(figures)
    rows = len(table.names) + 1
    room = 246 * du - tall * 1.7 * rows
    if room < 0 or sum(widths) > 246 * du:
        return False
    for _ in range(12):
        pitch = tall * 1.7 + room / rows * rng.uniform(0.0, 0.9 if table.print == "fine" else 0.6)
        spread = _stretched(rng, table, widths, du)
        if spread is None:
            return False
        left = 5 * du
        if table.print != "fine":
            left += (246 * du - sum(spread)) * rng.choice((0.5, 0.5, rng.random()))
        top = 5 * du + (246 * du - pitch * rows) * rng.choice((0.0, 0.5, rng.random()))
        xs = [left + sum(spread[:place]) for place in range(len(spread) + 1)]
        ys = [top + pitch * row for row in range(rows + 1)]
        _print(table, xs, ys, names, heads, cells, figures)
        if table.print != "fine" or _clear_of_the_middle(table):
            _caption(rng, table, du)
            return True
    return False


def _caption(rng: random.Random, table: Table, du: float) -> None:
    """Now and then a line of fine print above or below the table, which no question is about."""
    words = f"{rng.choice(_CAPTIONS)} {rng.randint(2, 40)}, {rng.choice(_CAPTION_ENDS)} {rng.randint(1990, 2026)}"
    run = text_run(words, table.style.name_face, round(rng.uniform(11.0, 12.5) * du))
    (xs, ys), top = table.edges, rng.random() < 0.5
    y = ys[0] - 8 * du - run.height if top else ys[-1] + 8 * du
    if rng.random() < 0.5 and y > 5 * du and y + run.height < 250 * du and xs[0] + run.width < 250 * du:
        table.caption = words.replace(" ", "")
        table.prints.append((run, xs[0] + 6 * du, y, table.style.paper.ink))


def _stretched(rng: random.Random, table: Table, widths: list[float], du: float) -> list[float] | None:
    """Column widths: as print needs, or wider. In fine print the first two columns fill the left half."""
    if table.print == "fine":
        spare = 122 * du - widths[0] - widths[1]
        if spare < 0:
            return None
        share = rng.uniform(0.3, 0.8)
        rest = [min(width + rng.uniform(0, 40) * du, 118 * du) for width in widths[2:]]
        return [widths[0] + share * spare, widths[1] + (1 - share) * spare, *rest]
    spare = (246 * du - sum(widths)) * rng.choice((1.0, rng.random(), rng.random()))
    return [width + spare / len(widths) for width in widths]


def _print(
    table: Table, xs: list[float], ys: list[float], names: list[Run], heads: list[Run], cells: list[list[Run]],
    tall: tuple[float, ...],
) -> None:  # fmt: skip
    """Print all names, heads and numbers between the edges given, and note what each covers.

    tall: the height of figures in the print of names, heads and numbers, pixels.
    """
    style, du = table.style, table.size / 256
    paper = style.paper
    table.prints, table.edges = [], (xs, ys)
    head_ink = paper.ink if not style.has_band else paper.ground
    pad = (6 if not style.tiles else 8) * du

    def put(run: Run, row: int, column: int, align: float, ink: Colour, figure: float) -> Box:
        """`figure`: how high a figure of this print stands; the middle of that goes to the middle of the row."""
        x = xs[column] + pad + (xs[column + 1] - xs[column] - 2 * pad - run.width) * align
        y = (ys[row] + ys[row + 1] + figure) / 2 - run.baseline
        table.prints.append((run, x, y, ink))
        return round(x), round(y), round(x) + run.width, round(y) + run.height

    table.head_boxes = [put(run, 0, place + 1, style.align, head_ink, tall[1]) for place, run in enumerate(heads)]
    table.name_boxes = [put(run, row + 1, 0, 0.0, paper.ink, tall[0]) for row, run in enumerate(names)]
    table.cell_boxes = [
        [put(run, row + 1, place + 1, style.align, paper.value_ink, tall[2]) for place, run in enumerate(runs)]
        for row, runs in enumerate(cells)
    ]


def _clear_of_the_middle(table: Table) -> bool:
    """Whether no print crosses the picture's middle lines, and the second column of numbers stands right of one."""
    middle = table.size / 2
    boxes = [*table.name_boxes, *table.head_boxes, *(box for row in table.cell_boxes for box in row)]
    if any(box[0] < middle < box[2] or box[1] < middle < box[3] for box in boxes):
        return False
    return all(row[0][2] <= middle and all(box[0] >= middle for box in row[1:]) for row in table.cell_boxes)
