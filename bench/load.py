"""Many streaming clients on one server for a long time: `python bench/load.py [--seconds 600]`, or `make load`.

A server of its own, as a process, with narthex-nano and a store; beside it 100 clients, each with a key of its own,
which ask, read the stream to its end, and ask again: text and pictures, Instant and Thinking, now and then
Contemplating; some hang up in the middle. It fails, with exit code 1 and the problems named, unless

    errors    every stream that is read to its end has a last chunk, a finish reason and [DONE], and no status but 200
    memory    the server's resident memory after warm-up (a fifth of the time, at most two minutes) stays: the median of
              the last tenth exceeds that of the first tenth after warm-up by at most 10 % or 64 MiB, whichever is more
    books     afterwards nothing runs and nothing waits, no run is left "running", and the database is sound

Times to the first byte and the first token and the worst gap are reported, not judged: they are the machine's. A gap
lies between two pieces of one stream, comments included, which tell a client that it is not forgotten.

stdout: one JSON line. stderr: a line every half minute.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from parts.machine import commit, hardware

from narthex.store import Store

ROOT = Path(__file__).resolve().parents[1]
PANEL = ROOT / "examples" / "panel.png"
MODES = ("instant", "instant", "thinking", "thinking", "thinking", "contemplating")  # as often as they stand here
WORDS = ("What can you do?", "What is 17 + 25?", "Who are you?", "What is 9 x 8?")
HANGS_UP = 0.1  # of all streams
SAMPLE_S, REPORT_S, START_S = 1.0, 30.0, 120.0
GROWTH_SHARE, GROWTH_MIB, MIB = 0.10, 64.0, 2**20
MAX_PROBLEMS = 20


@dataclass
class Record:
    """What happened. Times in seconds; `rss` holds (time since start, MiB of the server)."""

    counts: Counter[str] = field(default_factory=Counter)
    first_byte_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)  # the worst of each stream
    rss: list[tuple[float, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, words: str) -> None:
        self.counts["problems"] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(words)


class Client:
    """One user at one key."""

    def __init__(self, http: httpx2.AsyncClient, key: str, record: Record, dice: random.Random) -> None:
        self._http, self._headers = http, {"authorization": f"Bearer {key}"}
        self._record, self._dice = record, dice

    async def ask_until(self, end: float) -> None:
        while time.monotonic() < end:
            self._record.counts["streams"] += 1
            try:
                await self._ask()
            except (httpx2.HTTPError, ValueError, KeyError) as error:
                self._record.problem(f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(1.0)

    async def _ask(self) -> None:
        """One stream. Raises: ValueError where it is not what it should be."""
        begun = time.monotonic()
        leaves_after = self._dice.randrange(1, 20) if self._dice.random() < HANGS_UP else None
        arrived: list[float] = []  # when each piece did
        first: float | None = None
        tail: list[str] = []
        num_chunks = 0
        async with self._http.stream("POST", "/v1/chat/completions", json=self._body(), headers=self._headers) as reply:
            if reply.status_code != 200:
                raise ValueError(f"status {reply.status_code}: {(await reply.aread())[:200]!r}")
            async for line in reply.aiter_lines():
                arrived.append(time.monotonic())
                if not line.startswith("data: "):
                    continue
                tail = [*tail[-1:], line.removeprefix("data: ")]
                if first is None and ('"content":"' in line or '"reasoning":"' in line) and '"role"' not in line:
                    first = arrived[-1] - begun
                num_chunks += 1
                self._record.counts["chunks"] += 1
                if num_chunks == leaves_after:
                    self._record.counts["hung_up"] += 1
                    return
        self._judge(tail)
        self._record.counts["finished"] += 1
        self._record.first_byte_s.append(arrived[0] - begun)
        self._record.gaps_s.append(max(later - sooner for sooner, later in itertools.pairwise(arrived)))
        if first is not None:
            self._record.first_token_s.append(first)

    def _judge(self, tail: list[str]) -> None:
        if len(tail) < 2 or tail[1] != "[DONE]":
            raise ValueError(f"a stream ended with {tail[-1:]}")
        last = json.loads(tail[0])
        if "error" in last or last["choices"][0]["finish_reason"] not in ("stop", "length"):
            raise ValueError(f"a stream ended with {tail[0][:200]}")

    def _body(self) -> dict[str, Any]:
        content: Any = self._dice.choice(WORDS)
        if self._dice.random() < 0.5:
            uri = "data:image/png;base64," + base64.b64encode(PANEL.read_bytes()).decode()
            question = PANEL.with_suffix(".txt").read_text(encoding="utf-8").strip()
            content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": uri}}]
        return {
            "model": f"narthex-nano:{self._dice.choice(MODES)}", "messages": [{"role": "user", "content": content}],
            "stream": True, "seed": self._dice.randrange(2**31), "temperature": self._dice.choice([0, 0.7]),
        }  # fmt: skip


class Server:
    """A server as a process, in a folder of its own."""

    def __init__(self, home: Path, num_keys: int) -> None:
        with Store.open(home) as store:
            users = [store.people.add_user(f"user-{number}") for number in range(num_keys)]
            self.keys = [store.people.add_key(user.id).key for user in users]
        command = [sys.executable, "-m", "narthex.cli", "serve", "--port", "0", "--save"]
        self._log = (home / "server.log").open("w+", encoding="utf-8")
        environment = {**os.environ, "NARTHEX_HOME": str(home)}
        self._process = subprocess.Popen(command, env=environment, stderr=self._log, cwd=ROOT)
        self.url = self._wait(home / "server.log")
        self._watched = psutil.Process(self._process.pid)

    def _wait(self, log: Path) -> str:
        """Raises: RuntimeError where it does not start."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            found = re.search(r" at (http://\S+)/v1, ", log.read_text(encoding="utf-8"))
            if found:
                return found[1]
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")

    @property
    def rss_mib(self) -> float:
        return self._watched.memory_info().rss / MIB

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


async def load(server: Server, seconds: float, num_clients: int, seed: int) -> Record:
    """Run the clients against it; then see whether anything is left under way."""
    record, dice, start = Record(), random.Random(seed), time.monotonic()
    limits = httpx2.Limits(max_connections=num_clients + 2)
    async with httpx2.AsyncClient(base_url=server.url, timeout=600, limits=limits, trust_env=False) as http:
        watching = asyncio.create_task(_watch(server, record, start))
        clients = [Client(http, key, record, random.Random(dice.random())) for key in server.keys[:num_clients]]
        await asyncio.gather(*(client.ask_until(start + seconds) for client in clients))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await _judge_rest(http, record)
    return record


async def _watch(server: Server, record: Record, start: float) -> None:
    """Note the server's memory, and say now and then how it goes."""
    told = start
    while True:
        now = time.monotonic()
        record.rss.append((now - start, server.rss_mib))
        if now - told >= REPORT_S:
            told = now
            counts, rss_mib = dict(record.counts), record.rss[-1][1]
            print(f"{now - start:.0f} s: {counts}, {rss_mib:.0f} MiB", file=sys.stderr, flush=True)
        await asyncio.sleep(SAMPLE_S)


async def _judge_rest(http: httpx2.AsyncClient, record: Record) -> None:
    """Everybody has left: nothing runs, nothing waits."""
    for _ in range(50):
        page = (await http.get("/metrics")).text
        left = sum(map(float, re.findall(r"^narthex:num_requests_\w+{[^}]*} (\S+)", page, re.MULTILINE)))
        if left == 0 and "num_requests_running" in page:
            return
        await asyncio.sleep(0.2)
    record.problem(f"when all have left, metrics say {left:.0f} are there: {page[:200]}")


def judge(record: Record, home: Path) -> dict[str, Any]:
    """The figures; adds to `record.problems` what they show to be wrong."""
    with closing(sqlite3.connect(home / "narthex.db")) as database:
        check = database.execute("PRAGMA integrity_check").fetchone()[0]
        statuses = dict(database.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
    if check != "ok":
        record.problem(f"integrity_check: {check}")
    if statuses.get("running"):
        record.problem(f"{statuses['running']} runs are left running")
    if not record.counts["finished"]:
        record.problem("no stream was read to its end")
    figures: dict[str, Any] = {**dict(record.counts), "runs": statuses}
    for name, found in (
        ("first_byte", record.first_byte_s), ("first_token", record.first_token_s), ("gap", record.gaps_s)
    ):  # fmt: skip
        times = sorted(found) or [0.0]
        shares = {"p50": len(times) // 2, "p99": int(len(times) * 0.99), "worst": -1}
        figures |= {f"{name}_{share}_s": round(times[place], 3) for share, place in shares.items()}
    return {**figures, **_judge_memory(record)}


def _judge_memory(record: Record) -> dict[str, float]:
    seconds = record.rss[-1][0]
    warm_s = min(seconds / 5, 120.0)
    tenth = max((seconds - warm_s) / 10, 2 * SAMPLE_S)
    warm = statistics.median(mib for at, mib in record.rss if warm_s <= at <= warm_s + tenth)
    end = statistics.median(mib for at, mib in record.rss if at >= seconds - tenth)
    bound = max(GROWTH_SHARE * warm, GROWTH_MIB)
    if end - warm > bound:
        record.problem(f"resident memory grew by {end - warm:.0f} MiB after warm-up; the bound is {bound:.0f} MiB")
    return {"rss_start_mib": record.rss[0][1], "rss_warm_mib": warm, "rss_end_mib": end, "rss_bound_mib": bound}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long clients go on asking (600)")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "narthex.toml").write_text('[serve]\nmetrics = "this_machine"\n', encoding="utf-8")
        server = Server(home, options.clients)
        try:
            record = asyncio.run(load(server, options.seconds, options.clients, options.seed))
        finally:
            server.stop()
        figures = judge(record, home)
    settings = {"seconds": options.seconds, "clients": options.clients, "seed": options.seed}
    result = {"load": "server", "hardware": hardware(), "commit": commit(), **settings, **figures}
    print(json.dumps({**result, "problems": record.problems}), flush=True)
    return 1 if record.problems else 0


if __name__ == "__main__":
    sys.exit(main())
