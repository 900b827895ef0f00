"""The charts world: repeatable, checkable, drawn as promised, and demonstrated by looks that show what is said."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from dataclasses import replace

import pytest

from narthex.base.errors import ConfigError
from narthex.evals.chance import chance
from narthex.evals.worlds import Answer, Item, Look, get_world
from narthex.evals.worlds.canvas import UNSEEN_FACE, draw_paper
from narthex.evals.worlds.chart_layout import lay_out
from narthex.evals.worlds.chart_scene import Chart, Form, Need, plan_chart
from narthex.evals.worlds.chart_words import HELD_OUT, TRAINED
from narthex.evals.worlds.charts import CHARTS, CHARTS_REWORDED, CHARTS_UNSEEN, answer_of, demonstrations
from narthex.evals.worlds.drawing import luma_of
from narthex.evals.worlds.labels import FAMILIES, named_labels
from narthex.evals.worlds.panel_scene import split_of
from narthex.evals.worlds.written import written_difference

from .worlds_helpers import VIEW, occurrences, shown, told_after_looks, view_height

ITEMS = [CHARTS.item(11, index) for index in range(300)]
FORMS: tuple[Form, ...] = ("read", "pair", "best", "difference", "change", "overall")
STATED = re.compile(r"(?:reads|shows|is) (\d+(?:\.\d)?)\b")

BETWEEN = re.compile(r"(\d+) (?:to|and) (\d+): (\d+)\.")


def charts(count: int, *, split: str = "train", unseen: bool = False) -> list[tuple[Chart, Need]]:
    rng, found = random.Random(5), []
    while len(found) < count:
        form = FORMS[len(found) % 6]
        need = Need(form, form == "overall" or len(found) // 6 % 3 == 0)
        chart = plan_chart(rng, need, rng.random(), split=split, unseen=unseen)  # type: ignore[arg-type]
        if lay_out(chart) and demonstrations(chart, need):
            found.append((chart, need))
    return found


def example(kind: str, answer: str) -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer)  # type: ignore[arg-type]


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (9, 2):
        again, before = CHARTS.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    assert ITEMS[3].glyphs != CHARTS.item(12, 3).glyphs and ITEMS[3].glyphs != CHARTS.item(11, 3, split="test").glyphs


def test_no_chart_is_of_both_splits() -> None:
    for split in ("train", "test"):
        for chart, _ in charts(60, split=split):
            assert split_of((mark.label, mark.value, chart.unit) for mark in chart.marks) == split


def test_items_are_distinct() -> None:
    assert len({(item.question, item.answer, item.glyphs) for item in ITEMS}) == len(ITEMS)


def test_kinds_shapes_and_print_come_in_the_promised_shares() -> None:
    kinds = Counter(item.kind for item in ITEMS)
    assert set(kinds) == {"read", "compare", "difference", "trend"} and min(kinds.values()) > 0.1 * len(ITEMS)
    assert 0.25 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.5
    shapes = Counter((chart.shape, chart.on_axis) for chart, _ in charts(240))
    assert set(shapes) == {(s, a) for s in ("bars", "rows", "line", "pie") for a in (True, False)} - {("pie", True)}
    assert {item.picture.size[0] for item in ITEMS if item.picture} <= {256, 320, 384, 448, 512, 768, 1024}


def test_no_answer_is_favoured_by_its_place() -> None:
    """The first of two asked about, and the leftmost of two that lead, must be right about as often as the other."""
    drawn = charts(600)
    pairs = [(chart, answer_of(chart, "pair")) for chart, need in drawn if need.form == "pair"]
    best = [(chart, answer_of(chart, "best")) for chart, need in drawn if need.form == "best"]
    for chosen, firsts in (
        (pairs, [chart.asked[0] for chart, _ in pairs]),
        (pairs, [min(chart.asked) for chart, _ in pairs]),
        (best, [min(chart.asked) for chart, _ in best]),
    ):
        hits = [answer == chart.marks[first].label for (chart, answer), first in zip(chosen, firsts, strict=True)]
        assert 0.35 < sum(hits) / len(hits) < 0.65
    trends = Counter(item.answer for item in ITEMS if item.kind == "trend")
    assert set(trends) == {"rising", "falling", "flat"}


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_difficulty_drives_the_number_of_marks(difficulty: float) -> None:
    rng = random.Random(3)
    counts = [len(plan_chart(rng, Need("pair", False), difficulty, split="train").marks) for _ in range(60)]
    assert all(3 <= count <= 8 for count in counts) and (sum(counts) / 60 > 5) == (difficulty == 1.0)


def test_every_true_answer_passes_and_other_answers_fail() -> None:
    for item in ITEMS:
        assert CHARTS.check(item, item.answer) and CHARTS.check(item, f"The answer is {item.answer}."), item.answer
        assert not CHARTS.check(item, "") and not CHARTS.check(item, "I cannot see it.")
        if item.kind in ("read", "difference"):
            number = item.answer.split(" ")[0]
            assert CHARTS.check(item, number) and not CHARTS.check(item, f"{number}1")
            assert not CHARTS.check(item, f"-{number}") and not CHARTS.check(item, f"{number} or 98765")
            assert not CHARTS.check(item, f"{number} rpm")


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "is_right"),
    [
        ("read", "347 kg", "C shows 347 kilograms.", True),
        ("read", "347 kg", "347 mm", False),
        ("read", "36.2 kW", "In '21 it was 36.2 kW", True),
        ("read", "36.2 kW", "36.1 kW", False),
        ("read", "120", "120 visits", True),
        ("read", "120", "120 kg", False),
        ("read", "34 %", "34 percent", True),
        ("difference", "36 kg", "83 - 47 = 36 kg", True),
        ("difference", "36 kg", "36 more", True),
        ("difference", "9 %", "9 percentage points", True),
        ("difference", "36 kg", "83 and 47", False),
        ("compare", "C", "C", True),
        ("compare", "C", "c.", True),
        ("compare", "C", "Bar C is higher.", True),
        ("compare", "C", "F", False),
        ("compare", "C", "C is higher than F.", False),
        ("compare", "Mar", "March", True),
        ("compare", "May", "May.", True),
        ("compare", "Mar", "April", False),
        ("compare", "Mar", "Mar or Apr", False),
        ("compare", "Sun", "Sunday", True),
        ("compare", "Q3", "In Q3.", True),
        ("compare", "Q3", "Q2", False),
        ("compare", "'21", "2021", True),
        ("compare", "'21", "'22", False),
        ("compare", "Rice", "rice", True),
        ("compare", "Rice", "Rice and Tea", False),
        ("compare", "Oats", "It is Tea", False),
        ("trend", "rising", "It rises.", True),
        ("trend", "rising", "going up", True),
        ("trend", "rising", "It is not rising.", False),
        ("trend", "rising", "rising, then falling", False),
        ("trend", "falling", "a steep decline", True),
        ("trend", "flat", "no change", True),
        ("trend", "flat", "steady", True),
        ("trend", "flat", "up", False),
    ],
)
def test_the_checker(kind: str, truth: str, answer: str, is_right: bool) -> None:
    assert CHARTS.check(example(kind, truth), answer) is is_right


def test_looks_show_what_is_then_said() -> None:
    seen = 0
    for item in ITEMS:
        for trace in (item.trace, *item.others):
            for box, thought in told_after_looks(trace):
                assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and box[2] - box[0] == box[3] - box[1] == 250
                numbers = STATED.findall(thought)
                assert numbers, thought
                # A value between two lines of the axis is printed nowhere; the two lines' numbers are.
                for low, high, middle in BETWEEN.findall(thought):
                    numbers = [low, high] + [number for number in numbers if number != middle]
                for number in numbers:
                    assert shown(item, box, number), (item.question, thought, box)
                    seen += 1
    assert seen > 200


def test_values_between_two_lines_are_told_by_the_lines_numbers() -> None:
    found = 0
    for chart, need in charts(500):
        if need.legible or not chart.on_axis or not any(mark.half % 2 for mark in chart.chosen()):
            continue
        trace = demonstrations(chart, need)[0]
        boxes = [step.box for step in trace if isinstance(step, Look)]
        for mark in chart.chosen():
            line, is_between = divmod(mark.half, 2)
            for _, bounds in chart.ticks[line : line + 1 + is_between]:
                x0, y0, x1, y1 = (edge * 1000 / chart.size for edge in bounds)
                assert any(b[0] <= x0 and b[1] <= y0 and x1 <= b[2] and y1 <= b[3] for b in boxes)
            found += 1
    assert found > 10


def test_what_is_legible_stands_large_in_the_small_view_and_what_is_not_stands_small() -> None:
    for item in ITEMS:
        if item.kind not in ("read", "difference"):
            continue
        told = " ".join(step.thought for step in item.trace)
        printed = [number for number in STATED.findall(told) if occurrences(item.glyphs, number)]
        assert printed or item.legible or BETWEEN.search(told)
        if len(printed[-1:]) == 1 and len(printed[0]) > 1:  # a lone figure may stand in a year, too
            height = view_height(item, printed[0])
            assert height > 6.8 if item.legible else height < 4.2, (item.question, printed, height)


def test_labels_are_legible_without_a_look() -> None:
    for chart, _ in charts(120):
        for mark in chart.marks:
            assert (mark.label_box[3] - mark.label_box[1]) * VIEW / chart.size > 5.2


def test_lengths_that_decide_differ_clearly_and_lengths_that_need_a_look_hardly() -> None:
    for chart, need in charts(400):
        if need.form not in ("pair", "best", "change"):
            continue
        one, two = (float(mark.value) for mark in chart.chosen())
        apart = abs(one - two) / chart.top
        if chart.shape == "pie":
            assert apart >= 0.09 if need.legible else apart <= 0.01
        elif not chart.on_axis:
            assert apart >= 0.12 if need.legible else apart <= 0.011
        if need.form == "best":
            order = sorted((float(mark.value) for mark in chart.marks), reverse=chart.is_most)
            assert {one, two} >= set(order[:1]) and (need.legible or {one, two} == set(order[:2]))


def test_traces_are_short_and_others_hardly_longer() -> None:
    styles = 0
    for item in ITEMS:
        length = sum(len(step.thought) for step in item.trace)
        looks = [step for step in item.trace if isinstance(step, Look)]
        assert item.legible == (not looks) and len(looks) <= 2 and length <= 140
        for trace in (item.trace, *item.others):
            assert isinstance(trace[-1], Answer) and trace[-1].text == item.answer
            assert length <= sum(len(step.thought) for step in trace) <= 1.5 * length
            assert "\n" not in "".join(step.thought for step in trace)
        styles += len(item.others)
    assert styles > len(ITEMS)


def test_differences_are_written_out() -> None:
    assert written_difference("83", "47") == "83-47: 13-7=6, 8-4-1=3, 36."
    assert written_difference("432", "85") == "432-85: 12-5=7, 13-8-1=4, 4-1=3, 347."
    rng = random.Random(4)
    for _ in range(200):
        small, large = sorted((rng.randint(0, 999), rng.randint(0, 999)))
        told = written_difference(str(large), str(small))
        assert told.endswith(f" {large - small}.")
        digits = [int(step.split("=")[-1]) for step in told.split(": ")[1].split(", ")[:-1]]
        assert sum(digit * 10**place for place, digit in enumerate(digits)) == large - small


def test_print_keeps_inside_the_picture_and_apart() -> None:
    for chart, _ in charts(150) + charts(60, unseen=True):
        boxes = [mark.label_box for mark in chart.marks] + [m.value_box for m in chart.marks if m.value_box]
        for place, a in enumerate(boxes):
            assert min(a) >= 0 and max(a) <= chart.size
            for b in boxes[place + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], chart.shape


def test_close_views_say_what_they_show() -> None:
    for index in range(60):
        crop = CHARTS.reading_crop(4, index)
        drawn = "".join(glyph.char for glyph in crop.glyphs)
        assert crop.text and all(text in drawn for text in crop.text.split(" ")), (crop.text, drawn)
        assert min(crop.picture.size) >= 64 and abs(crop.picture.width - crop.picture.height) <= 1
        heights = [glyph.height * VIEW / crop.picture.width for glyph in crop.glyphs if glyph.char.isdigit()]
        assert max(heights) > 6.4  # legible in the close view
    assert CHARTS.reading_crop(4, 3).text == CHARTS.reading_crop(4, 3).text
    assert CHARTS.reading_crop(4, 3).glyphs != CHARTS.reading_crop(4, 3, split="test").glyphs


def test_glyphs_stand_where_ink_is() -> None:
    for item in ITEMS[:40]:
        assert item.picture is not None
        for glyph in item.glyphs:
            half = glyph.height / 2 + 1
            area = (int(glyph.x - half), int(glyph.y - half), int(glyph.x + half) + 1, int(glyph.y + half) + 1)
            low, high = item.picture.crop(area).convert("L").getextrema()
            assert isinstance(low, int) and isinstance(high, int) and high - low > 35, glyph


def test_ink_stands_out_from_its_paper() -> None:
    rng = random.Random(2)
    for unseen in (False, True):
        for _ in range(200):
            paper = draw_paper(rng, unseen=unseen)
            assert abs(luma_of(paper.ink) - luma_of(paper.ground)) > 0.45


def test_held_out_styles_and_words_are_held_out() -> None:
    fills = {"burst", "dashes", "hatch", "stick"}
    assert all(chart.style.label_face != UNSEEN_FACE and chart.style.fill not in fills for chart, _ in charts(60))
    assert all(c.style.label_face == UNSEEN_FACE and c.style.fill in fills for c, _ in charts(60, unseen=True))
    assert set(TRAINED) == set(HELD_OUT) and not any(set(TRAINED[form]) & set(HELD_OUT[form]) for form in FORMS)
    asked = {CHARTS_REWORDED.item(1, index, kind="trend").question.split()[0] for index in range(12)}
    assert asked <= {line.split()[0] for form in ("change", "overall") for line in HELD_OUT[form]}
    for world in (CHARTS_UNSEEN, CHARTS_REWORDED):
        item = world.item(1, 0)
        assert item.world == world.name and get_world(world.name).check(item, item.answer)


def test_nothing_is_claimed_of_guessing_at_charts() -> None:
    """The rule for panels would take their thoughts for its own."""
    assert all(chance(item) is None for item in ITEMS)


def test_labels_named_in_full_sentences() -> None:
    assert named_labels("I think bar B", "letter") == {"B"}
    assert named_labels("Between March and May", "month") == {"Mar", "May"}
    assert named_labels("marble", "month") == set()
    labels = [label for family in FAMILIES.values() for label in family]
    assert len(set(labels)) == len(labels)


def test_charts_by_matplotlib_are_noted_as_well_as_our_own() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    world = get_world("charts-matplotlib")
    items = [world.item(1, index) for index in range(12)]
    matplotlib.rcParams["axes.titlelocation"] = "left"  # a user's own settings
    assert [world.item(1, index).picture for index in range(6)] == [item.picture for item in items[:6]]
    assert matplotlib.rcParams["axes.titlelocation"] == "left"
    matplotlib.rcdefaults()
    for item in items:
        assert world.check(item, item.answer) and item.picture is not None
        for box, thought in told_after_looks(item.trace):
            told = STATED.findall(thought)
            printed = [number for number in told if not BETWEEN.search(thought)]
            assert told and all(shown(item, box, number) for number in printed), (item.question, thought)
        for glyph in item.glyphs:
            half = glyph.height / 2 + 1.5
            area = (int(glyph.x - half), int(glyph.y - half), int(glyph.x + half) + 1, int(glyph.y + half) + 1)
            low, high = item.picture.crop(area).convert("L").getextrema()
            assert isinstance(low, int) and isinstance(high, int) and high - low > 35, glyph


def test_without_matplotlib_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="matplotlib, which is not installed"):
        get_world("charts-matplotlib").item(1, 0)
