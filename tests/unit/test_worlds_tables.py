"""The tables world: repeatable, checkable, drawn as promised, demonstrated by looks that show what is said."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from narthex.evals.worlds import Answer, Call, Item, Look, get_world
from narthex.evals.worlds.canvas import UNSEEN_FACE
from narthex.evals.worlds.panel_scene import split_of
from narthex.evals.worlds.table_scene import Form, Need, Table, plan_table
from narthex.evals.worlds.table_words import HELD_OUT, TRAINED
from narthex.evals.worlds.tables import TABLES, TABLES_REWORDED, TABLES_UNSEEN, length_of

from .worlds_helpers import VIEW, run_cells, shown, told_after_looks

ITEMS = [TABLES.item(11, index) for index in range(400)]
FORMS: tuple[Form, ...] = ("lookup", "most", "count", "which", "together", "total", "mean")
NUMBER = re.compile(r"(?<![\w'.])\d+(?:\.\d)?(?![\w])")


def tables(count: int, *, split: str = "train", unseen: bool = False) -> list[Table]:
    rng, found = random.Random(5), []
    for index in range(count):
        form = FORMS[index % 7]
        need = Need(form, index // 7 % 3 == 0 and form not in ("total", "mean"))
        found.append(plan_table(rng, need, rng.random(), split=split, unseen=unseen))  # type: ignore[arg-type]
    return found


def example(kind: str, answer: str) -> Item:
    return replace(ITEMS[0], kind=kind, answer=answer)  # type: ignore[arg-type]


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    for index in (9, 2):
        again, before = TABLES.item(11, index), ITEMS[index]
        assert again.picture is not None and before.picture is not None
        assert again.picture.tobytes() == before.picture.tobytes()
        assert replace(again, picture=None) == replace(before, picture=None)
    assert ITEMS[3].glyphs != TABLES.item(12, 3).glyphs and ITEMS[3].glyphs != TABLES.item(11, 3, split="test").glyphs


def test_no_table_is_of_both_splits() -> None:
    for split in ("train", "test"):
        for table in tables(70, split=split):
            rows = zip(table.names, table.cells, strict=True)
            assert split_of((name, ",".join(row), "") for name, row in rows) == split


def test_items_are_distinct() -> None:
    assert len({(item.question, item.answer, item.glyphs) for item in ITEMS}) == len(ITEMS)


def test_kinds_and_print_come_in_the_promised_shares() -> None:
    kinds = Counter(item.kind for item in ITEMS)
    assert set(kinds) == {"lookup", "filter", "aggregate"} and min(kinds.values()) > 0.2 * len(ITEMS)
    assert 0.25 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.42
    prints = Counter(table.print for table in tables(140))
    assert set(prints) == {"large", "guide", "fine"} and min(prints.values()) > 20


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_difficulty_drives_rows_and_search(difficulty: float) -> None:
    rng = random.Random(3)
    drawn = [plan_table(rng, Need("lookup", False), difficulty, split="train") for _ in range(60)]
    rows = sum(len(table.names) for table in drawn) / 60
    fine = sum(table.print == "fine" for table in drawn) / 60
    assert (rows > 6) == (fine > 0.4) == (difficulty == 1.0)


def test_every_true_answer_passes_and_other_answers_fail() -> None:
    for item, other in pairwise(ITEMS):
        assert TABLES.check(item, item.answer) and TABLES.check(item, f"The answer is {item.answer}."), item.answer
        assert not TABLES.check(item, "") and not TABLES.check(item, "I cannot see it.")
        if item.answer[0].isdigit():
            number = item.answer.split(" ")[0]
            assert TABLES.check(item, number) and not TABLES.check(item, f"{number}1")
            assert not TABLES.check(item, f"-{number}") and not TABLES.check(item, f"{number} or 98765")
        elif other.answer != item.answer:
            assert not TABLES.check(item, other.answer)


@pytest.mark.parametrize(
    ("kind", "truth", "answer", "is_right"),
    [
        ("lookup", "47 kg", "Tea has 47 kg.", True),
        ("lookup", "47 kg", "47 kilograms", True),
        ("lookup", "47 kg", "47 cm", False),
        ("lookup", "47 kg", "In '21 it is 47", True),
        ("lookup", "4.7 kW", "47 kW", False),
        ("filter", "3", "3 rows", True),
        ("filter", "3", "Three.", True),
        ("filter", "3", "Four", False),
        ("filter", "3", "3 kg", False),
        ("filter", "Tea", "Tea", True),
        ("filter", "Tea", "It is tea.", True),
        ("filter", "Tea", "Tea and Oil", False),
        ("filter", "Tea, Rye", "Rye, Tea", True),
        ("filter", "Tea, Rye", "Tea and Rye have more.", True),
        ("filter", "Tea, Rye", "Tea", False),
        ("filter", "Tea, Rye", "Tea, Rye, Oil", False),
        ("filter", "'18, '21", "2018 and 2021", True),
        ("filter", "B, P", "B and P", True),
        ("filter", "B, P", "B", False),
        ("filter", "W", "2360 W", False),
        ("filter", "Ann", "Bob", False),
        ("aggregate", "1200 kg", "1,200 kg in total", True),
        ("aggregate", "34.5", "34.50", True),
        ("aggregate", "34.5", "34", False),
        ("aggregate", "120 L", "70 + 50 = 120 litres", True),
    ],
)
def test_the_checker(kind: str, truth: str, answer: str, is_right: bool) -> None:
    assert TABLES.check(example(kind, truth), answer) is is_right


def read_in(thought: str) -> list[str]:
    """The numbers that a thought reads: those of the list or sentences it begins with."""
    if " reads " in thought or " shows " in thought:
        return re.findall(r"(?:reads|shows)(?: [A-Za-z]+)? (\d+(?:\.\d)?)", thought)
    return NUMBER.findall(re.split(r"\.(?: |$)", thought)[0])


def test_looks_show_what_is_then_said() -> None:
    seen = looks = 0
    for item in ITEMS:
        for trace in (item.trace, *item.others):
            for box, thought in told_after_looks(trace):
                assert all(v % 50 == 0 and 0 <= v <= 1000 for v in box) and box[2] - box[0] == box[3] - box[1]
                assert box[2] - box[0] in (250, 500)
                for number in read_in(thought):
                    assert shown(item, box, number), (item.question, thought, box)
                    seen += 1
                looks += 1
    assert seen > looks > 300


def test_a_search_names_only_what_its_look_shows() -> None:
    """"No Tea." is said where the look before shows no Tea; "Tea seen." where it does."""
    absent = found = 0
    for item in ITEMS:
        for box, thought in told_after_looks(item.trace):
            if match := re.match(r"No ([^.]+)\.", thought):
                assert not shown(item, box, match[1]), (item.question, thought)
                absent += 1
            if match := re.match(r"([^.]+) seen\.", thought):
                assert shown(item, box, match[1]), (item.question, thought)
                found += 1
    assert absent > 15 and found > 5


def test_calls_return_what_python_returns() -> None:
    """The code is run for real, as the python tool would: a last expression's value is printed."""
    calls = [step for item in ITEMS for trace in (item.trace, *item.others) for step in trace if isinstance(step, Call)]
    assert len(calls) > 60 and {step.name for step in calls} == {"python"}
    assert run_cells([step.arguments["code"] for step in calls]) == [step.result for step in calls]
    for item in ITEMS:
        step = item.trace[-2] if len(item.trace) > 1 else None
        assert not isinstance(step, Call) or float(step.result) == float(item.answer.split(" ")[0])


def test_print_is_as_high_as_its_kind_promises() -> None:
    for table in tables(210):
        scale = VIEW / table.size
        names = [(box[3] - box[1]) * scale for box in table.name_boxes]
        cells = [(box[3] - box[1]) * scale for row in table.cell_boxes for box in row]
        if table.print == "large":
            assert min(cells) > 6.8 and min(names) > 5.2
        elif table.print == "guide":
            assert max(cells) < 4.2 and min(cells) * 2 > 5.9 and min(names) > 5.2
        else:
            # A quarter of the picture fills the view, so print there stands twice as high.
            assert max(cells) < 4.2 and min(cells) * 2 > 6.5 and max(names) < 6


def test_print_keeps_inside_the_picture_and_apart() -> None:
    for table in tables(140) + tables(70, unseen=True):
        boxes = [*table.name_boxes, *table.head_boxes, *(box for row in table.cell_boxes for box in row)]
        for place, a in enumerate(boxes):
            assert min(a) >= 0 and max(a) <= table.size
            for b in boxes[place + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_no_row_stands_on_a_threshold_and_no_two_share_the_first_place() -> None:
    for item in ITEMS:
        if item.kind == "filter":
            column = [int(n) for _, thought in told_after_looks(item.trace) for n in read_in(thought)]
            column = column or [int(n) for n in read_in(item.trace[-1].thought)]
            assert len(set(column)) == len(column)
            for threshold in re.findall(r"(?:than|above|over|below|under) (\d+)", item.question):
                assert int(threshold) not in column


def test_means_take_one_decimal_at_most() -> None:
    for item in ITEMS:
        assert len(item.answer.split(" ")[0].partition(".")[2]) <= 1 or not item.answer[0].isdigit()


def test_traces_are_short_and_others_hardly_longer() -> None:
    styles = 0
    for item in ITEMS:
        looks = [step for step in item.trace if isinstance(step, Look)]
        assert item.legible == (not looks) and len(looks) <= 4 and length_of(item.trace) <= 200
        assert isinstance(item.trace[-1], Answer) and item.trace[-1].text == item.answer
        for trace in item.others:
            assert length_of(item.trace) <= length_of(trace) <= 1.5 * length_of(item.trace)
        styles += len(item.others)
    assert styles > len(ITEMS)


def test_close_views_say_what_they_show() -> None:
    for index in range(60):
        crop = TABLES.reading_crop(4, index)
        drawn = "".join(glyph.char for glyph in crop.glyphs)
        assert crop.text and all(text in drawn for text in crop.text.split(" ")), (crop.text, drawn)
        assert min(crop.picture.size) >= 64 and abs(crop.picture.width - crop.picture.height) <= 1
        heights = [glyph.height * VIEW / crop.picture.width for glyph in crop.glyphs if glyph.char.isdigit()]
        assert max(heights) > 6.4  # legible in the close view
    assert TABLES.reading_crop(4, 3).text == TABLES.reading_crop(4, 3).text
    assert TABLES.reading_crop(4, 3).glyphs != TABLES.reading_crop(4, 3, split="test").glyphs


def test_glyphs_stand_where_ink_is() -> None:
    for item in ITEMS[:40]:
        assert item.picture is not None
        for glyph in item.glyphs:
            half = glyph.height / 2 + 1
            area = (int(glyph.x - half), int(glyph.y - half), int(glyph.x + half) + 1, int(glyph.y + half) + 1)
            low, high = item.picture.crop(area).convert("L").getextrema()
            assert isinstance(low, int) and isinstance(high, int) and high - low > 35, glyph


def test_held_out_styles_and_words_are_held_out() -> None:
    assert all(table.style.name_face != UNSEEN_FACE and not table.style.tiles for table in tables(70))
    assert all(table.style.name_face == UNSEEN_FACE and table.style.tiles for table in tables(70, unseen=True))
    assert set(TRAINED) == set(HELD_OUT) == set(FORMS)
    assert not any(set(TRAINED[form]) & set(HELD_OUT[form]) for form in FORMS)
    for index in range(12):
        item = TABLES_REWORDED.item(1, index, kind="lookup")
        assert any(item.question.startswith(line.split(" {")[0].split("{")[0][:6]) for line in HELD_OUT["lookup"])
    for world in (TABLES_UNSEEN, TABLES_REWORDED):
        item = world.item(1, 0)
        assert item.world == world.name and get_world(world.name).check(item, item.answer)
