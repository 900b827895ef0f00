"""The world "shapes": coloured objects; count, point, box, and the questions of Sort-of-CLEVR.

The kinds "nonrelational" and "relational" are Sort-of-CLEVR (Santoro et al. 2017): six objects, one of each colour,
circles or squares 10 parts wide where the side has 75, and its six questions: the form of an object, whether it is left
or right, top or bottom; the form of the nearest object, of the farthest one, how many others have the same form.
Published: relation network 94 % on relational questions, CNN and MLP 63 %. One difference, so that every answer can be
checked: distances that are compared differ by 1 % of the side, and no middle lies within 1 % of a half's border.

Other kinds: "count" (objects of a form, a colour, both, or all), "point" (right within half the width of the object,
`Item.tolerance`), "box" (right from an intersection over union of 0.5), "detail" (the form of an object, or a number
printed on it, too small for the view of 96 pixels: a look). Places are thousandths of the sides.

Distinct items: two objects alone stand in more than 1e4 * 1e4 places; six number more than 1e20.
Train and test: the objects and their places, to 1 %, hash into one of eight buckets; one is the test split's.
"shapes-unseen" draws thick outlines in shades beside the training ones on ruled paper; "shapes-reworded" asks in words
of its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from narthex.evals.worlds.item import Answer, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.letters import NUMBER_WORDS
from narthex.evals.worlds.shape_scene import (
    COLOURS,
    FORMS,
    Scene,
    Thing,
    distance,
    paint,
    plan_clevr,
    plan_crowd,
    plan_numbered,
    plan_tiny,
)
from narthex.evals.worlds.sheet import SIDE_DU, look_box, shortest_first

_MARGIN = 10.0  # thousandths
_MIN_OVERLAP = 0.5
_SHARES: tuple[tuple[Kind, float], ...] = (
    ("relational", 0.3), ("nonrelational", 0.5), ("count", 0.65), ("point", 0.75), ("box", 0.85), ("detail", 1.01),
)  # fmt: skip

_FORM = (
    "What shape is the {c} object?", "What is the shape of the {c} one?", "Is the {c} object a circle or a square?",
    "Which shape does the {c} object have?", "{c}: which shape?", "The {c} thing is what shape?",
)  # fmt: skip
_FORM_HELD = ("Name the form of the {c} object.", "Circle or square: what is {c}?")
_SIDE = (
    "Is the {c} object on the left or on the right?", "Which side is the {c} object on, left or right?",
    "{c}: left or right?", "Is the {c} one in the left half or the right half?",
)  # fmt: skip
_SIDE_HELD = ("Does the {c} object lie left or right of the middle?", "Left half or right half for the {c} one?")
_HEIGHT = (
    "Is the {c} object at the top or at the bottom?", "{c}: top or bottom?",
    "Is the {c} one in the top half or the bottom half?", "Which half is the {c} object in, top or bottom?",
)  # fmt: skip
_HEIGHT_HELD = ("Does the {c} object lie in the top or the bottom part?", "Top half or bottom half for the {c} one?")
_NEAREST = (
    "What shape is the object closest to the {c} one?", "What is the shape of the object nearest to the {c} object?",
    "Which shape is closest to the {c} object?", "The object nearest to {c}: what shape is it?",
)  # fmt: skip
_NEAREST_HELD = ("Name the form of the {c} object's neighbour.", "What form has the one that stands next to {c}?")
_FARTHEST = (
    "What shape is the object farthest from the {c} one?",
    "What is the shape of the object farthest from {c}?", "Which shape is farthest from the {c} object?",
    "The object farthest from {c}: what shape is it?",
)  # fmt: skip
_FARTHEST_HELD = ("Name the form of the object most distant from {c}.", "What form has the one furthest off {c}?")
_SAME = (
    "How many other objects have the shape of the {c} one?", "How many others have the same shape as the {c} object?",
    "Count the other objects shaped like the {c} one.", "How many more objects share the shape of the {c} one?",
)  # fmt: skip
_SAME_HELD = ("Leaving {c} out, how many have its form?", "How often does the form of {c} come again?")
_COUNT = ("How many {t} are there?", "Count the {t}.", "How many {t} do you see?", "Number of {t}?", "How many {t}?")
_COUNT_HELD = ("Tell me the number of {t} here.", "{t}: what is the tally?")
_POINT = ("Point to the {t}.", "Where is the {t}?", "Point at the {t}.", "Give the middle of the {t} as x, y.")
_POINT_HELD = ("Put your finger on the {t}.", "At which x, y is the {t}?")
_BOX = (
    "Box the {t}.", "Give the box of the {t}.", "Draw a box around the {t}.", "Bounding box of the {t}?",
    "Box of the {t} as left, top, right, bottom?",
)  # fmt: skip
_BOX_HELD = ("Frame the {t} tightly.", "Which box holds just the {t}?")
_TINY = (
    "What shape is the small {c} object?", "Which shape is the {c} dot?", "What shape is the tiny {c} thing?",
    "{c}: which shape?",
)  # fmt: skip
_TINY_HELD = ("Name the form of the little {c} one.", "The {c} speck has what form?")
_NUMBER = (
    "Which number is on the {c} object?", "What number does the {c} {f} carry?", "Read the number on the {c} {f}.",
    "{c} object: which number?",
)  # fmt: skip
_NUMBER_HELD = ("What is printed on the {c} {f}?", "Tell me the figure on the {c} one.")

_SAME_WORDS = {
    "round": "circle", "disc": "circle", "disk": "circle", "rectangle": "square", "upper": "top", "above": "top",
    "lower": "bottom", "below": "bottom", "plus": "cross", "rhombus": "diamond", **NUMBER_WORDS,
}  # fmt: skip
_NUMBER_FORM = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
_Words = tuple[tuple[str, ...], tuple[str, ...]]


class _Told(NamedTuple):
    """How to ask, with what in the slots, the answer, and what demonstrations say before it."""

    words: _Words
    slots: dict[str, str]
    answer: str
    says: tuple[str, ...]
    tolerance: float = 0.0


class Shapes:
    """The world; `unseen` draws in held-out styles, `reworded` asks in held-out words."""

    def __init__(self, name: str = "shapes", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._unseen, self._reworded = unseen, reworded

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of objects and the grain.

        `kind` and `legible` are drawn unless given; only "detail" takes a look, so `legible` decides where no kind is.
        """
        rng = stream(self.name, split, seed, index)
        drawn, roll = rng.random(), rng.random()
        level = drawn if difficulty is None else difficulty
        if legible is not None:
            roll = roll * 0.85 if legible else 0.99
        chosen: Kind = next(k for k, upto in _SHARES if roll < upto) if kind is None else kind
        scene, told = self._draw(rng, chosen, level, split)
        template = rng.choice(told.words[self._reworded]).format(**told.slots)
        question = template[0].upper() + template[1:]
        picture, glyphs = paint(scene)
        traces: list[tuple[Step, ...]] = [(Answer(said, told.answer),) for said in told.says]
        if chosen == "detail":
            k, thing = SIDE_DU / 1000, scene.things[0]
            x0, y0, x1, y1 = thing.box
            look = Look(f"Find {thing.colour}.", look_box((x0 * k, y0 * k, x1 * k, y1 * k)))
            traces = [(look, *trace) for trace in traces]
        trace, others = shortest_first(traces)
        return Item(
            self.name, chosen, picture, question, told.answer, chosen != "detail", level, glyphs, trace, seed, others,
            tolerance=told.tolerance,
        )  # fmt: skip

    def _draw(self, rng: random.Random, kind: Kind, level: float, split: Split) -> tuple[Scene, _Told]:
        """Plan pictures until one can be asked about without doubt."""
        plans, tell = _TELLERS[kind]
        while True:
            scene = rng.choice(plans)(rng, level, split=split, unseen=self._unseen)
            told = tell(rng, scene)
            if told is not None:
                return scene, told

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right; the rules stand at the top of this file."""
        if item.kind in ("point", "box"):
            wanted, stated = _numbers(item.answer), _numbers(answer)
            if len(stated) != len(wanted) or not all(0 <= number <= 1000 for number in stated):
                return False
            if item.kind == "box":
                return overlap(wanted, stated) >= _MIN_OVERLAP
            return (wanted[0] - stated[0]) ** 2 + (wanted[1] - stated[1]) ** 2 <= item.tolerance**2
        return _choices(item.answer, answer) == {item.answer}


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER_FORM.findall(text)]


def overlap(one: list[float], two: list[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 where one is turned inside out."""
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two) if box[2] > box[0] and box[3] > box[1]]
    if wide <= 0 or high <= 0 or len(areas) < 2:
        return 0.0
    return wide * high / (sum(areas) - wide * high)


def _choices(truth: str, answer: str) -> set[str]:
    """The words of the truth's kind (numbers, forms, sides, halves) that an answer names; after "=" what follows."""
    words = [_SAME_WORDS.get(word, word) for word in re.findall(r"[a-z]+|\d+", answer.lower().rsplit("=", 1)[-1])]
    words = [_SAME_WORDS.get(w[:-1], w[:-1]) if w.endswith("s") and w[:-1] in _FORM_WORDS else w for w in words]
    if truth.isdigit():
        return {str(int(word)) for word in words if word.isdigit()}
    family = next(group for group in (FORMS, ("left", "right"), ("top", "bottom")) if truth in group)
    return {word for word in words if word in family}


_FORM_WORDS = frozenset((*FORMS, "disc", "disk", "rectangle"))


def _nonrelational(rng: random.Random, scene: Scene) -> _Told | None:
    thing = rng.choice(scene.things)
    name, asked = thing.colour, rng.randrange(3)
    slots = {"c": name}
    if asked == 0:
        says = (f"{_cap(name)} is a {thing.form}.", f"The {name} one: a {thing.form}.")
        return _Told((_FORM, _FORM_HELD), slots, thing.form, says)
    place = thing.x if asked == 1 else thing.y
    if abs(place - 500) < _MARGIN:
        return None
    low, high = ("left", "right") if asked == 1 else ("top", "bottom")
    answer = low if place < 500 else high
    words = (_SIDE, _SIDE_HELD) if asked == 1 else (_HEIGHT, _HEIGHT_HELD)
    return _Told(words, slots, answer, (f"{_cap(name)} is {answer}.", f"{_cap(name)} is at the {answer}."))


def _relational(rng: random.Random, scene: Scene) -> _Told | None:
    thing, asked = rng.choice(scene.things), rng.randrange(3)
    name, others = thing.colour, [t for t in scene.things if t is not thing]
    if asked == 2:
        same = [t.colour for t in others if t.form == thing.form]
        answer = str(len(same))
        listed = ", ".join((name, *same))
        counted = f"{listed}. {answer} more."
        says = (f"{_cap(thing.form)}s: {counted}", f"{_cap(name)} is a {thing.form}. So: {counted}")
        return _Told((_SAME, _SAME_HELD), {"c": name}, answer, says)
    ranked = sorted(others, key=lambda t: distance(t, thing), reverse=asked == 1)
    if abs(distance(ranked[0], thing) - distance(ranked[1], thing)) < _MARGIN:
        return None
    found, word = ranked[0], ("Nearest to", "Farthest from")[asked]
    says = (f"{word} {name}: {found.colour}, {found.form}.", f"{word} {name} is {found.colour}, a {found.form}.")
    words = (_FARTHEST, _FARTHEST_HELD) if asked else (_NEAREST, _NEAREST_HELD)
    return _Told(words, {"c": name}, found.form, says)


def _count(rng: random.Random, scene: Scene) -> _Told | None:
    colours = sorted({t.colour for t in scene.things})
    forms = sorted({t.form for t in scene.things})
    asked = rng.randrange(4)
    colour = rng.choice(colours if rng.random() < 0.9 else COLOURS) if asked in (1, 3) else ""
    form = rng.choice(forms if rng.random() < 0.9 else FORMS) if asked in (2, 3) else ""
    found = [t for t in scene.things if colour in ("", t.colour) and form in ("", t.form)]
    what = f"{colour} {_plural(form) if form else 'objects'}".strip()
    number = str(len(found))
    counted = " ".join(str(i + 1) for i in range(len(found)))
    longer = f"{_cap(what)}: {counted}." if found and len(found) < 7 else f"I count {number}."
    says = (f"{_cap(what)}: {number}.", longer)
    return _Told((_COUNT, _COUNT_HELD), {"t": what}, number, says)


def _unique(rng: random.Random, scene: Scene) -> tuple[Thing, str] | None:
    """An object that colour and form name without doubt, by the shortest name now and then."""
    thing = rng.choice(scene.things)
    if sum((t.colour, t.form) == (thing.colour, thing.form) for t in scene.things) > 1:
        return None
    alone = sum(t.colour == thing.colour for t in scene.things) == 1
    return thing, f"{thing.colour} object" if alone and rng.random() < 0.3 else f"{thing.colour} {thing.form}"


def _point(rng: random.Random, scene: Scene) -> _Told | None:
    if (found := _unique(rng, scene)) is None:
        return None
    thing, name = found
    answer = f"{_tens(thing.x)}, {_tens(thing.y)}"
    says = (f"{_cap(name)}.", f"{_cap(name)}{_where(thing)}.")
    return _Told((_POINT, _POINT_HELD), {"t": name}, answer, says, thing.half)


def _box(rng: random.Random, scene: Scene) -> _Told | None:
    if (found := _unique(rng, scene)) is None:
        return None
    thing, name = found
    answer = ", ".join(str(_tens(edge)) for edge in thing.box)
    return _Told((_BOX, _BOX_HELD), {"t": name}, answer, (f"{_cap(name)}.", f"{_cap(name)}{_where(thing)}."))


def _detail(rng: random.Random, scene: Scene) -> _Told | None:
    thing = scene.things[0]
    name = thing.colour
    slots = {"c": name, "f": thing.form}
    if thing.number:
        says = (f"{_cap(name)}: {thing.number}.", f"On {name}: {thing.number}.")
        return _Told((_NUMBER, _NUMBER_HELD), slots, thing.number, says)
    says = (f"{_cap(name)} is a {thing.form}.", f"The {name} one: a {thing.form}.")
    return _Told((_TINY, _TINY_HELD), slots, thing.form, says)


def _where(thing: Thing) -> str:
    return f", {'top' if thing.y < 500 else 'bottom'} {'left' if thing.x < 500 else 'right'}"


def _tens(place: float) -> int:
    """To the nearest ten thousandths: about a pixel of the small view."""
    return 10 * round(place / 10)


def _plural(form: str) -> str:
    return f"{form}es" if form == "cross" else f"{form}s"


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]


_Plan = Callable[..., Scene]
_TELLERS: dict[str, tuple[tuple[_Plan, ...], Callable[[random.Random, Scene], _Told | None]]] = {
    "nonrelational": ((plan_clevr,), _nonrelational), "relational": ((plan_clevr,), _relational),
    "count": ((plan_crowd,), _count), "point": ((plan_crowd,), _point), "box": ((plan_crowd,), _box),
    "detail": ((plan_tiny, plan_numbered), _detail),
}  # fmt: skip

SHAPES = Shapes()
SHAPES_UNSEEN = Shapes("shapes-unseen", unseen=True)
SHAPES_REWORDED = Shapes("shapes-reworded", reworded=True)
