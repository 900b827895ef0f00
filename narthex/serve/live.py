"""Runs under way, and everybody who listens: each event first as it is stored, then as it happens, once and in order.

    subscribe --> read what is stored --> take what came since --> (too far behind? read again) --> the last event

A listener subscribes before it reads, and an event is on disk before it is published, so none can fall between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

from narthex.chat import Event
from narthex.store import Store

MAX_BEHIND = 4096  # events that wait for one listener; beyond that it reads them from the store
POLL_S = 0.5  # for runs of other processes
ENDS = ("run_finished", "run_failed")


class Listener:
    """One who listens. `has_missed`: something was not kept for it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.has_missed = False


class LiveRun:
    """One run under way in this process, in `task`."""

    def __init__(self, run_id: str, task: asyncio.Task[Any]) -> None:
        self.run_id, self._task = run_id, task
        self.ended = asyncio.Event()
        self._listeners: set[Listener] = set()

    def stop(self) -> None:
        """End it, and all its agents."""
        self._task.cancel()

    def publish(self, event: Event) -> None:
        """Hand on an event that is on disk."""
        for listener in self._listeners:
            if listener.queue.qsize() >= MAX_BEHIND:
                listener.has_missed = True
            if not listener.has_missed:
                listener.queue.put_nowait(event)

    def end(self) -> None:
        """There is nothing more, and what was cut is marked so."""
        self.ended.set()
        for listener in self._listeners:
            listener.queue.put_nowait(None)

    @contextmanager
    def heard(self) -> Iterator[Listener]:
        """A listener for as long."""
        listener = Listener()
        if self.ended.is_set():
            listener.queue.put_nowait(None)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)


class Live:
    """All runs under way in this process, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, LiveRun] = {}

    def get(self, run_id: str) -> LiveRun | None:
        return self._runs.get(run_id)

    @contextmanager
    def going(self, run_id: str) -> Iterator[LiveRun]:
        """The run is under way for as long, in the task that calls this."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a run is a task's")
        run = self._runs[run_id] = LiveRun(run_id, task)
        try:
            yield run
        finally:
            del self._runs[run_id]
            run.end()

    async def cancel(self, run_id: str) -> None:
        """End a run that is under way here, and wait until it has."""
        run = self.get(run_id)
        if run is not None:
            run.stop()
            await run.ended.wait()


async def follow(
    store: Store, live: Live, run_id: str, *, after: int = -1, tick_s: float = 2.0
) -> AsyncGenerator[Event | None]:
    """A run's events with numbers above `after`, to its end; None whenever nothing has come for `tick_s`.

    A run that was cut ends without a last event. Raises: StoreError; InputError for what a newer Narthex wrote.
    """
    last = after
    while True:
        run = live.get(run_id)
        # Asked before the events are read: what has ended by then is all there.
        record = await asyncio.to_thread(store.run, run_id) if run is None else None
        with nullcontext(Listener()) if run is None else run.heard() as listener:
            for event in await asyncio.to_thread(store.events, run_id, after=last):
                last = event.seq
                yield event
                if event.type in ENDS:
                    return
            if run is None:
                if record is None or record.status != "running":
                    return
                await asyncio.sleep(POLL_S)
                yield None
                continue
            while (step := await _next(listener, tick_s)) != "over":
                if isinstance(step, str):
                    yield None
                elif step.seq > last:
                    last = step.seq
                    yield step
                    if step.type in ENDS:
                        return


async def _next(listener: Listener, tick_s: float) -> Event | Literal["silent", "over"]:
    """The next event; "over" at the end, or where some were missed."""
    if listener.has_missed and listener.queue.empty():
        return "over"
    try:
        event = await asyncio.wait_for(listener.queue.get(), tick_s)
    except TimeoutError:
        return "silent"
    return "over" if event is None else event
