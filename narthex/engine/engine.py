"""The engine: a thread that steps while there is work, and async streams that people hold the other end of.

    event loops                       inbox                      engine thread
    submit: check, number   ->  ("add", sequence)    ->    before each step: add, cancel
    stream closed, dropped  ->  ("cancel", number)   ->
    refresh                 ->  a future             ->    between steps: take the model's weights anew
    stream's queue          <-  call_soon_threadsafe <-    after each step: what was drawn

Only the thread touches the core's queues and pages, so no event loop ever waits for a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple

from narthex.base.errors import BackendError, InputError
from narthex.base.log import get_logger
from narthex.engine.core import EngineConfig, EngineCore, Out
from narthex.engine.grammar import GrammarCompiler
from narthex.engine.request import Request, TokenOut
from narthex.engine.sequence import Sequence
from narthex.model import Transformer

log = get_logger(__name__)


class _End(NamedTuple):
    """Why the engine serves no more; every reader gets an error of its own."""

    message: str
    hint: str | None = None

    def error(self) -> BackendError:
        return BackendError(self.message, hint=self.hint)


class _Reader:
    """Where a request's tokens go: a queue of the event loop that asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, num_open: int) -> None:
        self.loop, self.num_open = loop, num_open  # continuations that the engine has not ended
        self.queue: asyncio.Queue[TokenOut | BackendError] = asyncio.Queue()

    def fail(self, error: BackendError) -> None:
        """Where the loop is closed, nobody listens any more."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.queue.put_nowait, error)


class TokenStream(AsyncGenerator[TokenOut]):
    """A request's tokens as they are drawn. Closed, dropped, or left by its task, it cancels the request."""

    def __init__(self, engine: Engine, number: int, reader: _Reader) -> None:
        self._engine, self._number, self._reader = engine, number, reader
        self._num_open, self._is_closed = reader.num_open, False

    async def __anext__(self) -> TokenOut:
        return await self.asend(None)

    async def asend(self, value: Any) -> TokenOut:
        """The next token; nothing can be sent. Raises: BackendError when the request or the engine failed."""
        if self._is_closed or not self._num_open:
            self._close()
            raise StopAsyncIteration
        try:
            item = await self._reader.queue.get()
        except BaseException:  # the task that waited was cancelled
            self._close()
            raise
        if isinstance(item, BackendError):
            self._close()
            raise item
        if item.finish_reason == "error":
            self._close()
            raise BackendError(f"the request failed: {item.error}")
        self._num_open -= item.finish_reason is not None
        return item

    async def athrow(
        self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None, /
    ) -> TokenOut:
        self._close()
        return await super().athrow(typ, val, tb)

    async def aclose(self) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._engine._forget(self._number)


class Engine:
    """Serves many requests at once, for any thread and event loop. Close it, or leave it to the process.

    `grammars` reads the tokenizer for requests with a grammar; without it they are refused.
    """

    def __init__(
        self, model: Transformer, config: EngineConfig | None = None, grammars: GrammarCompiler | None = None
    ) -> None:
        self.core = EngineCore(model, config, grammars)
        self._lock = threading.Condition()  # of all below; held for moments, never during a step
        # Sequences to be added, numbers to be cancelled, and those who wait for the model's weights to be taken anew.
        self._inbox: deque[Sequence | int | Future[None]] = deque()
        self._readers: dict[int, _Reader] = {}
        self._end: _End | None = None  # why no more is served
        self._thread: threading.Thread | None = None

    def submit(self, request: Request) -> AsyncGenerator[TokenOut]:
        """Queue a request; iterate to get its tokens as they are drawn, of all its continuations.

        Closing the iterator, or dropping it, frees its pages before the next step. Raises here and now: InputError or
        ContextOverflowError for what can never be served; BackendError when the engine is closed or broken.
        """
        loop = asyncio.get_running_loop()
        sequence = self.core.prepare(request)
        reader = _Reader(loop, request.n)
        with self._lock:
            if self._end is not None:
                raise self._end.error()
            self._readers[sequence.number] = reader
            self._inbox.append(sequence)
            self._start()
        return TokenStream(self, sequence.number, reader)

    def refresh(self) -> None:
        """Take the model's weights as they are now, after they were changed in place; returns when it is done.

        Cached prefixes and features of pictures are forgotten. Costs a copy of the decoder's matrices.
        Raises: InputError while requests are under way; BackendError when the engine is closed or broken.
        """
        done: Future[None] = Future()
        with self._lock:
            if self._end is not None:
                raise self._end.error()
            self._inbox.append(done)
            self._start()
        done.result()

    def _start(self) -> None:
        """Wake the thread, which is there from the first wish on. The lock is the caller's."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="narthex-engine", daemon=True)
            self._thread.start()
        self._lock.notify()

    def close(self) -> None:
        """Stop the thread after its current step and wait for it. Open streams end in a BackendError."""
        self._stop(_End("the engine was closed"))
        if self._thread is not None:
            self._thread.join()

    def _forget(self, number: int) -> None:
        """Cancel a request whose stream is gone. May be called by the garbage collector, from any thread."""
        # No lock: the collector may run inside a locked region of this very thread. Both deques and dicts are atomic.
        if self._readers.pop(number, None) is not None:
            self._inbox.append(number)
            if self._lock.acquire(blocking=False):
                self._lock.notify()
                self._lock.release()

    def _stop(self, end: _End) -> None:
        with self._lock:
            self._end = self._end or end
            for reader in list(self._readers.values()):
                reader.fail(self._end.error())
            self._readers.clear()
            self._lock.notify()

    def _work(self) -> None:
        try:
            while self._take_in():
                self._hand_out(self.core.step())
        except BaseException as error:
            log.exception("the engine failed")
            self._stop(_End(f"the engine failed: {error}", "its log holds the details; start it again"))
            for item in self._inbox:
                if isinstance(item, Future):
                    item.set_exception(BackendError(f"the engine failed: {error}"))

    def _take_in(self) -> bool:
        """Wait for work, and do what the inbox asks. False when the engine is to end."""
        with self._lock:
            while self.core.is_idle and not self._inbox and self._end is None:
                self._lock.wait()
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Sequence):
                self.core.enqueue(item)
            elif isinstance(item, Future):
                self._refresh(item)
            else:
                self.core.cancel(item)
        return self._end is None

    def _refresh(self, done: Future[None]) -> None:
        try:
            self.core.refresh()
        except BaseException as error:
            done.set_exception(error)
            if not isinstance(error, InputError):
                raise
        else:
            done.set_result(None)

    def _hand_out(self, outs: list[Out]) -> None:
        """Give every reader its tokens, waking each event loop once."""
        of_loop: dict[asyncio.AbstractEventLoop, list[tuple[int, _Reader, TokenOut]]] = {}
        for number, token in outs:
            reader = self._readers.get(number)
            if reader is None:
                continue
            reader.num_open -= token.finish_reason is not None
            if not reader.num_open:
                self._readers.pop(number, None)
            of_loop.setdefault(reader.loop, []).append((number, reader, token))
        for loop, items in of_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:  # it is closed
                log.debug("%d requests were asked for by an event loop that has ended", len(items))
                for number, _, _ in items:
                    self._forget(number)


def _deliver(items: list[tuple[int, _Reader, TokenOut]]) -> None:
    for _, reader, token in items:
        reader.queue.put_nowait(token)
