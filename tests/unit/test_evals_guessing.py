"""What guessing scores: forms of questions, the counted table, and a guesser who plays it."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from narthex.evals.guessing import fill_in, form_of, guess, in_terms_of, labels_of
from narthex.evals.stats import Share, at_least, gap, wilson
from narthex.evals.task import MAIN_WORLDS
from narthex.evals.worlds import get_world

ROOT = Path(__file__).parents[2]
TABLE = json.loads((ROOT / "narthex" / "evals" / "guesses.json").read_text(encoding="utf-8"))
ITEMS = [get_world(name).item(3, index, split="test") for name in MAIN_WORLDS for index in range(30)]


def test_answers_are_told_in_terms_of_the_question() -> None:
    assert labels_of("Which is higher: K or B?") == ["K", "B"] and labels_of("Jan or Apr, Jan?") == ["Jan", "Apr"]
    assert in_terms_of("K or B?", "B") == "{1}" and fill_in("Is X or Y lower?", "{1}") == "Y"
    assert in_terms_of("How do I get from C to F?".replace(" I ", " you "), "C, H, F") == "{0}, H, {1}"
    assert in_terms_of("Read K.", "There is no gauge K here.") == "There is no gauge {0} here."


def test_every_form_of_question_is_counted() -> None:
    assert {form_of(item) for item in ITEMS} <= set(TABLE["forms"])
    assert all(0 <= entry["share"] <= 1 and entry["n"] > 50 for entry in TABLE["forms"].values())


def test_a_form_is_told_from_the_question_alone() -> None:
    """A gauge that is not there is asked for as one that is: whoever sees no picture cannot tell."""
    panels = [get_world("panels").item(1, index, kind=kind) for kind in ("absent", "read") for index in range(2)]  # type: ignore[call-arg]
    assert {form_of(item) for item in panels} == {"panels.read.number"}
    unseen = get_world("dials-unseen").item(1, 1)
    assert form_of(unseen).startswith("dials.") and guess(unseen) is not None
    assert guess(get_world("edge").item(1, 1, split="test")) is None


def test_the_guesser_scores_what_the_table_says() -> None:
    """It plays 240 test items with its fixed answers, before the worlds' own checkers."""
    told = [guess(item) for item in ITEMS]
    shares = [one.share for one in told if one is not None]
    hits = sum(get_world(item.world).check(item, one.answer) for item, one in zip(ITEMS, told, strict=True) if one)
    spread = math.sqrt(sum(share * (1 - share) for share in shares))
    assert len(shares) == len(ITEMS) and abs(hits - sum(shares)) < 4 * spread
    named = [one.answer in labels_of(item.question) for item, one in zip(ITEMS, told, strict=True)
             if one and form_of(item).endswith(".named")]  # fmt: skip
    assert len(named) > 5 and all(named), "of labels that the question names, it says one"
    assert 0.05 < sum(shares) / len(shares) < 0.3


def test_the_table_is_what_the_script_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("guesses", ROOT / "scripts" / "guesses.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (TABLE["seed"], TABLE["items_per_world"]) == (script.SEED, script.NUM_ITEMS)
    items = [get_world("routes").item(5, index, kind="reach") for index in range(60)]  # type: ignore[call-arg]
    counted = script.counted(items)
    assert counted["answer"] in ("yes", "no") and counted["n"] == 30 and counted["share"] > 0.2
    assert script.candidate(get_world("panels").item(1, 0, kind="read")).replace(".", "").isdigit()  # type: ignore[call-arg]


def test_the_tail_of_unequal_chances() -> None:
    assert at_least(0, [0.5] * 4) == 1.0 and at_least(5, [0.5] * 4) == 0.0
    assert at_least(3, [0.5] * 4) == pytest.approx(5 / 16)
    assert at_least(1, [0.2, 0.7]) == pytest.approx(1 - 0.8 * 0.3)


def test_a_difference_has_the_published_interval() -> None:
    """Newcombe 1998, table II, (a): 56/70 and 48/80, method 10: 0.0524 to 0.3339."""
    told = gap(wilson(56, 70), wilson(48, 80))
    assert told.points == pytest.approx(20.0) and told.low == pytest.approx(5.24, abs=0.01)
    assert told.high == pytest.approx(33.39, abs=0.01)
    nothing = gap(Share(0.0, 0.0, 1.0, 0), Share(0.0, 0.0, 1.0, 0))
    assert (nothing.points, nothing.low, nothing.high) == (0.0, -100.0, 100.0)
