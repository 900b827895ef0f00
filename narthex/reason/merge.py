"""Async generators side by side, as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")


class Merge(Generic[T]):
    """What any source yields comes out of `stream`, in the order it happened. Sources may be added while it runs.

    What a source raises is raised by `stream`. Closing the stream stops all sources and waits until they have stopped.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, source: AsyncGenerator[T]) -> None:
        self._tasks.add(asyncio.create_task(self._pump(source)))

    async def stream(self) -> AsyncGenerator[T]:
        """Until no source is left."""
        async with aclosing(self.ticking(None)) as items:
            async for item in items:
                if item is not None:
                    yield item

    async def ticking(self, quiet_s: float | None) -> AsyncGenerator[T | None]:
        """The stream, with a None whenever nothing has come for `quiet_s` seconds."""
        try:
            while self._tasks:
                try:
                    async with asyncio.timeout(quiet_s):
                        item = await self._queue.get()
                except TimeoutError:
                    yield None
                    continue
                if not isinstance(item, _End):
                    yield item
                    continue
                self._tasks.discard(item.task)
                if item.error is not None:
                    raise item.error
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _pump(self, source: AsyncGenerator[T]) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with aclosing(source):
                async for item in source:
                    self._queue.put_nowait(item)
        except Exception as error:  # it belongs to whoever reads the stream
            self._queue.put_nowait(_End(task, error))
        else:
            self._queue.put_nowait(_End(task))


class _End:
    """The end of a source, and what it raised, if anything."""

    def __init__(self, task: asyncio.Task[None], error: Exception | None = None) -> None:
        self.task, self.error = task, error
