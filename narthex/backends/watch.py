"""Waiting that ends: by what was waited for, by its time limit, by somebody's stop, or by the turn's deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Literal, TypeVar

T = TypeVar("T")

_LETTING_GO_S = 0.5  # for what was abandoned to close its sockets


class Interrupted(Exception):
    """The turn is to end now with what it has."""

    def __init__(self, reason: Literal["cancelled", "length"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Watch:
    """One turn's stop event and deadline, `deadline_s` from now. Close it in the loop that used it."""

    def __init__(self, stop: asyncio.Event | None, deadline_s: float | None) -> None:
        self._stop, self._stopped = stop, None if stop is None else asyncio.ensure_future(stop.wait())
        self._until = None if deadline_s is None else time.monotonic() + deadline_s

    def check(self) -> None:
        """Raises: Interrupted."""
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("cancelled")
        if self._until is not None and time.monotonic() >= self._until:
            raise Interrupted("length")

    async def wait(self, work: Awaitable[T], timeout_s: float | None = None) -> T:
        """What `work` comes to. Abandoned, it is cancelled. Raises: Interrupted; TimeoutError; what `work` raises."""
        if self._stopped is None and self._until is None and timeout_s is None:
            return await work
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        left_s = None if self._until is None else max(0.0, self._until - time.monotonic())
        limits = [limit for limit in (timeout_s, left_s) if limit is not None]
        waiting: set[asyncio.Future[Any]] = {task} if self._stopped is None else {task, self._stopped}
        try:
            self.check()
            await asyncio.wait(waiting, timeout=min(limits, default=None), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self.check()
            raise TimeoutError
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_LETTING_GO_S)
            if task.done() and not task.cancelled():
                task.exception()  # looked at, so that nobody warns of it

    async def sleep(self, seconds: float) -> None:
        """Raises: Interrupted."""
        await self.wait(asyncio.sleep(seconds))

    def close(self) -> None:
        """Forget the stop event."""
        if self._stopped is not None:
            self._stopped.cancel()
