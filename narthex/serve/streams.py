"""Server-sent events: a body that is written as things happen, until it is over or nobody reads it any more."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.serve.errors import ApiError, as_api_error
from narthex.serve.runs import ClientLeft, unless_left
from narthex.serve.service import Service

log = get_logger(__name__)

KEEP_ALIVE_S = 2.0  # after so long without a byte a comment goes out: proxies and people give up on silence
KEEP_ALIVE = b": still at work\n\n"


class EventStream(Response):
    """Sends what `pieces` yields. An error before the first of them is a reply of its own.

    When the client leaves, `pieces` is closed, and nothing else: what it tells of goes on.
    """

    def __init__(self, service: Service, pieces: AsyncGenerator[bytes], warnings: Sequence[str] = ()) -> None:
        super().__init__()
        self._service, self._pieces, self._warnings = service, pieces, warnings
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_left(receive, self._send(send), self._service)
        except ClientLeft:
            log.info("whoever listened to %s has left", scope["path"])
        except ApiError as error:
            if not self._has_begun:
                raise
            await send_body(send, b"event: error\ndata: " + written(error.body()) + b"\n\n", is_last=True)

    async def _send(self, send: Send) -> None:
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    if not self._has_begun:
                        self._has_begun = True
                        await start(send, "text/event-stream", self._warnings)
                    await send_body(send, piece)
        except NarthexError as error:
            raise as_api_error(error) from None
        if not self._has_begun:
            await start(send, "text/event-stream", self._warnings)
        await send_body(send, b"", is_last=True)


class Eventual(Response):
    """One JSON object that takes a while; `work` is cancelled when the client leaves."""

    def __init__(self, service: Service, work: Callable[[], Awaitable[Any]], warnings: Sequence[str] = ()) -> None:
        super().__init__()
        self._service, self._work, self._warnings = service, work, warnings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientLeft):
            await unless_left(receive, self._send(send), self._service)

    async def _send(self, send: Send) -> None:
        try:
            document = await self._work()
        except NarthexError as error:
            raise as_api_error(error) from None
        await start(send, "application/json", self._warnings)
        await send_body(send, written(document), is_last=True)


async def start(send: Send, media_type: str, warnings: Sequence[str]) -> None:
    """The head of a reply with status 200."""
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-cache")]
    if media_type == "text/event-stream":
        headers.append((b"x-accel-buffering", b"no"))  # nginx would gather what is to be seen as it comes
    headers += [(b"warning", warning_header(text)) for text in warnings]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_body(send: Send, data: bytes, *, is_last: bool = False) -> None:
    """More of the body."""
    await send({"type": "http.response.body", "body": data, "more_body": not is_last})


def warning_header(text: str) -> bytes:
    """A line as a `warning` header (RFC 7234): ASCII, in quotes, whatever names a client made up."""
    plain = text.encode("ascii", "backslashreplace").decode()
    shown = "".join(sign if sign.isprintable() else "?" for sign in plain)
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'199 narthex "{quoted}"'.encode()


def written(document: Any) -> bytes:
    """As JSON, short."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
