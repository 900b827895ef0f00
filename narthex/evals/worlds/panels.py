"""The world "panels": an instrument panel and a question about one readout, two compared, two added, or none there.

Two prints. Large print is legible in a small view of the panel (64 to 96 pixels a side); fine print is not and needs a
look: a crop of a quarter of the side, which shows it at full size. About 35 in 100 questions need none.

Distinct items: three labels can be chosen and ordered in 26 * 25 * 24 ways and three fine values in more than 900 ** 3,
so panels of three readouts alone number more than 1e13 before any layout, colour or wording.
Train and test: a panel's readings (labels, values, units) hash into one of eight buckets; one is the test split's, the
others are the train split's. So no panel of one split shows the readings of any panel of the other.
"""

from __future__ import annotations

import random
import re
from decimal import Decimal

from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.item import Answer, Crop, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.panel_paint import paint
from narthex.evals.worlds.panel_scene import LETTERS, MISTAKABLE_UNITS, UNITS, Need, Readout, Scene, plan_scene
from narthex.evals.worlds.written import written_sum

BOX_SIDE = 250  # thousandths: 64 of 256 du
BOX_STEP = 50

_READ = (
    "What does gauge {a} read?", "Read {a}.", "{a}?", "What is the value at {a}?", "How many {u} does {a} show?",
    "What is the reading of {a}?", "Tell me the value of gauge {a}.", "What does {a} say?", "Gauge {a}, please.",
    "What does the readout {a} show?", "Give me {a}.", "Look at {a}. What does it read?", "How much is {a}?",
    "What number stands at {a}?",
)  # fmt: skip
_COMPARE = (
    "Which reads {w}, {a} or {b}?", "Which is {w}: {a} or {b}?", "{a} or {b}, which is {w}?", "Is {a} or {b} {w}?",
    "Which gauge shows the {w} value, {a} or {b}?", "Compare {a} and {b}. Which is {w}?", "{w}: {a} or {b}?",
    "Of {a} and {b}, which reads {w}?", "Which one is {w}, {a} or {b}?",
)  # fmt: skip
_SUM = (
    "What is the sum of {a} and {b}?", "Add {a} and {b}.", "{a} + {b}?", "What do {a} and {b} read together?",
    "How much are {a} and {b} in total?", "What is {a} plus {b}?", "Sum of {a} and {b}?", "Total of {a} and {b}?",
    "How many {u} do {a} and {b} make together?",
)  # fmt: skip

_LONE_LETTER = re.compile(r"(?<![A-Za-z°º'])[A-Z](?![A-Za-z'])")
# "A gauge", "I cannot": a word, not the letter of a gauge.
_WORD_A_OR_I = re.compile(r"\b[AI]\s+(?!(?:reads|is|shows|has|says|or|and|with|because|at)\b)(?=[a-z])")
_NONE = re.compile(r"\b(no|not|none|nothing|absent|missing|without|isn't|doesn't|cannot|can't)\b", re.IGNORECASE)


class Panels:
    """The world; `unseen` uses a face and hues that training never draws, to measure how far reading carries."""

    def __init__(self, name: str = "panels", *, unseen: bool = False) -> None:
        self.name = name
        self._unseen = unseen

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of readouts, rotation and noise.

        `kind` and `legible` are drawn unless given; training gives them, to practise what is hard.
        """
        rng = stream(self.name, split, seed, index)
        drawn = rng.random()
        level = drawn if difficulty is None else difficulty
        kind, need = _draw_need(rng, kind, legible)
        scene = plan_scene(rng, need, level, split=split, unseen=self._unseen)
        asked = scene.readouts[: len(need.large)]
        if kind == "read":
            question, answer, trace = _read(rng, scene, asked[0])
        elif kind == "compare":
            question, answer, trace = _compare(rng, scene, asked)
        elif kind == "sum":
            question, answer, trace = _sum(rng, scene, asked)
        else:
            question, answer, trace = _absent(rng, scene)
        picture, glyphs = paint(scene)
        return Item(self.name, kind, picture, question, answer, all(need.large), level, glyphs, trace, seed)

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right: an equal number with no other unit, the one letter, or that there is none."""
        if item.kind == "compare":
            return _stated_letters(item, answer) == {item.answer}
        if item.kind == "absent":
            others = set(_LONE_LETTER.findall(answer)) - set(_LONE_LETTER.findall(item.question)) - {"A", "I"}
            return bool(_NONE.search(answer)) and not re.search(r"\d", answer) and not others
        return same_quantity(item.answer, answer)

    def reading_crop(self, seed: int, index: int, split: Split = "train") -> Crop:
        """Make a close view of one fine readout, as a zoom would return it, with its text: "C 347 bar"."""
        rng = stream(f"{self.name}/crop", split, seed, index)
        scene = plan_scene(rng, Need((False,)), rng.random(), split=split, unseen=self._unseen)
        readout = scene.readouts[0]
        x, y = look_box(scene, readout)[:2]
        spots = [(x, y)]
        # Now and then a neighbouring box that holds the readout too: the model's own boxes are not always centred.
        if rng.random() < 0.35:
            near = [(x + i, y + j) for i in (-BOX_STEP, 0, BOX_STEP) for j in (-BOX_STEP, 0, BOX_STEP)]
            spots += [spot for spot in near if _holds(scene, readout, spot) and not _others(scene, spot)]
        x, y = rng.choice(spots)
        scale = scene.size / 1000
        window = (round(x * scale), round(y * scale), round((x + BOX_SIDE) * scale), round((y + BOX_SIDE) * scale))
        picture, glyphs = paint(scene, window)
        return Crop(picture, f"{readout.label} {readout.value} {readout.unit}", glyphs)


def _draw_need(rng: random.Random, kind: Kind | None, legible: bool | None) -> tuple[Kind, Need]:
    roll, is_large = rng.random(), rng.random() < 0.33
    kind = kind or ("read" if roll < 0.6 else "compare" if roll < 0.85 else "sum" if roll < 0.97 else "absent")
    is_large = is_large if legible is None else legible
    if kind == "absent":
        return kind, Need(())
    if kind == "read":
        return kind, Need((is_large,))
    # One readout in large print and one in fine print: a look for one of them only.
    second = is_large or rng.random() < 0.2
    sizes = (second, is_large) if rng.random() < 0.5 else (is_large, second)
    if kind == "compare":
        return kind, Need(sizes, same_unit=True, alike=second or rng.random() < 0.85)
    return kind, Need(sizes, same_unit=True, integers=True)


def look_box(scene: Scene, readout: Readout) -> tuple[int, int, int, int]:
    """The zoom box around a readout: BOX_SIDE wide, corners at multiples of BOX_STEP, centred as they allow."""
    x0, y0, x1, y1 = (v * 1000 / scene.size for v in scene.bounds(readout.block))
    corners = (BOX_STEP * round(((low + high) / 2 - BOX_SIDE / 2) / BOX_STEP) for low, high in ((x0, x1), (y0, y1)))
    x, y = (min(1000 - BOX_SIDE, max(0, corner)) for corner in corners)
    return x, y, x + BOX_SIDE, y + BOX_SIDE


def _holds(scene: Scene, readout: Readout, spot: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = (v * 1000 / scene.size for v in scene.bounds(readout.block))
    (x, y), last = spot, 1000 - BOX_SIDE
    return 0 <= x <= last and 0 <= y <= last and x <= x0 and y <= y0 and x1 <= x + BOX_SIDE and y1 <= y + BOX_SIDE


def _others(scene: Scene, spot: tuple[int, int]) -> bool:
    """Whether a box shows the middle of a second readout: which one is meant would be open."""
    for other in scene.readouts[1:]:
        x0, y0, x1, y1 = (v * 1000 / scene.size for v in scene.bounds(other.block))
        x, y = (x0 + x1) / 2 - spot[0], (y0 + y1) / 2 - spot[1]
        if 0 <= x < BOX_SIDE and 0 <= y < BOX_SIDE:
            return True
    return False


def _looks(scene: Scene, asked: list[Readout], *, with_unit: bool = False) -> tuple[list[Step], str]:
    """Looks at the fine readouts in the order asked; also what is known after the last and not yet said."""
    steps: list[Step] = []
    said = ""
    for readout in asked:
        if not readout.is_large:
            steps.append(Look(f"{said}Find {readout.label}.", look_box(scene, readout)))
            said = ""
        said += f"{readout.label} reads {readout.value}{' ' + readout.unit if with_unit else ''}. "
    return steps, said


def _read(rng: random.Random, scene: Scene, readout: Readout) -> tuple[str, str, tuple[Step, ...]]:
    question = rng.choice(_READ).format(a=readout.label, u=readout.unit)
    answer = f"{readout.value} {readout.unit}"
    steps, said = _looks(scene, [readout], with_unit=True)
    return question, answer, (*steps, Answer(said.strip(), answer))


def _compare(rng: random.Random, scene: Scene, asked: list[Readout]) -> tuple[str, str, tuple[Step, ...]]:
    one, two = asked
    words = rng.choice((("higher", "lower"), ("higher", "lower"), ("larger", "smaller"), ("greater", "lower")))
    wants_high = rng.random() < 0.5
    is_more = Decimal(one.value) > Decimal(two.value)
    answer = one.label if is_more == wants_high else two.label
    question = rng.choice(_COMPARE).format(a=one.label, b=two.label, w=words[0] if wants_high else words[1])
    steps, said = _looks(scene, asked)
    high, low = (one, two) if is_more else (two, one)
    # The greater first: the question's word alone then says which of the two labels is the answer.
    thought = f"{said}{high.value} > {low.value}: {high.label} > {low.label}."
    return question[0].upper() + question[1:], answer, (*steps, Answer(thought, answer))


def _sum(rng: random.Random, scene: Scene, asked: list[Readout]) -> tuple[str, str, tuple[Step, ...]]:
    one, two = asked
    question = rng.choice(_SUM).format(a=one.label, b=two.label, u=one.unit)
    answer = f"{int(one.value) + int(two.value)} {one.unit}"
    steps, said = _looks(scene, asked)
    return question, answer, (*steps, Answer(said + written_sum(one.value, two.value), answer))


def _absent(rng: random.Random, scene: Scene) -> tuple[str, str, tuple[Step, ...]]:
    taken = {r.label for r in scene.readouts} | {MISTAKABLE_UNITS.get(r.unit, "") for r in scene.readouts if r.is_large}
    letter = rng.choice([c for c in LETTERS if c not in taken])
    question = rng.choice(_READ).format(a=letter, u=rng.choice(scene.readouts).unit)
    answer = f"There is no gauge {letter} here."
    return question, answer, (Answer(f"No {letter}.", answer),)


def _stated_letters(item: Item, answer: str) -> set[str]:
    """Which of the letters asked about an answer names; a unit behind a number is not a letter named."""
    asked = set(_LONE_LETTER.findall(item.question))
    text = _WORD_A_OR_I.sub("", answer.strip())
    if len(text.strip(".!")) == 1:
        return {text[0].upper()} & asked
    units = "|".join(re.escape(u) for u in UNITS)
    return set(_LONE_LETTER.findall(re.sub(rf"(\d)\s*(?:{units})(?![A-Za-z])", r"\1", text))) & asked


PANELS = Panels()
PANELS_UNSEEN = Panels("panels-unseen", unseen=True)
