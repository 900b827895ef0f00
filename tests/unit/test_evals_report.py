"""Reports: intervals, chance, the table, the JSON object, the saved records."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from math import comb

import pytest

from narthex.base.errors import InputError
from narthex.evals import Record, Report
from narthex.evals.chance import CHANCE_HOW, chance, readings
from narthex.evals.stats import mean, wilson
from narthex.evals.text import columns
from narthex.evals.worlds import Answer, Item, Look, get_world

PANELS = [get_world("panels").item(2, index, split="test") for index in range(300)]
BOX = (0, 0, 250, 250)


def record(index: int = 0, mode: str = "thinking", **values: object) -> Record:
    base = Record(
        index, "thinking", "panels", "read", "C?", "347 bar", "347 bar", True, False, True, 0.5, None, 2.0,
        tokens=10, thought_tokens=7, looks=1, tool_calls=1, agents=1, critical_path_s=1.5,
    )  # fmt: skip
    return replace(base, mode=mode, **values)  # type: ignore[arg-type]


def report(*records: Record, modes: tuple[str, ...] = ("thinking",)) -> Report:
    return Report("worlds.panels", 7, "nano", modes, 4, items=list(records), seconds=12.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num_right", "n", "low", "high"),
    # Published: Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3 (score without continuity).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_the_published_ones(num_right: int, n: int, low: float, high: float) -> None:
    share = wilson(num_right, n)
    assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert share.accuracy == num_right / n and share.n == n


def test_intervals_at_the_ends() -> None:
    assert wilson(0, 0) == (0.0, 0.0, 1.0, 0) and wilson(0, 7).low == 0.0 and wilson(7, 7).high == 1.0
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_intervals_hold_what_they_promise() -> None:
    """Counted exactly over the binomial distribution: about 95 in 100 intervals hold the truth."""
    for truth in (0.3, 0.5, 0.92):
        n = 100
        covered = sum(
            comb(n, k) * truth**k * (1 - truth) ** (n - k)
            for k in range(n + 1)
            if wilson(k, n).low <= truth <= wilson(k, n).high
        )
        assert 0.92 < covered < 0.98


def test_means_of_nothing() -> None:
    assert mean([]) == 0.0 and mean([1.0, 2.0]) == 1.5


def fine(kind: str, *thoughts: str, last: str) -> Item:
    steps = (*(Look(thought, BOX) for thought in thoughts), Answer(last, "?"))
    return replace(PANELS[0], kind=kind, trace=steps, legible=not thoughts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (fine("read", "Find C.", last="C reads 347 bar."), 1 / 900),
        (fine("read", "Find C.", last="C reads 47 bar."), 1 / 90),
        (fine("read", "Find C.", last="C reads 4.7 bar."), 1 / 90),
        (fine("sum", "C reads 47. Find D.", last="D reads 347. 47+347: …"), 1 / 900),
        (fine("sum", "Find C.", "C reads 12. Find D.", last="D reads 347. 12+347: …"), 1 / 900),
        (fine("compare", "Find C.", "C reads 112. Find D.", last="D reads 347. 112 < 347."), 1 / 2),
        (fine("compare", "Find C.", "C reads 12. Find D.", last="D reads 347. 12 < 347."), 1.0),
        (fine("compare", "C reads 98. Find D.", last="D reads 12. 98 > 12."), 88 / 89),  # 99 alone is higher
        (fine("read", last="C reads 47 bar."), None),
        (fine("absent", "Find C.", last="No C."), None),
    ],
)
def test_chance_by_hand(item: Item, expected: float | None) -> None:
    assert chance(item) == (None if expected is None else pytest.approx(expected))


def test_chance_is_known_of_every_fine_panel_question_and_no_other() -> None:
    for item in PANELS:
        known = chance(item)
        assert (known is None) == item.legible, item.trace
        if item.kind in ("compare", "sum") and not item.legible:
            assert len(readings(item)) == 2
        if known is not None:
            assert 0 < known <= 1 and (item.kind == "compare") == (known >= 0.5)
    assert chance(get_world("edge").item(1, 1, split="test")) is None


def test_the_guesser_scores_what_chance_says() -> None:
    """Play it: read by a random value of the same shape; compare by the likelier order, seen from the large value."""
    rng = random.Random(1)
    items = [item for item in PANELS if item.kind == "compare" and not item.legible]
    hits = 0
    for item in items:
        one, two = readings(item)
        size = lambda r: len(r.value.split(".")[0])  # noqa: E731
        guess_one = float(one.value) if not one.is_fine else 5.5 * 10 ** (size(one) - 1)
        guess_two = float(two.value) if not two.is_fine else 5.5 * 10 ** (size(two) - 1)
        if guess_one == guess_two:
            guess_one += rng.choice((-1, 1))
        hits += (guess_one > guess_two) == (float(one.value) > float(two.value))
    expected = sum(chance(item) or 0 for item in items)
    assert len(items) > 30 and wilson(hits, len(items)).low <= expected / len(items) <= wilson(hits, len(items)).high


def test_means_and_shares() -> None:
    found = report(
        record(0),
        record(1, legible=False, chance=0.5, kind="compare", right=False, tokens=20, looks=3),
        record(2, legible=False, chance=0.1, declined=True, right=False),
        record(3, right=False, error="gone", tokens=None, looks=None, tool_calls=None, agents=None),
    ).to_json()["modes"]["thinking"]
    assert found["accuracy"] == 0.25 and found["n"] == 4 and found["failed"] == 1 and found["declined"] == 0.25
    assert found["tokens_mean"] == round(40 / 3, 6) and found["looks_mean"] == round(5 / 3, 6)
    assert found["seconds_mean"] == 2.0 and found["critical_path_s_mean"] == 1.5 and found["errors"] == {"gone": 1}
    assert found["by_print"]["legible"]["n"] == 2 and found["by_print"]["legible"]["accuracy"] == 0.5
    assert found["by_print"]["fine"]["chance"] == 0.3 and found["by_print"]["fine"]["chance_how"] == CHANCE_HOW
    assert found["by_kind"]["compare"] == wilson(0, 1).to_json() and found["by_kind"]["read"]["n"] == 3


def test_the_json_object_has_the_designed_fields() -> None:
    found = report(record()).to_json()
    assert {"task", "seed", "n", "model", "modes", "baselines", "by_world"} <= set(found)
    assert {
        "accuracy", "low", "high", "tokens_mean", "looks_mean", "tool_calls_mean", "agents_mean", "seconds_mean",
        "critical_path_s_mean", "by_kind", "by_print", "declined", "failed",
    } <= set(found["modes"]["thinking"])  # fmt: skip
    assert found["seconds"] == 12.0 and json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_ladder_is_told_by_world_kind_and_difficulty() -> None:
    found = report(
        record(0, world="panels", difficulty=0.1, guess=0.25, flops=4.0),
        record(1, world="charts", difficulty=0.34, guess=0.5, right=False, looks=3, legible=False),
        record(2, world="charts", difficulty=1.0, guess=None),
    ).to_json()
    thinking = found["modes"]["thinking"]
    assert thinking["by_difficulty"] == {
        "easy": wilson(1, 1).to_json(), "middle": wilson(0, 1).to_json(), "hard": wilson(1, 1).to_json(),
    }  # fmt: skip
    assert thinking["by_world_kind"] == {"charts.read": wilson(1, 2).to_json(), "panels.read": wilson(1, 1).to_json()}
    charts = found["by_world"]["charts"]["thinking"]
    assert charts["legible"] == 1.0 and charts["fine"] == 0.0 and charts["looks_mean"] == 2.0 and charts["n"] == 2
    assert thinking["flops_mean"] == 4.0 and thinking["guessing_p"] == pytest.approx(1 - 0.75 * 0.5)
    assert found["guessing"]["accuracy"] == 0.375 and found["guessing"]["n"] == 2
    assert found["guessing"]["by_world"] == {"charts": 0.5, "panels": 0.25} and "picture" in found["guessing"]["how"]
    assert "heldout" not in found and "scope" not in found
    text = report(record(0, world="panels", guess=0.25), record(1, world="charts", right=False)).table()
    assert "panels   1   100.0 % (21 to 100)" in text and max(map(len, text.splitlines())) <= 100


def test_heldout_costs_points_against_the_worlds_beside_them() -> None:
    rights = {"panels": 8, "panels-unseen": 5, "charts": 10, "charts-unseen": 9, "charts-reworded": 2}
    items = [
        record(index, world=world, right=index < count) for world, count in rights.items() for index in range(10)
    ]
    found = report(*items).to_json()
    unseen, reworded = (found["heldout"][name]["thinking"] for name in ("unseen", "reworded"))
    assert unseen["points"] == pytest.approx(-20.0) and unseen["plain"] == wilson(18, 20).to_json()
    assert reworded["points"] == pytest.approx(-80.0) and reworded["plain"]["n"] == 10, "panels has no such wording"
    assert set(unseen["by_world"]) == {"panels", "charts"} and set(reworded["by_world"]) == {"charts"}
    assert unseen["low"] < -20 < unseen["high"]
    text = report(*items).table()
    assert "all unseen" in text and "  charts-reworded" in text and "-80.0" in text


def test_refusals_are_told_apart_where_both_are_due() -> None:
    items = [
        record(0, world="edge", kind="edge", declined=True), record(1, world="edge", kind="edge", declined=False),
        record(2), record(3), record(4, declined=True), record(5),
    ]  # fmt: skip
    found = report(*items).to_json()["scope"]["thinking"]
    assert found["outside_declined"] == wilson(1, 2).to_json() and found["inside_declined"] == wilson(1, 4).to_json()
    assert "out of scope" in report(*items).table() and "scope" not in report(*items[:2]).to_json()

def test_a_report_of_nothing_is_still_a_report() -> None:
    empty = report(modes=("instant", "thinking"))
    found = empty.to_json()
    assert found["n"] == 0 and found["modes"]["instant"]["high"] == 1.0 and found["by_world"] == {}
    assert "instant" in empty.table()


def test_the_table_can_be_read() -> None:
    text = report(
        record(0, mode="instant", right=False, legible=False, chance=0.25),
        record(0, legible=False, chance=0.25),
        record(1, kind="sum"),
        modes=("instant", "thinking"),
    ).table()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and text.endswith("\n")
    assert "worlds.panels" in lines[0] and "nano" in lines[0] and "seed 7" in lines[0]
    row = next(line for line in lines if line.startswith("thinking"))
    assert "100.0 %" in row and "34.2 % to 100.0 %" in row and "25.0 %" in row
    assert next(line for line in lines if line.startswith("sum")).split() == ["sum", "1", "-", "100.0", "%"]


def test_columns_line_up() -> None:
    assert columns([["a", "bb"], ["ccc", "d"]]) == "a     bb\nccc    d"


def test_records_are_written_as_json_lines(tmp_path) -> None:
    odd = record(1, answer="° \ud800", calls=({"name": "zoom", "box": [0, 0, 250, 250]},))
    path = tmp_path / "items.jsonl"
    report(record(0), odd).write_items(path)
    lines = [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]
    assert len(lines) == 2 and lines[1]["answer"] == "° \ud800" and lines[1]["calls"][0]["box"] == list(BOX)
    assert {"index", "kind", "question", "expected", "answer", "right", "tokens", "looks", "seconds"} <= set(lines[0])


def test_where_nothing_can_be_written_a_line_says_so(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot write") as refused:
        report(record()).write_items(tmp_path / "gone" / "items.jsonl")
    assert refused.value.hint


def test_worlds_load_no_turn_loop() -> None:
    """Training draws items in many processes; none of them needs PyTorch for it."""
    code = "import sys, narthex.evals.worlds as w; w.get_world('panels'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
