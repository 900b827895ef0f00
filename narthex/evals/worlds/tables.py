"""The world "tables": look one number up, filter rows by a threshold or for the greatest, sum and average columns.

Three prints (see table_scene): all legible in a small view; names legible, numbers not; or nothing, so that the rows
have to be searched, half a page at a time. Sums and means of whole columns are left to python, in a call.

Distinct items: three rows are named in 24 * 23 * 22 ways by goods alone and three numbers of three digits drawn from
900 each, so tables of one column and three rows alone number more than 1e12.
Train and test: a table's readings (each row's name and numbers) hash into one of eight buckets, as in panels.

"tables-unseen" has a face, hues and a layout that training never draws, "tables-reworded" questions it never asks.
"""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import NamedTuple

from narthex.evals.worlds import table_words
from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Answer, Call, Crop, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.labels import family_of, named_labels
from narthex.evals.worlds.looks import LookBox, box_around, cropped, holds, joined, nearby, read_whole
from narthex.evals.worlds.table_paint import paint_table
from narthex.evals.worlds.table_scene import Form, Need, Table, plan_table
from narthex.evals.worlds.written import written_sum

Trace = tuple[Step, ...]

_KINDS: dict[Form, Kind] = {
    "lookup": "lookup", "most": "filter", "count": "filter", "which": "filter", "together": "aggregate",
    "total": "aggregate", "mean": "aggregate",
}  # fmt: skip
_FORMS: dict[Form, float] = {
    "lookup": 0.36, "most": 0.15, "count": 0.1, "which": 0.08, "together": 0.1, "total": 0.12, "mean": 0.09,
}  # fmt: skip
_BY_PYTHON = ("total", "mean")
# Of all but those two, which are never asked of large print: that leaves a third legible, as in panels.
_LEGIBLE_SHARE = 0.42
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COUNTED = frozenset(("rows", "row", "entries", "values", "have", "are", "times", "together", "total", "altogether"))
_HALF = 500
# Ways to say the same, the shortest first.
_STYLES = (
    {"find": "Find {x}.", "reads": "{r} {c} reads {v}.", "down": "Go down.", "right": "Go right.", "missing": "No {x}.",
     "seen": "{x} seen.", "pick": "{p} {t}: {list}.", "code": "sum([{values}])", "mean": "sum([{values}])/{n}"},
    {"find": "Look at {x}.", "reads": "{r} shows {c} {v}.", "down": "Look lower.", "right": "Look to the right.",
     "missing": "{x} is not here.", "seen": "{x} is here.", "pick": "{p} {t} are {list}.",
     "code": "a = [{values}]\nsum(a)", "mean": "a = [{values}]\nsum(a)/len(a)"},
    {"find": "Find {x}.", "reads": "{r} {c} reads {v}{u}.", "down": "More below.", "right": "Now right.",
     "missing": "No {x} yet.", "seen": "{x} found.", "pick": "{p} {t}: {list}.",
     "code": "print(sum([{values}]))", "mean": "print(sum([{values}])/{n})"},
)  # fmt: skip


class _Asked(NamedTuple):
    """The question's particulars: `word` fills {w} or {p}; rows that match; the exact answer."""

    word: str
    is_most: bool
    threshold: int
    chosen: tuple[int, ...]
    answer: str


class Tables:
    """The world. `unseen`: styles that training never draws; `reworded`: questions that it never asks."""

    def __init__(self, name: str = "tables", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._unseen = unseen
        self._templates = table_words.HELD_OUT if reworded else table_words.TRAINED

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the rows, how many tables must be searched, and noise.

        `kind` and `legible` are drawn unless given. Sums and means of a column are never legible: they need python.
        """
        rng = stream(self.name, split, seed, index)
        drawn = rng.random()
        level = drawn if difficulty is None else difficulty
        forms = [form for form in _FORMS if kind is None or _KINDS[form] == kind]
        form = rng.choices(forms, [_FORMS[form] for form in forms])[0]
        is_legible = rng.random() < _LEGIBLE_SHARE if legible is None else legible
        need = Need(form, is_legible and form not in _BY_PYTHON)
        while True:
            table = plan_table(rng, need, level, split=split, unseen=self._unseen)
            asked = _particulars(rng, table, form)
            traces = demonstrations(table, need, asked) if asked is not None else []
            if asked is not None and traces:
                break
        question = _ask(rng, table, form, asked, self._templates)
        picture, glyphs = paint_table(table)
        return Item(
            self.name, _KINDS[form], picture, question, asked.answer, need.legible, level, glyphs, traces[0], seed,
            tuple(traces[1:]),
        )  # fmt: skip

    def reading_crop(self, seed: int, index: int, split: Split = "train") -> Crop:
        """Make a close view of fine print, as a zoom returns it; its text: what it shows whole, from the top left."""
        rng = stream(f"{self.name}/crop", split, seed, index)
        while True:
            table = plan_table(rng, Need("lookup", False), rng.random(), split=split, unseen=self._unseen)
            row = table.rows[0]
            asked = table.cell_boxes[row][table.column]
            if table.print == "fine":
                box: LookBox | None = _quarter(asked[0] > table.size / 2, asked[1] > table.size / 2)
            else:
                box = box_around(asked, table.size)
                box = box and nearby(rng, box, asked, table.size)
            texts = read_whole(box, table.prints, table.size, untold=[table.caption]) if box is not None else []
            if box is not None and texts:
                return cropped(*paint_table(table), box, " ".join(texts))

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right: an equal number with no other unit, or all the rows' names and no other."""
        if not item.answer[0].isdigit():
            wanted = set(item.answer.split(", "))
            return named_labels(answer, family_of(min(wanted))) == wanted
        text = re.sub(r"['\u2019]\d\d\b", "", answer)
        if item.kind == "filter":
            text = re.sub(r"[a-z]+", _figure, text, flags=re.IGNORECASE)
        return same_quantity(item.answer, text, _COUNTED)


def _figure(word: re.Match[str]) -> str:
    text = word[0].casefold()
    return str(_NUMBER_WORDS.index(text)) if text in _NUMBER_WORDS else word[0]


def _particulars(rng: random.Random, table: Table, form: Form) -> _Asked | None:
    """Draw threshold or direction, and work out the answer; None where no threshold parts the rows."""
    is_most = rng.random() < 0.5
    numbers, unit = table.numbers(), table.units[table.column]
    if form == "most":
        word = rng.choice(table_words.MOST if is_most else table_words.LEAST)
        best = (max if is_most else min)(range(len(numbers)), key=lambda row: Decimal(numbers[row]))
        return _Asked(word, is_most, 0, (best,), table.names[best])
    if form in ("count", "which"):
        word = rng.choice(table_words.OVER if is_most else table_words.UNDER)
        threshold = _threshold(rng, [int(n) for n in numbers], is_most, 3 if form == "which" else 9)
        if threshold is None:
            return None
        chosen = tuple(row for row, n in enumerate(numbers) if (int(n) > threshold) == is_most)
        answer = str(len(chosen)) if form == "count" else ", ".join(table.names[row] for row in chosen)
        return _Asked(word, is_most, threshold, chosen, answer)
    if form in ("lookup", "together"):
        number = sum(Decimal(numbers[row]) for row in table.rows)
    else:
        number = Decimal(sum(int(n) for n in numbers))
        number = number / len(numbers) if form == "mean" else number
    return _Asked("", is_most, 0, (), f"{number} {unit}".strip())


def _threshold(rng: random.Random, numbers: list[int], is_over: bool, most: int) -> int | None:
    """A number that at least one of the column's lies beyond, but at most `most`, and one does not; round if can be.

    No row equals it: on which side that would be, "over" and "more than" need not say.
    """
    order = sorted(numbers, reverse=is_over)
    places = [place for place in range(1, min(len(order) - 1, most) + 1) if abs(order[place - 1] - order[place]) > 1]
    if not places:
        return None
    place = rng.choice(places)
    low, high = sorted((order[place - 1], order[place]))
    between = range(low + 1, high)
    return rng.choice([n for n in between if n % 10 == 0] or [n for n in between if n % 5 == 0] or between)


def _ask(rng: random.Random, table: Table, form: Form, asked: _Asked, templates: dict[str, tuple[str, ...]]) -> str:
    text = rng.choice(templates[form]).format(
        r=table.names[table.rows[0]], s=table.names[table.rows[-1]], c=table.heads[table.column], w=asked.word,
        p=asked.word, t=asked.threshold,
    )  # fmt: skip
    return text if text.startswith(table.heads[table.column]) else text[0].upper() + text[1:]


def demonstrations(table: Table, need: Need, asked: _Asked) -> list[Trace]:
    """The shortest sufficient demonstration, then the same in other styles, none more than half as long again.

    Empty where no look holds what it is to show.
    """
    found: list[Trace] = []
    for style in range(len(_STYLES)):
        teller = _Teller(table, need.form, asked, style)
        trace = teller.tell(need.legible)
        if trace is None:
            return []
        if trace not in found and (not found or length_of(trace) <= 1.5 * length_of(found[0])):
            found.append(trace)
    return found


def length_of(trace: Trace) -> int:
    """Characters that a demonstration has to write, boxes and answer apart."""
    return sum(len(step.thought) + (len(step.arguments["code"]) if isinstance(step, Call) else 0) for step in trace)


class _Teller:
    """Tells one table's demonstration in one style."""

    def __init__(self, table: Table, form: Form, asked: _Asked, style: int) -> None:
        self.table, self.form, self.asked, self.says = table, form, asked, _STYLES[style]
        self.head = table.heads[table.column]

    def tell(self, legible: bool) -> Trace | None:
        """The whole trace, or None where a box would not hold what is to be read."""
        if self.form in ("lookup", "together"):
            rows = self.table.rows
        else:
            rows = list(range(len(self.table.names)))
        if legible:
            return self.concluded([], self.read(rows), "")
        steps = self.searched(rows) if self.table.print == "fine" else self.guided(rows)
        return None if steps is None else self.concluded(*steps)

    def value(self, row: int) -> str:
        return self.table.cells[row][self.table.column]

    def read(self, rows: list[int]) -> str:
        """What the numbers of these rows are."""
        if self.form in ("lookup", "together"):
            manner, unit = self.says["reads"], f" {self.table.units[self.table.column]}".rstrip()
            told = [(self.table.names[row], self.value(row)) for row in rows]
            return " ".join(manner.format(r=name, c=self.head, v=value, u=unit) for name, value in told)
        if self.form == "which":
            return ", ".join(f"{self.table.names[row]} {self.value(row)}" for row in rows) + "."
        return ", ".join(self.value(row) for row in rows) + "."

    def guided(self, rows: list[int]) -> tuple[list[Step], str, str] | None:
        """Looks at numbers whose places can be seen: at one each, or at as many as a half of the side holds."""
        table, column = self.table, self.table.column
        boxes = {row: table.cell_boxes[row][column] for row in rows}
        if self.form in ("lookup", "together"):
            groups = [[row] for row in rows]
            both = box_around(joined(*boxes.values()), table.size)
            groups = [rows] if both is not None else groups
            side = 250
        else:
            groups, side = _covered(rows, boxes, table.size), _HALF
        steps: list[Step] = []
        said = ""
        for group in groups:
            box = box_around(joined(*(boxes[row] for row in group)), table.size, side)
            if box is None:
                return None
            what = f"{', '.join(table.names[row] for row in group)} {self.head}" if side == 250 else self.head
            thought = self.says["find"].format(x=what) if side == 250 or not steps else self.says["down"]
            steps.append(Look(f"{said} {thought}".strip(), box))
            said = self.read(group)
        return steps, said, ""

    def searched(self, rows: list[int]) -> tuple[list[Step], str, str] | None:
        """Looks at quarters of the page: from the top left, where the names and the first column's head are."""
        table, says = self.table, self.says
        upper = [row for row in range(len(table.names)) if holds(_quarter(0, 0), table.name_boxes[row], table.size)]
        if not upper or not holds(_quarter(0, 0), table.head_boxes[0], table.size):
            return None
        is_right = table.column > 0
        if self.form == "lookup":
            return self.searched_one(rows[0], rows[0] in upper, is_right)
        lower = [row for row in rows if row not in upper]
        steps: list[Step] = [Look(says["find"].format(x=self.head), _quarter(0, 0))]
        if is_right:
            missing = f"{says['missing'].format(x=self.head)} {says['right']}"
            steps.append(Look(missing, _quarter(1, 0)))
        said = self.read(upper)
        if lower:
            steps.append(Look(f"{said} {says['down']}", _quarter(is_right, 1)))
            said = self.read(lower)
        return steps, said, ""

    def searched_one(self, row: int, is_upper: bool, is_right: bool) -> tuple[list[Step], str, str]:
        says, name = self.says, self.table.names[row]
        steps: list[Step] = [Look(says["find"].format(x=name), _quarter(0, 0))]
        if not is_upper:
            steps.append(Look(f"{says['missing'].format(x=name)} {says['down']}", _quarter(0, 1)))
        if is_right:
            steps.append(Look(f"{says['seen'].format(x=name)} {says['right']}", _quarter(1, not is_upper)))
        return steps, self.read([row]), ""

    def concluded(self, steps: list[Step], said: str, more: str) -> Trace:
        """What follows once everything is read, and the answer."""
        table, asked, says = self.table, self.asked, self.says
        if self.form in _BY_PYTHON:
            return (*steps, *self.computed(said))
        if self.form == "together":
            one, two = (self.value(row) for row in table.rows)
            more = written_sum(one, two)
        elif self.form == "most":
            best = asked.chosen[0]
            more = f"{'Most' if asked.is_most else 'Least'}: {self.value(best)}, {table.names[best]}."
        elif self.form == "which":
            more = says["pick"].format(p=asked.word.capitalize(), t=asked.threshold, list=asked.answer)
        elif self.form == "count":
            hits = ", ".join(self.value(row) for row in asked.chosen)
            more = says["pick"].format(p=asked.word.capitalize(), t=asked.threshold, list=f"{hits}: {asked.answer}")
        return (*steps, Answer(f"{said} {more}".strip(), asked.answer))

    def computed(self, said: str) -> tuple[Step, Step]:
        """A call of python on all the numbers read, and the answer from its result."""
        numbers = [int(n) for n in self.table.numbers()]
        manner = self.says["mean" if self.form == "mean" else "code"]
        code = manner.format(values=", ".join(map(str, numbers)), n=len(numbers))
        result = str(sum(numbers) / len(numbers) if self.form == "mean" else sum(numbers))
        return Call(said, "python", {"code": code}, result), Answer(f"{result}.", self.asked.answer)


def _quarter(right: int | bool, lower: int | bool) -> LookBox:
    return _HALF * right, _HALF * lower, _HALF * (right + 1), _HALF * (lower + 1)


def _covered(rows: list[int], boxes: dict[int, Box], size: int) -> list[list[int]]:
    """Rows in groups, from the top, each as long as one look of half the side can show."""
    groups: list[list[int]] = []
    for row in rows:
        wider = [*groups[-1], row] if groups else [row]
        if groups and box_around(joined(*(boxes[r] for r in wider)), size, _HALF) is not None:
            groups[-1] = wider
        else:
            groups.append([row])
    return groups


TABLES = Tables()
TABLES_UNSEEN = Tables("tables-unseen", unseen=True)
TABLES_REWORDED = Tables("tables-reworded", reworded=True)
