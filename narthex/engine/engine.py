"""The engine: a thread that steps while there is work, and async streams that people hold the other end of.

    event loops                       inbox                      engine thread
    submit: check, number   ->  ("add", sequence)    ->    before each step: add, cancel
    stream closed, dropped  ->  ("cancel", number)   ->
    refresh                 ->  a future             ->    between steps: take the model's weights anew
    streams' tokens         <-  a mailbox per loop   <-    after each step: what was drawn

Only the thread touches the core's queues and pages, so no event loop ever waits for a step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from narthex.base.errors import BackendError, InputError
from narthex.base.log import get_logger
from narthex.engine.core import EngineConfig, EngineCore, Out
from narthex.engine.grammar import GrammarCompiler
from narthex.engine.request import Request
from narthex.engine.sequence import Sequence
from narthex.engine.stream import Mailbox, Reader, TokenStream
from narthex.model import Transformer

log = get_logger(__name__)


class _End(NamedTuple):
    """Why the engine serves no more; every reader gets an error of its own."""

    message: str
    hint: str | None = None

    def error(self) -> BackendError:
        return BackendError(self.message, hint=self.hint)


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
        self._readers: dict[int, Reader] = {}
        self._mailboxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}
        self._end: _End | None = None  # why no more is served
        self._thread: threading.Thread | None = None

    def submit(self, request: Request) -> TokenStream:
        """Queue a request; iterate to get its tokens as they are drawn, of all its continuations.

        Closing the iterator, or dropping it, frees its pages before the next step. Raises here and now: InputError or
        ContextOverflowError for what can never be served; BackendError when the engine is closed or broken.
        """
        loop = asyncio.get_running_loop()
        sequence = self.core.prepare(request)
        with self._lock:
            if self._end is not None:
                raise self._end.error()
            mailbox = self._mailboxes.get(loop) or self._mailboxes.setdefault(loop, Mailbox(loop))
            reader = self._readers[sequence.number] = Reader(loop, mailbox, request.n)
            self._inbox.append(sequence)
            self._start()
        return TokenStream(reader, partial(self._forget, sequence.number))

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
        """Put what was drawn into the mailboxes, and send those that are due."""
        for number, token in outs:
            reader = self._readers.get(number)
            if reader is None:
                continue
            reader.num_open -= token.finish_reason is not None
            if not reader.num_open:
                self._readers.pop(number, None)
            reader.mailbox.put(reader, token)
        now = time.monotonic()
        for loop, mailbox in list(self._mailboxes.items()):
            try:
                mailbox.send(now)
            except RuntimeError:
                self._leave(loop)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what was asked by an event loop that has ended."""
        del self._mailboxes[loop]
        numbers = [number for number, reader in list(self._readers.items()) if reader.loop is loop]
        log.debug("%d requests were asked for by an event loop that has ended", len(numbers))
        for number in numbers:
            self._forget(number)
