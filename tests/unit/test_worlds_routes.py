"""The routes world: repeatable, checkable, and answers that a second way of searching finds, too."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from narthex.evals.worlds import Answer, Item, Look, Split, get_world
from narthex.evals.worlds.route_paint import paint
from narthex.evals.worlds.route_scene import (
    NODE_DU,
    Asked,
    Scene,
    all_ways,
    distances,
    group_box,
    key_of,
    link,
    looks,
    plan_scene,
)
from narthex.evals.worlds.routes import _TELLERS, ROUTES, ROUTES_REWORDED, ROUTES_UNSEEN
from narthex.evals.worlds.sheet import FINE_DU, LARGE_DU, holds, split_of, thousandths, trace_length

ITEMS = [ROUTES.item(11, index) for index in range(300)]
KINDS: tuple[Asked, ...] = ("next", "hops", "way", "shortest", "reach")


def scenes(
    asked: Asked, count: int, *, unseen: bool = False, split: Split = "train", is_large: bool = False
) -> list[Scene]:
    rng = random.Random(6)
    how = {"is_large": is_large, "split": split, "unseen": unseen}
    return [plan_scene(rng, asked, rng.random(), can_reach=i % 2 == 0, **how) for i in range(count)]  # type: ignore[arg-type]


def example(kind: str, answer: str, question: str = "Which stop comes after A on the red line towards F?") -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer, question=question)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (7, 3):
        again, before = ROUTES.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    assert ITEMS[3].glyphs != ROUTES.item(12, 3).glyphs and ITEMS[3].glyphs != ROUTES.item(11, 3, split="test").glyphs


def test_the_splits_share_no_map_and_maps_differ() -> None:
    for asked in ("shortest", "next"):
        for split in ("train", "test"):
            found = scenes(asked, 30, split=split)  # type: ignore[arg-type]
            assert all(split_of(key_of(scene)) == split for scene in found)
            assert len({key_of(scene) for scene in found}) == len(found)


def test_a_map_told_in_another_order_is_the_same_map() -> None:
    (scene,) = scenes("shortest", 1)
    order = list(range(len(scene.letters)))[::-1]  # place i becomes place order[i]
    again = replace(
        scene, letters=scene.letters[::-1],
        roads={link(order[a], order[b]): length for (a, b), length in reversed(scene.roads.items())},
    )  # fmt: skip
    assert key_of(again) == key_of(scene)
    (lines,) = scenes("next", 1)
    backwards = {colour: stops[::-1] for colour, stops in lines.lines.items()}
    assert key_of(replace(lines, lines=backwards)) == key_of(lines)


def test_kinds_and_print_come_in_their_shares() -> None:
    counts = Counter(item.kind for item in ITEMS)
    assert set(counts) == set(KINDS) and counts["shortest"] > 0.5 * len(ITEMS) and min(counts.values()) > 10
    assert 0.5 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.75
    said = Counter(item.answer for item in (ROUTES.item(3, i, kind="reach") for i in range(60)))
    assert set(said) == {"yes", "no"} and min(said.values()) > 15


def by_trying(scene: Scene) -> list[tuple[int, ...]]:
    """Every way from start to goal, by trying all orders of the other places."""
    others = [p for p in range(len(scene.places)) if p not in (scene.start, scene.goal)]
    ways = []
    for count in range(len(others) + 1):
        for middle in itertools.permutations(others, count):
            way = (scene.start, *middle, scene.goal)
            if all(link(a, b) in scene.roads for a, b in itertools.pairwise(way)):
                ways.append(way)
    return ways


def test_answers_are_those_of_trying_everything() -> None:
    rng = random.Random(3)
    for asked in ("hops", "way", "shortest", "reach"):
        for scene in scenes(asked, 12):  # type: ignore[arg-type]
            if len(scene.places) > 7:
                continue
            told, ways = _TELLERS[asked](rng, scene), by_trying(scene)  # type: ignore[index]
            if asked == "reach":
                assert (told.answer == "yes") == bool(ways)
            elif asked == "hops":
                assert int(told.answer) == min(len(way) for way in ways) - 1
            elif asked == "way":
                few = [way for way in ways if len(way) == min(map(len, ways))]
                assert [told.answer] == [", ".join(scene.letters[p] for p in way) for way in few]
            else:
                sums = [sum(scene.roads[link(a, b)] for a, b in itertools.pairwise(way)) for way in ways]
                assert told.answer == f"{min(sums)} {scene.unit}" and 2 <= len(ways) <= 3
                assert len(set(sums)) == len(sums)


def test_stops_follow_each_other_on_their_line() -> None:
    rng = random.Random(3)
    for scene in scenes("next", 40):
        told = _TELLERS["next"](rng, scene)
        stops = [scene.letters[stop] for stop in scene.lines[told.slots["c"]]]
        stops = stops if stops[-1] == told.slots["b"] else stops[::-1]
        on = {"": 1, "two": 2, "three": 3, "four": 4}[told.slots["n"]]
        assert stops[-1] == told.slots["b"] and stops[stops.index(told.slots["a"]) + on] == told.answer
        assert told.answer not in (told.slots["a"], told.slots["b"])


def test_every_true_answer_passes_and_wrong_ones_fail() -> None:
    for item in ITEMS:
        assert ROUTES.check(item, item.answer), (item.kind, item.answer)
        assert not ROUTES.check(item, "") and not ROUTES.check(item, "perhaps")
        for trace in (item.trace, *item.others):
            assert isinstance(trace[-1], Answer) and trace[-1].text == item.answer
        if item.kind == "way":
            assert not ROUTES.check(item, item.answer[::-1]) and ROUTES.check(item, item.answer.replace(", ", " -> "))
            assert not ROUTES.check(item, item.answer[:-3])


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "is_right"),
    [
        ("hops", "3", "three roads", True),
        ("hops", "3", "3", True),
        ("hops", "3", "4", False),
        ("hops", "3", "3 or 4", False),
        ("way", "A, C, D", "A-C-D", True),
        ("way", "A, C, D", "ACD", True),
        ("way", "A, C, D", "From A to C, then D.", True),
        ("way", "A, C, D", "A, D", False),
        ("way", "A, C, D", "D, C, A", False),
        ("way", "A, C, D", "A, B, C, D", False),
        ("next", "D", "D", True),
        ("next", "D", "After A comes D.", True),
        ("next", "D", "d", True),
        ("next", "D", "E", False),
        ("next", "D", "D or E", False),
        ("next", "D", "A", False),
        ("shortest", "14 km", "4 + 10 = 14 km", True),
        ("shortest", "14 km", "14", True),
        ("shortest", "14 km", "14 min", False),
        ("shortest", "14 km", "15 km", False),
        ("reach", "yes", "Yes, by way of C.", True),
        ("reach", "yes", "No.", False),
        ("reach", "no", "You cannot.", True),
        ("reach", "no", "yes", False),
    ],
)
def test_the_checker(kind: str, truth: str, answer: str, is_right: bool) -> None:
    assert ROUTES.check(example(kind, truth), answer) is is_right


@pytest.mark.parametrize("unseen", [False, True])
def test_looks_hold_the_roads_they_are_for(unseen: bool) -> None:
    for scene in scenes("shortest", 50, unseen=unseen):
        glyphs, part = paint(scene)[1], 1000 / scene.size
        ways = all_ways(scene.roads, scene.start, scene.goal)
        groups = looks(scene, ways)
        needed = {link(a, b) for way in ways for a, b in itertools.pairwise(way)}
        assert {ends for group in groups for ends in group} == needed and len(groups) <= 4
        for group in groups:
            box = group_box(scene, group)
            assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and box[2] - box[0] <= 600
            shown = Counter(g.char for g in glyphs if holds(box, (g.x * part, g.y * part) * 2))
            wanted = Counter("".join(str(scene.roads[ends]) for ends in group))
            wanted += Counter({scene.letters[p] for ends in group for p in ends})
            assert not wanted - shown


def test_places_keep_apart_and_inside_the_picture() -> None:
    for scene in scenes("hops", 50) + scenes("next", 50) + scenes("shortest", 30, unseen=True):
        for i, (x, y) in enumerate(scene.places):
            mark = (x - NODE_DU, y - NODE_DU, x + NODE_DU, y + NODE_DU)
            assert holds((0, 0, 1000, 1000), thousandths(mark, scene.angle))
            assert all((x - u) ** 2 + (y - v) ** 2 > (2.1 * NODE_DU) ** 2 for u, v in scene.places[:i])
        assert len(set(scene.letters)) == len(scene.letters) == len(scene.places)


def test_roads_do_not_cross() -> None:
    def side(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> bool:
        return (q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0])

    for scene in scenes("hops", 40) + scenes("hops", 40, unseen=True):
        for (a, b), (c, d) in itertools.combinations(scene.roads, 2):
            if len({a, b, c, d}) == 4:
                p, q, r, s = (scene.places[i] for i in (a, b, c, d))
                assert not (side(p, q, r) != side(p, q, s) and side(r, s, p) != side(r, s, q))


def test_print_is_large_or_fine_as_promised() -> None:
    for is_large in (True, False):
        for scene in scenes("shortest", 30, is_large=is_large) + scenes("shortest", 10, is_large=is_large, unseen=True):
            glyphs = [g for g in paint(scene)[1] if not g.char.islower()]
            letters = [g.height * 256 / scene.size for g in glyphs if g.char.isalpha()]
            digits = [g.height * 256 / scene.size for g in glyphs if g.char.isdigit()]
            assert min(letters) > LARGE_DU - 1.2
            assert min(digits) > LARGE_DU - 1.2 if is_large else max(digits) < FINE_DU
    assert all(item.legible == (not any(isinstance(step, Look) for step in item.trace)) for item in ITEMS)


def test_what_demonstrations_state_is_in_the_look_before() -> None:
    for item in ITEMS:
        assert isinstance(item.picture, Image.Image)
        part = 1000 / item.picture.width
        for look, after in itertools.pairwise(item.trace):
            assert isinstance(look, Look)
            shown = "".join(g.char for g in item.glyphs if holds(look.box, (g.x * part, g.y * part) * 2))
            stated = re.findall(r"\b[A-Z]{2} (\d+)", after.thought)
            assert stated and all(number in shown for number in stated)


def test_demonstrations_are_short_and_others_not_much_longer() -> None:
    for item in ITEMS:
        length = trace_length(item.trace)
        assert all(length <= trace_length(other) <= 1.5 * length for other in item.others)
    assert sum(bool(item.others) for item in ITEMS) > 0.7 * len(ITEMS)


def test_distances_count_roads() -> None:
    assert distances({(0, 1): 5, (1, 2): 5, (0, 3): 5, (2, 3): 5, (4, 5): 1}, 0) == {0: 0, 1: 1, 3: 1, 2: 2}


def test_the_variants_keep_styles_and_words_of_their_own() -> None:
    assert get_world("routes-unseen") is ROUTES_UNSEEN and get_world("routes-reworded") is ROUTES_REWORDED
    assert all(s.face == "wide" for s in scenes("hops", 20, unseen=True))
    assert all(s.face != "wide" for s in scenes("hops", 40))
    strip = re.compile(r"\b(?:[A-Z]|red|blue|green|orange|purple|two|three|four|km|min|m)\b", re.IGNORECASE)
    words = {strip.sub("", item.question) for item in ITEMS}
    assert not words & {strip.sub("", ROUTES_REWORDED.item(1, index).question) for index in range(80)}
    for world in (ROUTES_UNSEEN, ROUTES_REWORDED):
        assert all(world.check(item, item.answer) for item in (world.item(2, index) for index in range(20)))
