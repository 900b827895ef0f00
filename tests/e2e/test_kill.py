"""Two rounds of what `make kill` does ten times; and losses that it must see."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from narthex.chat import AnswerDelta, Ledger, Message, RunFinished, RunStarted
from narthex.store import Store

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.slow
def test_two_rounds():
    done = subprocess.run(
        [sys.executable, "kill.py", "--rounds", "2", "--clients", "8"], cwd=BENCH, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout) if done.stdout else {}
    assert (done.returncode, found.get("problems")) == (0, []), done.stderr
    assert found["conversations"] > 0


@pytest.fixture
def kill(monkeypatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("narthex_kill", BENCH / "kill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "narthex_kill", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def told(kill, tmp_path):
    """A folder with a turn that was answered, and a client that was told of all of it."""
    events = [
        RunStarted(run_id="r", seq=0, t=0, mode="instant", model="m"),
        AnswerDelta(run_id="r", seq=1, t=0, text="A"),
        RunFinished(run_id="r", seq=2, t=1, answer="A", ledger=Ledger()),
    ]
    with Store.open(tmp_path) as store:
        for event in events:
            store.append(event)
        turn_id = store.conversations.begin_turn("c", [Message.of("user", "Q")], run_id="r", settings={})
        store.conversations.finish_turn(turn_id, [Message.of("assistant", "A")])
        store.responses.add("resp", run_id="r", asked=[], request={})
        file = store.files.add(b"x", name="x", purpose="vision", media_type="image/png")
    seen = {event.seq: event.model_dump_json() for event in events}
    return kill.Acknowledged({"c"}, {turn_id: "r"}, {"resp"}, {file.id: b"x"}, {"r": seen}, {"r"})


def test_what_is_all_there_is_found_so(kill, told, tmp_path):
    assert kill.judge(tmp_path, told)[0] == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("delete from events where seq = 1", "events [1] were seen"),
        ("update events set json = replace(json, '\"A\"', '\"B\"') where seq = 1", "events [1] were seen"),
        ("update turns set replied = null", "has no reply"),
        ("delete from turns", "turn"),
        ("delete from turns; delete from conversations", "conversation c is gone"),
        ("delete from responses", "response resp is gone"),
        ("delete from files", "is gone or not what it was"),
    ],
)
def test_what_was_lost_is_seen(kill, told, tmp_path, damage, problem):
    connection = sqlite3.connect(tmp_path / "narthex.db")
    with connection:
        connection.executescript(damage)
    connection.close()
    found, _ = kill.judge(tmp_path, told)
    assert any(problem in each for each in found)
