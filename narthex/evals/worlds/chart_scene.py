"""A chart's contents: what is drawn, with which numbers, in which style. Where it stands is chart_layout's business.

A bar's or point's value is printed beside it, or has to be read off the axis; then it lies on a line of the grid or
half way between two. Lengths are in units of 1/256 of the picture's side ("du").
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from narthex.evals.worlds.canvas import FACES, SEEN_HUES, SIZES, UNSEEN_FACE, UNSEEN_HUES, Paper, draw_paper
from narthex.evals.worlds.drawing import Box, Colour, Run, colour, luma_of
from narthex.evals.worlds.item import Split
from narthex.evals.worlds.labels import FAMILIES
from narthex.evals.worlds.panel_scene import split_of

Shape = Literal["bars", "rows", "line", "pie"]
Form = Literal["read", "pair", "best", "difference", "change", "overall"]

_ORDERED = ("month", "day", "quarter", "year")
# What is measured, and its unit ("" for a plain number).
SUBJECTS = (
    ("Rain", "mm"), ("Mass", "kg"), ("Load", "kW"), ("Output", "t"), ("Height", "cm"), ("Depth", "m"), ("Time", "s"),
    ("Wait", "min"), ("Volume", "L"), ("Energy", "kWh"), ("Share", "%"), ("Humidity", "%"), ("Power", "W"),
    ("Heat", "°C"), ("Sales", ""), ("Visits", ""), ("Orders", ""), ("Stock", ""), ("Score", ""), ("Users", ""),
    ("Calls", ""), ("Births", ""), ("Cars", ""), ("Loans", ""),
)  # fmt: skip
# How much of the axis two lengths must differ to be told apart in a view of 96 pixels (7 pixels), and how little they
# may differ to look equal there (a third of a pixel).
CLEAR, CLOSE = 0.12, 0.005
_CLEAR_SLICE, _CLOSE_SLICE = 9, 1  # the same for slices, of 100


class _Range(NamedTuple):
    """Whole numbers that values are drawn from; those asked about differ by `gap` or more, or by at most `close`."""

    low: int
    high: int
    gap: int = 1
    close: int = 0


class Need(NamedTuple):
    """What the question needs: its form, and whether it can be answered without a look."""

    form: Form
    legible: bool


@dataclass(frozen=True)
class Style:
    """How a chart looks. `marks`: colours of the bars or slices, in order; `chance`: decides small matters."""

    paper: Paper
    marks: tuple[Colour, ...]
    label_face: str
    value_face: str
    fill: str
    grid: str
    frame: bool
    share: float  # of its place that a bar takes
    inside: bool  # values of bars printed inside them
    has_title: bool
    chance: float


@dataclass
class Mark:
    """One bar, point or slice. Boxes are in pixels, set when laid out. A slice's `box`: from, to (degrees), centre."""

    label: str
    value: str
    colour: Colour
    box: Box = (0.0, 0.0, 0.0, 0.0)
    label_box: Box = (0.0, 0.0, 0.0, 0.0)
    value_box: Box | None = None
    half: int = 0  # value in half steps of the axis, where it is read off the axis


@dataclass
class Chart:
    """A chart of one series. `asked`: the marks that the question is about, in its order. Places are pixels."""

    size: int
    shape: Shape
    marks: list[Mark]
    family: str
    title: str
    unit: str
    step: float  # of the axis, between two lines
    lines: int  # above zero
    on_axis: bool  # values are read off the axis
    is_large: bool  # values, or the axis's numbers where they are read off it, are legible in the small view
    asked: list[int]
    is_most: bool  # the question is which is highest, not lowest
    style: Style
    noise: float
    seed: int
    header: str = ""  # what is printed above, without its spaces
    plot: Box = (0.0, 0.0, 0.0, 0.0)
    ticks: list[tuple[float, Box]] = field(default_factory=list)  # by line from zero: its place, its number's bounds
    prints: list[tuple[Run, float, float, Colour]] = field(default_factory=list)

    @property
    def top(self) -> float:
        """The value at the axis's end."""
        return self.step * self.lines

    def chosen(self) -> list[Mark]:
        """The marks that the question is about."""
        return [self.marks[place] for place in self.asked]


def plan_chart(rng: random.Random, need: Need, difficulty: float, *, split: Split, unseen: bool = False) -> Chart:
    """Plan the contents of a chart of `split`; its readings say which split it belongs to, as in panels."""
    while True:
        chart = _plan(rng, need, difficulty, unseen)
        if split_of((mark.label, mark.value, chart.unit) for mark in chart.marks) == split:
            return chart


def _plan(rng: random.Random, need: Need, difficulty: float, unseen: bool) -> Chart:
    form, is_trend = need.form, need.form in ("change", "overall")
    shapes: tuple[Shape, ...] = ("bars", "bars", "rows", "line", "line", "pie")
    shape = rng.choice(("bars", "line") if is_trend else shapes)
    is_number = form in ("read", "difference")
    close = not need.legible and not is_number
    on_axis = shape != "pie" and not close and rng.random() < 0.35
    is_large = need.legible if is_number else not close and rng.random() < 0.3
    count = _count(rng, shape, difficulty, is_large, form)
    family, labels = _labels(rng, shape, count, is_trend)
    asked = rng.sample(range(count), 1 if form == "read" else 2)
    if is_trend:
        asked = [0, count - 1] if form == "overall" else sorted(asked)
    step, lines, decimals = _scale(rng, shape, on_axis, is_large, is_whole=form == "difference", close=close)
    full = step * lines * 10**decimals
    is_most = rng.random() < 0.5
    halves = [0] * count
    if shape == "pie":
        values = [str(v) for v in _slices(rng, count, asked, form, close, is_large, is_most)]
    elif on_axis:
        halves = _numbers(rng, form, count, asked, _Range(1, 2 * lines), is_most)
        values = [str(half * step // 2) for half in halves]
    else:
        least, gap = max(10, round(0.14 * full)), 1 if is_number else round(CLEAR * full) + 1
        within = _Range(least, round(0.97 * full) - 1, gap, max(1, int(CLOSE * full)) if close else 0)
        drawn = _numbers(rng, form, count, asked, within, is_most)
        values = [f"{v / 10:.1f}" if decimals else str(v) for v in drawn]
    style = _style(rng, shape, count, is_large, unseen)
    title, unit = _subject(rng, step * lines, decimals)
    marks = [Mark(*row[:3], half=row[3]) for row in zip(labels, values, style.marks, halves, strict=True)]
    noise = rng.uniform(0.0, 0.02 + 0.07 * difficulty) if rng.random() < 0.2 + 0.4 * difficulty else 0.0
    return Chart(
        rng.choice(SIZES), shape, marks, family, title, "%" if shape == "pie" else unit, step, lines, on_axis, is_large,
        asked, is_most, style, noise, rng.getrandbits(32),
    )  # fmt: skip


def _subject(rng: random.Random, top: int, decimals: int) -> tuple[str, str]:
    """What is measured: no shares or temperatures above 100, and no tenths of what is counted."""
    fitting = [s for s in SUBJECTS if (top <= 100 or s[1] not in ("%", "°C")) and (s[1] or not decimals)]
    return rng.choice(fitting)


def _count(rng: random.Random, shape: Shape, difficulty: float, is_large: bool, form: Form) -> int:
    low, high = (4 if form == "overall" else 3), (6 if shape == "pie" else 7 if shape == "rows" else 8)
    if is_large:
        high = 4 if shape == "pie" else 5
    level = min(1.0, max(0.0, difficulty + rng.uniform(-0.25, 0.25)))
    return round(low + (high - low) * level)


def _labels(rng: random.Random, shape: Shape, count: int, is_trend: bool) -> tuple[str, list[str]]:
    """Names for the marks. Long ones need room: three letters go with five bars side by side, four with four."""
    kinds = ["letter", "letter"]
    if shape == "rows":
        kinds = ["letter", "word", "word", "month", "year"]
    elif shape == "pie":
        kinds = ["letter", "letter", "word"] if count <= 4 else ["letter"]
    elif is_trend or shape == "line":
        kinds = ["year", "year", "letter"] + ["month", "day"] * (count <= 5) + ["quarter"] * (count <= 4)
    else:
        kinds += ["year"] + ["month", "day"] * (count <= 5) + ["quarter", "word"] * (count <= 4)
    family = rng.choice(kinds)
    names = FAMILIES[family]
    if family in _ORDERED:
        start = rng.randrange(len(names) - count + 1) if family in ("quarter", "year") else rng.randrange(len(names))
        return family, [names[(start + i) % len(names)] for i in range(count)]
    labels = rng.sample(names, count)
    return family, sorted(labels) if rng.random() < 0.5 else labels


def _scale(
    rng: random.Random, shape: Shape, on_axis: bool, is_large: bool, *, is_whole: bool, close: bool
) -> tuple[int, int, int]:
    """Step and number of lines of the axis, and decimals of the values. Large print holds two digits."""
    if shape == "pie":
        return 10, 10, 0
    if on_axis and is_large:
        return *rng.choice(((10, 3), (10, 4), (20, 3), (20, 4))), 0
    if on_axis:
        return rng.choice((4, 10, 20, 40, 50, 100, 200)), rng.randint(4, 6), 0
    if is_large:
        return *rng.choice(((10, 5), (10, 6), (10, 8), (20, 3), (20, 4), (20, 5))), 0
    roll = rng.random()
    if roll < 0.6 or (is_whole and close):  # only a fine measure has values close to each other
        return *rng.choice(((50, 5), (50, 6), (100, 4), (100, 5), (100, 6), (200, 4), (200, 5), (200, 3), (100, 8))), 0
    if close or (roll > 0.8 and not is_whole):
        return *rng.choice(((5, 5), (10, 4), (10, 5), (20, 4), (20, 5), (10, 6))), 1
    return *rng.choice(((10, 4), (10, 5), (10, 8), (20, 4), (20, 5))), 0


def _numbers(rng: random.Random, form: Form, count: int, asked: list[int], within: _Range, is_most: bool) -> list[int]:
    """Draw all values. `asked`: the first is best where the form asks for that, the second next to it."""
    low, high, gap, close = within
    if form == "overall":
        return _course(rng, count, within)
    one, two = asked[0], asked[-1]
    if form == "best":
        floor = rng.randint(low, high - 2 * gap - close)
        values = [rng.randint(low, floor) for _ in range(count)]
        values[one] = rng.randint(floor + gap + close, high)
        values[two] = values[one] - rng.randint(1, close) if close else values[two]
        return values if is_most else [low + high - value for value in values]
    values = [rng.randint(low, high) for _ in range(count)]
    if close and one != two:
        near = rng.randint(1, close)
        values[two] = values[one] + (near if values[one] + near <= high and rng.random() < 0.5 else -near)
    while one != two and not close and abs(values[one] - values[two]) < gap:
        values[one], values[two] = rng.randint(low, high), rng.randint(low, high)
    return values


def _course(rng: random.Random, count: int, within: _Range) -> list[int]:
    """A series that rises or falls all the way, by nearly half the axis or more, or stays level."""
    low, high = within.low, within.high
    way = rng.choice(("up", "down", "level"))
    if way == "level":
        wobble = (high - low) // 60
        middle = rng.randint(low + wobble + (high - low) // 8, high - wobble)
        return [middle + rng.randint(-wobble, wobble) for _ in range(count)]
    while True:
        values = sorted(rng.sample(range(low, high + 1), count), reverse=way == "down")
        if abs(values[-1] - values[0]) >= 0.45 * high:
            return values


def _slices(
    rng: random.Random, count: int, asked: list[int], form: Form, close: bool, is_large: bool, is_most: bool
) -> list[int]:
    """Shares of 100, each wide enough for its print; those asked about as far apart as the question needs."""
    least = 17 if is_large else 9
    if close or form == "best":
        return _leading_slices(rng, count, asked, form, close, is_most, least)
    gap = 1 if form in ("read", "difference") else _CLEAR_SLICE
    places = 100 - count * least + count - 1  # what is left over, with a mark between any two shares of it
    while True:
        cuts = [-1, *sorted(rng.sample(range(places), count - 1)), places]
        parts = [least + after - before - 1 for before, after in pairwise(cuts)]
        if form == "read" or abs(parts[asked[0]] - parts[asked[-1]]) >= gap:
            return parts


def _leading_slices(
    rng: random.Random, count: int, asked: list[int], form: Form, close: bool, is_most: bool, least: int
) -> list[int]:
    """Shares of which one leads, or is last, clearly, or with a second close to it; two may also be close anywhere."""
    step = _CLOSE_SLICE if form == "best" and not is_most else -_CLOSE_SLICE
    feasible = []
    for one in range(least + 1 if step < 0 else least, 100):
        lead = [one, one + step] if close else [one]
        rest, left = count - len(lead), 100 - sum(lead)
        low, high = least, 100
        if form == "best":
            low, high = (least, one - _CLEAR_SLICE) if is_most else (one + _CLEAR_SLICE, 100)
        if rest * low <= left <= rest * high:
            feasible.append((lead, rest, left, low, high))
    lead, rest, left, low, high = rng.choice(feasible)
    others = []
    for place in range(rest, 0, -1):
        part = rng.randint(max(low, left - (place - 1) * high), min(high, left - (place - 1) * low))
        others.append(part)
        left -= part
    rng.shuffle(others)
    if form == "pair":
        rng.shuffle(lead)
    fixed = dict(zip(asked, lead, strict=False))
    return [fixed[place] if place in fixed else others.pop() for place in range(count)]


def _style(rng: random.Random, shape: Shape, count: int, is_large: bool, unseen: bool) -> Style:
    paper = draw_paper(rng, unseen=unseen)
    label_face, value_face = rng.choice(FACES), rng.choice(FACES)
    fills = {"pie": ("full", "full", "ring"), "line": ("line", "dots", "dots", "squares", "area")}
    fill = rng.choice(fills.get(shape, ("solid", "solid", "round", "outline")))
    if shape == "pie" and is_large:
        fill = "full"  # large print finds no room in a ring
    if unseen:
        label_face, value_face = UNSEEN_FACE, rng.choice((UNSEEN_FACE, value_face))
        fill = {"pie": "burst", "line": "dashes"}.get(shape) or rng.choice(("hatch", "stick"))
    manner = "many" if shape == "pie" else rng.choice(("one", "one", "many", "shades"))
    return Style(
        paper, _mark_colours(rng, paper, count, manner, unseen), label_face, value_face, fill,
        rng.choice(("lines", "lines", "dashes", "none")), rng.random() < 0.25, rng.uniform(0.5, 0.86),
        shape in ("bars", "rows") and not unseen and rng.random() < 0.25, rng.random() < 0.7, rng.random(),
    )  # fmt: skip


def _mark_colours(rng: random.Random, paper: Paper, count: int, manner: str, unseen: bool) -> tuple[Colour, ...]:
    """Colours of the marks, all of them well apart from the ground in brightness."""
    ground = luma_of(paper.ground)
    low, high = (0.24, 0.5) if ground > 0.85 else (0.15, 0.38) if ground > 0.5 else (0.5, 0.8)
    start, luma, strength = SEEN_HUES * rng.random(), rng.uniform(low, high), rng.uniform(0.35, 0.75)
    if unseen:
        start = rng.uniform(*UNSEEN_HUES)
    if manner == "one":
        return (colour(start, luma, strength),) * count
    if manner == "shades":
        return tuple(colour(start, low + (high - low) * i / (count - 1), strength) for i in range(count))
    if unseen:
        hues = [UNSEEN_HUES[0] + (UNSEEN_HUES[1] - UNSEEN_HUES[0]) * i / count for i in range(count)]
    else:
        hues = [SEEN_HUES * ((start + i / count) % 1.0) for i in range(count)]
    rng.shuffle(hues)
    return tuple(colour(hue, rng.uniform(low, high), strength) for hue in hues)
