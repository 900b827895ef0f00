"""A minute of what `make soak` does for half an hour, run as a person would; and leaks that it must see."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from narthex.engine.pages import PagePool

BENCH = Path(__file__).parents[2] / "bench"
# The clients go on asking this long; then a burst's worth of work may be left. With opening, about a minute.
SECONDS = 50
# Nothing but starvation waits this long, on a slow machine with much else to do.
WAIT_BOUND_S = 180


def test_a_minute():
    command = [sys.executable, "soak.py", "--seconds", str(SECONDS), "--clients", "64"]
    done = subprocess.run(
        [*command, "--wait-bound", str(WAIT_BOUND_S)],
        cwd=BENCH, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=400, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout) if done.stdout else {}
    assert (done.returncode, found.get("problems")) == (0, []), done.stderr
    assert found["pages_back"] == found["pages"]
    for name in ("finished", "cancelled", "refused", "with_pictures", "tokens", "checks"):
        assert found[name] > 0, name


@pytest.fixture
def soak(monkeypatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("narthex_soak", BENCH / "soak.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "narthex_soak", module)
    spec.loader.exec_module(module)
    return module


def briefly(soak: ModuleType, wait_bound_s: float = WAIT_BOUND_S) -> list[str]:
    record, engine = asyncio.run(soak.soak(2.0, 4, seed=3))
    soak.judge(record, engine, wait_bound_s)
    return record.problems


def test_it_sees_a_page_that_does_not_come_back(soak, monkeypatch):
    release, count = PagePool.release, [0]

    def forgetful(pool, block, *, is_near):
        count[0] += 1
        if count[0] != 20:
            release(pool, block, is_near=is_near)

    monkeypatch.setattr(PagePool, "release", forgetful)
    assert any("books" in problem or "pages" in problem for problem in briefly(soak))


def test_it_sees_a_wait_that_is_too_long(soak):
    assert any("first token" in problem for problem in briefly(soak, wait_bound_s=1e-4))


def test_it_sees_memory_that_grows(soak):
    record = soak.Record(rss=[(second, 500.0 + second) for second in range(300)])
    soak._judge_memory(record)
    assert any("grew by" in problem for problem in record.problems)
    steady = soak.Record(rss=[(second, 500.0 + min(second, 60)) for second in range(300)])
    soak._judge_memory(steady)
    assert steady.problems == []


def test_it_sees_an_engine_that_fails(soak, monkeypatch):
    def broken(pool, *args, **more):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(PagePool, "allocate", broken)
    assert any("out of luck" in problem for problem in briefly(soak))
