"""`/v1/responses`: made, listened to, read again, cancelled, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from narthex.chat import Event
from narthex.serve.belongings import response_of, store_of
from narthex.serve.bodies import check_body, read_body
from narthex.serve.callers import Caller
from narthex.serve.errors import CONTEXT_CODE, ApiError
from narthex.serve.gate import caller_of
from narthex.serve.line import Line
from narthex.serve.live import follow
from narthex.serve.queries import MAX_NUMBER, described, limit_of, number
from narthex.serve.response_asked import Question, told_of, understand_response
from narthex.serve.response_items import items_of, page_of
from narthex.serve.response_wire import ResponseBody
from narthex.serve.runs import events_of, launch
from narthex.serve.service import Service
from narthex.serve.streams import KEEP_ALIVE, KEEP_ALIVE_S, EventStream, Eventual, warning_header, written
from narthex.serve.telling import Document, Ended, Telling
from narthex.store import ResponseRecord, Store

BODIES = {("post", "/v1/responses"): ResponseBody}
# Until something else has happened, a stream may still begin as an error, with the status that says so.
_PRELUDE = ("run_started", "agent_started", "round_started", "turn_finished")


def make_response_router(service: Service, decoding: asyncio.Semaphore) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.post("/v1/responses")
    async def create_response(request: Request) -> Response:
        """Answer an input: in one piece, as a stream, or in the background."""
        caller = caller_of(request.scope)
        body = check_body(ResponseBody, await service.remote.inlined(await read_body(request)))
        async with decoding:
            question = await asyncio.to_thread(understand_response, body, service, caller)
        return await Making(service, caller, question).reply()

    @router.get(
        "/v1/responses/{response_id}", openapi_extra=described(stream="boolean", starting_after="integer")
    )
    async def response(request: Request, response_id: str) -> Response:
        """How it stands; or, with `stream=true`, its events after `starting_after`, to the end."""
        record = await asyncio.to_thread(response_of, service, caller_of(request.scope), response_id)
        if request.query_params.get("stream", "false").lower() not in ("true", "1"):
            return JSONResponse(await asyncio.to_thread(_snapshot, store_of(service), record))
        after = int(number(request, "starting_after", -1, least=-1, most=MAX_NUMBER))
        return EventStream(service, _followed(service, record, after))

    @router.get(
        "/v1/responses/{response_id}/input_items",
        openapi_extra=described(limit="integer", order="string", after="string"),
    )
    async def input_items(request: Request, response_id: str) -> Response:
        """What it was asked, item by item."""
        record = await asyncio.to_thread(response_of, service, caller_of(request.scope), response_id)
        order, after = request.query_params.get("order", "desc"), request.query_params.get("after")
        if order not in ("asc", "desc"):
            raise ApiError("'order' should be asc or desc", param="order", code="invalid_value")
        found = await asyncio.to_thread(items_of, record, store_of(service).blobs)
        return JSONResponse(page_of(found if order == "asc" else found[::-1], after, limit_of(request, 20, 100)))

    @router.post("/v1/responses/{response_id}/cancel")
    async def cancel_response(request: Request, response_id: str) -> Response:
        """End it, and all its agents; one that has ended stays as it is."""
        caller, store = caller_of(request.scope), store_of(service)
        record = await asyncio.to_thread(response_of, service, caller, response_id)
        if service.live.get(record.run_id) is not None:
            await asyncio.to_thread(store.responses.note, response_id, is_cancelled=True)
            await service.live.cancel(record.run_id)
            record = await asyncio.to_thread(response_of, service, caller, response_id)
        return JSONResponse(await asyncio.to_thread(_snapshot, store, record))

    @router.delete("/v1/responses/{response_id}")
    async def delete_response(request: Request, response_id: str) -> Response:
        """For good, with its run; what still goes on ends first."""
        record = await asyncio.to_thread(response_of, service, caller_of(request.scope), response_id)
        await service.live.cancel(record.run_id)
        await asyncio.to_thread(store_of(service).erase_response, record.id, record.run_id)
        return JSONResponse({"id": record.id, "object": "response", "deleted": True})

    return router


class Making:
    """One response being made."""

    def __init__(self, service: Service, caller: Caller, question: Question) -> None:
        self._service, self._caller, self._question = service, caller, question
        self._asked, self._told = question.asked, question.told
        self._line = Line(self._asked.backend, self._asked.stops, self._asked.extras)

    async def reply(self) -> Response:
        """In the background what was asked is on disk when this returns. Raises: ApiError."""
        warnings = self._asked.warnings
        if not self._told.is_background:
            if self._asked.is_streamed:
                return EventStream(self._service, self._pieces(), warnings)
            return Eventual(self._service, self._whole, warnings)
        await launch(
            self._service, self._asked, self._caller, run_id=self._told.run_id, on_begin=self._write
        )
        record = await asyncio.to_thread(response_of, self._service, self._caller, self._told.id)
        if self._asked.is_streamed:
            return EventStream(self._service, _followed(self._service, record, -1), warnings)
        headers = {"warning": warning_header("; ".join(warnings)).decode()} if warnings else None
        return JSONResponse(Telling(self._told).response, headers=headers)

    def _write(self) -> None:
        told = self._told
        store_of(self._service).responses.add(
            told.id, run_id=told.run_id, asked=self._question.said, request=self._question.request(),
            user=self._caller.user, previous=self._question.previous, created=told.created,
        )  # fmt: skip

    def _events(self) -> AsyncGenerator[Event]:
        on_begin: Callable[[], None] | None = self._write if self._asked.is_kept else None
        return events_of(
            self._service, self._asked, self._caller, self._line, run_id=self._told.run_id, on_begin=on_begin
        )

    async def _whole(self) -> Document:
        telling = Telling(self._told)
        telling.begin()
        async with aclosing(self._events()) as events:
            async for event in events:
                self._check(event)
                telling.feed(event)
        return telling.response

    async def _pieces(self) -> AsyncGenerator[bytes]:
        """The stream; it begins once the model has begun, so that what cannot be answered at all is no stream."""
        telling = Telling(self._told)
        held, has_begun = telling.begin(), False
        async with aclosing(self._events()) as events:
            async for event in events:
                if not has_begun:
                    self._check(event)
                held += telling.feed(event)
                if not has_begun and event.type in _PRELUDE:
                    continue
                has_begun = True
                if held:
                    yield b"".join(map(_sse, held))
                    held = []
                elif event.type == "waiting":
                    yield KEEP_ALIVE

    def _check(self, event: Event) -> None:
        """Raises: ApiError where the run has failed."""
        if event.type == "run_failed":
            is_overflow = self._line.has_overflowed and event.http_status == 400
            raise ApiError(
                event.message, status=event.http_status, hint=event.hint, param="input" if is_overflow else None,
                code=CONTEXT_CODE if is_overflow else event.code,
            )  # fmt: skip


def _snapshot(store: Store, record: ResponseRecord) -> dict[str, Any]:
    """The response as it stands: for a thread."""
    run = store.run(record.run_id)  # asked before its events: what has ended by then is all there
    telling = Telling(told_of(record))
    telling.begin()
    for event in store.events(record.run_id):
        telling.feed(event)
    if not telling.is_over and (run is None or run.status != "running"):
        telling.cut(_how_cut(record))
    return telling.response


async def _followed(service: Service, record: ResponseRecord, after: int) -> AsyncGenerator[bytes]:
    """Its stream with numbers above `after`: what is known, then what happens."""
    telling = Telling(told_of(record))
    yield _after(telling.begin(), after) or b": still at work\n\n"
    events = follow(store_of(service), service.live, record.run_id, tick_s=KEEP_ALIVE_S)
    async with aclosing(events):
        async for event in events:
            if event is None:
                yield KEEP_ALIVE
            elif data := _after(telling.feed(event), after):
                yield data
    if not telling.is_over:
        now = await asyncio.to_thread(store_of(service).responses.record, record.id)
        if data := _after(telling.cut(_how_cut(now or record)), after):
            yield data


def _how_cut(record: ResponseRecord) -> Ended:
    """Somebody cancelled it; or its client left, the server stopped, or died."""
    return "cancelled" if record.request.get("is_cancelled") else "incomplete"


def _after(events: list[Document], after: int) -> bytes:
    return b"".join(_sse(event) for event in events if event["sequence_number"] > after)


def _sse(event: Document) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), written(event))
