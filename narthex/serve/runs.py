"""A run for a client of the API: in the store before anybody sees it.

`events_of` ends its run when it is closed, as when the client leaves; a run that is launched goes on until it is done,
cancelled by its id, or the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.chat import Budget, Event, Message
from narthex.chat.replies import reply_of
from narthex.reason import run
from narthex.serve.asked import Asked
from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError
from narthex.serve.line import Line
from narthex.serve.service import Service
from narthex.store import StoreError
from narthex.tokens.gallery import Gallery

log = get_logger(__name__)


async def events_of(
    service: Service, asked: Asked, caller: Caller, line: Line, *, run_id: str,
    on_begin: Callable[[], None] | None = None, on_finish: Callable[[tuple[Message, ...]], None] | None = None,
) -> AsyncGenerator[Event]:  # fmt: skip
    """The run's events, each once it is on disk (if it is to be kept); close it, and the run is cut.

    `on_begin` is called in a thread once the run is in the store and before its first event is seen; `on_finish`, with
    what the run leaves in its conversation, before its end is written: who sees it finds the reply there.
    Raises: InputError and ApiError 429, before the first event and before anything is written; StoreError.
    """
    store = service.store if asked.is_kept else None

    def start(ceiling: Budget) -> AsyncGenerator[Event]:
        return run(
            asked.conversation, asked.mode, asked.budget, line, asked.tools, gallery=Gallery(asked.blobs),
            seed=asked.seed, temperature=asked.temperature, top_p=asked.top_p, run_id=run_id, ceiling=ceiling,
            caller_tools=asked.caller_tools, answer_schema=asked.answer_schema, tenant=caller.tenant,
            approve=asked.approve, folder=asked.folder,
        )  # fmt: skip

    events = service.watch.run(caller, asked.backend, service.ceiling, start, is_kept=store is not None)
    async with aclosing(events):
        first = await anext(events)
        if store is not None:
            await asyncio.to_thread(asked.blobs.keep_in, store, run_id)
        has_begun = asyncio.Event()
        source = _from(first, events, has_begun, on_finish)
        with service.live.going(run_id) as live:
            try:
                async with aclosing(source if store is None else store.recorded(source, user=caller.user)) as shown:
                    async for event in shown:
                        if event.type == "run_started" and on_begin is not None:
                            await asyncio.to_thread(on_begin)
                        has_begun.set()
                        live.publish(event)
                        yield event
            finally:
                if store is not None:
                    with suppress(StoreError):  # whoever hears that it is over finds it marked so
                        await store.flush_async()


async def _from(
    first: Event, rest: AsyncGenerator[Event], has_begun: asyncio.Event,
    on_finish: Callable[[tuple[Message, ...]], None] | None,
) -> AsyncGenerator[Event]:  # fmt: skip
    seen = [first]
    async with aclosing(rest):
        yield first
        async for event in rest:
            if on_finish is not None:
                seen.append(event)
                if event.type == "run_finished" and event.finish_reason != "cancelled":
                    await has_begun.wait()  # events are taken before those ahead of them have been shown
                    await asyncio.to_thread(on_finish, reply_of(seen))
            yield event


async def launch(
    service: Service, asked: Asked, caller: Caller, *, run_id: str, on_begin: Callable[[], None],
    on_finish: Callable[[tuple[Message, ...]], None] | None = None,
) -> None:  # fmt: skip
    """Begin a run that goes on, whoever listens; it is in the store when this returns. Raises as `events_of`."""
    begun = asyncio.Event()

    async def work() -> None:
        line = Line(asked.backend, asked.stops, asked.extras)
        events = events_of(service, asked, caller, line, run_id=run_id, on_begin=on_begin, on_finish=on_finish)
        try:
            async with aclosing(events) as stream:
                async for _ in stream:
                    begun.set()
        except Exception as error:
            if not begun.is_set():
                raise
            if isinstance(error, NarthexError):
                log.error("run %s: %s", run_id, error)
            else:
                log.exception("run %s", run_id)

    task, waiting = asyncio.create_task(work()), asyncio.create_task(begun.wait())
    service.running.add(task)
    task.add_done_callback(service.running.discard)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if not begun.is_set():
        if task.cancelled():
            raise _stopping()
        task.result()


class ClientLeft(Exception):
    """Whoever asked has hung up; there is nobody to tell."""


async def unless_left(
    receive: Callable[[], Awaitable[Any]], work: Coroutine[Any, Any, None], service: Service
) -> None:
    """Do `work`; it is among those running for as long, where it may be cancelled.

    It is cancelled as soon as the client hangs up. Raises: ClientLeft; ApiError where somebody else cancelled it.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(left())
    service.running.add(working)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.cancelled():
            if service.is_stopping:
                raise _stopping()
            raise ApiError("the run was cancelled", status=409, code="cancelled")
        if not working.done():
            raise ClientLeft
        working.result()
    finally:
        service.running.discard(working)
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def _stopping() -> ApiError:
    return ApiError("the server is stopping", status=503, code="stopping", hint="ask again in a while")
