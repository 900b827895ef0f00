"""The world "routes": lettered places joined by roads, or by coloured lines; questions of several hops.

Kinds: "hops" (how many roads at least), "way" (the places of the way with the fewest roads; there is one such way),
"reach" (whether there is a way at all), "next" (which stop comes after another on a line, one or several on),
"shortest" (the printed lengths along the shortest way, added up). Letters are large print. Lengths are large, too, on
about 35 in 100 maps that ask for them; on the others they are fine print, and demonstrations take a look at every road
that counts.

What counts as right. The one number, with the right unit or none where lengths are asked; the letters of the way in
order, however joined; the one letter; yes or no.

Distinct items: five places have 25 * 24 * 23 * 22 * 21 letters in more than 100 trees of roads, which is 6e8, before
lengths, places and wording; maps have up to eight.
Train and test: roads with their lengths and lines with their stops hash into one of eight buckets; one is the test
split's. "routes-unseen" sets places in staggered rows, with dashed roads, square marks, a face and hues that training
never draws; "routes-reworded" asks in words of its own.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from narthex.evals.worlds.answers import same_quantity
from narthex.evals.worlds.item import Answer, Item, Kind, Look, Split, Step, stream
from narthex.evals.worlds.letters import counts_in, labels_in, letters_in
from narthex.evals.worlds.route_paint import paint
from narthex.evals.worlds.route_scene import (
    Asked,
    Link,
    Scene,
    all_ways,
    distances,
    group_box,
    length_of,
    links_of,
    looks,
    plan_scene,
)
from narthex.evals.worlds.sheet import shortest_first

_HOPS = (
    "How many roads is it from {a} to {b} at least?", "With the fewest roads, how many lead from {a} to {b}?",
    "How many roads does the way from {a} to {b} take at least?", "Fewest roads from {a} to {b}?",
)  # fmt: skip
_HOPS_HELD = ("Going from {a} to {b}, how few roads can you do it in?", "{a} to {b}: the least number of roads?")
_WAY = (
    "Which way from {a} to {b} has the fewest roads?", "Give the way from {a} to {b} with the fewest roads.",
    "How do I get from {a} to {b} on the fewest roads?", "Name the places on the way from {a} to {b}, fewest roads.",
)  # fmt: skip
_WAY_HELD = ("Lead me from {a} to {b} on as few roads as can be.", "List the places from {a} to {b}, as few as may be.")
_REACH = (
    "Can you get from {a} to {b}?", "Is there a way from {a} to {b}?", "Is {b} joined to {a} by roads?",
    "Do the roads lead from {a} to {b}?",
)  # fmt: skip
_REACH_HELD = ("Starting at {a}, is {b} within reach?", "Does any chain of roads link {a} with {b}?")
_SHORTEST = (
    "How long is the shortest way from {a} to {b}, in {u}?", "Length in {u} of the shortest way from {a} to {b}?",
    "How many {u} is it from {a} to {b} at least?", "Shortest way from {a} to {b}: how many {u}?",
)  # fmt: skip
_SHORTEST_HELD = (
    "What do the {u} add up to on the best way from {a} to {b}?", "{a} to {b} in the least {u}: how many?",
)  # fmt: skip
_NEXT = (
    "Which stop comes after {a} on the {c} line towards {b}?", "On the {c} line to {b}, what comes after {a}?",
    "What is the next stop after {a} on the {c} line to {b}?", "{c} line towards {b}: which stop follows {a}?",
)  # fmt: skip
_NEXT_HELD = (
    "Riding the {c} line to {b}, where do I stop right after {a}?", "Name the stop past {a}, {c} line, bound for {b}.",
)  # fmt: skip
_FURTHER = (
    "Which stop is {n} stops after {a} on the {c} line towards {b}?",
    "On the {c} line to {b}, which is {n} stops after {a}?", "{n} stops after {a} on the {c} line to {b}: which one?",
)  # fmt: skip
_FURTHER_HELD = (
    "Riding the {c} line to {b}, where am I {n} stops past {a}?", "Ride {n} stops from {a}, {c} line, bound for {b}.",
)  # fmt: skip
_SHARES: tuple[tuple[Kind, float], ...] = (
    ("shortest", 0.6), ("hops", 0.7), ("way", 0.8), ("next", 0.92), ("reach", 1.01),
)  # fmt: skip
_LARGE_SHARE = 0.35
_NUMBERS = ("two", "three", "four")
_YES = re.compile(r"\b(?:yes|yeah)\b", re.IGNORECASE)
_NO = re.compile(r"\b(?:no|not|none|cannot|can't|isn't)\b", re.IGNORECASE)


class _Told(NamedTuple):
    """How to ask, what stands in the slots, the answer and the demonstrations."""

    words: tuple[tuple[str, ...], tuple[str, ...]]
    slots: dict[str, str]
    answer: str
    traces: list[tuple[Step, ...]]


class Routes:
    """The world; `unseen` draws in held-out styles, `reworded` asks in held-out words."""

    def __init__(self, name: str = "routes", *, unseen: bool = False, reworded: bool = False) -> None:
        self.name = name
        self._unseen, self._reworded = unseen, reworded

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train",
        kind: Kind | None = None, legible: bool | None = None,
    ) -> Item:  # fmt: skip
        """Make one item; see `World.item`. difficulty drives the number of places, rotation and grain.

        `kind` and `legible` are drawn unless given; only "shortest" can take a look.
        """
        rng = stream(self.name, split, seed, index)
        drawn, roll, is_large, can_reach = rng.random(), rng.random(), rng.random() < _LARGE_SHARE, rng.random() < 0.5
        level = drawn if difficulty is None else difficulty
        is_large = is_large if legible is None else legible
        if legible is False and kind is None:
            roll = 0.0
        chosen: Kind = next(k for k, upto in _SHARES if roll < upto) if kind is None else kind
        asked: Asked = _ASKED[chosen]
        scene = plan_scene(
            rng, asked, level, is_large=is_large, can_reach=can_reach, split=split, unseen=self._unseen
        )
        told = _TELLERS[asked](rng, scene)
        question = rng.choice(told.words[self._reworded]).format(**told.slots)
        question = question[0].upper() + question[1:]
        picture, glyphs = paint(scene)
        trace, others = shortest_first(told.traces)
        is_legible = scene.is_large or asked != "shortest"
        return Item(
            self.name, chosen, picture, question, told.answer, is_legible, level, glyphs, trace, seed, others
        )

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right; the rules stand at the top of this file."""
        if item.kind == "shortest":
            return same_quantity(item.answer, answer)
        if item.kind == "hops":
            return counts_in(answer) == {int(item.answer)}
        if item.kind == "reach":
            is_no = bool(_NO.search(answer))
            return (is_no or bool(_YES.search(answer))) and is_no == (item.answer == "no")
        if item.kind == "way":
            told = answer.strip(" .")
            return (list(told) if re.fullmatch("[A-Z]{2,}", told) else letters_in(answer)) == item.answer.split(", ")
        return set(letters_in(answer)) - labels_in(item.question) == {item.answer}


def _spelled(scene: Scene, way: list[int]) -> str:
    return "-".join(scene.letters[place] for place in way)


def _ends(scene: Scene) -> dict[str, str]:
    return {"a": scene.letters[scene.start], "b": scene.letters[scene.goal], "u": scene.unit}


def _fewest(scene: Scene) -> list[int]:
    return min(all_ways(scene.roads, scene.start, scene.goal), key=len)


def _layers(scene: Scene) -> str:
    """The search by layers, as far as the goal: "A: B, C. Then: D, E."."""
    steps = distances(scene.roads, scene.start)
    last = steps[scene.goal]
    rows = [sorted(scene.letters[p] for p, n in steps.items() if n == layer) for layer in range(1, last)]
    told = [f"{'Then' if i else scene.letters[scene.start]}: {', '.join(row)}." for i, row in enumerate(rows)]
    return " ".join([*told, f"Then {scene.letters[scene.goal]}."])


def _hops(rng: random.Random, scene: Scene) -> _Told:
    way = _fewest(scene)
    answer = str(len(way) - 1)
    spelled = _spelled(scene, way)
    says = (f"{spelled}: {answer}.", f"{spelled}, {answer} roads.", f"{_layers(scene)} {answer}.")
    return _Told((_HOPS, _HOPS_HELD), _ends(scene), answer, [(Answer(said, answer),) for said in says])


def _way(rng: random.Random, scene: Scene) -> _Told:
    way = _fewest(scene)
    answer = ", ".join(scene.letters[place] for place in way)
    says = (f"{_spelled(scene, way)}.", f"Fewest: {_spelled(scene, way)}.", _layers(scene))
    return _Told((_WAY, _WAY_HELD), _ends(scene), answer, [(Answer(said, answer),) for said in says])


def _reach(rng: random.Random, scene: Scene) -> _Told:
    found = distances(scene.roads, scene.start)
    if scene.goal in found:
        answer, says = "yes", (f"{_spelled(scene, _fewest(scene))}.", f"Yes: {_spelled(scene, _fewest(scene))}.")
    else:
        others = ", ".join(sorted(scene.letters[place] for place in found if place != scene.start)) or "nothing"
        start, goal = scene.letters[scene.start], scene.letters[scene.goal]
        answer, says = "no", (f"{start} reaches {others}.", f"{start} reaches {others}, not {goal}.")
    return _Told((_REACH, _REACH_HELD), _ends(scene), answer, [(Answer(said, answer),) for said in says])


def _next(rng: random.Random, scene: Scene) -> _Told:
    name = rng.choice(sorted(scene.lines))
    stops = [scene.letters[stop] for stop in scene.lines[name]]
    if rng.random() < 0.5:
        stops.reverse()
    on = rng.randint(1, min(4, len(stops) - 2))
    at = rng.randrange(len(stops) - 1 - on)
    answer, passed = stops[at + on], stops[at : at + on + 1]
    line = ", ".join(passed)
    says = (f"{name}: {line}.", f"{name} line: {line}.", f"{name} to {stops[-1]}: {', '.join(stops[at:])}.")
    slots = {"a": stops[at], "b": stops[-1], "c": name, "n": _NUMBERS[on - 2] if on > 1 else ""}
    words = (_NEXT, _NEXT_HELD) if on == 1 else (_FURTHER, _FURTHER_HELD)
    return _Told(words, slots, answer, [(Answer(said[0].upper() + said[1:], answer),) for said in says])


def _shortest(rng: random.Random, scene: Scene) -> _Told:
    ways = sorted(all_ways(scene.roads, scene.start, scene.goal), key=len)
    best = min(length_of(scene.roads, way) for way in ways)
    answer = f"{best} {scene.unit}"
    traces = [_weigh(scene, ways, answer, *style) for style in (("", " ", ""), ("-", ": ", ""), ("", " ", f" {best}."))]
    return _Told((_SHORTEST, _SHORTEST_HELD), _ends(scene), answer, traces)


def _weigh(scene: Scene, ways: list[list[int]], answer: str, between: str, mark: str, last: str) -> tuple[Step, ...]:
    """Read the roads that count, add each way up, take the least. between: letters; mark: before the sum."""
    sums = []
    for way in ways:
        lengths = "+".join(str(scene.roads[ends]) for ends in links_of(way))
        spelled = between.join(scene.letters[place] for place in way)
        sums.append(f"{spelled}{mark}{lengths}={length_of(scene.roads, way)}.")
    steps: list[Step] = []
    known = ""
    if not scene.is_large:
        for group in looks(scene, ways):
            sought = ", ".join(_named(scene, ends) for ends in group)
            steps.append(Look(f"{known}Find {sought}.", group_box(scene, group)))
            known = ", ".join(f"{_named(scene, ends)} {scene.roads[ends]}" for ends in group) + ". "
    return (*steps, Answer(f"{known}{' '.join(sums)}{last}", answer))


def _named(scene: Scene, ends: Link) -> str:
    return "".join(sorted(scene.letters[end] for end in ends))


_ASKED: dict[str, Asked] = {"hops": "hops", "way": "way", "reach": "reach", "next": "next", "shortest": "shortest"}
_TELLERS = {"hops": _hops, "way": _way, "reach": _reach, "next": _next, "shortest": _shortest}

ROUTES = Routes()
ROUTES_UNSEEN = Routes("routes-unseen", unseen=True)
ROUTES_REWORDED = Routes("routes-reworded", reworded=True)
