"""What answers under which path. Every route stands behind the gate; its callers are let in there."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from narthex import __version__
from narthex.serve import conversations, inside, responses
from narthex.serve.asked import understand
from narthex.serve.bodies import check_body, read_body, warning_of_unknown
from narthex.serve.catalogue import get_model, list_models
from narthex.serve.completions import Completion
from narthex.serve.conversations import make_conversation_router
from narthex.serve.files import make_file_router
from narthex.serve.gate import caller_of
from narthex.serve.inside import make_inside_router
from narthex.serve.responses import make_response_router
from narthex.serve.run_routes import make_run_router
from narthex.serve.service import Service
from narthex.serve.streams import warning_header
from narthex.serve.tokenize import TokenizeBody, count_tokens
from narthex.serve.wire import ChatBody

# Requests whose pictures are decoded at once; a photograph takes some hundred megabytes for a moment.
MAX_DECODING = 2

BODIES = {
    ("post", "/v1/chat/completions"): ChatBody,
    ("post", "/tokenize"): TokenizeBody,
    **conversations.BODIES,
    **responses.BODIES,
    **inside.BODIES,
}


def make_router(service: Service) -> APIRouter:
    """All routes of one server."""
    router = APIRouter()
    decoding = asyncio.Semaphore(MAX_DECODING)

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, in one piece or as a stream."""
        caller = caller_of(request.scope)
        body = check_body(ChatBody, await service.remote.inlined(await read_body(request)))
        async with decoding:
            asked = await asyncio.to_thread(understand, body, service, caller)
        return Completion(service, asked, caller)

    @router.get("/v1/models")
    async def models(request: Request) -> Response:
        """The models, each once more for each mode."""
        return JSONResponse(list_models(service, caller_of(request.scope)))

    @router.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        """One of them."""
        return JSONResponse(get_model(service, name, caller_of(request.scope)))

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        """The ids of a text or of a conversation."""
        caller = caller_of(request.scope)
        body = check_body(TokenizeBody, await read_body(request))
        warned = warning_of_unknown(body)
        async with decoding:
            found = await asyncio.to_thread(count_tokens, body, service.backends_for(caller))
        return JSONResponse(found, headers={"warning": warning_header(warned).decode()} if warned else None)

    @router.get("/health")
    async def health() -> Response:
        """The process is there."""
        return JSONResponse({"status": "ok"})

    @router.get("/ready")
    async def ready() -> Response:
        """It can answer questions."""
        problem = await _problem(service)
        told: dict[str, Any] = {"status": "ok" if problem is None else "unavailable", "problem": problem}
        return JSONResponse(told, status_code=200 if problem is None else 503)

    @router.get("/version")
    async def version() -> Response:
        """Which Narthex this is."""
        return JSONResponse({"version": __version__})

    router.include_router(make_conversation_router(service, decoding))
    router.include_router(make_response_router(service, decoding))
    router.include_router(make_run_router(service))
    router.include_router(make_file_router(service, decoding))
    router.include_router(make_inside_router(service))
    return router


async def _problem(service: Service) -> str | None:
    if service.is_stopping:
        return "the server is stopping"
    if service.keeps_runs and service.store is None:
        return "the store is not open"
    if not service.backends:
        return "no model is served"
    return None
