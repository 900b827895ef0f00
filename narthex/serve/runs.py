"""A run for a client of the API: stored before anybody sees it, cut at its stop strings, ended with its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from narthex.backends.base import Backend, TurnDelta, TurnEnd, TurnRequest
from narthex.base.errors import ContextOverflowError
from narthex.chat import Budget, Event
from narthex.reason import run
from narthex.serve.stops import StopCutter
from narthex.store import Store
from narthex.tokens.gallery import BlobLike, Gallery, MemoryBlobs

if TYPE_CHECKING:
    from narthex.serve.asked import Asked

T = TypeVar("T")


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


class Line:
    """A backend as one run sees it: replies end before a stop string, and why a turn was refused is remembered."""

    def __init__(self, backend: Backend, stops: tuple[str, ...]) -> None:
        self._backend, self._stops = backend, stops
        self.name, self.context_tokens = backend.name, backend.context_tokens
        self.max_parallel = backend.max_parallel
        self.has_overflowed = False

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        turn = self._cut_turn(request) if self._stops else self._backend.turn(request)
        try:
            async with aclosing(turn) as deltas:
                async for delta in deltas:
                    yield delta
        except ContextOverflowError:
            self.has_overflowed = True
            raise

    async def _cut_turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """The turn up to the first stop string in its text. The model stops there too, so the usage is its own."""
        cutter = StopCutter(self._stops)
        async with aclosing(self._backend.turn(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    if rest := cutter.drain():
                        yield TurnDelta("text", rest)
                    end = delta._replace(text=cutter.passed)
                    yield end._replace(finish_reason="stop", calls=(), mistakes=()) if cutter.is_cut else end
                elif delta.kind == "thought":
                    yield delta
                elif text := cutter.feed(delta.text):
                    yield delta._replace(text=text)
                if cutter.is_cut and request.stop is not None:
                    request.stop.set()


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


async def unless_left(receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to. It is cancelled as soon as the client hangs up. Raises: ClientLeft."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
