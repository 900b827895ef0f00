"""The thread and its streams: dropping one frees its pages, loops and failures stay apart, nobody waits forever."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from contextlib import aclosing

import pytest

from narthex.base.errors import BackendError, ContextOverflowError, InputError
from narthex.engine import Engine, EngineConfig, Request, TokenOut, TokenStream
from narthex.engine.stream import PAUSE_S, Mailbox, Reader
from narthex.model import generate

from .engine_helpers import build, words

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def engine(model):
    made = Engine(model, EngineConfig(block_size=4))
    yield made
    made.close()


@pytest.fixture
def slow(engine):
    """An engine on which `request()` would take four seconds, and within two its pages are to be back."""
    step = engine.core.runner.step
    engine.core.runner.step = lambda works: (time.sleep(0.02), step(works))[1]
    return engine


def request(seed: int = 0, **settings) -> Request:
    return Request(**({"ids": words(random.Random(seed), 20), "max_new_tokens": 200} | settings))


async def collect(engine: Engine, asked: Request) -> list[int]:
    return [token.id async for token in engine.submit(asked)]


async def until(condition, limit_s: float = PATIENCE_S) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "it never came"
        await asyncio.sleep(0.002)


def all_pages_are_back(engine: Engine) -> bool:
    core = engine.core
    if not core.is_idle or engine._inbox:
        return False
    core.pool.clear_cache()
    return core.pool.num_free == core.pool.num_pages and not engine._readers


async def test_streams_carry_what_the_naive_loop_says(model, engine):
    asked = [request(seed, max_new_tokens=15) for seed in range(6)]
    found = await asyncio.gather(*(collect(engine, one) for one in asked))
    assert found == [list(generate(model, one.ids, max_new_tokens=15)) for one in asked]
    await until(lambda: all_pages_are_back(engine))


async def test_continuations_come_in_one_stream(engine):
    found: dict[int, int] = {}
    async for token in engine.submit(request(n=3, max_new_tokens=7)):
        found[token.continuation] = found.get(token.continuation, 0) + 1
    assert found == {0: 7, 1: 7, 2: 7}


class TestHandOver:
    async def test_what_is_taken_together_is_all_and_in_order(self, model, engine):
        streams = [engine.submit(request(seed, max_new_tokens=40)) for seed in range(3)]
        limit = time.monotonic() + PATIENCE_S
        while engine._readers:
            assert time.monotonic() < limit
            time.sleep(0.01)  # the loop is busy, and the engine goes on
        for seed, stream in enumerate(streams):
            found, num_takes = [], 0
            while some := await stream.take():
                found += [token.id for token in some]
                num_takes += 1
            assert found == list(generate(model, request(seed).ids, max_new_tokens=40))
            assert num_takes <= 2

    async def test_a_loop_is_called_again_when_it_has_looked_and_the_pause_is_over(self, monkeypatch):
        loop, calls = asyncio.get_running_loop(), []
        monkeypatch.setattr(loop, "call_soon_threadsafe", calls.append)
        mailbox = Mailbox(loop)
        readers = [Reader(loop, mailbox, 1) for _ in range(2)]

        def step(now: float, **how) -> int:
            """Every stream gets a token; how often the loop has been called by then."""
            for reader in readers:
                mailbox.put(reader, TokenOut(0, 7, **how))
            mailbox.send(now)
            return len(calls)

        def look() -> list[int]:
            calls[-1]()
            return [len(reader.items) for reader in readers]

        assert [step(0.0), step(1.0), step(2.0)] == [1, 1, 1]  # it has not looked: once is enough
        assert look() == [3, 3]
        assert [step(2.0), step(2.0 + PAUSE_S / 2)] == [2, 2] and look() == [5, 5]
        assert step(2.0 + 0.9 * PAUSE_S) == 2  # too soon for the middle of a stream
        assert step(2.0 + 1.1 * PAUSE_S) == 3 and look() == [7, 7]
        assert step(2.0 + 1.2 * PAUSE_S, finish_reason="stop") == 4 and look() == [8, 8]  # a last token does not wait
        readers.append(Reader(loop, mailbox, 1))
        assert step(2.0 + 1.3 * PAUSE_S) == 5 and look() == [9, 9, 1]  # nor a first one

    async def test_a_stream_that_is_stopped_is_at_its_end(self, slow):
        stream = slow.submit(request())
        await anext(stream)
        waiting = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        stream.stop()
        while await asyncio.wait_for(waiting, PATIENCE_S):  # what had come before
            waiting = asyncio.create_task(stream.take())
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await until(lambda: all_pages_are_back(slow))

    async def test_tokens_before_an_error_are_given_first(self):
        loop, cancelled = asyncio.get_running_loop(), []
        reader = Reader(loop, Mailbox(loop), 1)
        stream = TokenStream(reader, lambda: cancelled.append(1))
        for item in (TokenOut(0, 7), TokenOut(0, 8), BackendError("gone")):
            reader.put(item)
        assert [token.id for token in await stream.take()] == [7, 8]
        with pytest.raises(BackendError, match="gone"):
            await stream.take()
        assert await stream.take() == [] and cancelled == [1]

    async def test_it_has_one_reader(self):
        loop = asyncio.get_running_loop()
        stream = TokenStream(Reader(loop, Mailbox(loop), 1), lambda: None)
        waiting = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await stream.take()
        stream.stop()
        assert await asyncio.wait_for(waiting, PATIENCE_S) == []


class TestDropping:
    async def test_by_leaving_the_loop(self, slow):
        async with aclosing(slow.submit(request(n=2))) as stream:
            async for _ in stream:
                break
        await until(lambda: all_pages_are_back(slow), 2)

    async def test_by_losing_it(self, slow):
        stream = slow.submit(request())
        await anext(stream)
        del stream
        gc.collect()
        await until(lambda: all_pages_are_back(slow), 2)

    async def test_without_ever_reading(self, slow):
        slow.submit(request())
        gc.collect()
        await until(lambda: all_pages_are_back(slow), 2)

    async def test_by_cancelling_the_task(self, slow):
        task = asyncio.create_task(collect(slow, request(max_new_tokens=230)))
        await until(lambda: slow.core.num_running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: all_pages_are_back(slow), 2)

    async def test_a_closed_stream_is_at_its_end(self, engine):
        stream = engine.submit(request())
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    async def test_throwing_into_it_closes_it(self, engine):
        stream = engine.submit(request())
        with pytest.raises(ValueError, match="enough"):
            await stream.athrow(ValueError("enough"))
        await until(lambda: all_pages_are_back(engine))

    async def test_others_go_on(self, model, engine):
        task = asyncio.create_task(collect(engine, request(max_new_tokens=60)))
        for seed in range(1, 6):
            async with aclosing(engine.submit(request(seed))) as stream:
                await anext(stream)
        assert await task == list(generate(model, request().ids, max_new_tokens=60))


class TestLoops:
    def test_two_at_once(self, model, engine):
        found: dict[int, list[int]] = {}

        def serve(seed: int) -> None:
            found[seed] = asyncio.run(collect(engine, request(seed, max_new_tokens=25)))

        threads = [threading.Thread(target=serve, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert found == {s: list(generate(model, request(s).ids, max_new_tokens=25)) for s in range(2)}

    def test_one_that_ended_takes_its_requests_with_it(self, slow):
        kept = []

        async def leave() -> None:
            stream = slow.submit(request(max_new_tokens=230))
            await anext(stream)
            kept.append(stream)  # so that it is not closed by being dropped

        asyncio.run(leave())
        asyncio.run(until(lambda: all_pages_are_back(slow), 2))

    async def test_it_goes_on_while_a_step_runs(self, engine):
        """Neither asking nor leaving waits for the step that is being computed."""
        step = engine.core.runner.step
        engine.core.runner.step = lambda works: (time.sleep(1.5), step(works))[1]
        first = engine.submit(request())
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await engine.submit(request(1)).aclose()
        await first.aclose()
        assert time.monotonic() - began < 1.2


class TestEnds:
    async def test_refusals_come_at_once(self, engine):
        with pytest.raises(ContextOverflowError):
            engine.submit(request(max_new_tokens=250))
        with pytest.raises(InputError):
            engine.submit(request(ids=(1000,)))
        assert engine.core.is_idle and not engine._readers

    async def test_closing_ends_open_streams_and_refuses_new_ones(self, model):
        engine = Engine(model)
        stream = engine.submit(request(max_new_tokens=230))
        await anext(stream)
        await asyncio.to_thread(engine.close)
        with pytest.raises(BackendError, match="closed"):
            async for _ in stream:
                pass
        with pytest.raises(BackendError, match="closed"):
            engine.submit(request())
        engine.close()

    async def test_a_failure_reaches_every_reader(self, model, caplog):
        engine = Engine(model)
        streams = [engine.submit(request(seed, max_new_tokens=230)) for seed in range(3)]
        await asyncio.gather(*(anext(stream) for stream in streams))

        def broken(works):
            raise MemoryError("no more")

        engine.core.runner.step = broken
        for stream in streams:
            with pytest.raises(BackendError, match="the engine failed: no more") as caught:
                async for _ in stream:
                    pass
            assert caught.value.hint
        with pytest.raises(BackendError, match="no more"):
            engine.submit(request())
        engine.close()

    async def test_a_request_that_fails_leaves_the_engine_running(self, model, engine, monkeypatch):
        from narthex.engine import core
        from narthex.engine.sampler import Undrawable, draw

        def failing(logits, sequences):
            bad = len(request().ids) + 3
            return [
                Undrawable("it broke") if s.num_prompt == 20 and len(s.tokens) == bad else token
                for s, token in zip(sequences, draw(logits, sequences), strict=True)
            ]

        monkeypatch.setattr(core, "draw", failing)
        other = asyncio.create_task(collect(engine, request(ids=(7, 8, 9), max_new_tokens=30)))
        with pytest.raises(BackendError, match="the request failed: it broke"):
            await collect(engine, request())
        assert len(await other) == 30
        await until(lambda: all_pages_are_back(engine))
