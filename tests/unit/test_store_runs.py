from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from narthex.base import UserError
from narthex.chat import AnswerDelta, Event, Ledger, RunFailed, RunFinished, RunStarted
from narthex.store import Store, StoreError, schema


def started(run_id: str = "r1", question: str = "what?") -> RunStarted:
    return RunStarted(run_id=run_id, seq=0, t=0, mode="thinking", model="nano", question=question)


def delta(seq: int, run_id: str = "r1") -> AnswerDelta:
    return AnswerDelta(run_id=run_id, seq=seq, t=seq / 100, text=f"word {seq}")


def finished(seq: int, run_id: str = "r1", **more) -> RunFinished:
    return RunFinished(run_id=run_id, seq=seq, t=1, answer="42", ledger=Ledger(), **more)


def on_disk(folder: Path, run_id: str = "r1") -> list[int]:
    """What another program sees in the file right now."""
    connection = sqlite3.connect(folder / "narthex.db")
    try:
        rows = connection.execute("select seq from events where run_id = ? order by seq", (run_id,)).fetchall()
    finally:
        connection.close()
    return [seq for (seq,) in rows]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as opened:
        yield opened


def test_a_run_is_what_its_events_say(store):
    said: list[Event] = [started(), delta(1), delta(2), finished(3)]
    for item in said[:3]:
        store.append(item)
    store.flush()
    assert store.run("r1").status == "running"
    store.append(said[3])
    store.flush()
    record = store.run("r1")
    assert (record.status, record.mode, record.model, record.question) == ("done", "thinking", "nano", "what?")
    assert record.ended >= record.started
    assert store.events("r1") == said
    assert store.events("r1", after=1) == said[2:]
    assert store.run("r2") is None and store.events("r2") == []


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (finished(1), "done"),
        (finished(1, finish_reason="cancelled"), "cut"),
        (RunFailed(run_id="r1", seq=1, t=1, message="no"), "failed"),
    ],
)
def test_the_last_event_closes_the_run(store, last, status):
    store.append(started())
    store.append(last)
    store.flush()
    assert store.run("r1").status == status
    with pytest.raises(ValueError, match="not going on"):
        store.append(delta(2))


def test_runs_are_listed_newest_first_with_a_line_of_their_question(store):
    for index in range(5):
        store.append(started(f"r{index}", question="why\n\n so? " * 100))
    store.append(finished(1, "r3"))
    store.flush()
    listed = store.runs(limit=3)
    assert [record.id for record in listed] == ["r4", "r3", "r2"]
    assert len(listed[0].question) == 200 and "\n" not in listed[0].question
    assert [record.id for record in store.runs(status="done")] == ["r3"]


def test_events_out_of_order_are_our_bug(store):
    with pytest.raises(ValueError, match="not going on"):
        store.append(delta(1))
    store.append(started())
    store.append(delta(2))
    for wrong in (delta(2), delta(1), started()):
        with pytest.raises(ValueError, match="r1"):
            store.append(wrong)
    store.flush()
    assert on_disk(store.folder) == [0, 2]


def test_flush_means_on_disk_and_many_events_share_a_commit(store):
    store.append(started())
    for seq in range(1, 500):
        store.append(delta(seq))
    store.flush()
    assert on_disk(store.folder) == list(range(500))
    # One for the first event, which came to a quiet store; the rest within its 50 ms, or nearly.
    assert store._writer.num_commits <= 10


def test_events_reach_the_disk_without_a_flush(store):
    ticket = store.append(started())
    store._writer.written(ticket).result(timeout=5)
    assert on_disk(store.folder) == [0]


def test_threads_may_write_side_by_side(store):
    def write(run_id: str) -> None:
        store.append(started(run_id))
        for seq in range(1, 50):
            store.append(delta(seq, run_id))
        store.append(finished(50, run_id))
        store.flush()

    threads = [threading.Thread(target=write, args=(f"r{index}",)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        assert on_disk(store.folder, f"r{index}") == list(range(51))
    assert {record.status for record in store.runs()} == {"done"}


def test_a_failed_write_is_told_and_tried_again(store, monkeypatch):
    store.append(started())
    store.flush()
    full = OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))

    def refuse(*_):
        raise full

    with monkeypatch.context() as broken:
        broken.setattr("narthex.store.writer._execute", refuse)
        store.append(delta(1))
        with pytest.raises(StoreError, match="disk is full") as caught:
            store.flush()
        assert caught.value.hint
    store.append(delta(2))
    store.flush()
    assert on_disk(store.folder) == [0, 1, 2]


CHILD = """
import sys, time
from pathlib import Path
from narthex.chat import AnswerDelta, RunStarted
from narthex.store import Store
store = Store.open(Path(sys.argv[1]))
store.append(RunStarted(run_id="child", seq=0, t=0, mode="instant", model="nano"))
store.append(AnswerDelta(run_id="child", seq=1, t=0.1, text="half an ans"))
store.flush()
print("written", flush=True)
time.sleep(60)
"""


def test_a_run_is_cut_when_its_process_has_died_and_not_before(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "written\n"
            with Store.open(tmp_path) as store:
                assert store.cut_on_open == ()
                assert store.run("child").status == "running"
        finally:
            child.kill()
    with Store.open(tmp_path) as store:
        assert store.cut_on_open == ("child",)
        record = store.run("child")
        assert record.status == "cut" and record.ended is not None
        assert [item.type for item in store.events("child")] == ["run_started", "answer_delta"]
        assert len(list((tmp_path / "owners").iterdir())) == 1, "the dead process's lock file is swept"
    with Store.open(tmp_path) as store:
        assert store.cut_on_open == (), "said once"


def test_a_second_store_in_the_same_process_cuts_nothing(store):
    store.append(started())
    store.flush()
    with Store.open(store.folder) as other:
        assert other.cut_on_open == ()
        assert other.run("r1").status == "running"
    store.append(finished(1))
    store.flush()
    assert store.run("r1").status == "done"


def test_closing_writes_what_is_left_and_cuts_what_goes_on(tmp_path):
    with Store.open(tmp_path) as store:
        store.append(started())
        store.append(delta(1))
    with pytest.raises(StoreError, match="closed"):
        store.append(started("r2"))
    store.close()
    assert on_disk(tmp_path) == [0, 1]
    with Store.open(tmp_path) as again:
        assert again.cut_on_open == ()
        assert again.run("r1").status == "cut"


def test_a_run_is_found_by_the_beginning_of_its_id(store):
    for run_id in ("abc1", "abd2", "abc", "x_y"):
        store.append(started(run_id))
    store.flush()
    assert {run.id for run in store.find_runs("ab")} == {"abc1", "abd2", "abc"}
    assert [run.id for run in store.find_runs("abd")] == ["abd2"]
    assert [run.id for run in store.find_runs("abc")] == ["abc"], "an exact id is nobody's prefix"
    assert store.find_runs("_") == store.find_runs("%") == store.find_runs("no") == []


def test_a_store_of_another_version_is_left_alone(tmp_path):
    Store.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "narthex.db")
    with connection:
        connection.execute("update schema_version set version = 99")
    connection.close()
    with pytest.raises(UserError, match="version 99") as caught:
        Store.open(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("damage", ["a file where the folder should be", "no database"])
def test_what_is_no_store_gets_one_clear_line(tmp_path, damage):
    folder = tmp_path / "home"
    if damage == "no database":
        folder.mkdir()
        (folder / "narthex.db").write_bytes(b"this is no database at all " * 50)
    else:
        folder.write_text("")
    with pytest.raises(StoreError, match="could not open the store") as caught:
        Store.open(folder)
    assert caught.value.hint


def test_the_tables_on_disk_are_those_that_alembic_would_make(store):
    engine = create_engine(f"sqlite:///{store.folder / 'narthex.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
def test_nobody_else_may_look_into_a_new_store(store):
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
