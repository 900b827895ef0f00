"""The panels world: repeatable, checkable, and drawn as promised."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import ImageChops

from narthex.base.errors import ConfigError
from narthex.evals.worlds import Item, Look, get_world, world_names
from narthex.evals.worlds.drawing import colour, glyph_mask, luma_of
from narthex.evals.worlds.panel_paint import paint
from narthex.evals.worlds.panel_scene import Need, Scene, draw_palette, plan_scene, split_of
from narthex.evals.worlds.panels import PANELS, PANELS_UNSEEN, look_box, written_sum

ITEMS = [PANELS.item(11, index) for index in range(400)]


def scenes(count: int, *, unseen: bool = False) -> list[Scene]:
    rng = random.Random(5)
    needs = (Need((False,)), Need((True,)), Need((True, False), same_unit=True), Need(()))
    return [plan_scene(rng, needs[i % 4], rng.random(), split="train", unseen=unseen) for i in range(count)]


def example(kind: str, answer: str, question: str = "Which reads higher, C or F?") -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer, question=question)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    again = [PANELS.item(11, index) for index in (7, 3)]
    for item, index in zip(again, (7, 3), strict=True):
        before = ITEMS[index]
        assert item.picture is not None and before.picture is not None
        assert item.picture.tobytes() == before.picture.tobytes()
        assert replace(item, picture=None) == replace(before, picture=None)
    assert ITEMS[3].question != PANELS.item(12, 3).question or ITEMS[3].glyphs != PANELS.item(12, 3).glyphs
    assert ITEMS[3].glyphs != PANELS.item(11, 3, split="test").glyphs


def test_one_picture_is_pinned() -> None:
    """A change of the stream changes every training run: it should be meant."""
    item = PANELS.item(1, 0)
    assert (item.kind, item.question, item.answer) == ("sum", "Add W and O.", "273 %")


def test_no_panel_is_of_both_splits() -> None:
    rng = random.Random(1)
    for split in ("train", "test"):
        for _ in range(60):
            scene = plan_scene(rng, Need((False,)), 0.5, split=split)  # type: ignore[arg-type]
            readings = [(r.label, r.value, r.unit) for r in scene.readouts]
            assert split_of(readings) == split_of(reversed(readings)) == split


def test_kinds_and_print_come_in_the_promised_shares() -> None:
    counts = Counter(item.kind for item in ITEMS)
    shares = {kind: counts[kind] / len(ITEMS) for kind in ("read", "compare", "sum", "absent")}
    assert 0.52 < shares["read"] < 0.68 and 0.18 < shares["compare"] < 0.32
    assert 0.07 < shares["sum"] < 0.18 and 0 < shares["absent"] < 0.07
    assert 0.28 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.43
    sizes = Counter(item.picture.size[0] for item in ITEMS if item.picture is not None)
    assert 0.37 < sizes[256] / len(ITEMS) < 0.53 and set(sizes) == {256, 320, 384, 448, 512, 768, 1024}
    letters = Counter(
        item.answer == item.trace[-1].thought.split(" reads")[0] for item in ITEMS if item.kind == "compare"
    )
    assert min(letters.values()) > 0.2 * sum(letters.values())


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_difficulty_drives_the_number_of_readouts(scale: float) -> None:
    rng = random.Random(3)
    counts = [len(plan_scene(rng, Need((False,)), scale, split="train").readouts) for _ in range(60)]
    assert all(3 <= count <= 8 for count in counts)
    assert (sum(counts) / 60 > 5.5) == (scale == 1.0)


def test_every_true_answer_passes_and_other_answers_fail() -> None:
    for item, other in pairwise(ITEMS):
        assert PANELS.check(item, item.answer), item.answer
        assert PANELS.check(item, item.trace[-1].text)  # type: ignore[union-attr]
        if item.kind in ("read", "sum"):
            number, unit = item.answer.split(" ")
            assert PANELS.check(item, number) and PANELS.check(item, f"It reads {number} {unit}.")
            assert not PANELS.check(item, f"{number}1 {unit}") and not PANELS.check(item, f"{number} furlongs")
            assert not PANELS.check(item, f"-{number} {unit}") and not PANELS.check(item, f"{number} or 5 {unit}")
        if other.kind != item.kind or other.kind == "read":
            assert not PANELS.check(item, other.answer) or other.answer.split(" ")[0] == item.answer.split(" ")[0]
        assert not PANELS.check(item, "")
        assert item.kind == "absent" or not PANELS.check(item, "I cannot see it.")


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "is_right"),
    [
        ("read", "347 bar", "C reads 347 bar.", True),
        ("read", "347 bar", "347bar", True),
        ("read", "347 bar", "347.0", True),
        ("read", "347 bar", "347 kPa", False),
        ("read", "347 bar", "34.7 bar", False),
        ("read", "4.7 °C", "4.7 degrees C", True),
        ("read", "4.7 °C", "4.7º C", True),
        ("read", "4.7 °C", "47 °C", False),
        ("read", "20 A", "20 mA", False),
        ("read", "20 %", "20 percent", True),
        ("sum", "1432 bar", "1,432 bar", True),
        ("sum", "432 bar", "347 + 85 = 432 bar", True),
        ("sum", "432 bar", "347 + 85", False),
        ("read", "347 bar", "There is no gauge C here.", False),
        ("compare", "C", "C", True),
        ("compare", "C", "c.", True),
        ("compare", "C", "Gauge C reads higher.", True),
        ("compare", "C", "F", False),
        ("compare", "C", "C is higher than F.", False),
        ("compare", "C", "neither", False),
        ("compare", "C", "C (20 F)", False),
    ],
)
def test_the_checker(kind: str, truth: str, answer: str, is_right: bool) -> None:
    assert PANELS.check(example(kind, truth), answer) is is_right


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("There is no gauge Q here.", True),
        ("No Q.", True),
        ("47 bar", False),
        ("There is no gauge B here.", False),
        ("Q", False),
    ],
)
def test_the_checker_where_nothing_is(answer: str, is_right: bool) -> None:
    item = example("absent", "There is no gauge Q here.", "What does gauge Q read?")
    assert PANELS.check(item, answer) is is_right


def test_boxes_hold_what_they_are_to_show() -> None:
    for scene in scenes(160):
        for readout in scene.readouts:
            if readout.is_large:
                continue
            box = look_box(scene, readout)
            assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and box[2] - box[0] == box[3] - box[1] == 250
            x0, y0, x1, y1 = (v * 1000 / scene.size for v in scene.bounds(readout.block))
            assert box[0] <= x0 and box[1] <= y0 and x1 <= box[2] and y1 <= box[3]


def test_blocks_keep_apart_and_inside_the_picture() -> None:
    for scene in scenes(160) + scenes(40, unseen=True):
        blocks = [readout.block for readout in scene.readouts]
        for place, a in enumerate(blocks):
            bounds = scene.bounds(a)
            assert min(bounds) >= 0 and max(bounds) <= scene.size
            for b in blocks[place + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            for cell in scene.free:
                assert a[2] <= cell[0] + 1 or cell[2] <= a[0] + 1 or a[3] <= cell[1] + 1 or cell[3] <= a[1] + 1


def test_labels_are_unique_and_print_sizes_as_promised() -> None:
    for scene in scenes(160):
        labels = [readout.label for readout in scene.readouts]
        assert len(set(labels)) == len(labels)
        for readout in scene.readouts:
            heights = {name: run.height * 256 / scene.size for name, run, _, _ in readout.parts}
            assert heights["label"] > 15  # about 4 pixels of the 64-pixel view
            assert heights["value"] > 19 if readout.is_large else heights["value"] < 12
            assert len(readout.value) == 2 or not readout.is_large


def test_glyphs_stand_where_ink_is() -> None:
    for index in (0, 1, 4, 8):
        crop = PANELS.reading_crop(4, index)
        label, value, unit = crop.text.split(" ")
        shown = "".join(glyph.char for glyph in crop.glyphs)
        assert label in shown and value in shown and unit in shown
        for glyph in crop.glyphs:
            half = glyph.height / 2
            area = (int(glyph.x - half), int(glyph.y - half), int(glyph.x + half) + 1, int(glyph.y + half) + 1)
            low, high = crop.picture.crop(area).convert("L").getextrema()
            assert isinstance(low, int) and isinstance(high, int) and high - low > 40


def test_a_window_is_painted_as_the_whole_is() -> None:
    for scene in scenes(12):
        whole, glyphs = paint(scene)
        side = scene.size // 4
        window = (side, side, 2 * side, 2 * side)
        part, seen = paint(scene, window)
        difference = ImageChops.difference(whole.crop(window), part)
        assert max(high for _, high in difference.getextrema()) <= 8  # type: ignore[misc]  # light is resampled apart
        inside = [g for g in glyphs if side <= g.x < 2 * side and side <= g.y < 2 * side]
        assert [g.char for g in inside] == [g.char for g in seen]


def test_traces_are_the_shortest_that_suffice() -> None:
    for item in ITEMS:
        looks = [step for step in item.trace if isinstance(step, Look)]
        asked = {"read": 1, "absent": 0}.get(item.kind, 2)
        assert len(looks) <= asked and item.legible == (not looks)
        assert item.trace[-1].text == item.answer  # type: ignore[union-attr]
        assert sum(len(step.thought) for step in item.trace) <= 100
        assert "\n" not in "".join(step.thought for step in item.trace)


def test_sums_are_written_out() -> None:
    assert written_sum("347", "85") == "347+85: 7+5=12, 4+8+1=13, 3+1=4, 432."
    assert written_sum("12", "347") == "12+347: 2+7=9, 1+4=5, 3, 359."
    assert written_sum("95", "45") == "95+45: 5+5=10, 9+4+1=14, 140."


def test_digits_of_our_own_faces_differ() -> None:
    for face in ("segments", "dots"):
        masks = [glyph_mask(digit, face, 40).mask for digit in "0123456789"]
        assert len({mask.tobytes() for mask in masks if mask is not None}) == 10


def test_ink_stands_out_from_its_ground() -> None:
    rng = random.Random(2)
    for unseen in (False, True):
        for _ in range(200):
            palette = draw_palette(rng, unseen=unseen)
            assert abs(luma_of(palette.ink) - luma_of(palette.ground)) > 0.45
            if palette.lcd is not None:
                assert abs(luma_of(palette.lcd[0]) - luma_of(palette.lcd[1])) > 0.45
    assert abs(luma_of(colour(0.6, 0.8, 0.9)) - 0.8) < 0.02


def test_the_unseen_world_keeps_styles_of_its_own() -> None:
    assert all(scene.label_face != "wide" and scene.value_face != "wide" for scene in scenes(60))
    assert all(scene.label_face == "wide" for scene in scenes(20, unseen=True))
    item = PANELS_UNSEEN.item(1, 0)
    assert item.world == "panels-unseen" and PANELS_UNSEEN.check(item, item.answer)


def test_worlds_are_found_by_name() -> None:
    assert get_world("panels") is PANELS and "panels" in world_names()
    with pytest.raises(ConfigError, match="no world 'pannels'"):
        get_world("pannels")
