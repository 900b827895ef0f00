"""The world "charts": bars, lines and pies; read a value, compare two or find the greatest, subtract, name the trend.

A value is printed at its mark, in large or in fine print, or is read off the axis, where it stands on a line of the
grid or half way between two. What lengths alone tell (which of two clearly different bars is higher, whether a line
rises) and what is in large print is legible in a small view of the chart (96 pixels a side); the rest needs a look.

Distinct items: three marks are named in 26 * 25 * 24 ways by letters alone, and a printed value of three digits is
drawn from more than 200, so charts of three bars alone number more than 1e11 before any shape, title or colour.
Train and test: a chart's readings (labels, values, unit) hash into one of eight buckets, as in panels.

"charts-unseen" has a face, hues and marks that training never draws, "charts-reworded" questions it never asks, and
"charts-matplotlib" is drawn by another program altogether (a few dozen items a second; all others, hundreds).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from decimal import Decimal

from PIL import Image

from narthex.evals.worlds import chart_words
from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.chart_layout import lay_out
from narthex.evals.worlds.chart_paint import paint_chart
from narthex.evals.worlds.chart_scene import Chart, Form, Mark, Need, plan_chart
from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Answer, Crop, Glyph, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.labels import family_of, named_labels
from narthex.evals.worlds.looks import box_around, cropped, joined, nearby, read_whole
from narthex.evals.worlds.written import written_difference

Painter = Callable[[], tuple[Image.Image, tuple[Glyph, ...]]]
Trace = tuple[Step, ...]

_KINDS: dict[Form, Kind] = {
    "read": "read", "pair": "compare", "best": "compare", "difference": "difference", "change": "trend",
    "overall": "trend",
}  # fmt: skip
_FORMS: dict[Form, float] = {
    "read": 0.4, "pair": 0.16, "best": 0.12, "difference": 0.17, "change": 0.08, "overall": 0.07,
}  # fmt: skip
_LEGIBLE_SHARE = 0.33
_NEVER = re.compile(r"\b(not|no|neither|nor|cannot|can't|isn't|doesn't|none)\b", re.IGNORECASE)
_TRENDS = {
    "rising": r"ris(?:es?|ing|en)|rose|up(?:wards?)?|increas\w*|grow\w*|grew|climb\w*",
    "falling": r"fall(?:s|ing|en)?|fell|down(?:wards?)?|decreas\w*|declin\w*|drop\w*|sink\w*|shr[iu]nk\w*",
    "flat": r"flat|steady|stable|level|constant|unchanged|same|no change",
}
_WORDS_BY_NUMBERS = frozenset((
    "more", "less", "higher", "lower", "larger", "smaller", "greater", "longer", "shorter", "than", "between", "apart",
    "points", "point", "percentage",
))  # fmt: skip
_YEAR_NAMED = re.compile(r"['\u2019]\d\d\b")
# Ways to say the same, the shortest first; the last tells units too.
_STYLES = (
    {"find": "Find", "reads": "{a} reads {v}.", "at": "{a} at line {i}.", "above": "{a} above line {i}.",
     "line": "Line {i} reads {v}.", "mid": "{v} to {w}: {m}."},
    {"find": "Look at", "reads": "{a} shows {v}.", "at": "{a} ends at line {i}.", "above": "{a} ends above line {i}.",
     "line": "Line {i} is {v}.", "mid": "Half way {v} to {w}: {m}."},
    {"find": "Find", "reads": "{a} reads {v}{u}.", "at": "{a} is on line {i}.", "above": "{a} is past line {i}.",
     "line": "Line {i} reads {v}.", "mid": "Between {v} and {w}: {m}."},
)  # fmt: skip


def _ours(chart: Chart) -> Painter | None:
    return (lambda: paint_chart(chart)) if lay_out(chart) else None


def _matplotlib(chart: Chart) -> Painter | None:
    from narthex.evals.worlds.chart_matplotlib import draw_chart

    return draw_chart(chart)


class Charts:
    """The world. `unseen`: styles that training never draws; `reworded`: questions that it never asks."""

    def __init__(
        self, name: str = "charts", *, unseen: bool = False, reworded: bool = False,
        draw: Callable[[Chart], Painter | None] = _ours,
    ) -> None:  # fmt: skip
        self.name = name
        self._unseen = unseen
        self._templates = chart_words.HELD_OUT if reworded else chart_words.TRAINED
        self._draw = draw

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of marks, and noise.

        `kind` and `legible` are drawn unless given. Some kinds of trend are legible always.
        """
        rng = stream(self.name, split, seed, index)
        drawn = rng.random()
        level = drawn if difficulty is None else difficulty
        forms = [form for form in _FORMS if kind is None or _KINDS[form] == kind]
        form = rng.choices(forms, [_FORMS[form] for form in forms])[0]
        is_legible = rng.random() < _LEGIBLE_SHARE
        need = Need(form, form == "overall" or (is_legible if legible is None else legible))
        while True:
            chart = plan_chart(rng, need, level, split=split, unseen=self._unseen)
            painter = self._draw(chart)
            traces = demonstrations(chart, need) if painter is not None else []
            if painter is not None and traces:
                break
        question = ask(rng, chart, form, self._templates)
        answer = answer_of(chart, form)
        picture, glyphs = painter()
        return Item(
            self.name, _KINDS[form], picture, question, answer, need.legible, level, glyphs, traces[0], seed,
            tuple(traces[1:]),
        )  # fmt: skip

    def reading_crop(self, seed: int, index: int, split: Split = "train") -> Crop:
        """Make a close view of fine print, as a zoom returns it; its text: what it shows whole, from the top left."""
        rng = stream(f"{self.name}/crop", split, seed, index)
        need = Need("read", False)
        while True:
            chart = plan_chart(rng, need, rng.random(), split=split, unseen=self._unseen)
            painter = self._draw(chart)
            trace = demonstrations(chart, need)[:1] if painter is not None else []
            if painter is None or not trace or not isinstance(trace[0][0], Look):
                continue
            mark = chart.chosen()[0]
            asked = mark.value_box or chart.ticks[mark.half // 2][1]
            box = nearby(rng, trace[0][0].box, asked, chart.size)
            if texts := read_whole(box, chart.prints, chart.size, untold=[chart.header]):
                return cropped(*painter(), box, " ".join(texts))

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right: an equal number with no other unit, the one label, or the one trend."""
        if item.kind == "compare":
            return named_labels(answer, family_of(item.answer)) == {item.answer}
        if item.kind == "trend":
            found = {word for word, ways in _TRENDS.items() if re.search(rf"\b(?:{ways})\b", answer, re.IGNORECASE)}
            return found == {item.answer} and not _NEVER.search(re.sub(r"(?i)\bno change\b", "", answer))
        return same_quantity(item.answer, _YEAR_NAMED.sub("", answer), _WORDS_BY_NUMBERS)


def ask(rng: random.Random, chart: Chart, form: Form, templates: dict[str, tuple[str, ...]]) -> str:
    """Word the question."""
    words = rng.choice(chart_words.COMPARATIVES[chart.shape])
    word = words[0] if chart.is_most else words[1]
    lines = [line for line in templates[form] if "{u}" not in line or chart.unit not in ("", "%")]
    labels = [mark.label for mark in chart.chosen()]
    text = rng.choice(lines).format(
        a=labels[0], b=labels[-1], n=chart_words.NOUNS[chart.shape], u=chart.unit,
        w=chart_words.SUPERLATIVES[word] if form == "best" else word,
    )  # fmt: skip
    return text[0].upper() + text[1:]


def answer_of(chart: Chart, form: Form) -> str:
    """The exact answer."""
    asked = chart.chosen()
    one, two = Decimal(asked[0].value), Decimal(asked[-1].value)
    if form in ("read", "difference"):
        number = asked[0].value if form == "read" else str(abs(int(one) - int(two)))
        return f"{number} {chart.unit}".strip()
    if form in ("pair", "best"):
        return (asked[0] if (one > two) == chart.is_most else asked[1]).label
    if form == "overall" and abs(one - two) < Decimal(chart.top) / 10:
        return "flat"
    return "rising" if two > one else "falling"


def demonstrations(chart: Chart, need: Need) -> list[Trace]:
    """The shortest sufficient demonstration, then the same in other styles, none more than half as long again.

    Empty where no look holds what it is to show.
    """
    found: list[Trace] = []
    for style in range(len(_STYLES)):
        trace = _Teller(chart, style).tell(need)
        if trace is None:
            return []
        if trace not in found and (not found or _length(trace) <= 1.5 * _length(found[0])):
            found.append(trace)
    return found


def _length(trace: Trace) -> int:
    return sum(len(step.thought) for step in trace)


class _Teller:
    """Tells one chart's demonstration in one style."""

    def __init__(self, chart: Chart, style: int) -> None:
        self.chart, self.style, self.says = chart, style, _STYLES[style]

    def tell(self, need: Need) -> Trace | None:
        """The whole trace for a question of this form, or None where a box would not hold what is to be read."""
        form, asked = need.form, self.chart.chosen()
        if form == "best":  # the first of those asked about is the answer: where it stands must not say so
            asked = [self.chart.marks[place] for place in sorted(self.chart.asked)]
        answer = answer_of(self.chart, form)
        if need.legible and form not in ("read", "difference"):
            return (Answer(self.by_eye(form, answer), answer),)
        steps, said = self.read(asked, is_plain=need.legible)
        if steps is None:
            return None
        if form == "best":
            first = steps[0]
            assert isinstance(first, Look)
            lead = "lead" if self.chart.is_most else "are last"
            steps[0] = Look(f"{asked[0].label}, {asked[1].label} {lead}. {first.thought}", first.box)
        return (*steps, Answer(f"{said}{self.concluded(form, asked)}".strip(), answer))

    def by_eye(self, form: Form, answer: str) -> str:
        """What lengths alone tell."""
        one, two = (mark.label for mark in self.chart.chosen())
        is_first = answer == one
        if form == "pair":
            high, low = (one, two) if is_first == self.chart.is_most else (two, one)
            return (f"{high} > {low}.", f"{low} < {high}.", f"{high} > {low}.")[self.style]
        if form == "best":
            return f"{'Top' if self.chart.is_most else 'Last'}: {answer}."
        if form == "change":
            return f"{one} low, {two} high." if answer == "rising" else f"{one} high, {two} low."
        ways = {"rising": "Low to high.", "falling": "High to low.", "flat": "All level."}
        return ways[answer]

    def concluded(self, form: Form, asked: list[Mark]) -> str:
        """What follows once both values are known."""
        one, two = asked[0].value, asked[-1].value
        if form == "read":
            return ""
        if form == "difference":
            return written_difference(*sorted((one, two), key=int, reverse=True))
        if form == "change":
            return f"{one} {'>' if Decimal(one) > Decimal(two) else '<'} {two}."
        # The greater first: the question's word alone then says which of the two labels is the answer.
        high, low = sorted(asked, key=lambda mark: Decimal(mark.value), reverse=True)
        return f"{high.value} > {low.value}: {high.label} > {low.label}."

    def read(self, asked: list[Mark], *, is_plain: bool) -> tuple[list[Step] | None, str]:
        """Looks at the marks' values; also what is known after the last look and not yet said."""
        told = [self.measured(mark, is_plain) for mark in asked]
        if is_plain:
            return [], "".join(known for _, _, known in told)
        together = box_around(joined(*(box for _, box, _ in told)), self.chart.size)
        if together is not None:
            return [Look(self.sought(asked), together)], "".join(known for _, _, known in told)
        steps: list[Step] = []
        said = ""
        for mark, (_, bounds, known) in zip(asked, told, strict=True):
            box = box_around(bounds, self.chart.size)
            if box is None:
                return None, ""
            steps.append(Look(said + self.sought([mark]), box))
            said = known
        return steps, said

    def sought(self, asked: list[Mark]) -> str:
        if self.chart.on_axis:
            return " ".join(self.placed(mark) for mark in asked)
        return f"{self.says['find']} {', '.join(mark.label for mark in asked)}."

    def placed(self, mark: Mark) -> str:
        """Where a mark ends: at a line of the grid, counted from 0, or above one."""
        return self.says["above" if mark.half % 2 else "at"].format(a=mark.label, i=mark.half // 2)

    def measured(self, mark: Mark, is_plain: bool) -> tuple[str, Box, str]:
        """Of one mark: its label, the bounds of the print that tells its value, and what that print tells."""
        chart, says = self.chart, self.says
        unit = f" {chart.unit}" if chart.unit else ""
        known = says["reads"].format(a=mark.label, v=mark.value, u=unit) + " "
        if mark.value_box is not None:
            return mark.label, mark.value_box, known
        line, is_between = divmod(mark.half, 2)
        value, after = chart.step * line, chart.step * (line + 1)
        if is_between:
            told = says["mid"].format(v=value, w=after, m=mark.value)
        else:
            told = "" if is_plain else says["line"].format(i=line, v=value)
        told = f"{self.placed(mark)} {told}".strip() if is_plain else told
        bounds = joined(chart.ticks[line][1], chart.ticks[line + is_between][1])
        return mark.label, bounds, f"{told} {known}"


CHARTS = Charts()
CHARTS_UNSEEN = Charts("charts-unseen", unseen=True)
CHARTS_REWORDED = Charts("charts-reworded", reworded=True)
CHARTS_MATPLOTLIB = Charts("charts-matplotlib", draw=_matplotlib)
