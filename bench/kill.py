"""Kill a server under load, again and again, and look for what it had acknowledged: `make kill`.

Each round starts `narthex serve` on the same folder, lets clients work for a while, and sends SIGKILL at a moment of
its own. Clients open conversations, ask in them, listen to what happens, ask responses in the background and upload
files. They note what they were told: an id with a 201 or 200, and every event they saw. Then the folder is opened.

It fails, with exit code 1 and the problems named, unless

    files     PRAGMA integrity_check says ok, after every kill, before anything else touches the database
    kept      every conversation, turn, run, response and file that was acknowledged is there
    events    every event that a client saw is in the store, byte for byte the same
    answers   a turn whose last event was seen has its reply
    marked    nothing is still called running, and no run that is over ends in the middle without being called cut

stdout: one JSON line. stderr: a line for each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from parts.machine import commit, hardware

from narthex.base.paths import SHIPPED_NANO
from narthex.store import Store

QUESTIONS = ("What can you do?", "What does gauge C read?", "How are you today?", "Which is higher, A or B?")
MODES = ("instant", "thinking", "thinking", "contemplating")
LEAST_S, MOST_S = 1.5, 6.0  # of a round's load, before the kill
START_S = 180.0  # for the server to be there, on a machine that may be busy


@dataclass
class Acknowledged:
    """What clients were told, over all rounds. `events` by run and number, as text."""

    conversations: set[str] = field(default_factory=set)
    turns: dict[str, str] = field(default_factory=dict)  # turn -> run
    responses: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, dict[int, str]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)  # runs whose last event was seen


class Client(threading.Thread):
    """One who asks, until the server is gone."""

    def __init__(self, url: str, told: Acknowledged, seed: int) -> None:
        super().__init__(daemon=True)
        self._url, self._told, self._dice = url, told, random.Random(seed)

    def run(self) -> None:
        try:
            with httpx2.Client(base_url=self._url, timeout=60) as client:
                while True:
                    self._dice.choice((self._converse, self._converse, self._respond, self._upload))(client)
        except (httpx2.HTTPError, ValueError):
            return  # killed in the middle of a reply

    def _converse(self, client: httpx2.Client) -> None:
        made = client.post("/api/conversations", json={})
        if made.status_code != 201:
            return
        home = made.json()["id"]
        self._told.conversations.add(home)
        for _ in range(self._dice.randint(1, 3)):
            body = {"text": self._dice.choice(QUESTIONS), "mode": self._dice.choice(MODES), "effort": None}
            reply = client.post(f"/api/conversations/{home}/turns", json=body)
            if reply.status_code != 201:
                return
            ids = reply.json()
            self._told.turns[ids["turn_id"]] = ids["run_id"]
            if self._dice.random() < 0.7:
                self._listen(client, ids["run_id"])

    def _listen(self, client: httpx2.Client, run_id: str) -> None:
        seen = self._told.events.setdefault(run_id, {})
        with client.stream("GET", f"/api/runs/{run_id}/events") as reply:
            seq = -1
            for line in reply.iter_lines():
                if line.startswith("id: "):
                    seq = int(line[4:])
                elif line.startswith("data: {") and seq >= 0:
                    seen[seq] = line[6:]
                    if '"type":"run_finished"' in line:
                        self._told.finished.add(run_id)

    def _respond(self, client: httpx2.Client) -> None:
        body = {"model": "narthex-nano", "input": self._dice.choice(QUESTIONS), "background": True}
        reply = client.post("/v1/responses", json=body)
        if reply.status_code == 200:
            self._told.responses.add(reply.json()["id"])

    def _upload(self, client: httpx2.Client) -> None:
        data = self._dice.randbytes(self._dice.randint(1, 50_000))
        reply = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("x.bin", data)})
        if reply.status_code == 200:
            self._told.files[reply.json()["id"]] = data


def one_round(home: Path, num_clients: int, told: Acknowledged, dice: random.Random) -> float:
    """Serve, load, kill; returns how long it was under load."""
    environment = {**os.environ, "NARTHEX_HOME": str(home)}
    command = [sys.executable, "-m", "narthex.cli", "serve", "-m", str(SHIPPED_NANO), "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            if process.stderr is None:
                raise RuntimeError("no way to hear the server")
            watch = threading.Timer(START_S, process.kill)
            watch.start()
            said = ""
            while not (found := re.search(r"at (http://127\.0\.0\.1:\d+)/v1", said)):
                line = process.stderr.readline()
                if not line:
                    raise RuntimeError(f"the server did not start: {said}")
                said += line
            watch.cancel()
            threading.Thread(target=process.stderr.read, daemon=True).start()
            clients = [Client(found[1], told, dice.randrange(2**31)) for _ in range(num_clients)]
            for client in clients:
                client.start()
            seconds = dice.uniform(LEAST_S, MOST_S)
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            for client in clients:
                client.join(30)
            return seconds
        finally:
            process.kill()


def judge(home: Path, told: Acknowledged) -> tuple[list[str], Counter[str]]:
    """What is wrong with what lies there, and how the runs stand."""
    with closing(sqlite3.connect(home / "narthex.db")) as connection:
        checked = connection.execute("PRAGMA integrity_check").fetchall()
    problems = [] if checked == [("ok",)] else [f"integrity_check: {checked}"]
    with Store.open(home) as store:
        talks, responses = store.conversations, store.responses
        problems += [f"conversation {each} is gone" for each in told.conversations if talks.record(each) is None]
        problems += [f"response {each} is gone" for each in told.responses if responses.record(each) is None]
        for file_id, data in told.files.items():
            record = store.files.record(file_id)
            if record is None or store.blobs.get(record.sha256).data != data:
                problems.append(f"file {file_id} is gone or not what it was")
        for turn_id, run_id in told.turns.items():
            turn = store.conversations.turn_of(run_id)
            if turn is None or turn.id != turn_id or store.run(run_id) is None:
                problems.append(f"turn {turn_id} or its run is gone")
            elif run_id in told.finished and turn.replied is None:
                problems.append(f"turn {turn_id} was answered, and has no reply")
        problems += _events_lost(store, told)
        standing: Counter[str] = Counter()
        for run in store.runs(limit=1_000_000):
            standing[run.status] += 1
            if run.status == "running":
                problems.append(f"run {run.id} is still called running")
    return problems, standing


def _events_lost(store: Store, told: Acknowledged) -> list[str]:
    problems = []
    for run_id, seen in told.events.items():
        stored = {event.seq: event.model_dump_json() for event in store.events(run_id)}
        lost = [seq for seq, text in seen.items() if json.loads(stored.get(seq, "null")) != json.loads(text)]
        if lost:
            problems.append(f"run {run_id}: events {lost[:5]} were seen, and are not there")
        if sorted(stored) != list(range(len(stored))):
            problems.append(f"run {run_id}: its events have a gap")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    told, dice, problems, seconds = Acknowledged(), random.Random(options.seed), [], []
    standing: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="narthex-kill-") as folder:
        for number in range(options.rounds):
            seconds.append(one_round(Path(folder), options.clients, told, dice))
            found, standing = judge(Path(folder), told)
            problems += [f"round {number + 1}: {problem}" for problem in found]
            so_far = f"{len(told.turns)} turns, {len(told.responses)} responses, {len(told.files)} files"
            line = f"round {number + 1}: killed after {seconds[-1]:.1f} s; {so_far} acknowledged; {len(found)} problems"
            print(line, file=sys.stderr, flush=True)
    figures: dict[str, Any] = {
        "rounds": options.rounds, "clients": options.clients, "seed": options.seed, "load_s": round(sum(seconds), 1),
        "conversations": len(told.conversations), "turns": len(told.turns), "responses": len(told.responses),
        "files": len(told.files), "events_seen": sum(map(len, told.events.values())),
        "answers_seen": len(told.finished), "runs": dict(standing),
    }  # fmt: skip
    print(json.dumps({"kill": "serve", "hardware": hardware(), "commit": commit(), **figures, "problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
