"""The one middleware: everything passes here, and nothing passes that is not let in.

What is not named here as open to anyone is closed. From the first user on, every request needs a key. Until there is
one, callers are programs of this machine: the server listens on the loopback alone, and a page in a browser cannot
speak for its user, since `Host` and `Origin` must be of this machine, too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.serve.bodies import MAX_BODY_BYTES
from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError, as_api_error
from narthex.serve.service import Service
from narthex.store import Holder, Store

log = get_logger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/version"})  # they tell nothing that is anybody's
# The page itself, which asks for the key: files that came with Narthex, the same for everybody.
PAGE_PATHS = frozenset({"/", "/index.html", "/manifest.webmanifest", "/favicon.ico", "/favicon.svg", "/sw.js"})
PAGE_FOLDERS = ("/assets/",)
METRICS_PATH = "/metrics"

Admit = Callable[[Scope], Awaitable[Caller]]
# Headers that a reply of that status to that caller gets.
Tell = Callable[[Caller, int], dict[str, str]]


def is_open(method: str, path: str) -> bool:
    """Whether anybody may ask that, without a word about who it is."""
    if path in OPEN_PATHS:
        return True
    return method in ("GET", "HEAD") and (path in PAGE_PATHS or path.startswith(PAGE_FOLDERS))


def is_loopback(host: str) -> bool:
    """Whether a name or address, without a port, is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def admit_this_machine(scope: Scope) -> Caller:
    """Whoever comes from this machine, by its own name. Raises: ApiError 403.

    The name is checked because any site may point a name of its own here, and the browser would let its pages in.
    """
    headers = _headers(scope)
    host = headers.get("host", "")
    if not is_loopback(_host_of(f"//{host}")):
        raise ApiError(
            f"'{host[:100]}' is not a name of this machine", status=403, code="foreign_host",
            hint="ask 127.0.0.1 or localhost",
        )  # fmt: skip
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise ApiError("pages from elsewhere may not ask this server", status=403, code="foreign_origin")
    return Caller()


class Doorkeeper:
    """Lets in who has a key; as long as there is no user, programs of this machine."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope) -> Caller:
        """Raises: ApiError 401 or 403; StoreError."""
        if scope["path"] == METRICS_PATH and self._service.settings.metrics == "this_machine":
            return _admit_scraper(scope)
        key = _key_of(scope)
        needs_key, holder = await asyncio.to_thread(self._look_up, self._service.registry, key)
        if not needs_key:
            return admit_this_machine(scope)
        if holder is None:
            raise ApiError(
                "this server asks for a key" if key is None else "this key opens nothing", status=401,
                code="invalid_api_key", hint="Authorization: Bearer nx_…; narthex keys add USER makes one",
            )  # fmt: skip
        user = holder.user
        return Caller(user.id, user.name, user.groups, user.role, holder.key_id)

    def _look_up(self, registry: Store | None, key: str | None) -> tuple[bool, Holder | None]:
        if registry is None:
            return self._service.is_open_wide, None
        holder = None if key is None else registry.people.holder(key)
        return self._service.is_open_wide or holder is not None or registry.people.has_users(), holder


class Gate:
    """Gives each request an id, decides whether it may pass, bounds its body, and answers what went wrong inside."""

    def __init__(self, app: ASGIApp, admit: Admit, tell: Tell | None = None) -> None:
        self._app, self._admit, self._tell = app, admit, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no route speaks anything else
        exit_ = _Exit(send, f"req_{uuid.uuid4().hex}", scope, self._tell)
        try:
            _check_length(scope)
            if not is_open(scope["method"], scope["path"]):
                scope.setdefault("state", {})["caller"] = await self._admit(scope)
            await self._app(scope, _bounded(receive), exit_.send)
        except NarthexError as error:
            await exit_.fail(as_api_error(error))
        except Exception:
            log.exception("%s: %s %s", exit_.request_id, scope["method"], scope["path"])
            hint = f"the server's log has it under {exit_.request_id}"
            await exit_.fail(ApiError("something went wrong here", status=500, hint=hint))


class _Exit:
    """The way out: every reply carries the request's id, and an error is a reply as long as none has begun."""

    def __init__(self, send: Send, request_id: str, scope: Scope, tell: Tell | None) -> None:
        self._send, self.request_id = send, request_id
        self._scope, self._tell = scope, tell
        self._has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            own = [(b"x-request-id", self.request_id.encode()), (b"x-content-type-options", b"nosniff")]
            own += self._about_caller(message["status"])
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await self._send(message)

    def _about_caller(self, status: int) -> list[tuple[bytes, bytes]]:
        if status == 401:
            return [(b"www-authenticate", b"Bearer")]
        caller = self._scope.get("state", {}).get("caller")
        if self._tell is None or caller is None:
            return []
        return [(name.encode(), value.encode()) for name, value in self._tell(caller, status).items()]

    async def fail(self, error: ApiError) -> None:
        if self._has_begun:
            raise RuntimeError(error.message)  # the connection is closed; a client sees that it is not complete
        body = json.dumps(error.body()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": error.http_status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _key_of(scope: Scope) -> str | None:
    """What stands behind `Bearer`; None where nothing does."""
    kind, _, key = _headers(scope).get("authorization", "").strip().partition(" ")
    return key.strip() or None if kind.lower() == "bearer" else None


def _admit_scraper(scope: Scope) -> Caller:
    """A program of this machine that did not come through a proxy. Raises: ApiError 403."""
    caller, headers, client = admit_this_machine(scope), _headers(scope), scope.get("client")
    if client is None or not is_loopback(client[0]) or any(name.startswith("x-forwarded") for name in headers):
        raise ApiError("metrics are for programs of this machine", status=403, code="foreign_host")
    return caller


def _check_length(scope: Scope) -> None:
    length = _headers(scope).get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MAX_BODY_BYTES:
        raise _too_large()


def _bounded(receive: Receive) -> Receive:
    """A body without a length, or with a false one, is measured as it comes."""
    num_bytes = 0

    async def measured() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return measured


def _too_large() -> ApiError:
    return ApiError(
        f"the request has more than {MAX_BODY_BYTES // 2**20} MiB", status=413, code="request_too_large",
        hint="scale pictures down",
    )  # fmt: skip


def _headers(scope: Scope) -> dict[str, str]:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def caller_of(scope: Any) -> Caller:
    """Who was let in. Raises: RuntimeError where nobody asked: a route behind the gate always has a caller."""
    caller = scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        raise RuntimeError("this request has not passed the gate")
    return caller
