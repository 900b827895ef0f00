"""The world "dials": gauges with hands, clocks, thermometers and syringes, and a question about what they show.

Large instruments can be read in a view of 96 pixels; small ones need a look, whose box is as large as the instrument.
About 40 in 100 questions need none.

What counts as right. A number may be off by half of the smallest division or by 2 % of the scale, whichever is more
(`Item.tolerance`); a difference of two instruments by the larger of their tolerances. A clock may be off by one minute,
and by two where it has no minute marks; noon and midnight are one. Units, letters and colours must be the right ones.

Distinct items: a gauge has more than 100 scales and a scale about 30 values, a label 26 letters; two gauges number more
than (100 * 30 * 26) ** 2 / 2 = 3e9, before sizes, places, colours and wording, and pictures hold up to six instruments.
Train and test: the labels, scales and values of a picture hash into one of eight buckets, and one is the test split's.
"dials-unseen" has square plates, sweeps that turn the other way, lying thermometers, Roman numerals, and a face and
hues that training never draws; "dials-reworded" asks in words that training never uses.
"""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import NamedTuple

from narthex.evals.worlds.answers import quantities
from narthex.evals.worlds.dial_paint import paint
from narthex.evals.worlds.dial_scene import CLOCK_MINUTES, ZONES, Dial, Need, Scene, plain, plan_scene
from narthex.evals.worlds.item import Answer, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.letters import named_letters, says_none
from narthex.evals.worlds.panel_scene import LETTERS
from narthex.evals.worlds.sheet import look_box, shortest_first

_READ = (
    "What does {a} read?", "Read {a}.", "{a}?", "What does {a} show?", "What is the value at {a}?", "Give me {a}.",
    "What is the reading of {a}?", "How much is {a}?", "Look at {a}. What does it read?", "What does {a} say?",
    "Tell me what {a} shows.", "Read {a} to half a division.", "To which value does {a} point?",
)  # fmt: skip
_READ_HELD = ("Take the reading of {a}.", "Where does {a} stand?", "I need the value {a} indicates.", "{a} is at what?")
_TIME = (
    "What time does {a} show?", "What time is it on {a}?", "What does {a} read?", "What is the time on {a}?",
    "Read {a}.", "What time is it at {a}, to the minute?", "{a}: what time?",
)  # fmt: skip
_TIME_HELD = ("Tell the time by {a}.", "Which hour and minute does {a} give?", "How late is it by {a}?")
_COMPARE = (
    "Which reads {w}, {a} or {b}?", "Which is {w}: {a} or {b}?", "{a} or {b}, which is {w}?", "Is {a} or {b} {w}?",
    "Compare {a} and {b}. Which is {w}?", "Of {a} and {b}, which reads {w}?",
)  # fmt: skip
_COMPARE_HELD = ("Name the {w} one of {a} and {b}.", "Between {a} and {b}, which shows the {w} value?")
_DIFFERENCE = (
    "How far apart are {a} and {b}?", "What is the difference between {a} and {b}?",
    "Difference of {a} and {b}?", "How many {u} are between {a} and {b}?",
    "By how much do {a} and {b} differ?",
)  # fmt: skip
_DIFFERENCE_HELD = ("How much lies between what {a} and {b} show?", "{a} against {b}: what is the gap?")
_ZONE = (
    "Which colour does {a} point to?", "In which colour does the hand of {a} stand?", "Is {a} in green, yellow or red?",
    "Which zone is {a} in?", "Green, yellow or red: where is {a}?",
)  # fmt: skip
_ZONE_HELD = ("What colour is behind the tip of {a}?", "Name the coloured band that {a} has reached.")
_NOUNS = {"gauge": "the gauge", "clock": "the clock", "thermometer": "the thermometer", "syringe": "the syringe"}
_CLOCK = re.compile(r"(?<![\d:.])(\d{1,2})\s*(?:[:.h]|hours?)\s*(\d{2})(?!\d)", re.IGNORECASE)


class _Told(NamedTuple):
    """A question with its answer, demonstrations and tolerance."""

    question: str
    answer: str
    traces: list[tuple[Step, ...]]
    tolerance: Decimal = Decimal(0)


class Dials:
    """The world; `unseen` draws in held-out styles, `reworded` asks in held-out words."""

    def __init__(self, name: str = "dials", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._unseen, self._reworded = unseen, reworded

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of instruments, rotation and noise.

        `kind` (read, compare, difference, zone, absent) and `legible` are drawn unless given; "zone" and "absent" are
        always legible.
        """
        rng = stream(self.name, split, seed, index)
        drawn, roll, large = rng.random(), rng.random(), rng.random() < 0.35
        level = drawn if difficulty is None else difficulty
        if legible is False:
            roll *= 0.88  # neither a zone nor nothing
        chosen: Kind = next(k for k, upto in _SHARES if roll < upto) if kind is None else kind
        large = large if legible is None else legible
        asked = 2 if chosen in ("compare", "difference") else 1
        is_large = chosen == "zone" or (large and chosen != "absent")
        need = Need(asked, is_large, same_unit=asked == 2, zones=chosen == "zone")
        scene = plan_scene(rng, need, level, split=split, unseen=self._unseen)
        told = self._tell(rng, scene, chosen)
        picture, glyphs = paint(scene)
        trace, others = shortest_first(told.traces)
        is_legible = chosen == "absent" or scene.is_large
        return Item(
            self.name, chosen, picture, told.question, told.answer, is_legible, level, glyphs, trace, seed, others,
            tolerance=float(told.tolerance),
        )  # fmt: skip

    def _tell(self, rng: random.Random, scene: Scene, kind: Kind) -> _Told:
        one = scene.dials[0]
        if kind == "read":
            wordings = (_TIME, _TIME_HELD) if one.family == "clock" else (_READ, _READ_HELD)
            return _Told(self._ask(rng, wordings, one), one.shown, _readings(scene, one), _tolerance(scene, one))
        if kind == "zone":
            says = ("{a} in {z}." if one.label else "In {z}.", "{a} points to {z}." if one.label else "Hand in {z}.")
            traces = [_trace(scene, [one], [t.format(a=one.label, z=one.zone)], one.zone) for t in says]
            return _Told(self._ask(rng, (_ZONE, _ZONE_HELD), one), one.zone, traces)
        if kind == "absent":
            letter = rng.choice([c for c in LETTERS if c not in {d.label for d in scene.dials}])
            question = rng.choice(_READ_HELD if self._reworded else _READ).format(a=letter)
            answer = f"There is no {letter} here."
            says = (f"No {letter}.", f"{letter} is missing.")
            return _Told(question, answer, [(Answer(said, answer),) for said in says])
        two = scene.dials[1]
        if kind == "compare":
            return self._compare(rng, scene, one, two)
        high, low = (one, two) if one.value > two.value else (two, one)
        answer = f"{plain(high.value - low.value)} {one.scale.unit}"
        question = self._ask(rng, (_DIFFERENCE, _DIFFERENCE_HELD), one, two)
        last = f"{high.number} - {_bracketed(low.number)} = {plain(high.value - low.value)}."
        said = [[f"{d.label} {verb} {d.number}." for d in (one, two)] for verb in ("reads", "is")]
        traces = [_trace(scene, [one, two], [first, f"{second} {last}"], answer) for first, second in said]
        return _Told(question, answer, traces, max(one.scale.tolerance, two.scale.tolerance))

    def _compare(self, rng: random.Random, scene: Scene, one: Dial, two: Dial) -> _Told:
        word, wants_high = rng.choice((("higher", True), ("lower", False), ("larger", True), ("smaller", False)))
        is_more = one.value > two.value
        answer = one.label if is_more == wants_high else two.label
        high, low = (one, two) if is_more else (two, one)
        # The greater first: the question's word alone then says which of the two letters is the answer.
        order = f"{high.label} > {low.label}."
        says = [
            [f"{one.label} is {one.number}.", f"{two.label} is {two.number}. {order}"],
            [f"{d.label} reads {d.number}." for d in (one, two)],
        ]
        says[1][1] += f" {high.number} > {low.number}: {order}"
        traces = [_trace(scene, [one, two], said, answer) for said in says]
        return _Told(self._ask(rng, (_COMPARE, _COMPARE_HELD), one, two, word), answer, traces)

    def _ask(
        self, rng: random.Random, wordings: tuple[tuple[str, ...], tuple[str, ...]], one: Dial, two: Dial | None = None,
        word: str = "",
    ) -> str:  # fmt: skip
        template = rng.choice(wordings[self._reworded])
        named = rng.random() < 0.4
        names = [
            d.label if d.label and not named else f"{_NOUNS[d.family][4:]} {d.label}" if d.label else _NOUNS[d.family]
            for d in (one, two or one)
        ]
        text = template.format(a=names[0], b=names[1], w=word, u=one.scale.unit)
        return text[0].upper() + text[1:]

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right; the rule stands at the top of this file."""
        if item.kind == "compare":
            return named_letters(item.question, answer) == {item.answer}
        if item.kind == "absent":
            return says_none(item.question, answer)
        if item.kind == "zone":
            return {zone for zone in ZONES if zone in re.findall(r"[a-z]+", answer.lower())} == {item.answer}
        if ":" in item.answer:
            return _same_time(item.answer, answer, item.tolerance)
        return _near(item.answer, answer, item.tolerance)


_SHARES: tuple[tuple[Kind, float], ...] = (
    ("read", 0.62), ("compare", 0.78), ("difference", 0.88), ("zone", 0.97), ("absent", 1.01),
)  # fmt: skip


def _tolerance(scene: Scene, dial: Dial) -> Decimal:
    if dial.family != "clock":
        return dial.scale.tolerance
    return Decimal(1 if dial.has_minute_marks(scene.size) else 2)


def _bracketed(number: str) -> str:
    return f"({number})" if number.startswith("-") else number


def _readings(scene: Scene, dial: Dial) -> list[tuple[Step, ...]]:
    """Demonstrations of one reading: the bare one, and one that says between which numerals the hand stands."""
    says = [f"{dial.label} reads {dial.shown}." if dial.label else f"It reads {dial.shown}."]
    if dial.family == "clock":
        hour = int(dial.value) // 60 or 12
        says.append(f"Hour {hour}, minute {int(dial.value) % 60}: {dial.shown}.")
    else:
        steps = int((dial.value - dial.scale.low) / dial.scale.step)
        low = dial.scale.low + dial.scale.step * min(steps, dial.scale.steps - 1)
        says.append(f"From {plain(low)} to {plain(low + dial.scale.step)}: {dial.shown}.")
    return [_trace(scene, [dial], [said], dial.shown) for said in says]


def _trace(scene: Scene, dials: list[Dial], says: list[str], answer: str) -> tuple[Step, ...]:
    """A look at each small instrument, saying at the next step what was seen; the last says the answer."""
    if scene.is_large:
        return (Answer(" ".join(says), answer),)
    steps: list[Step] = []
    known = ""
    for dial, said in zip(dials, says, strict=True):
        find = f"Find {dial.label}." if dial.label else "Find it."
        steps.append(Look(f"{known}{find}", look_box(dial.block, scene.angle)))
        known = f"{said} "
    return (*steps, Answer(known.strip(), answer))


def _near(truth: str, answer: str, tolerance: float) -> bool:
    """Numbers within the tolerance of the truth and no other unit; after an equals sign only what follows counts."""
    wanted, unit = quantities(truth)[0]
    stated = quantities(answer.rsplit("=", 1)[-1])
    is_near = [abs(float(number - wanted)) <= tolerance + 1e-9 and its in ("", unit) for number, its in stated]
    return bool(is_near) and all(is_near)


def _minutes(text: str) -> set[int]:
    return {(int(hour) * 60 + int(minute)) % CLOCK_MINUTES for hour, minute in _CLOCK.findall(text) if int(minute) < 60}


def _same_time(truth: str, answer: str, tolerance: float) -> bool:
    (wanted,), stated = _minutes(truth), _minutes(answer)
    gaps = [min((time - wanted) % CLOCK_MINUTES, (wanted - time) % CLOCK_MINUTES) for time in stated]
    return len(gaps) == 1 and gaps[0] <= tolerance


DIALS = Dials()
DIALS_UNSEEN = Dials("dials-unseen", unseen=True)
DIALS_REWORDED = Dials("dials-reworded", reworded=True)
