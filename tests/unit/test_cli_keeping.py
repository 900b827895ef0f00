"""A run is kept while it is shown, and shown even where it cannot be kept."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from narthex.base.errors import InputError
from narthex.chat import AnswerDelta, Ledger, RunFinished, RunStarted
from narthex.cli.keeping import RunBlobs, kept
from narthex.store import Store, StoreError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def run(count: int = 5, blobs: RunBlobs | None = None, *, is_endless: bool = False):
    yield RunStarted(run_id="r", seq=0, t=0, mode="instant", model="nano")
    for seq in range(1, count):
        await asyncio.sleep(0)
        if blobs is not None:
            blobs.put(f"crop {seq}".encode(), "image/png")
        yield AnswerDelta(run_id="r", seq=seq, t=0, text="x")
    if is_endless:
        await asyncio.sleep(60)
    yield RunFinished(run_id="r", seq=count, t=0, answer="x", ledger=Ledger())


async def test_events_and_pictures_are_in_the_store_afterwards(home):
    warnings: list[str] = []
    blobs = RunBlobs(warnings.append)
    first = blobs.put(b"asked about", "image/png")
    seen = [event async for event in kept(run(5, blobs), blobs, warnings.append)]
    with Store.open(home) as store:
        assert store.events("r") == seen and len(seen) == 6
        assert store.run("r").status == "done"
        assert store.blobs.get(first).data == b"asked about"
        assert store.blobs.get(blobs.put(b"crop 2", "image/png")).data == b"crop 2"
    assert warnings == []


async def test_a_question_that_is_refused_leaves_nothing(home):
    async def refused():
        raise InputError("empty")
        yield

    blobs = RunBlobs(print)
    blobs.put(b"asked about", "image/png")
    with pytest.raises(InputError, match="empty"):
        _ = [event async for event in kept(refused(), blobs, print)]
    assert not home.exists()


async def test_leaving_early_cuts_the_run(home):
    async with aclosing(kept(run(3, is_endless=True), RunBlobs(print), print)) as events:
        for _ in range(3):
            await anext(events)
    with Store.open(home) as store:
        assert store.run("r").status == "cut"
        assert len(store.events("r")) == 3


async def test_a_home_that_cannot_be_used_is_a_warning(home):
    home.write_text("a file where a folder should be")
    warnings: list[str] = []
    seen = [event async for event in kept(run(), RunBlobs(warnings.append), warnings.append)]
    assert len(seen) == 6
    (warning,) = warnings
    assert "not kept" in warning and "NARTHEX_HOME" in warning


async def test_a_disk_that_fills_up_halfway_is_a_warning_and_no_event_is_lost_or_doubled(home, monkeypatch):
    flush, calls = Store.flush_async, []

    async def failing(self, ticket=None):
        calls.append(ticket)
        if len(calls) > 2:
            raise StoreError("disk full")
        await flush(self, ticket)

    monkeypatch.setattr(Store, "flush_async", failing)
    warnings: list[str] = []
    blobs = RunBlobs(warnings.append)

    async def slow():
        async for event in run(6, blobs):
            yield event
            await asyncio.sleep(0.005)

    seen = [event async for event in kept(slow(), blobs, warnings.append)]
    assert [event.seq for event in seen] == list(range(7))
    assert ["disk full" in warning for warning in warnings] == [True]


async def test_pictures_that_cannot_be_written_are_a_warning(home, monkeypatch):
    def full(*_):
        raise StoreError("disk full")

    monkeypatch.setattr("narthex.store.blobs.Blobs.put", full)
    warnings: list[str] = []
    blobs = RunBlobs(warnings.append)
    blobs.put(b"asked about", "image/png")
    assert len([event async for event in kept(run(5, blobs), blobs, warnings.append)]) == 6
    (warning,) = warnings
    assert "pictures" in warning


async def test_what_the_run_raises_comes_out():
    async def breaking():
        yield RunStarted(run_id="r", seq=0, t=0, mode="instant", model="nano")
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        _ = [event async for event in kept(breaking(), RunBlobs(print), print)]
