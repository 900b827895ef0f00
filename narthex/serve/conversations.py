"""`/api/conversations`: what was said, to be found, gone on with, taken along and deleted."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from narthex.serve.belongings import conversation_of, store_of
from narthex.serve.bodies import Wire, check_body, read_body, warning_of_unknown
from narthex.serve.errors import ApiError
from narthex.serve.exports import as_markdown
from narthex.serve.gate import caller_of
from narthex.serve.queries import described, limit_of, number
from narthex.serve.service import Service
from narthex.serve.streams import warning_header, written
from narthex.serve.turns import TurnBody, Turns, shown_turn
from narthex.store import ConversationRecord

MAX_TITLE_CHARS = 1000
MAX_SEARCH_CHARS = 200


class ConversationBody(Wire):
    """A new conversation, or a new title for one."""

    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS)] = ""


BODIES = {
    ("post", "/api/conversations"): ConversationBody,
    ("patch", "/api/conversations/{conversation_id}"): ConversationBody,
    ("post", "/api/conversations/{conversation_id}/turns"): TurnBody,
}


def make_conversation_router(service: Service, decoding: asyncio.Semaphore) -> APIRouter:
    """Their routes."""
    router = APIRouter()
    _add_routes_of_all(router, service)
    _add_routes_of_one(router, service)
    turns = Turns(service, decoding)

    @router.post("/api/conversations/{conversation_id}/turns", status_code=201)
    async def new_turn(request: Request, conversation_id: str) -> Response:
        """Ask: begins a run that goes on whether or not anybody listens."""
        caller = caller_of(request.scope)
        body = check_body(TurnBody, await read_body(request))
        begun, warnings = await turns.begin(caller, conversation_id, body)
        return _json(begun.model_dump(), status=201, warning="; ".join(warnings))

    return router


def _add_routes_of_all(router: APIRouter, service: Service) -> None:
    @router.get("/api/conversations", openapi_extra=described(search="string", limit="integer", before="number"))
    async def conversations(request: Request) -> Response:
        """The caller's, the one that went on last first."""
        caller, query = caller_of(request.scope), request.query_params
        limit = limit_of(request)
        before = number(request, "before", math.inf) if "before" in query else None
        found = await asyncio.to_thread(
            store_of(service).conversations.latest, limit=limit + 1, user=caller.user,
            search=query.get("search", "")[:MAX_SEARCH_CHARS], before=before,
        )  # fmt: skip
        return _json({"data": [_listed(record) for record in found[:limit]], "has_more": len(found) > limit})

    @router.post("/api/conversations", status_code=201)
    async def new_conversation(request: Request) -> Response:
        """One in which nothing has been said."""
        caller = caller_of(request.scope)
        body = check_body(ConversationBody, await read_body(request, or_empty=True))
        kept = store_of(service).conversations
        conversation_id = await asyncio.to_thread(kept.create, body.title, user=caller.user)
        record = await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        return _json(_listed(record), status=201, warning=warning_of_unknown(body))


def _add_routes_of_one(router: APIRouter, service: Service) -> None:
    @router.get("/api/conversations/{conversation_id}")
    async def conversation(request: Request, conversation_id: str) -> Response:
        """All its turns, every branch."""
        caller = caller_of(request.scope)
        record = await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        found = await asyncio.to_thread(store_of(service).conversations.turns, record.id)
        return _json(_whole(record, [shown_turn(turn) for turn in found]))

    @router.patch("/api/conversations/{conversation_id}")
    async def rename_conversation(request: Request, conversation_id: str) -> Response:
        """Call it something else."""
        caller = caller_of(request.scope)
        body = check_body(ConversationBody, await read_body(request))
        await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        await asyncio.to_thread(store_of(service).conversations.rename, conversation_id, body.title)
        record = await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        return _json(_listed(record), warning=warning_of_unknown(body))

    @router.delete("/api/conversations/{conversation_id}", status_code=204)
    async def delete_conversation(request: Request, conversation_id: str) -> Response:
        """For good: turns, runs, their events, and pictures and files that nothing else shows."""
        caller = caller_of(request.scope)
        await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        store = store_of(service)
        for turn in await asyncio.to_thread(store.conversations.turns, conversation_id):
            await service.live.cancel(turn.run_id)
        await asyncio.to_thread(store.erase_conversation, conversation_id)
        return Response(status_code=204)

    @router.get("/api/conversations/{conversation_id}/export", openapi_extra=described(format="string"))
    async def export_conversation(request: Request, conversation_id: str) -> Response:
        """All of it as JSON, or the line of its last turn as Markdown."""
        caller, kind = caller_of(request.scope), request.query_params.get("format", "json")
        if kind not in ("json", "markdown"):
            raise ApiError("'format' should be json or markdown", param="format", code="invalid_value")
        record = await asyncio.to_thread(conversation_of, service, caller, conversation_id)
        found = await asyncio.to_thread(store_of(service).conversations.turns, record.id)
        if kind == "markdown":
            return _attachment(as_markdown(record, found).encode(), f"{record.id}.md", "text/markdown; charset=utf-8")
        data = written(_whole(record, [shown_turn(turn) for turn in found]))
        return _attachment(data, f"{record.id}.json", "application/json")


def _listed(record: ConversationRecord) -> dict[str, Any]:
    return {
        "id": record.id, "title": record.title, "started": record.started, "changed": record.changed,
        "num_turns": record.num_turns,
    }  # fmt: skip


def _whole(record: ConversationRecord, turns: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_listed(record), "settings": record.settings, "turns": turns}


def _json(document: dict[str, Any], *, status: int = 200, warning: str | None = None) -> Response:
    headers = {"warning": warning_header(warning).decode()} if warning else None
    return JSONResponse(document, status_code=status, headers=headers)


def _attachment(data: bytes, name: str, media_type: str) -> Response:
    return Response(data, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
