"""Runs that go on when nobody listens, over a real socket; and what is there when the whole process is killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from pathlib import Path

import httpx2

from narthex.backends.fake import Said, ScriptedBackend

from .test_serve import running
from .test_serve_process import serving

DEADLINE_S = 60


def begin(client, **body):
    """(conversation, ids) of a question just asked."""
    home = client.post("/api/conversations").json()["id"]
    reply = client.post(f"/api/conversations/{home}/turns", json={"text": "What?", "mode": "instant", **body})
    assert reply.status_code == 201, reply.text
    return home, reply.json()


def listened(client, run_id, *, after=None, count=None):
    """The events of a run, each (id, event), up to `count` of them or to the end, and whether it was cut."""
    heard, is_cut = [], False
    params = {} if after is None else {"after": after}
    with client.stream("GET", f"/api/runs/{run_id}/events", params=params) as reply:
        assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/event-stream")
        seq = None
        for line in reply.iter_lines():
            if line.startswith("id: "):
                seq = int(line.removeprefix("id: "))
            elif line == "event: cut":
                is_cut = True
            elif line.startswith("data: ") and not is_cut:
                heard.append((seq, json.loads(line.removeprefix("data: "))))
                if count is not None and len(heard) >= count:
                    break
    return heard, is_cut


def wait_for(client, run_id):
    began = time.monotonic()
    while (run := client.get(f"/api/runs/{run_id}").json())["status"] == "running":
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.05)
    return run


def test_a_run_goes_on_and_is_heard_without_a_gap_or_a_double(tmp_path):
    backend = ScriptedBackend(lambda request: Said("word " * 200), word_s=0.01)
    with running(backend, tmp_path) as url, httpx2.Client(base_url=url, timeout=60) as client:
        home, ids = begin(client)
        first, _ = listened(client, ids["run_id"], count=20)
        assert not first[-1][1]["type"].startswith("run_f"), "it has not ended yet"
        heard = []
        threads = [
            threading.Thread(target=lambda: heard.append(listened(client, ids["run_id"], after=first[-1][0])[0]))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert len(heard) == 4
        for rest in heard:
            whole = first + rest
            assert [seq for seq, _ in whole] == [event["seq"] for _, event in whole] == list(range(len(whole)))
            assert whole[-1][1]["type"] == "run_finished" and whole[-1][1]["answer"] == "word " * 200
        (turn,) = client.get(f"/api/conversations/{home}").json()["turns"]
        assert turn["status"] == "finished" and turn["replied"][-1]["parts"][0]["text"] == "word " * 200


def test_nobody_listens_at_all_and_it_is_answered(tmp_path):
    with running(ScriptedBackend(lambda request: Said("yes"), word_s=0.05), tmp_path) as url:
        with httpx2.Client(base_url=url, timeout=60) as client:
            home, ids = begin(client)
        with httpx2.Client(base_url=url, timeout=60) as client:
            assert wait_for(client, ids["run_id"])["status"] == "finished"
            assert client.get(f"/api/conversations/{home}").json()["turns"][0]["status"] == "finished"


def test_after_a_kill_a_turn_is_there_with_what_had_streamed_and_can_be_asked_again(environment, endless_model):
    with serving(environment, endless_model) as (process, url, _), httpx2.Client(base_url=url, timeout=60) as client:
        home, ids = begin(client, mode="thinking", effort="high")
        shown, _ = listened(client, ids["run_id"], count=12)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    database = Path(environment["NARTHEX_HOME"]) / "narthex.db"
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with serving(environment, endless_model) as (_, url, _), httpx2.Client(base_url=url, timeout=60) as client:
        (turn,) = client.get(f"/api/conversations/{home}").json()["turns"]
        assert (turn["id"], turn["status"], turn["replied"]) == (ids["turn_id"], "cut", None)
        heard, is_cut = listened(client, ids["run_id"])
        assert is_cut and heard[: len(shown)] == shown, "what was shown is there"
        again = client.post(f"/api/conversations/{home}/turns", json={
            "text": "What?", "parent": turn["parent"], "mode": "instant"}).json()  # fmt: skip
        assert client.post(f"/api/runs/{again['run_id']}/cancel").status_code == 202
        assert wait_for(client, again["run_id"])["status"] == "cut"
        assert len(client.get(f"/api/conversations/{home}").json()["turns"]) == 2


def test_a_server_that_is_stopped_ends_its_runs_and_those_who_listen(environment, endless_model):
    with serving(environment, endless_model) as (process, url, _), httpx2.Client(base_url=url, timeout=60) as client:
        home, ids = begin(client, mode="thinking", effort="high")
        with client.stream("GET", f"/api/runs/{ids['run_id']}/events") as reply:
            lines = reply.iter_lines()
            while "thought_delta" not in next(lines):
                pass
            process.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        process.wait(20)
        assert "Traceback" not in process.stderr.read()
    with serving(environment, endless_model) as (_, url, _), httpx2.Client(base_url=url, timeout=60) as client:
        (turn,) = client.get(f"/api/conversations/{home}").json()["turns"]
        assert turn["status"] == "cut"
