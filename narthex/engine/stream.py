"""From the engine's thread to those who read: a mailbox for each event loop, a stream for each request.

Waking a loop costs as much as a small model's step. So it is woken once for all its streams, not again before it has
looked, and for the middle of a stream not within PAUSE_S of the last time. First and last tokens do not wait for that;
whoever reads a fast stream finds several tokens at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from narthex.base.errors import BackendError
from narthex.engine.request import TokenOut

PAUSE_S = 0.002  # nobody sees it


class Reader:
    """One request's tokens on their way. All but `fail` belongs to the event loop that asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox, num_open: int) -> None:
        self.loop, self.mailbox = loop, mailbox
        self.num_open = num_open  # continuations that the engine's thread has not ended
        self.is_fresh = True  # nothing has been drawn, as the engine's thread knows
        self.items: deque[TokenOut | BackendError] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def put(self, item: TokenOut | BackendError) -> None:
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        """Let who waits look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def fail(self, error: BackendError) -> None:
        """From any thread. Where the loop is closed, nobody listens any more."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.put, error)


class Mailbox:
    """Tokens for one event loop: the engine's thread puts and sends, the loop delivers, and neither waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[tuple[Reader, TokenOut]] = deque()
        self._is_called = self._is_urgent = False
        self._sent = -math.inf

    def put(self, reader: Reader, token: TokenOut) -> None:
        """First tokens and last ones are urgent."""
        self._is_urgent = self._is_urgent or reader.is_fresh or token.finish_reason is not None
        reader.is_fresh = False
        self._items.append((reader, token))

    def send(self, now: float) -> None:
        """Wake the loop where that is due. Raises: RuntimeError where the loop is closed."""
        if self._loop.is_closed():
            raise RuntimeError("nobody is there to be woken")
        is_due = self._is_urgent or now - self._sent >= PAUSE_S
        if self._items and is_due and not self._is_called:
            self._is_called, self._is_urgent, self._sent = True, False, now
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_called = False  # before looking: what is put from now on is sent for again
        while self._items:
            reader, token = self._items.popleft()
            failed = token.finish_reason == "error"
            reader.put(BackendError(f"the request failed: {token.error}") if failed else token)


class TokenStream(AsyncGenerator[TokenOut]):
    """A request's tokens as they are drawn, for one reader: iterate to get them singly, or `take` all that have come.

    Closed, dropped, or left by its task, it cancels the request.
    """

    def __init__(self, reader: Reader, cancel: Callable[[], None]) -> None:
        """`cancel` is called once, from any thread, by the garbage collector, too."""
        self._reader, self._cancel = reader, cancel
        self._num_open, self._is_closed = reader.num_open, False

    async def take(self) -> list[TokenOut]:
        """All tokens that are there, once there is one; none at the end. Raises: as `asend`, after those before it."""
        found: list[TokenOut] = []
        if await self._has_next():
            items = self._reader.items
            while items and not (found and isinstance(items[0], BackendError)):
                found.append(self._pop())
        return found

    async def __anext__(self) -> TokenOut:
        return await self.asend(None)

    async def asend(self, value: Any) -> TokenOut:
        """The next token; nothing can be sent. Raises: BackendError when the request or the engine failed."""
        if not await self._has_next():
            raise StopAsyncIteration
        return self._pop()

    async def athrow(
        self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None, /
    ) -> TokenOut:
        self.stop()
        return await super().athrow(typ, val, tb)

    async def aclose(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Cancel the request, in the stream's own loop: who waits for its next token is at the end."""
        self._close()
        self._reader.wake()

    def __del__(self) -> None:
        self._close()

    async def _has_next(self) -> bool:
        """Wait for the next item; False at the end."""
        reader = self._reader
        while not (reader.items or self._is_closed) and self._num_open:
            if reader.waiter is not None and not reader.waiter.done():
                raise RuntimeError("another task waits for this stream's next token")
            reader.waiter = reader.loop.create_future()
            try:
                await reader.waiter
            except BaseException:  # the task that waited was cancelled
                self._close()
                raise
        if self._is_closed or not self._num_open:
            self._close()
            return False
        return True

    def _pop(self) -> TokenOut:
        item = self._reader.items.popleft()
        if isinstance(item, BackendError):
            self._close()
            raise item
        self._num_open -= item.finish_reason is not None
        return item

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._cancel()
