"""Keep a run in the store while it is shown; if the store fails, say so and go on without it.

Nothing is written before the run's first event: a question that is refused leaves no trace.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from narthex.base.errors import NarthexError
from narthex.chat import Event, Message
from narthex.chat.replies import reply_of
from narthex.store import Store, StoreError
from narthex.tokens.gallery import BlobLike, MemoryBlobs

Warn = Callable[[str], None]


class RunBlobs:
    """The pictures of one run: in memory, and from `keep_in` on in the store as well."""

    def __init__(self, warn: Warn) -> None:
        self._memory = MemoryBlobs()
        self._media_types: dict[str, str] = {}
        self._store: Store | None = None
        self._warn = warn

    def put(self, data: bytes, media_type: str) -> str:
        sha256 = self._memory.put(data, media_type)
        self._media_types[sha256] = media_type
        self._copy(sha256)
        return sha256

    def get(self, sha256: str) -> BlobLike:
        return self._memory.get(sha256)

    def keep_in(self, store: Store | None) -> None:
        """Copy what is here into `store`, and from now on what comes; None: keep nothing more."""
        self._store = store
        for sha256 in list(self._media_types):
            self._copy(sha256)

    def _copy(self, sha256: str) -> None:
        if self._store is None:
            return
        try:
            self._store.blobs.put(self._memory.get(sha256).data, self._media_types[sha256])
        except StoreError as error:
            self._store = None
            self._warn(f"pictures of this run are not kept: {error}")


class KeptTurn:
    """One turn of a conversation in the store: written when its run begins, and again when that has ended.

    A run that fails takes its question back; one that is cut leaves it without an answer.
    """

    def __init__(
        self, conversation_id: str, asked: Sequence[Message], settings: Mapping[str, Any], replaces: str | None = None
    ) -> None:
        """`replaces` is the turn that is asked again."""
        self._conversation_id, self._asked, self._settings = conversation_id, tuple(asked), dict(settings)
        self._replaces = replaces
        self._seen: list[Event] = []
        self.turn_id: str | None = None

    def note(self, store: Store, event: Event) -> None:
        """Take the run's next event, before anybody sees it. Raises: StoreError."""
        self._seen.append(event)
        if event.type == "run_started":
            self.turn_id = store.conversations.begin_turn(
                self._conversation_id, self._asked, run_id=event.run_id, settings=self._settings
            )
            if self._replaces is not None:
                store.conversations.drop_turn(self._replaces)
        elif self.turn_id is not None and event.type == "run_failed":
            store.conversations.drop_turn(self.turn_id)
        elif self.turn_id is not None and event.type == "run_finished" and event.finish_reason != "cancelled":
            store.conversations.finish_turn(self.turn_id, reply_of(self._seen))


async def kept(
    source: AsyncGenerator[Event], blobs: RunBlobs, warn: Warn, turn: KeptTurn | None = None
) -> AsyncGenerator[Event]:
    """Pass a run's events on, each once it is on disk. Close it (`aclosing`) when leaving early: the run is then cut.

    `turn` is kept with it. What the source raises comes out as it is; what the store raises becomes one warning, and
    the run goes on.
    """
    async with aclosing(source):
        first = await anext(source, None)
        if first is None:
            return
        store = _open(warn)
        feed = _Feed(first, source)
        try:
            if store is not None:
                blobs.keep_in(store)
                try:
                    async with aclosing(store.recorded(feed)) as recorded:
                        async for event in recorded:
                            if turn is not None:
                                turn.note(store, event)
                            feed.passed_on()
                            yield event
                except StoreError as error:
                    blobs.keep_in(None)
                    warn(f"from here on this run is not kept: {error}")
            async for event in feed.rest():
                yield event
        finally:
            await feed.aclose()
            if store is not None:
                await asyncio.to_thread(_close, store, warn)


def _open(warn: Warn) -> Store | None:
    try:
        return Store.open()
    except NarthexError as error:
        warn(f"this run is not kept: {error}" + (f" ({error.hint})" if error.hint else ""))
        return None


def _close(store: Store, warn: Warn) -> None:
    try:
        store.close()
    except StoreError as error:
        warn(f"not all of this run was kept: {error}")


class _Feed:
    """A source read by a task of its own, so that the store may fail without ending the run.

    What was taken and not yet shown is remembered, to be shown without the store.
    """

    def __init__(self, first: Event, source: AsyncIterator[Event]) -> None:
        self._queue: asyncio.Queue[Event | _End] = asyncio.Queue()
        self._queue.put_nowait(first)
        self._taken: deque[Event] = deque()
        self._end: _End | None = None
        self._task = asyncio.create_task(self._read(source))

    async def _read(self, source: AsyncIterator[Event]) -> None:
        end = _End(None)
        try:
            async for event in source:
                self._queue.put_nowait(event)
        except Exception as error:  # it belongs to whoever listens
            end = _End(error)
        self._queue.put_nowait(end)

    def __aiter__(self) -> _Feed:
        return self

    async def __anext__(self) -> Event:
        if self._end is None:
            item = await self._queue.get()
            if not isinstance(item, _End):
                self._taken.append(item)
                return item
            self._end = item
        if self._end.error is not None:
            raise self._end.error
        raise StopAsyncIteration

    def passed_on(self) -> None:
        """The oldest event taken has been shown."""
        self._taken.popleft()

    async def rest(self) -> AsyncGenerator[Event]:
        """What was taken and not shown, then what still comes."""
        for event in list(self._taken):
            yield event
        async for event in self:
            yield event

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _End:
    """The end of a source, and what it raised, if anything."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
