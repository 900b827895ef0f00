"""`/api/runs` and `/api/pictures`: what happened in a run, as it happens or later, and the pictures it shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from narthex.serve.belongings import check_seen, run_of, store_of
from narthex.serve.errors import ApiError
from narthex.serve.gate import caller_of
from narthex.serve.live import ENDS, follow
from narthex.serve.queries import MAX_NUMBER, described, limit_of, number
from narthex.serve.service import Service
from narthex.serve.streams import KEEP_ALIVE, KEEP_ALIVE_S, EventStream
from narthex.store import RunRecord

_RASTER = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")
_STATUS = {"done": "finished"}


def make_run_router(service: Service) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.get("/api/runs", openapi_extra=described(limit="integer"))
    async def runs(request: Request) -> Response:
        """The caller's, the newest first."""
        caller, limit = caller_of(request.scope), limit_of(request)
        found = await asyncio.to_thread(store_of(service).runs, limit=limit, user=caller.user)
        return JSONResponse({"data": [shown_run(record) for record in found]})

    @router.get("/api/runs/{run_id}")
    async def run(request: Request, run_id: str) -> Response:
        """One of them."""
        record = await asyncio.to_thread(run_of, service, caller_of(request.scope), run_id)
        return JSONResponse(shown_run(record))

    @router.get("/api/runs/{run_id}/events", openapi_extra=described(after="integer"))
    async def run_events(request: Request, run_id: str) -> Response:
        """All that happened after a number, then what happens, to the end; server-sent events."""
        last_id = request.headers.get("last-event-id", "")
        after = number(request, "after", -1, least=-1, most=MAX_NUMBER)
        if "after" not in request.query_params and re.fullmatch(r"\d{1,15}", last_id):
            after = int(last_id)
        record = await asyncio.to_thread(run_of, service, caller_of(request.scope), run_id)
        return EventStream(service, _told(service, record, int(after)))

    @router.post("/api/runs/{run_id}/cancel", status_code=202)
    async def cancel_run(request: Request, run_id: str) -> Response:
        """End it, and all its agents; nothing where it has ended."""
        record = await asyncio.to_thread(run_of, service, caller_of(request.scope), run_id)
        live = service.live.get(run_id)
        if live is not None:
            live.stop()
        elif record.status == "running":
            raise ApiError("this run is another program's", status=409, code="not_here", hint="end it there")
        return JSONResponse(shown_run(record), status_code=202)

    @router.get("/api/pictures/{sha256}")
    async def picture(request: Request, sha256: str) -> Response:
        """The bytes of a picture or file that a run of the caller's shows."""
        await asyncio.to_thread(check_seen, service, caller_of(request.scope), sha256)
        data, media_type = await asyncio.to_thread(store_of(service).blobs.get, sha256)
        is_raster = media_type in _RASTER
        headers = {
            "cache-control": "private, max-age=31536000, immutable", "etag": f'"{sha256}"',
            "content-disposition": "inline" if is_raster else "attachment",
            "content-security-policy": "default-src 'none'; sandbox",
        }  # fmt: skip
        return Response(data, media_type=media_type if is_raster else "application/octet-stream", headers=headers)

    return router


def shown_run(record: RunRecord) -> dict[str, Any]:
    """A run as the page reads it."""
    return {
        "id": record.id, "status": _STATUS.get(record.status, record.status), "mode": record.mode,
        "model": record.model, "started": record.started, "ended": record.ended, "question": record.question,
    }  # fmt: skip


async def _told(service: Service, record: RunRecord, after: int) -> AsyncGenerator[bytes]:
    """Each event under its number; comments in between, and a word where the run was cut."""
    steps = follow(store_of(service), service.live, record.id, after=after, tick_s=KEEP_ALIVE_S)
    yield b": events\n\n"  # the reply begins, though nothing may happen for a while
    async with aclosing(steps):
        async for event in steps:
            if event is None:
                yield KEEP_ALIVE
                continue
            yield b"id: %d\ndata: %s\n\n" % (event.seq, event.model_dump_json().encode())
            if event.type in ENDS:
                return
    now = await asyncio.to_thread(store_of(service).run, record.id)
    if now is None or now.status == "cut":
        yield b"event: cut\ndata: {}\n\n"
