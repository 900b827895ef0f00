"""The forms world: repeatable, checkable, and looks that show what they are said to show."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from PIL import Image

from narthex.evals.worlds import Glyph, Item, Look, get_world
from narthex.evals.worlds.form_paint import paint
from narthex.evals.worlds.form_scene import NAMES, Need, Scene, groups_of, key_of, plan_scene
from narthex.evals.worlds.forms import FORMS, FORMS_REWORDED, FORMS_UNSEEN
from narthex.evals.worlds.sheet import FINE_DU, LARGE_DU, holds, look_box, split_of, thousandths, trace_length, union

ITEMS = [FORMS.item(11, index) for index in range(250)]


def scenes(count: int, *, unseen: bool = False, split: str = "train") -> list[Scene]:
    rng = random.Random(5)
    needs = (Need(False), Need(True), Need(False, num_out=1), Need(True, num_out=2), Need(False, first="low"))
    return [plan_scene(rng, needs[i % 5], rng.random(), split=split, unseen=unseen) for i in range(count)]  # type: ignore[arg-type]


def example(kind: str, answer: str) -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer)


def said_in(glyphs: tuple[Glyph, ...], box: tuple[float, ...], part: float) -> str:
    """The characters whose ink a box (thousandths) shows whole. part: thousandths a pixel."""
    inside = [
        g.char
        for g in glyphs
        if holds(box, (g.x * part, (g.y - g.height / 2) * part, g.x * part, (g.y + g.height / 2) * part))
    ]
    return "".join(inside)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (7, 3):
        again, before = FORMS.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    assert ITEMS[3].glyphs != FORMS.item(12, 3).glyphs and ITEMS[3].glyphs != FORMS.item(11, 3, split="test").glyphs


def test_the_splits_share_no_form_and_forms_differ() -> None:
    for split in ("train", "test"):
        found = scenes(60, split=split)
        assert all(split_of(key_of(s.rows, s.fields)) == split for s in found)
        assert all(split_of(key_of(s.rows[::-1], s.fields)) == split for s in found)
        assert len({key_of(s.rows, s.fields) for s in found}) == len(found)


def test_kinds_and_print_come_in_their_shares() -> None:
    counts = Counter(item.kind for item in ITEMS)
    assert set(counts) == {"read", "range", "outlier", "count", "field"} and min(counts.values()) > 10
    assert 0.25 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.45
    states = Counter(item.answer for item in ITEMS if item.kind == "range")
    assert set(states) == {"low", "high", "in range"} and max(states.values()) < 0.6 * sum(states.values())


def test_values_never_stand_on_the_ends_of_their_ranges() -> None:
    for scene in scenes(200):
        for row in scene.rows:
            low, value, high = Decimal(row.low), Decimal(row.value), Decimal(row.high)
            assert low < high and value not in (low, high) and value >= 0
            assert row.state == ("in range" if low < value < high else "low" if value < low else "high")


def test_every_true_answer_passes_and_wrong_ones_fail() -> None:
    for item in ITEMS:
        assert FORMS.check(item, item.answer), (item.kind, item.answer)
        assert not FORMS.check(item, "") and not FORMS.check(item, "blue")
        for trace in (item.trace, *item.others):
            assert trace[-1].text == item.answer  # type: ignore[union-attr]
        if item.kind == "read":
            number = item.answer.split(" ")[0]
            assert FORMS.check(item, f"It is {item.answer}.") and not FORMS.check(item, f"{number}9")
            assert " " not in item.answer or not FORMS.check(item, f"{number} furlongs")


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "is_right"),
    [
        ("read", "141 mM", "Na is 141", True),
        ("read", "141 mM", "14.1 mM", False),
        ("read", "0.05 mg/L", "0.05 mg/L", True),
        ("range", "low", "It is below its range.", True),
        ("range", "low", "low", True),
        ("range", "low", "high", False),
        ("range", "low", "out of range", False),
        ("range", "low", "low or high", False),
        ("range", "in range", "within range", True),
        ("range", "in range", "not in range", False),
        ("range", "high", "Not in range: high.", True),
        ("outlier", "K", "K", True),
        ("outlier", "K", "K is too high.", True),
        ("outlier", "K", "Na", False),
        ("outlier", "K", "K and Na", False),
        ("outlier", "K", "none", False),
        ("outlier", "CRP", "crp", True),
        ("outlier", "none", "None.", True),
        ("outlier", "none", "Nothing is out of range.", True),
        ("outlier", "none", "K", False),
        ("count", "2", "two", True),
        ("count", "2", "2 values", True),
        ("count", "2", "3", False),
        ("count", "0", "none", True),
        ("field", "14 Mar 2031", "It is 14 mar 2031.", True),
        ("field", "14 Mar 2031", "14 Mar 2032", False),
        ("field", "4417", "ID 4417", True),
        ("field", "4417", "4417 or 4418", False),
        ("field", "Ada Quillow", "Ada Quillow", True),
        ("field", "Ada Quillow", "Ada", False),
    ],
)
def test_the_checker(kind: str, truth: str, answer: str, is_right: bool) -> None:
    assert FORMS.check(example(kind, truth), answer) is is_right


@pytest.mark.parametrize("unseen", [False, True])
def test_looks_hold_the_rows_they_are_for(unseen: bool) -> None:
    for scene in scenes(80, unseen=unseen):
        if scene.is_large:
            continue
        _, glyphs = paint(scene)
        part = 1000 / scene.size
        groups = groups_of(scene)
        assert [row for group in groups for row in group] == scene.rows and len(groups) <= 4
        for group in groups:
            box = look_box(union([row.block for row in group]), scene.angle)
            assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and box[2] - box[0] <= 550
            shown = said_in(glyphs, box, part)
            for row in group:
                for text, *_ in row.parts:
                    assert text.replace(" ", "") in shown, (row, shown)
        header = look_box(scene.header, scene.angle)
        shown = said_in(glyphs, header, part)
        assert all(f"{caption}{entry}".replace(" ", "") in shown for caption, entry in scene.fields.items())


def test_print_keeps_apart_and_inside_the_picture() -> None:
    for scene in scenes(120) + scenes(40, unseen=True):
        blocks = [scene.header, *(row.block for row in scene.rows)]
        for place, a in enumerate(blocks):
            assert holds((0, 0, 1000, 1000), thousandths(a, scene.angle))
            for b in blocks[place + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_print_is_large_or_fine_as_promised() -> None:
    for scene in scenes(60) + scenes(20, unseen=True):
        part = 1000 / scene.size
        for row in scene.rows:
            block = thousandths(row.block, scene.angle)
            glyphs = [g for g in paint(scene)[1] if holds(block, (g.x * part, g.y * part) * 2)]
            shown = "".join(g.char for g in glyphs)
            assert max(g.height for g in glyphs) * 256 / scene.size >= LARGE_DU  # the name's
            figures = [g.height * 256 / scene.size for g in glyphs[len(row.name) :] if g.char.isdigit()]
            if scene.unseen and not scene.is_large:
                figures = [g.height * 256 / scene.size for g in glyphs[: -len(row.name)] if g.char.isdigit()]
            assert row.name in shown and row.value in shown
            assert min(figures) > LARGE_DU - 1.2 if scene.is_large else max(figures) < FINE_DU
    assert all(item.legible == (not any(isinstance(step, Look) for step in item.trace)) for item in ITEMS)


def test_what_demonstrations_state_is_in_the_look_before() -> None:
    for item in ITEMS:
        assert isinstance(item.picture, Image.Image)
        part = 1000 / item.picture.width
        for look, after in zip(item.trace, item.trace[1:], strict=False):
            assert isinstance(look, Look)
            shown = said_in(item.glyphs, look.box, part)
            stated = re.split(r" ?Find | \d out", after.thought)[0]
            figures = re.findall(r"\d+\.?\d*", re.sub("|".join(sorted(NAMES, key=len, reverse=True)), "", stated))
            assert all(figure.rstrip(".") in shown for figure in figures), (after.thought, shown)


def test_demonstrations_are_short_and_others_not_much_longer() -> None:
    for item in ITEMS:
        length = trace_length(item.trace)
        assert all(length <= trace_length(other) <= 1.5 * length for other in item.others)
    assert sum(bool(item.others) for item in ITEMS) > 0.7 * len(ITEMS)


def test_the_variants_keep_styles_and_words_of_their_own() -> None:
    assert get_world("forms-unseen") is FORMS_UNSEEN and get_world("forms-reworded") is FORMS_REWORDED
    assert all(s.face == "wide" for s in scenes(20, unseen=True)) and all(s.face != "wide" for s in scenes(40))
    strip = re.compile("|".join(rf"\b{name}\b" for name in NAMES))
    words = {strip.sub("", item.question) for item in ITEMS}
    assert not words & {strip.sub("", FORMS_REWORDED.item(1, index).question) for index in range(80)}
    for world in (FORMS_UNSEEN, FORMS_REWORDED):
        assert all(world.check(item, item.answer) for item in (world.item(2, index) for index in range(20)))
