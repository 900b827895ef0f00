"""`Store.recorded`: written before it is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from narthex.chat import AnswerDelta, Event, Ledger, RunFinished, RunStarted
from narthex.store import Store, StoreError


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        yield opened


class Source:
    """A run of `count` events that notes whether it was closed; with `error` it breaks after them."""

    def __init__(self, count: int, *, error: Exception | None = None, is_endless: bool = False) -> None:
        self.count, self.error, self.is_endless = count, error, is_endless
        self.is_closed = False

    async def events(self) -> AsyncIterator[Event]:
        try:
            yield RunStarted(run_id="r", seq=0, t=0, mode="instant", model="nano")
            for seq in range(1, self.count):
                await asyncio.sleep(0)
                yield AnswerDelta(run_id="r", seq=seq, t=0, text="x")
            if self.error is not None:
                raise self.error
            if self.is_endless:
                await asyncio.sleep(60)
            yield RunFinished(run_id="r", seq=self.count, t=0, answer="x", ledger=Ledger())
        finally:
            self.is_closed = True


async def test_every_event_is_on_disk_when_it_is_seen_and_commits_are_few(store):
    seen: list[Event] = []
    async for item in store.recorded(Source(200).events()):
        assert store.events("r", after=item.seq - 1)[0] == item
        seen.append(item)
    assert [item.seq for item in seen] == list(range(201))
    assert store.events("r") == seen
    assert store.run("r").status == "done"
    assert store._writer.num_commits < 20


async def test_a_slow_stream_is_shown_as_it_comes(store):
    async with aclosing(store.recorded(Source(3, is_endless=True).events())) as items:
        seen = [await asyncio.wait_for(anext(items), timeout=5) for _ in range(3)]
    assert [item.seq for item in seen] == [0, 1, 2]


async def test_leaving_early_closes_the_source_and_cuts_the_run(store):
    source = Source(5, is_endless=True)
    async with aclosing(store.recorded(source.events())) as items:
        async for _ in items:
            break
    assert source.is_closed
    store.flush()
    assert store.run("r").status == "cut"


async def test_cancelling_the_reader_closes_the_source_and_cuts_the_run(store):
    source = Source(2, is_endless=True)

    async def read() -> None:
        async with aclosing(store.recorded(source.events())) as items:
            async for _ in items:
                pass

    reading = asyncio.create_task(read())
    while store.run("r") is None:
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert source.is_closed
    store.flush()
    assert store.run("r").status == "cut"


async def test_what_the_source_raises_comes_after_the_events_before_it(store):
    seen = []
    with pytest.raises(RuntimeError, match="broke"):
        async for item in store.recorded(Source(3, error=RuntimeError("it broke")).events()):
            seen.append(item.seq)
    assert seen == [0, 1, 2]
    store.flush()
    assert store.run("r").status == "cut"


async def test_nothing_is_shown_that_could_not_be_written(store, monkeypatch):
    def refuse(*_):
        raise OSError("no space left")

    seen = []
    with monkeypatch.context() as broken:
        broken.setattr("narthex.store.writer._execute", refuse)
        with pytest.raises(StoreError, match="no space left"):
            async for item in store.recorded(Source(3).events()):
                seen.append(item)
    assert seen == []


async def test_a_reader_that_lags_holds_the_source_back(store, monkeypatch):
    monkeypatch.setattr("narthex.store.store._MAX_LAG", 4)
    produced = 0

    async def events() -> AsyncIterator[Event]:
        nonlocal produced
        async for item in Source(100).events():
            produced += 1
            yield item

    async with aclosing(store.recorded(events())) as items:
        first = await anext(items)
        await asyncio.sleep(0.1)
        assert first.seq == 0
        assert produced <= 12
