"""Evaluations over scripted models: one that is right, one that is wrong, one that fails, and a user who stops it."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Callable

import pytest
from PIL import Image

from narthex.backends.base import Backend, TurnRequest
from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError, ConfigError, InputError
from narthex.chat import ToolCall
from narthex.evals import evaluate, get_task, task_names
from narthex.evals.task import MAIN_WORLDS
from narthex.evals.worlds import Call, Item, Look, get_world
from narthex.evals.worlds.edge import DECLINE, NEED_PICTURE
from narthex.tools.sandbox import sandbox_problem

SEED, LIMIT = 5, 12


def fingerprint(question: str, picture: Image.Image | None) -> str:
    pixels = b"" if picture is None else picture.tobytes()
    return hashlib.sha256(question.encode() + pixels).hexdigest()


class Known:
    """All items of an evaluation, found again by what a model gets to see of them."""

    def __init__(self, task: str = "worlds.panels") -> None:
        items = [get_task(task).item(SEED, index) for index in range(LIMIT)]
        self._items = {fingerprint(item.question, item.picture): item for item in items}
        self.all = items

    def item(self, request: TurnRequest) -> Item:
        asked = request.messages[0]
        picture = request.load_image(asked.pictures[0]) if asked.pictures else None
        return self._items[fingerprint(asked.text, picture)]


def right(known: Known) -> Callable[[TurnRequest], Said]:
    """A model that follows the demonstration: think, zoom as often as needed, answer."""

    def script(request: TurnRequest) -> Said:
        item = known.item(request)
        step = item.trace[(len(request.messages) - 1) // 2] if request.tools else item.trace[-1]
        if isinstance(step, Look):
            call = ToolCall(id=f"c{len(request.messages)}", name="zoom", arguments={"box": list(step.box), "image": 0})
            return Said(thought=step.thought, calls=(call,))
        return Said(thought=step.thought, text=item.answer)

    return script


def run(script: Callable[[TurnRequest], Said], modes: tuple[str, ...] = ("thinking",), task: str = "worlds.panels"):
    backend = ScriptedBackend(script)
    return evaluate(task, modes, limit=LIMIT, seed=SEED, backend=backend)


def test_a_scripted_backend_is_a_backend() -> None:
    backend: Backend = ScriptedBackend(lambda request: Said())  # checked by mypy, and by use below
    assert backend.name == "scripted" and backend.context_tokens > 0


def test_a_model_that_looks_and_is_right() -> None:
    known = Known()
    report = run(right(known), ("instant", "thinking"))
    found = report.to_json()
    assert found["task"] == "worlds.panels" and found["seed"] == SEED and found["n"] == LIMIT
    assert found["model"] == "scripted" and found["baselines"] == {} and found["partial"] is False
    assert list(found["modes"]) == ["instant", "thinking"]
    thinking, instant = found["modes"]["thinking"], found["modes"]["instant"]
    assert thinking["accuracy"] == thinking["high"] == 1.0 and thinking["low"] == pytest.approx(0.757, abs=1e-3)
    assert thinking["failed"] == 0 and thinking["declined"] == 0.0 and thinking["agents_mean"] == 1.0
    looks = sum(isinstance(step, Look) for item in known.all for step in item.trace)
    assert looks > 0 and thinking["looks_mean"] == thinking["tool_calls_mean"] == pytest.approx(looks / LIMIT, abs=1e-6)
    assert instant["looks_mean"] == 0.0 and instant["tokens_mean"] < thinking["tokens_mean"]
    told = found["by_world"]["panels"]["thinking"]
    same = ("accuracy", "low", "high", "n", "tokens_mean", "looks_mean", "tool_calls_mean")
    assert {k: told[k] for k in same} == {k: thinking[k] for k in same}
    json.dumps(found, allow_nan=False)


def test_records_say_what_happened() -> None:
    known = Known()
    report = run(right(known))
    assert [record.index for record in report.items] == list(range(LIMIT))
    for record, item in zip(report.items, known.all, strict=True):
        assert (record.question, record.expected, record.kind) == (item.question, item.answer, item.kind)
        assert record.answer == item.answer and record.right and record.finish_reason == "stop"
        words = " ".join(step.thought for step in item.trace).split()
        assert record.thought == "\n".join(step.thought for step in item.trace)
        assert record.tokens == len(words) + len(item.answer.split()) and record.thought_tokens == len(words)
        boxes = [list(step.box) for step in item.trace if isinstance(step, Look)]
        assert [call["box"] for call in record.calls] == boxes and record.looks == len(boxes)


@pytest.mark.skipif(sandbox_problem() is not None, reason="no code can be run here")
def test_a_world_that_reckons_with_python_has_it() -> None:
    known, results = Known("worlds.words"), []

    def script(request: TurnRequest) -> Said:
        item = known.item(request)
        step = item.trace[(len(request.messages) - 1) // 2]
        if request.messages[-1].role == "tool":
            results.append((request.messages[-1].text, [one.result for one in item.trace if isinstance(one, Call)]))
        if isinstance(step, Call):
            call = ToolCall(id=f"c{len(request.messages)}", name=step.name, arguments=dict(step.arguments))
            return Said(thought=step.thought, calls=(call,))
        return Said(thought=step.thought, text=item.answer)

    report = run(script, task="worlds.words")
    assert report.to_json()["modes"]["thinking"]["accuracy"] == 1
    assert results and all(told in wanted for told, wanted in results)


def test_a_model_that_is_always_wrong() -> None:
    found = run(lambda request: Said(text="-1 furlong")).to_json()["modes"]["thinking"]
    assert found["accuracy"] == found["low"] == 0.0 and found["high"] == pytest.approx(0.243, abs=1e-3)
    assert found["failed"] == 0 and found["declined"] == 0.0


@pytest.mark.parametrize("sentence", [DECLINE, NEED_PICTURE])
def test_declining_is_wrong_on_panels_and_right_at_the_edge_in_the_askers_language(sentence: str) -> None:
    panels = run(lambda request: Said(text=sentence)).to_json()["modes"]["thinking"]
    assert panels["accuracy"] == 0.0 and panels["declined"] == 1.0
    edge = run(lambda request: Said(text=sentence), task="worlds.edge").to_json()["modes"]["thinking"]
    in_english = sum(item.answer in (DECLINE, NEED_PICTURE) for item in Known("worlds.edge").all)
    assert 0 < in_english < LIMIT and edge["accuracy"] == pytest.approx(in_english / LIMIT, abs=1e-6)
    assert edge["declined"] == 1.0 and edge["by_print"] == {} and list(edge["by_kind"]) == ["edge"]


@pytest.mark.parametrize("error", [BackendError("the model is gone"), RuntimeError("a bug"), ZeroDivisionError()])
def test_one_failing_item_never_ends_the_evaluation(error: Exception) -> None:
    known = Known()
    good = right(known)

    def script(request: TurnRequest) -> Said:
        if known.item(request) is known.all[3]:
            raise error
        return good(request)

    report = run(script)
    found = report.to_json()["modes"]["thinking"]
    assert found["n"] == LIMIT and found["failed"] == 1 and found["accuracy"] == pytest.approx(11 / 12, abs=1e-6)
    (message,) = found["errors"]
    assert str(error) in message and report.items[3].error == message and not report.items[3].right
    assert message in report.table()


def test_items_that_cannot_be_drawn_or_scored_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    known, panels = Known(), type(get_task("worlds.panels"))
    draw, check = panels.item, panels.check

    def broken_draw(self: object, seed: int, index: int) -> Item:
        if index == 2:
            raise ValueError("no room")
        return draw(self, seed, index)  # type: ignore[arg-type]

    def broken_check(self: object, item: Item, answer: str) -> bool:
        if item.question == known.all[4].question:
            raise ValueError("no number")
        return check(self, item, answer)  # type: ignore[arg-type]

    monkeypatch.setattr(panels, "item", broken_draw)
    monkeypatch.setattr(panels, "check", broken_check)
    report = run(right(known))
    assert "drawn: ValueError: no room" in str(report.items[2].error) and report.items[2].kind == "undrawn"
    assert "scored: ValueError: no number" in str(report.items[4].error) and not report.items[4].right
    found = report.to_json()["modes"]["thinking"]
    assert found["failed"] == 2 and sum(part["n"] for part in found["by_print"].values()) == LIMIT - 1


@pytest.mark.parametrize("modes", [("thinking",), ("instant", "thinking")])
def test_ctrl_c_leaves_a_partial_report(modes: tuple[str, ...]) -> None:
    good = right(Known())
    calls = 0

    def progress(mode: str, done: int, total: int) -> None:
        nonlocal calls
        assert total == LIMIT and done == calls // len(modes) + 1 and mode == modes[calls % len(modes)]
        calls += 1
        if calls == 3 * len(modes):
            raise KeyboardInterrupt

    backend = ScriptedBackend(good)
    report = evaluate("worlds.panels", modes, limit=LIMIT, seed=SEED, backend=backend, progress=progress)
    found = report.to_json()
    assert report.partial and found["partial"] is True and found["n"] == 3 and found["limit"] == LIMIT
    assert found["modes"]["thinking"]["n"] == 3 and found["modes"]["thinking"]["accuracy"] == 1.0
    assert "PARTIAL: stopped after 3 of 12" in report.table()


def test_a_real_signal_leaves_a_partial_report() -> None:
    good, seen = right(Known()), 0

    def script(request: TurnRequest) -> Said:
        nonlocal seen
        seen += 1
        if seen == 5:
            signal.raise_signal(signal.SIGINT)
        return good(request)

    report = run(script, ("instant",))
    assert report.partial and 4 <= report.n < LIMIT


def test_concurrency_changes_nothing_but_the_order_of_work() -> None:
    one = evaluate("worlds.panels", ["thinking"], limit=LIMIT, seed=SEED, backend=ScriptedBackend(right(Known())))
    many = evaluate(
        "worlds.panels", ["thinking"], limit=LIMIT, seed=SEED, backend=ScriptedBackend(right(Known())), concurrency=5
    )
    assert [(r.index, r.answer, r.right) for r in one.items] == [(r.index, r.answer, r.right) for r in many.items]


def test_every_item_has_dice_of_its_own_and_they_repeat() -> None:
    seeds = []
    for _ in range(2):
        backend = ScriptedBackend(right(Known()))
        evaluate("worlds.panels", ["instant"], limit=4, seed=SEED, backend=backend, temperature=0.7)
        seeds.append([request.seed for request in backend.requests])
        assert {request.temperature for request in backend.requests} == {0.7}
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 4


@pytest.mark.parametrize(
    ("task", "modes", "limit", "concurrency", "error", "why"),
    [
        ("worlds.pannels", ["thinking"], 3, 1, ConfigError, "no task 'worlds.pannels'"),
        ("worlds.panels", ["thinkin"], 3, 1, InputError, "unknown mode 'thinkin'"),
        ("worlds.panels", ["", " "], 3, 1, InputError, "no mode"),
        ("worlds.panels", ["thinking"], 0, 1, InputError, "limit is 0"),
        ("worlds.panels", ["thinking"], 3, 0, InputError, "concurrency is 0"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(
    task: str, modes: list[str], limit: int, concurrency: int, error: type[Exception], why: str
) -> None:
    backend = ScriptedBackend(lambda request: Said())
    with pytest.raises(error, match=re.escape(why)) as refused:
        evaluate(task, modes, limit=limit, seed=1, backend=backend, concurrency=concurrency)
    assert refused.value.hint and not backend.requests  # type: ignore[attr-defined]


def test_modes_come_once_and_in_the_order_given() -> None:
    report = evaluate(
        "worlds.panels", ["Thinking", " instant", "thinking"], limit=2, seed=1,
        backend=ScriptedBackend(lambda request: Said(text="?")),
    )  # fmt: skip
    assert report.modes == ("thinking", "instant") and [r.mode for r in report.items[:2]] == ["thinking", "instant"]


def test_tasks_draw_from_the_test_split_and_repeat() -> None:
    assert {"worlds", "worlds.panels", "worlds.panels-unseen", "worlds.edge"} <= set(task_names())
    task = get_task("worlds.edge")
    assert task.item(3, 1).question == get_world("edge").item(3, 1, split="test").question


def test_the_ladder_takes_all_eight_worlds_in_turn() -> None:
    task = get_task("worlds")
    assert [task.item(3, i).world for i in range(9)] == [*MAIN_WORLDS, "panels"] and len(MAIN_WORLDS) == 8
    assert task.item(3, 9).question == get_world("charts").item(3, 1, split="test").question
    assert task.world_of(9) == "charts"


def test_a_world_that_is_asked_twice_in_a_turn_gives_two_items() -> None:
    clevr = get_task("worlds.clevr")
    items = [clevr.item(3, i) for i in range(6)]
    assert [item.kind for item in items] == ["relational", "nonrelational"] * 3
    assert len({fingerprint(item.question, item.picture) for item in items}) == 6
    scope = get_task("worlds.scope")
    assert {scope.world_of(i) for i in range(0, 16, 2)} == {"edge"}
    assert [scope.world_of(i) for i in range(1, 16, 2)] == list(MAIN_WORLDS)
    asked = [scope.item(3, i).question for i in range(0, 16, 2)]
    assert asked == [get_world("edge").item(3, i, split="test").question for i in range(8)]
    assert {"panels-unseen", "charts-matplotlib", "words-reworded", "routes"} <= set(get_task("worlds.heldout").worlds)


def test_every_heldout_variant_is_asked_beside_its_plain_world() -> None:
    backend = ScriptedBackend(lambda request: Said(text="yes"))
    found = evaluate("worlds.heldout", ["instant"], limit=24, seed=2, backend=backend).to_json()
    assert found["modes"]["instant"]["failed"] == 0 and set(found["heldout"]) == {"unseen", "reworded", "matplotlib"}
    by_world = {variant: set(told["instant"]["by_world"]) for variant, told in found["heldout"].items()}
    assert by_world["unseen"] == set(MAIN_WORLDS) and by_world["matplotlib"] == {"charts"}
    assert by_world["reworded"] >= set(MAIN_WORLDS) - {"panels"}


def test_sort_of_clevr_is_half_relational() -> None:
    backend = ScriptedBackend(lambda request: Said(text="a circle"))
    found = evaluate("worlds.clevr", ["instant"], limit=8, seed=2, backend=backend).to_json()["modes"]["instant"]
    assert {kind: told["n"] for kind, told in found["by_kind"].items()} == {"relational": 4, "nonrelational": 4}
