"""The world "words": arithmetic and unit problems told in text, without a picture; python does what is long.

Sums, differences and products by one figure are done in writing, digit by digit; the rest is handed to python in one
call. `legible` means here: one step with small numbers, which can be answered at a glance.

Distinct items: sums alone are told of two numbers below ten thousand, of 24 names and 24 things: more than 1e10.
Train and test: a problem's form and numbers hash into one of eight buckets; one is the test split's. So the same
numbers never come in the same form of both splits, however they are worded.

"words-unseen" tells of names and things that training never mentions, "words-reworded" in sentences it never uses.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from narthex.evals.worlds import word_texts
from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.item import Answer, Call, Item, Kind, Split, Step, stream
from narthex.evals.worlds.labels import FAMILIES
from narthex.evals.worlds.panel_scene import split_of
from narthex.evals.worlds.word_forms import FORMS, MEASURES, Numbers, Problem
from narthex.evals.worlds.written import written_difference, written_product, written_sum

Trace = tuple[Step, ...]

# How often each form comes: the easy ones more often, so that a third can be done at a glance.
_WEIGHTS = {"add": 3, "take": 3, "times": 3, "share": 2, "down": 3, "up": 2.5, "mixed": 2.5}
_EASY_SHARE = 0.36
_ALSO = frozenset((
    "in", "each", "left", "more", "together", "altogether", "remain", "come", "back", "per", "change", "square",
))  # fmt: skip


class _Told(NamedTuple):
    """A problem with its numbers: what is asked of the demonstration."""

    form: str
    problem: Problem
    numbers: Numbers
    unit: str
    measure: tuple[str, str, int]
    is_easy: bool

    @property
    def result(self) -> str:
        """What python prints for the problem's code."""
        return repr(self.problem.value(self.numbers))

    @property
    def answer(self) -> str:
        number = self.result.removesuffix(".0")
        return f"{number} {self.unit}".strip()

    @property
    def code(self) -> str:
        return self.problem.code.format(**self.numbers)


class Words:
    """The world. `unseen`: names and things that training never mentions; `reworded`: sentences it never uses."""

    def __init__(self, name: str = "words", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._templates = word_texts.HELD_OUT if reworded else word_texts.TRAINED
        self._names = word_texts.UNSEEN_NAMES if unseen else FAMILIES["name"]
        self._things = word_texts.UNSEEN_THINGS if unseen else word_texts.THINGS
        self._holders = word_texts.UNSEEN_HOLDERS if unseen else word_texts.HOLDERS
        self._people = word_texts.UNSEEN_PEOPLE if unseen else word_texts.PEOPLE

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the size of the numbers and how many steps it takes.

        `kind` and `legible` (one small step) are drawn unless given.
        """
        rng = stream(self.name, split, seed, index)
        drawn = rng.random()
        level = drawn if difficulty is None else difficulty
        easy = rng.random() < _EASY_SHARE if legible is None else legible
        while True:
            told = _draw(rng, level, kind, easy)
            key = ",".join(f"{name}{value}" for name, value in sorted(told.numbers.items()))
            if split_of([(told.form, key, told.unit)]) == split:
                break
        question = self._tell(rng, told)
        traces = demonstrations(told)
        return Item(
            self.name, told.problem.kind, None, question, told.answer, told.is_easy, level, (), traces[0], seed,
            tuple(traces[1:]),
        )  # fmt: skip

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right: an equal number, with the unit asked for, none, or what was counted."""
        return same_quantity(item.answer, re.sub(r"[€$]", " ", answer), _ALSO)

    def _tell(self, rng: random.Random, told: _Told) -> str:
        one, two = rng.sample(self._names, 2)
        first, second = rng.sample(self._things, 2)
        text = rng.choice(self._templates[told.form]).format(
            N=one, M=two, T=first, U=second, H=rng.choice(self._holders), P=rng.choice(self._people),
            big=told.measure[0], small=told.measure[1], **told.numbers,
        )  # fmt: skip
        return text[0].upper() + text[1:]


def _draw(rng: random.Random, level: float, kind: Kind | None, easy: bool) -> _Told:
    """Draw a form and its numbers; an easy one is one step, with small numbers and a measure by tens."""
    forms = [name for name, problem in FORMS.items() if kind in (None, problem.kind) and (problem.easy or not easy)]
    form = rng.choices(forms, [_WEIGHTS.get(name, 1.0) for name in forms])[0]
    problem = FORMS[form]
    if easy:
        level = 0.0
    elif problem.easy:
        level = max(level, 0.4)  # what is neither small nor several steps would be easy, too
    numbers = dict(problem.draw(rng, level))
    measure = rng.choice([m for m in MEASURES if not easy or m[2] in (10, 100, 1000)])
    unit = {"big": measure[0], "small": measure[1]}.get(problem.unit, problem.unit)
    if problem.unit in ("big", "small"):
        numbers["k"] = measure[2]
        if form == "mixed":
            numbers["b"] = rng.randint(1, measure[2] - 1)
        if form == "up":
            numbers["a"] *= measure[2]
    return _Told(form, problem, numbers, unit, measure, easy)


def demonstrations(told: _Told) -> list[Trace]:
    """The shortest sufficient demonstration, then the same in other styles, none more than half as long again."""
    found: list[Trace] = []
    for trace in (*_written(told), *_by_python(told)):
        if trace not in found:
            found.append(trace)
    shortest = min(found, key=length_of)
    return [shortest] + [t for t in found if t != shortest and length_of(t) <= 1.5 * length_of(shortest)]


def length_of(trace: Trace) -> int:
    """Characters that a demonstration has to write, the answer apart."""
    return sum(len(step.thought) + (len(step.arguments["code"]) if isinstance(step, Call) else 0) for step in trace)


def _known(told: _Told) -> str:
    """What has to be known of the units."""
    if told.problem.unit in ("big", "small"):
        big, small, count = told.measure
        return f"1 {'day' if big == 'days' else big} = {count} {small}. "
    return ""


def _written(told: _Told) -> list[Trace]:
    """One step that can be done in writing."""
    numbers = told.numbers
    a, b = numbers["a"], numbers.get("b", numbers.get("k", 0))
    answer = told.answer
    if told.form == "add":
        thoughts = [written_sum(str(a), str(b))]
    elif told.form == "take":
        thoughts = [written_difference(str(a), str(b))]
    elif told.form == "times" and min(a, b) < 10:
        few, many = sorted((a, b))
        thoughts = [written_product(str(many), few)] if many > 9 else [f"{a}*{b}={a * b}."]
    elif told.form == "share" and told.is_easy:
        thoughts = [f"{a}:{b}={a // b}.", f"{b}*{a // b}={a}."]
    elif told.form in ("down", "up") and told.is_easy:
        sign = "*" if told.form == "down" else ":"
        thoughts = [f"{_known(told)}{a}{sign}{b}={answer.split(' ')[0]}."]
    else:
        return []
    return [(Answer(thought, answer),) for thought in thoughts]


def _by_python(told: _Told) -> list[Trace]:
    """One call that computes everything, in several ways to write it."""
    if told.is_easy or _written(told):
        return []
    plan = (_known(told) + told.problem.plan.format(**told.numbers)).strip()
    last = Answer(f"{told.result}.", told.answer)
    return [
        (Call(plan, "python", {"code": told.code}, told.result), last),
        (Call(f"{plan} {told.code}.".strip(), "python", {"code": told.code}, told.result), last),
        (Call(plan, "python", {"code": f"print({told.code})"}, told.result), last),
    ]


WORDS = Words()
WORDS_UNSEEN = Words("words-unseen", unseen=True)
WORDS_REWORDED = Words("words-reworded", reworded=True)
