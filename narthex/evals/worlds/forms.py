"""The world "forms": vital signs, lab sheets, inspection labels, water tests; read them, find what is out of range.

Every range is printed on the form and drawn anew for each, so the form alone decides; people and values are invented,
and nothing here is medical advice. The names of rows are large print. Values and ranges are large, too, on about 35 in
100 forms; on the others they are fine print, which takes a look, and a question about all rows one look for four or so.

Kinds: "read" (a row's value), "range" (whether it is low, high or in range), "outlier" (which row is out of range, or
none), "count" (how many are), "field" (an entry of the header, always fine print).
What counts as right. Equal numbers with the right unit or none; the one word; the one name; the one number; an entry
with all its words and no other figures.

Distinct items: three rows of names out of nine or more, each with more than 100 values and 20 ranges, number more than
(9 * 2000) ** 3 / 6 = 9e11, before the header, layout, colours and wording.
Train and test: rows (name, value, range) and header hash into one of eight buckets; one is the test split's.
"forms-unseen" prints ranges above values, names to their right, in frames, faces, hues and range marks of its own;
"forms-reworded" asks in words of its own.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.form_paint import paint
from narthex.evals.worlds.form_scene import NAMES, Need, Row, Scene, State, groups_of, plan_scene
from narthex.evals.worlds.item import Answer, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.letters import counts_in
from narthex.evals.worlds.sheet import look_box, shortest_first, union

_READ = (
    "What is {a}?", "Read {a}.", "{a}?", "What does the form give for {a}?", "What is the value of {a}?",
    "Give me {a}.", "How much is {a}?", "Which value stands beside {a}?",
)  # fmt: skip
_READ_HELD = ("What was measured for {a}?", "Tell me the {a} figure.", "Find the entry for {a}.")
_RANGE = (
    "Is {a} low, high or in range?", "{a}: low, high or in range?", "Is {a} in range, or is it low or high?",
    "Is {a} in its range, too low or too high?",
)  # fmt: skip
_RANGE_HELD = ("How does {a} stand against its range: low, high or in range?", "Does {a} lie in range, low or high?")
_OUTLIER = (
    "Which value is out of range?", "What is out of range?", "Which one is out of range?", "Find what is out of range.",
    "Is anything out of range, and what?",
)  # fmt: skip
_OUTLIER_HELD = ("Which entry breaks its limits?", "Name the one that its range does not hold.")
_COUNT = (
    "How many values are out of range?", "How many are out of range?", "Count the values out of range.",
    "Number of values out of range?",
)  # fmt: skip
_COUNT_HELD = ("How many entries break their limits?", "For how many rows does the range not hold?")
_FIELD = ("What is the {f}?", "Which {f} is on the form?", "{f}?", "Read the {f}.", "What does it say under {f}?")
_FIELD_HELD = ("Tell me the {f} at the top.", "The {f} given is which?")
_SHARES: tuple[tuple[Kind, float], ...] = (
    ("read", 0.35), ("range", 0.57), ("outlier", 0.77), ("count", 0.9), ("field", 1.01),
)  # fmt: skip
_CAPTIONS = {"Name": "name", "ID": "ID", "Date": "date", "Room": "room", "Lot": "lot"}
_IN_RANGE = re.compile(r"\b(?:in|within)\b(?: (?:its|the|normal))* (?:range|limits)|\bnormal\b|\bok\b", re.IGNORECASE)
_LOW = re.compile(r"\b(?:low|below|under|too low)\b", re.IGNORECASE)
_HIGH = re.compile(r"\b(?:high|above|over|too high)\b", re.IGNORECASE)
_NOTHING = re.compile(r"\b(?:none|nothing|no|all (?:are |values are )?(?:in range|ok))\b", re.IGNORECASE)
_LARGE_SHARE = 0.4


class _Told(NamedTuple):
    """How to ask, what stands in the slot, the answer and the demonstrations."""

    words: tuple[tuple[str, ...], tuple[str, ...]]
    slot: str
    answer: str
    traces: list[tuple[Step, ...]]


class Forms:
    """The world; `unseen` draws in held-out styles, `reworded` asks in held-out words."""

    def __init__(self, name: str = "forms", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._unseen, self._reworded = unseen, reworded

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of rows, rotation and grain.

        `kind` and `legible` are drawn unless given; "field" always takes a look.
        """
        rng = stream(self.name, split, seed, index)
        drawn, roll, is_large = rng.random(), rng.random(), rng.random() < _LARGE_SHARE
        level = drawn if difficulty is None else difficulty
        is_large = is_large if legible is None else legible
        if legible and kind is None:
            roll *= 0.9
        chosen: Kind = next(k for k, upto in _SHARES if roll < upto) if kind is None else kind
        scene = plan_scene(rng, _need(rng, chosen, is_large), level, split=split, unseen=self._unseen)
        told = _tell(rng, scene, chosen)
        question = rng.choice(told.words[self._reworded]).format(a=told.slot, f=told.slot)
        question = question[0].upper() + question[1:] if told.slot not in NAMES else question
        picture, glyphs = paint(scene)
        trace, others = shortest_first(told.traces)
        is_legible = scene.is_large and chosen != "field"
        return Item(
            self.name, chosen, picture, question, told.answer, is_legible, level, glyphs, trace, seed, others
        )

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right; the rules stand at the top of this file."""
        if item.kind == "read":
            return same_quantity(item.answer, answer)
        if item.kind == "range":
            return _states(answer) == {item.answer}
        if item.kind == "outlier":
            named = _names_in(answer)
            return named == {item.answer} if item.answer != "none" else not named and bool(_NOTHING.search(answer))
        if item.kind == "count":
            return counts_in(answer) == {int(item.answer)}
        return _same_entry(item.answer, answer)


def _need(rng: random.Random, kind: Kind, is_large: bool) -> Need:
    if kind == "range":
        states: tuple[State, ...] = ("low", "high", "in range")
        return Need(is_large, first=rng.choice(states))
    if kind == "outlier":
        return Need(is_large, num_out=1 if rng.random() < 0.88 else 0)
    if kind == "count":
        return Need(is_large, num_out=rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4)))
    return Need(is_large)


def _tell(rng: random.Random, scene: Scene, kind: Kind) -> _Told:
    row = scene.asked
    traces: list[tuple[Step, ...]]
    if kind == "read":
        says = (f"{row.name} is {row.shown}.", f"Beside {row.name}: {row.shown}.")
        traces = [_one_look(scene, row, said, row.shown) for said in says]
        return _Told((_READ, _READ_HELD), row.name, row.shown, traces)
    if kind == "range":
        says = (f"{row.name} {_against(row)}.", f"{row.name} {row.value}, range {row.low}-{row.high}.")
        traces = [_one_look(scene, row, said, row.state) for said in says]
        return _Told((_RANGE, _RANGE_HELD), row.name, row.state, traces)
    if kind == "field":
        caption = rng.choice(tuple(scene.fields))
        entry = scene.fields[caption]
        box = look_box(scene.header, scene.angle)
        last = Answer(f"{caption} {entry}.", entry)
        traces = [(Look(first, box), last) for first in ("Find the header.", "Look at the top.")]
        return _Told((_FIELD, _FIELD_HELD), _CAPTIONS[caption], entry, traces)
    out = [r for r in scene.rows if r.state != "in range"]
    if kind == "count":
        answer = str(len(out))
        traces = [_scan(scene, answer, f"{answer} out.", terse=terse) for terse in (True, False)]
        return _Told((_COUNT, _COUNT_HELD), "", answer, traces)
    answer = out[0].name if out else "none"
    traces = [_scan(scene, answer, "", terse=terse) for terse in (True, False)]
    return _Told((_OUTLIER, _OUTLIER_HELD), "", answer, traces)


def _against(row: Row) -> str:
    """A value set against the end of its range that it passes, or between both."""
    if row.state == "low":
        return f"{row.value} < {row.low}"
    if row.state == "high":
        return f"{row.value} > {row.high}"
    return f"{row.value} in {row.low}-{row.high}"


def _one_look(scene: Scene, row: Row, said: str, answer: str) -> tuple[Step, ...]:
    if scene.is_large:
        return (Answer(said, answer),)
    return Look(f"Find {row.name}.", look_box(row.block, scene.angle)), Answer(said, answer)


def _verdicts(rows: list[Row], *, terse: bool) -> str:
    """What rows in view come to: those in range together, the others one by one with what they break."""
    fine = [row.name for row in rows if row.state == "in range"]
    breaks = [row for row in rows if row.state != "in range"]
    out = [f"{row.name} {_against(row)}." if terse else f"{row.name} {row.value} is {row.state}." for row in breaks]
    return " ".join(([f"{', '.join(fine)} ok."] if fine else []) + out)


def _scan(scene: Scene, answer: str, last: str, *, terse: bool) -> tuple[Step, ...]:
    """Go through all rows: at once in large print, else look by look, saying after each what it showed."""
    if scene.is_large:
        return (Answer(f"{_verdicts(scene.rows, terse=terse)} {last}".strip(), answer),)
    steps: list[Step] = []
    known = ""
    for group in groups_of(scene):
        first, end = group[0].name, group[-1].name
        find = f"Find {first}." if len(group) == 1 else f"Find {first} to {end}."
        steps.append(Look(f"{known}{find}", look_box(union([row.block for row in group]), scene.angle)))
        known = f"{_verdicts(group, terse=terse)} "
    return (*steps, Answer(f"{known}{last}".strip(), answer))


def _states(answer: str) -> set[str]:
    """Which of low, high and in range an answer says; "not in range" and "out of range" say none of them."""
    text = re.sub(r"\b(?:not|isn't|out of)\b[^,.;]*?range", "", answer, flags=re.IGNORECASE)
    tests = (("low", _LOW), ("high", _HIGH), ("in range", _IN_RANGE))
    return {state for state, pattern in tests if pattern.search(text)}


def _names_in(answer: str) -> set[str]:
    """The rows an answer names: as written, or in any letter case where a name has two letters or more."""
    words = re.findall(r"[A-Za-z][A-Za-z0-9]*", answer)
    folded = {name.casefold(): name for name in NAMES if len(name) > 1 and name.casefold() not in _WORDS}
    return {word for word in words if word in NAMES} | {folded[w.casefold()] for w in words if w.casefold() in folded}


_WORDS = frozenset(("na", "map", "gap", "temp", "cl", "hr"))  # words, or parts of them, when written small


def _same_entry(truth: str, answer: str) -> bool:
    """All words of the entry one after the other, in any letter case, and no figures beside them."""
    wanted, stated = (re.findall(r"[a-z]+|\d+", text.casefold()) for text in (truth, answer))
    places = [i for i in range(len(stated)) if stated[i : i + len(wanted)] == wanted]
    rest = stated[: places[0]] + stated[places[0] + len(wanted) :] if places else stated
    return bool(places) and not any(word.isdigit() for word in rest)


FORMS = Forms()
FORMS_UNSEEN = Forms("forms-unseen", unseen=True)
FORMS_REWORDED = Forms("forms-reworded", reworded=True)
