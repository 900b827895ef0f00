"""A run for a client of the API: in the store before anybody sees it, ended when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from narthex.chat import Budget, Event
from narthex.reason import run
from narthex.serve.errors import ApiError
from narthex.serve.line import Line
from narthex.store import Store
from narthex.tokens.gallery import BlobLike, Gallery, MemoryBlobs

if TYPE_CHECKING:
    from narthex.serve.asked import Asked

class RunBlobs:
    """The pictures of one run: in memory, and from `keep_in` on in the store as well. Raises what the store raises."""

    def __init__(self) -> None:
        self._memory = MemoryBlobs()
        self._media_types: dict[str, str] = {}
        self._store: Store | None = None

    def put(self, data: bytes, media_type: str) -> str:
        sha256 = self._memory.put(data, media_type)
        self._media_types[sha256] = media_type
        if self._store is not None:
            self._store.blobs.put(data, media_type)
        return sha256

    def get(self, sha256: str) -> BlobLike:
        return self._memory.get(sha256)

    def keep_in(self, store: Store) -> None:
        """Copy what is here into `store`, and from now on what comes."""
        self._store = store
        for sha256, media_type in list(self._media_types.items()):
            store.blobs.put(self._memory.get(sha256).data, media_type)


async def events_of(asked: Asked, line: Line, store: Store | None, *, run_id: str, ceiling: Budget, tenant: str) -> (
    AsyncGenerator[Event]
):  # fmt: skip
    """The run's events, each once it is on disk; close it, and the run is cut. `store` None: nothing is kept.

    Raises: InputError, before the first event and before anything is written; StoreError.
    """
    events = run(
        asked.conversation, asked.mode, asked.budget, line, asked.tools, gallery=Gallery(asked.blobs),
        seed=asked.seed, temperature=asked.temperature, top_p=asked.top_p, run_id=run_id, ceiling=ceiling,
        caller_tools=asked.caller_tools, answer_schema=asked.answer_schema, tenant=tenant,
    )  # fmt: skip
    async with aclosing(events):
        first = await anext(events)
        if store is not None:
            await asyncio.to_thread(asked.blobs.keep_in, store)
        from_first = _after(first, events)
        async with aclosing(from_first if store is None else store.recorded(from_first)) as shown:
            async for event in shown:
                yield event


async def _after(first: Event, rest: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


class ClientLeft(Exception):
    """Whoever asked has hung up; there is nobody to tell."""


async def unless_left(
    receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, None], running: set[asyncio.Future[None]]
) -> None:
    """Do `work`; it is among `running` for as long, where it may be cancelled.

    It is cancelled as soon as the client hangs up. Raises: ClientLeft; ApiError 503 where somebody else cancelled it.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(left())
    running.add(working)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.cancelled():
            raise ApiError("the server is stopping", status=503, code="stopping", hint="ask again in a while")
        if not working.done():
            raise ClientLeft
        working.result()
    finally:
        running.discard(working)
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
