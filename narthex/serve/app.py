"""The application: routes behind the gate, errors in one shape, and the store open while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from narthex import __version__
from narthex.base.paths import narthex_home
from narthex.serve.account import make_account_router
from narthex.serve.errors import ApiError
from narthex.serve.gate import Admit, Doorkeeper, Gate
from narthex.serve.page import make_page_router
from narthex.serve.routes import BODIES, make_router
from narthex.serve.service import Service
from narthex.store import Store

_SCHEMAS = "#/components/schemas/{model}"


def create_app(
    service: Service, *, admit: Admit | None = None, on_ready: Callable[[], None] | None = None
) -> FastAPI:
    """The ASGI application of one server. `on_ready` is called once it can answer.

    Starting it raises StoreError where runs are to be kept and cannot be.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        if service.keeps_runs and service.store is None:
            service.store = Store.open()
        elif service.store is None and (narthex_home() / "narthex.db").exists():
            service.keys_only = Store.open()
        if on_ready is not None:
            on_ready()
        try:
            yield
        finally:
            service.stop()
            await asyncio.gather(*service.running, return_exceptions=True)
            await _close_backends(service)
            for store in (service.store, service.keys_only):
                if store is not None:
                    store.close()
            service.store = service.keys_only = None

    # The pages that FastAPI would add load their scripts from elsewhere.
    app = FastAPI(title="Narthex", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    app.include_router(make_router(service))
    app.include_router(make_account_router(service))
    app.include_router(make_page_router())
    app.add_exception_handler(HTTPException, _told)
    app.add_middleware(Gate, admit=admit or Doorkeeper(service), tell=service.watch.quota_headers)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


async def _close_backends(service: Service) -> None:
    for backend in service.backends.values():
        aclose, close = getattr(backend, "aclose", None), getattr(backend, "close", None)
        if aclose is not None:
            await aclose()
        elif close is not None:
            close()


async def _told(request: Request, error: Exception) -> Response:
    """What no route took, in the shape of all other errors."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:200]}"
    message = {404: f"there is nothing at {what}", 405: f"{what} is not possible"}.get(error.status_code, error.detail)
    told = ApiError(message, status=error.status_code, code="unknown_url" if error.status_code == 404 else None)
    return JSONResponse(told.body(), status_code=error.status_code, headers=dict(error.headers or {}))


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. Bodies are read by us, within bounds, so their schemas are added here."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        kinds = [(kind, "validation") for kind in set(BODIES.values())]
        _, schemas = models_json_schema(kinds, ref_template=_SCHEMAS)  # type: ignore[arg-type]
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        for (method, path), kind in BODIES.items():
            reference = {"$ref": _SCHEMAS.format(model=kind.__name__)}
            body = {"required": True, "content": {"application/json": {"schema": reference}}}
            document["paths"][path][method]["requestBody"] = body
        app.openapi_schema = document
    return app.openapi_schema
