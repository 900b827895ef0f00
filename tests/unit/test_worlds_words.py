"""The words world: repeatable, exact, and demonstrated by arithmetic that is right at every step."""

from __future__ import annotations

import operator
import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from narthex.evals.worlds import Answer, Call, Item, get_world
from narthex.evals.worlds.labels import FAMILIES
from narthex.evals.worlds.word_forms import FORMS, MEASURES
from narthex.evals.worlds.word_texts import HELD_OUT, THINGS, TRAINED, UNSEEN_NAMES, UNSEEN_THINGS
from narthex.evals.worlds.words import WORDS, WORDS_REWORDED, WORDS_UNSEEN, length_of
from narthex.evals.worlds.written import written_product

from .worlds_helpers import run_cells

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, ":": operator.floordiv}
ITEMS = [WORDS.item(11, index) for index in range(1500)]


def example(answer: str) -> Item:
    return replace(ITEMS[0], answer=answer)


def test_an_item_depends_on_its_seed_index_and_split_alone() -> None:
    assert [WORDS.item(11, index) for index in (900, 7)] == [ITEMS[900], ITEMS[7]]
    assert ITEMS[3] != WORDS.item(12, 3) and ITEMS[3].question != WORDS.item(11, 3, split="test").question


def test_no_problem_is_of_both_splits() -> None:
    """Whatever its words: the numbers of a problem, with what is done to them, belong to one split."""
    done: dict[str, set[tuple[str, ...]]] = {}
    for split in ("train", "test"):
        items = [WORDS.item(5, index, split=split, kind="arithmetic") for index in range(3000)]  # type: ignore[arg-type]
        pattern = re.compile(r"(?:What is )?(\d+) (plus|\+|minus|-|times|divided by) (\d+)\?")
        plain = [pattern.fullmatch(item.question) for item in items]
        signs = {"plus": "+", "minus": "-"}
        done[split] = {(m[1], signs.get(m[2], m[2]), m[3]) for m in plain if m}
    assert len(done["train"]) > 100 and len(done["test"]) > 50 and not done["train"] & done["test"]


def test_items_are_distinct_where_they_are_not_small() -> None:
    hard = [(item.question, item.answer) for item in ITEMS if not item.legible]
    assert len(set(hard)) > 0.99 * len(hard)


def test_all_forms_come_and_a_third_are_easy() -> None:
    kinds = Counter(item.kind for item in ITEMS)
    assert set(kinds) == {"arithmetic", "units"} and min(kinds.values()) > 0.25 * len(ITEMS)
    assert 0.3 < sum(item.legible for item in ITEMS) / len(ITEMS) < 0.42
    assert set(FORMS) == set(TRAINED) == set(HELD_OUT)
    assert all(item.picture is None and not item.glyphs for item in ITEMS)


def test_difficulty_drives_the_numbers() -> None:
    def digits(level: float) -> float:
        items = [WORDS.item(3, index, difficulty=level, legible=False) for index in range(200)]
        return sum(len(number) for item in items for number in re.findall(r"\d+", item.question)) / len(items)

    assert digits(0.0) < digits(0.5) < digits(1.0)


def test_easy_ones_take_one_step_with_small_numbers() -> None:
    for item in ITEMS:
        if item.legible:
            assert len(item.trace) == 1 and max(int(n) for n in re.findall(r"\d+", item.question)) <= 12_000
            if item.kind == "arithmetic":
                assert all(int(n) < 100 for n in re.findall(r"\d+", item.question))


def test_every_true_answer_passes_and_other_answers_fail() -> None:
    for item in ITEMS:
        number = item.answer.split(" ")[0]
        assert WORDS.check(item, item.answer) and WORDS.check(item, number), item.answer
        assert WORDS.check(item, f"The answer is {item.answer}.") and not WORDS.check(item, "")
        assert not WORDS.check(item, f"{number}1") and not WORDS.check(item, f"-{number}")
        assert not WORDS.check(item, f"{number} or 987654") and not WORDS.check(item, f"{number} rpm")


@pytest.mark.parametrize(
    ("truth", "answer", "is_right"),
    [
        ("46", "46 boxes", True),
        ("46", "12 + 34 = 46", True),
        ("46", "46.0", True),
        ("46", "46 kg", False),
        ("46", "12 + 34", False),
        ("184 euros", "€184", True),
        ("184 euros", "184 EUR", True),
        ("184 euros", "184 dollars", False),
        ("8000 m", "8,000 metres", True),
        ("8000 m", "8000 km", False),
        ("8000 m", "8 km", False),
        ("1.95 kg", "1.95 kilograms", True),
        ("1.95 kg", "1950 g", False),
        ("3 days", "3 days", True),
        ("150 min", "150 minutes", True),
        ("7 L", "seven", False),
    ],
)
def test_the_checker(truth: str, answer: str, is_right: bool) -> None:
    assert WORDS.check(example(truth), answer) is is_right


def test_calls_return_what_python_returns() -> None:
    traces = [(item, trace) for item in ITEMS for trace in (item.trace, *item.others)]
    calls = [(item, step) for item, trace in traces for step in trace if isinstance(step, Call)]
    assert len(calls) > 1000 and {step.name for _, step in calls} == {"python"}
    assert run_cells([step.arguments["code"] for _, step in calls]) == [step.result for _, step in calls]
    for item, step in calls:
        assert float(step.result) == float(item.answer.split(" ")[0])
        assert set(re.findall(r"\d+", step.arguments["code"])) - {"60", "100", "1000", "3", "2"} <= {
            *re.findall(r"\d+", item.question), *(str(count) for *_, count in MEASURES)
        }


def test_written_steps_are_right() -> None:
    checked = 0
    for item in ITEMS:
        if len(item.trace) == 1:
            for left, right in re.findall(r"([\d+*:-]+)=(\d+)", item.trace[0].thought):
                values = [int(n) for n in re.findall(r"\d+", left)]
                total, signs = values[0], re.findall(r"[+*:-]", left)
                for sign, value in zip(signs, values[1:], strict=True):
                    total = OPERATIONS[sign](total, value)
                assert total == int(right), item.trace[0].thought
                checked += 1
    assert checked > 1000
    assert written_product("47", 6) == "47*6: 7*6=42, 4*6+4=28, 282."
    rng = random.Random(1)
    for _ in range(100):
        many, few = rng.randint(10, 9999), rng.randint(2, 9)
        assert written_product(str(many), few).endswith(f" {many * few}.")


def test_traces_are_short_and_others_hardly_longer() -> None:
    styles = 0
    for item in ITEMS:
        assert isinstance(item.trace[-1], Answer) and item.trace[-1].text == item.answer
        assert length_of(item.trace) <= 110
        for trace in item.others:
            assert length_of(item.trace) <= length_of(trace) <= 1.5 * length_of(item.trace)
        styles += len(item.others)
    assert styles > 0.5 * len(ITEMS)


def test_held_out_names_and_words_are_held_out() -> None:
    assert not set(UNSEEN_NAMES) & set(FAMILIES["name"]) and not set(UNSEEN_THINGS) & set(THINGS)
    assert not any(set(TRAINED[form]) & set(HELD_OUT[form]) for form in FORMS)
    seen = " ".join(item.question for item in ITEMS)
    unseen = " ".join(WORDS_UNSEEN.item(1, index).question for index in range(300))
    for word in (*UNSEEN_NAMES, *UNSEEN_THINGS):
        assert not re.search(rf"\b{word}\b", seen) and re.search(rf"\b{word}\b", unseen, re.IGNORECASE)
    shapes = {re.sub(r"\d+", "#", WORDS.item(1, i).question) for i in range(300)}
    reworded = {re.sub(r"\d+", "#", WORDS_REWORDED.item(1, i).question) for i in range(300)}
    assert not shapes & reworded
    for world in (WORDS_UNSEEN, WORDS_REWORDED):
        item = world.item(1, 0)
        assert item.world == world.name and get_world(world.name).check(item, item.answer)
