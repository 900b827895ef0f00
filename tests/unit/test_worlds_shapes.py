"""The shapes world: repeatable, checkable, and Sort-of-CLEVR where it says so."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from narthex.evals.worlds import Item, Look, get_world
from narthex.evals.worlds.drawing import Colour
from narthex.evals.worlds.shape_scene import (
    CLEVR_COLOURS,
    COLOURS,
    Scene,
    distance,
    key_of,
    paint,
    plan_clevr,
    plan_crowd,
    plan_numbered,
    plan_tiny,
)
from narthex.evals.worlds.shapes import _TELLERS, SHAPES, SHAPES_REWORDED, SHAPES_UNSEEN, overlap
from narthex.evals.worlds.sheet import FINE_DU, holds, split_of, trace_length

ITEMS = [SHAPES.item(11, index) for index in range(300)]


def scenes(plan, count: int, *, unseen: bool = False, split: str = "train") -> list[Scene]:  # type: ignore[no-untyped-def]
    rng = random.Random(4)
    return [plan(rng, rng.random(), split=split, unseen=unseen) for _ in range(count)]


def example(kind: str, answer: str, tolerance: float = 0.0) -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer, tolerance=tolerance)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (7, 3):
        again, before = SHAPES.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    other = SHAPES.item(12, 3)
    assert other.picture is not None and ITEMS[3].picture is not None
    assert other.picture.tobytes() != ITEMS[3].picture.tobytes()


def test_the_splits_share_no_picture_and_pictures_differ() -> None:
    for plan in (plan_clevr, plan_crowd, plan_tiny, plan_numbered):
        for split in ("train", "test"):
            found = scenes(plan, 30, split=split)
            assert all(split_of(key_of(scene.things)) == split for scene in found)
            assert split_of(key_of(found[0].things[::-1])) == split
            assert len({key_of(scene.things) for scene in found}) == len(found)


def test_kinds_come_in_their_shares() -> None:
    counts = Counter(item.kind for item in ITEMS)
    assert set(counts) == {"relational", "nonrelational", "count", "point", "box", "detail"}
    assert counts["relational"] > 60 and counts["nonrelational"] > 35
    assert all(item.legible == (item.kind != "detail") for item in ITEMS)
    for kind in ("relational", "nonrelational"):  # no answer that is nearly always right
        answers = Counter(item.answer for item in ITEMS if item.kind == kind)
        assert max(answers.values()) < 0.5 * sum(answers.values())


def test_scenes_are_those_of_sort_of_clevr() -> None:
    for scene in scenes(plan_clevr, 60):
        assert tuple(thing.colour for thing in scene.things) == CLEVR_COLOURS
        assert {thing.form for thing in scene.things} <= {"circle", "square"}
        for i, a in enumerate(scene.things):
            assert a.half == pytest.approx(1000 * 5 / 75) and min(a.box) >= 0 and max(a.box) <= 1000
            for b in scene.things[i + 1 :]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) >= 2 * a.half


def test_relational_answers_follow_from_the_scene() -> None:
    """Told from the things alone, by a second way of computing."""
    rng = random.Random(8)
    seen = Counter()  # type: ignore[var-annotated]
    for scene in scenes(plan_clevr, 150):
        told = _TELLERS["relational"][1](rng, scene)
        if told is None:
            continue
        by_name = {thing.colour: thing for thing in scene.things}
        thing = by_name[told.slots["c"]]
        others = [t for t in scene.things if t.colour != thing.colour]
        question = told.words[0][0]
        if "How many" in question:
            want = str(sum(t.form == thing.form for t in others))
        else:
            choose = max if "farthest" in question else min
            want = choose(others, key=lambda t: math.dist((t.x, t.y), (thing.x, thing.y))).form
            gaps = sorted(distance(t, thing) for t in others)
            assert (gaps[-1] - gaps[-2] if "farthest" in question else gaps[1] - gaps[0]) >= 10
        seen[question] += 1
        assert told.answer == want and all(want in said for said in told.says)
    assert len(seen) == 3


def test_every_true_answer_passes_and_wrong_ones_fail() -> None:
    for item in ITEMS:
        assert SHAPES.check(item, item.answer)
        assert not SHAPES.check(item, "") and not SHAPES.check(item, "banana")
        for trace in (item.trace, *item.others):
            assert trace[-1].text == item.answer  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "truth", "tolerance", "answer", "is_right"),
    [
        ("relational", "circle", 0, "a circle", True),
        ("relational", "circle", 0, "It is round.", True),
        ("relational", "circle", 0, "square", False),
        ("relational", "circle", 0, "circle or square", False),
        ("relational", "3", 0, "three", True),
        ("relational", "3", 0, "3 others", True),
        ("relational", "3", 0, "4", False),
        ("relational", "0", 0, "none", True),
        ("count", "4", 0, "1 + 3 = 4", True),
        ("count", "4", 0, "I see 4 squares.", True),
        ("count", "4", 0, "between 4 and 5", False),
        ("nonrelational", "left", 0, "on the left side", True),
        ("nonrelational", "left", 0, "right", False),
        ("nonrelational", "top", 0, "the upper half", True),
        ("nonrelational", "top", 0, "bottom", False),
        ("detail", "star", 0, "stars", True),
        ("point", "400, 500", 50, "(430, 520)", True),
        ("point", "400, 500", 50, "x=440, y=540", False),
        ("point", "400, 500", 50, "400", False),
        ("point", "400, 500", 50, "400, 500, 10", False),
        ("point", "980, 500", 50, "1010, 500", False),
        ("box", "100, 100, 300, 300", 0, "[100, 100, 300, 300]", True),
        ("box", "100, 100, 300, 300", 0, "120, 120, 320, 320", True),
        ("box", "100, 100, 300, 300", 0, "200, 200, 400, 400", False),
        ("box", "100, 100, 300, 300", 0, "0, 0, 1000, 1000", False),
        ("box", "100, 100, 300, 300", 0, "300, 300, 100, 100", False),
    ],
)
def test_the_checker(kind: str, truth: str, tolerance: float, answer: str, is_right: bool) -> None:
    assert SHAPES.check(example(kind, truth, tolerance), answer) is is_right


def test_overlap() -> None:
    assert overlap([0, 0, 10, 10], [0, 0, 10, 10]) == 1
    assert overlap([0, 0, 10, 10], [5, 0, 15, 10]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 10, 10], [10, 0, 20, 10]) == 0 == overlap([0, 0, 10, 10], [9, 9, 1, 1])


@pytest.mark.parametrize("unseen", [False, True])
def test_objects_stand_where_the_answers_say(unseen: bool) -> None:
    for scene in scenes(plan_crowd, 25, unseen=unseen):
        picture, _ = paint(replace(scene, noise=0.0))
        ground = picture.getpixel((picture.width - 2, picture.height // 2))
        for thing in scene.things:
            # The tip, arm or edge: ink in every form, filled or not; none a good way beyond it.
            dx, dy = {"star": (0.0, -0.6), "triangle": (0.0, -0.6)}.get(thing.form, (0.85, 0.0))
            inside = picture.getpixel(at(scene, thing.x + dx * thing.half, thing.y + dy * thing.half))
            assert far_apart(inside, ground), thing
            clear = [math.hypot(thing.x + 1.3 * thing.half - o.x, thing.y - o.y) > 1.6 * o.half for o in scene.things]
            if all(clear) and thing.x + 1.3 * thing.half < 990:
                outside = picture.getpixel(at(scene, thing.x + 1.3 * thing.half, thing.y))
                assert not far_apart(outside, ground)


def at(scene: Scene, x: float, y: float) -> tuple[int, int]:
    return min(scene.size - 1, int(x * scene.size / 1000)), min(scene.size - 1, max(0, int(y * scene.size / 1000)))


def far_apart(one: Colour, two: Colour) -> bool:
    return sum(abs(a - b) for a, b in zip(one, two, strict=True)) > 110


def test_looks_hold_what_is_small_and_only_that_needs_one() -> None:
    for item in ITEMS:
        looks = [step for step in item.trace if isinstance(step, Look)]
        assert len(looks) == (item.kind == "detail")
    for plan in (plan_tiny, plan_numbered):
        for scene in scenes(plan, 40):
            told = _TELLERS["detail"][1](random.Random(1), scene)
            assert told is not None
            thing = scene.things[0]
            assert thing.number or 2 * thing.half * 96 / 1000 < 3.5  # pixels of the small view
            assert not thing.number or all(g.height * 256 / scene.size < FINE_DU for g in paint(scene)[1])
    for item in ITEMS:
        if item.kind == "detail" and item.answer.isdigit():
            assert item.picture is not None
            (look,) = (step for step in item.trace if isinstance(step, Look))
            part = 1000 / item.picture.width
            shown = [g.char for g in item.glyphs if holds(look.box, (g.x * part, g.y * part) * 2)]
            assert item.answer in "".join(shown)


def test_demonstrations_are_short_and_others_not_much_longer() -> None:
    for item in ITEMS:
        length = trace_length(item.trace)
        assert all(length <= trace_length(other) <= 1.5 * length for other in item.others)
    assert sum(bool(item.others) for item in ITEMS) > 0.7 * len(ITEMS)


def test_the_variants_keep_styles_and_words_of_their_own() -> None:
    assert get_world("shapes-unseen") is SHAPES_UNSEEN and get_world("shapes-reworded") is SHAPES_REWORDED
    strip = re.compile("|".join((*COLOURS, "circle", "square", "triangle", "diamond", "star", "cross")))
    words = {strip.sub("", item.question.lower()) for item in ITEMS}
    held = {strip.sub("", SHAPES_REWORDED.item(1, index).question.lower()) for index in range(80)}
    assert not words & held
    for world in (SHAPES_UNSEEN, SHAPES_REWORDED):
        assert all(world.check(item, item.answer) for item in (world.item(2, index) for index in range(20)))
