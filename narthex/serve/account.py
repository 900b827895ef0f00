"""What a caller may know and change about the own account: who I am, my keys, what I have spent. And /metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from narthex.base.errors import InputError
from narthex.chat import MODES
from narthex.serve.bodies import Wire, check_body, read_body
from narthex.serve.callers import Caller
from narthex.serve.catalogue import get_model
from narthex.serve.errors import ApiError, as_api_error
from narthex.serve.gate import METRICS_PATH, caller_of
from narthex.serve.metrics import MEDIA_TYPE
from narthex.serve.queries import described, number
from narthex.serve.service import Service
from narthex.store import KeyRecord, People
from narthex.store.people import MAX_NAME_CHARS
from narthex.tools import TOOLS

MAX_DAYS = 366
DEFAULT_DAYS = 30


class KeyBody(Wire):
    """A new key: what to call it."""

    name: Annotated[str, Field(max_length=MAX_NAME_CHARS)] = ""


def make_account_router(service: Service) -> APIRouter:
    """These routes of one server."""
    router = APIRouter()

    @router.get("/api/me")
    async def me(request: Request) -> Response:
        """Who asks, and what may be asked."""
        caller = caller_of(request.scope)
        await service.watch.quotas.load(caller)
        return JSONResponse(_me(service, caller))

    @router.get("/api/keys")
    async def keys(request: Request) -> Response:
        """The caller's keys that open, without their secrets."""
        caller = caller_of(request.scope)
        found = [] if not caller.user else await asyncio.to_thread(_people(service).list_keys, caller.user)
        return JSONResponse({"data": [_shown(key) for key in found if key.revoked is None]})

    @router.post("/api/keys", status_code=201)
    async def add_key(request: Request) -> Response:
        """One more key; it is shown this once."""
        caller = caller_of(request.scope)
        body = check_body(KeyBody, await read_body(request))
        if not caller.user:
            raise ApiError(
                "this server has no users, so there is nobody to give a key to", status=409, code="no_users",
                hint="narthex users add NAME, on the server",
            )  # fmt: skip
        try:
            made = await asyncio.to_thread(_people(service).add_key, caller.user, body.name)
        except InputError as error:
            raise as_api_error(error, param="name") from None
        return JSONResponse(made._asdict(), status_code=201)

    @router.delete("/api/keys/{key_id}", status_code=204)
    async def revoke_key(request: Request, key_id: str) -> Response:
        """Let one of the caller's keys open nothing any more."""
        caller = caller_of(request.scope)
        is_done = bool(caller.user) and await asyncio.to_thread(
            _people(service).revoke_key, key_id, user_id=caller.user
        )
        if not is_done:
            raise ApiError(f"there is no key '{key_id[:80]}'", status=404, code="unknown_key")
        return Response(status_code=204)

    @router.get("/api/usage", openapi_extra=described(days="integer"))
    async def usage(request: Request) -> Response:
        """What the caller has spent, day by day (UTC)."""
        caller, registry = caller_of(request.scope), service.registry
        num_days = int(number(request, "days", DEFAULT_DAYS, least=1, most=MAX_DAYS))
        found = [] if registry is None else await asyncio.to_thread(registry.audit.days, caller.user, num_days)
        await service.watch.quotas.load(caller)
        return JSONResponse({"data": [day._asdict() for day in found], "quota": service.watch.quotas.told(caller)})

    @router.get(METRICS_PATH)
    async def metrics(request: Request) -> Response:
        """For Prometheus; who may read it is a setting."""
        caller = caller_of(request.scope)
        if service.settings.metrics == "nobody":
            raise ApiError(f"there is nothing at GET {METRICS_PATH}", status=404, code="unknown_url")
        if caller.role != "admin":
            raise ApiError("metrics are for administrators", status=403, code="not_admin")
        return Response(service.watch.metrics.text(), media_type=MEDIA_TYPE)

    return router


def _people(service: Service) -> People:
    if service.registry is None:
        raise RuntimeError("a caller with a user, and no store that knows users")
    return service.registry.people


def _me(service: Service, caller: Caller) -> dict[str, Any]:
    models = []
    for name, backend in service.backends_for(caller).items():
        capabilities = get_model(service, name, caller)["capabilities"]
        is_embedded = getattr(backend, "chat", None) is not None
        models.append({"id": name, "modes": list(MODES), "capabilities": capabilities, "is_embedded": is_embedded})
    # Nobody sits at the server to be asked: what needs leave is there where the settings name it for the role.
    named = service.settings.role(caller.role).tools or ()
    tools = [
        tool.spec.name
        for tool in service.tools_for(caller, TOOLS.values())
        if not tool.needs_approval or tool.spec.name in named
    ]
    return {
        "user": caller.name, "groups": list(caller.groups), "role": caller.role, "keys_required": bool(caller.user),
        "models": models, "tools": tools, "quota": service.watch.quotas.told(caller), "language": None,
    }  # fmt: skip


def _shown(key: KeyRecord) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "created": key.created}
