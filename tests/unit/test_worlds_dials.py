"""The dials world: repeatable, checkable, and hands that stand where the scales say."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from PIL import Image, ImageChops

from narthex.evals.worlds import Glyph, Item, Look, get_world
from narthex.evals.worlds.dial_paint import paint
from narthex.evals.worlds.dial_scene import Dial, Need, Scene, clock_time, key_of, plain, plan_scene, round_print
from narthex.evals.worlds.dials import DIALS, DIALS_REWORDED, DIALS_UNSEEN
from narthex.evals.worlds.sheet import FINE_DU, LARGE_DU, holds, look_box, split_of, thousandths, trace_length

ITEMS = [DIALS.item(11, index) for index in range(250)]
NEEDS = (
    Need(1, False), Need(1, True), Need(2, False, same_unit=True), Need(2, True, same_unit=True),
    Need(1, True, zones=True),
)  # fmt: skip


def scenes(count: int, *, unseen: bool = False) -> list[Scene]:
    rng = random.Random(5)
    return [plan_scene(rng, NEEDS[i % 5], rng.random(), split="train", unseen=unseen) for i in range(count)]


def example(kind: str, answer: str, tolerance: float = 0.0, question: str = "Which reads higher, C or F?") -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer, question=question, tolerance=tolerance)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (7, 3):
        again, before = DIALS.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    assert ITEMS[3].glyphs != DIALS.item(12, 3).glyphs and ITEMS[3].glyphs != DIALS.item(11, 3, split="test").glyphs


def test_the_splits_share_no_picture() -> None:
    rng = random.Random(1)
    for split in ("train", "test"):
        for _ in range(40):
            scene = plan_scene(rng, Need(1, False), 0.5, split=split)  # type: ignore[arg-type]
            assert split_of(key_of(scene.dials)) == split_of(key_of(scene.dials[::-1])) == split


def test_items_are_distinct() -> None:
    pictures = {item.picture.tobytes() for item in ITEMS if item.picture is not None}
    keys = {key_of(scene.dials) for scene in scenes(200)}
    assert len(pictures) == len(ITEMS) and len(keys) >= 196  # a lone syringe may come again, drawn otherwise


def test_kinds_and_print_come_in_their_shares() -> None:
    counts = Counter(item.kind for item in ITEMS)
    assert set(counts) == {"read", "compare", "difference", "zone", "absent"} and counts["read"] > 0.45 * len(ITEMS)
    assert 0.25 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.5
    assert all(256 <= item.picture.width <= 1024 for item in ITEMS if item.picture is not None)


def test_every_true_answer_passes_and_wrong_ones_fail() -> None:
    for item in ITEMS:
        assert DIALS.check(item, item.answer), item.answer
        for trace in (item.trace, *item.others):
            assert trace[-1].text == item.answer  # type: ignore[union-attr]
        assert not DIALS.check(item, "") and not DIALS.check(item, "purple")
        if item.kind in ("read", "difference") and ":" not in item.answer:
            number, unit = item.answer.split(" ")
            off = Decimal(str(item.tolerance))
            assert DIALS.check(item, f"It reads {Decimal(number) + off} {unit}.") and DIALS.check(item, number)
            assert not DIALS.check(item, f"{plain(Decimal(number) + off * Decimal('1.2'))} {unit}")
            assert not DIALS.check(item, f"{number} furlongs")
            assert not DIALS.check(item, f"{number} {unit} or 9999 {unit}")


@pytest.mark.parametrize(
    ("kind", "truth", "tolerance", "answer", "is_right"),
    [
        ("read", "24.5 bar", 0.5, "24 bar", True),
        ("read", "24.5 bar", 0.5, "about 25", True),
        ("read", "24.5 bar", 0.5, "25.1 bar", False),
        ("read", "24.5 bar", 0.5, "24.5 kPa", False),
        ("read", "-10 °C", 1.0, "-10 degrees C", True),
        ("read", "-10 °C", 1.0, "10 °C", False),
        ("read", "10:08", 1.0, "10:09", True),
        ("read", "10:08", 1.0, "It is 22:08.", True),
        ("read", "10:08", 1.0, "10.08", True),
        ("read", "10:08", 1.0, "10:10", False),
        ("read", "12:00", 1.0, "11:59", True),
        ("read", "12:00", 1.0, "11:58", False),
        ("read", "10:08", 1.0, "10:08 or 1:50", False),
        ("read", "10:08", 1.0, "ten", False),
        ("zone", "red", 0.0, "It is in the red.", True),
        ("zone", "red", 0.0, "red or green", False),
        ("zone", "red", 0.0, "yellow", False),
        ("compare", "C", 0.0, "C", True),
        ("compare", "C", 0.0, "Gauge C.", True),
        ("compare", "C", 0.0, "F", False),
        ("compare", "C", 0.0, "C (20) and F (10)", False),
        ("difference", "20 V", 1.0, "30 - 10 = 20 V", True),
        ("difference", "20 V", 1.0, "30 - 10", False),
    ],
)
def test_the_checker(kind: str, truth: str, tolerance: float, answer: str, is_right: bool) -> None:
    assert DIALS.check(example(kind, truth, tolerance), answer) is is_right


def test_the_checker_where_nothing_is() -> None:
    item = example("absent", "There is no Q here.", question="What does Q read?")
    assert DIALS.check(item, "There is no gauge Q.") and not DIALS.check(item, "20 bar") and not DIALS.check(item, "Q")


def test_looks_hold_the_whole_instrument_and_its_label() -> None:
    for scene in scenes(120) + scenes(40, unseen=True):
        _, glyphs = paint(replace(scene, noise=0.0))
        part = 1000 / scene.size
        blocks = [thousandths(dial.block, scene.angle) for dial in scene.dials]
        for dial, block in zip(scene.dials, blocks, strict=True):
            box = look_box(dial.block, scene.angle)
            assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and holds(box, block)
            assert box[2] - box[0] == box[3] - box[1] >= 250
        for g in glyphs:  # everything printed belongs to an instrument, so the looks show it
            x, y = g.x * part, g.y * part
            assert any(b[0] - 1 <= x <= b[2] + 1 and b[1] - 1 <= y <= b[3] + 1 for b in blocks), g


def test_print_is_large_or_fine_as_promised() -> None:
    for scene in scenes(80) + scenes(20, unseen=True):
        plain_scene = replace(scene, dials=[replace(dial, label="") for dial in scene.dials])
        heights = [g.height * 256 / scene.size for g in paint(plain_scene)[1] if g.char.isdigit()]
        if scene.is_large:
            gauges = [d for d in scene.dials if d.family != "clock"]
            assert len(gauges) < len(scene.dials) or min(heights) > LARGE_DU - 1.2
        else:
            assert max(heights, default=0.0) < FINE_DU
    assert all(item.legible == (not any(isinstance(step, Look) for step in item.trace)) for item in ITEMS)


def test_demonstrations_are_short_and_others_not_much_longer() -> None:
    for item in ITEMS:
        length = trace_length(item.trace)
        assert all(length <= trace_length(other) <= 1.5 * length for other in item.others)
        assert sum(isinstance(s, Look) for s in item.trace) in ((0,) if item.legible else (1, 2))
    assert sum(bool(item.others) for item in ITEMS) > 0.7 * len(ITEMS)


def scene_of(family: str, seed: int) -> tuple[Scene, Dial]:
    """A still scene of one large instrument of a family, without grain."""
    rng = random.Random(seed)
    while True:
        scene = plan_scene(rng, Need(1, True), 0.0, split="train")
        if len(scene.dials) == 1 and scene.dials[0].family == family and scene.size == 512:
            return replace(scene, noise=0.0, angle=0.0, palette=scene.palette), scene.dials[0]


def painted(scene: Scene, dial: Dial, value: Decimal) -> tuple[Image.Image, tuple[Glyph, ...]]:
    return paint(replace(scene, dials=[replace(dial, value=value, label="", zones=None)]))


def printed(glyphs: tuple[Glyph, ...]) -> dict[str, tuple[float, float]]:
    """The middles, in pixels, of everything printed as one word."""
    runs: list[list[Glyph]] = []
    for g in glyphs:
        last = runs[-1][-1] if runs else None
        if last is not None and 0 < g.x - last.x < max(g.height, last.height) > abs(g.y - last.y):
            runs[-1].append(g)
        else:
            runs.append([g])
    return {"".join(g.char for g in run): ((run[0].x + run[-1].x) / 2, run[-1].y) for run in runs}


@pytest.mark.parametrize("seed", range(4))
def test_a_hand_points_to_its_numeral(seed: int) -> None:
    scene, dial = scene_of("gauge", seed)
    layout = round_print(dial, wide=False)
    assert layout is not None
    x = (dial.body[0] + dial.body[2]) / 2
    y = (dial.body[1] + dial.body[3]) / 2
    radius = (dial.body[2] - dial.body[0]) / 2
    for text, tx, ty in layout.numerals[1:-1]:
        one, _ = painted(scene, dial, Decimal(text))
        two, _ = painted(scene, dial, dial.scale.low if abs(dial.sweep[1]) > 200 else dial.scale.high)
        changed = ImageChops.difference(one, two).convert("L")
        towards = math.atan2(ty - y, tx - x)
        at = (x + 0.27 * radius * math.cos(towards), y + 0.27 * radius * math.sin(towards))
        px, py = (round(v * scene.size / 256) for v in at)
        near = changed.crop((px - 1, py - 1, px + 2, py + 2)).getextrema()  # a thin hand may pass beside the pixel
        assert near[1] > 40  # type: ignore[operator]


@pytest.mark.parametrize("family", ["thermometer", "syringe"])
def test_columns_and_plungers_end_at_their_numerals(family: str) -> None:
    compared = []
    for seed in range(5):
        scene, dial = scene_of(family, seed)
        low, high = dial.scale.low + dial.scale.step, dial.scale.high
        (one, glyphs), (two, _) = painted(scene, dial, low), painted(scene, dial, high)
        difference = ImageChops.difference(one, two).convert("L")
        changed = difference.point([255 if v > 24 else 0 for v in range(256)]).getbbox()
        assert changed is not None
        for value in (low, high):
            if plain(value) not in printed(glyphs) or (family == "syringe" and value == high):
                continue  # a plunger's other end moves, too
            x, y = printed(glyphs)[plain(value)]
            edge = changed[0]
            if dial.is_upright:
                edge = changed[3] if value == low else changed[1]
            assert abs(edge - (y if dial.is_upright else x)) <= 5
            compared.append(value == high)
    assert (any(compared) or family == "syringe") and not all(compared)


def test_clocks_know_no_noon() -> None:
    assert [clock_time(m) for m in (0, 8, 60, 719)] == ["12:00", "12:08", "1:00", "11:59"]


def test_the_variants_keep_styles_and_words_of_their_own() -> None:
    assert get_world("dials-unseen") is DIALS_UNSEEN and get_world("dials-reworded") is DIALS_REWORDED
    assert all(s.face == "wide" for s in scenes(20, unseen=True)) and all(s.face != "wide" for s in scenes(60))
    seen = {sweep for s in scenes(60) for sweep in (d.sweep for d in s.dials)}
    assert not seen & {d.sweep for s in scenes(40, unseen=True) for d in s.dials}
    strip = str.maketrans("", "", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    words = {item.question.translate(strip) for item in ITEMS}
    held = {DIALS_REWORDED.item(1, index).question.translate(strip) for index in range(60)}
    assert not words & held
    for world in (DIALS_UNSEEN, DIALS_REWORDED):
        assert all(world.check(item, item.answer) for item in (world.item(2, index) for index in range(20)))
