"""HTTP to one or several servers of the same model: retries, failover, limits, and errors in one line.

    pick a server -> POST -> status? -> chunks, held back until the first that carries something -> handed on
         ^                     |               |                                                      |
         +--- wait, or not ----+---------------+  before the first token                              +-> ends the reply

A server that failed rests, and is asked how it does before it gets a turn again. The key goes to the configured URLs
only: no redirect is followed.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from narthex.backends.settings import UpstreamSettings, needs_certificates
from narthex.backends.sse import DONE, MAX_EVENT_BYTES, SseParser
from narthex.backends.upstream_reply import carries, is_finish
from narthex.backends.watch import Watch
from narthex.base.errors import BackendError
from narthex.base.log import get_logger

log = get_logger(__name__)

MAX_REPLY_BYTES = 64 * 2**20  # of one stream: a token with log-probabilities takes some hundred bytes
MAX_ERROR_BYTES = 64 * 1024
MAX_BACKOFF_S = 8.0
MAX_RETRY_AFTER_S = 60.0  # who is told to wait longer is told so at once
LAST_WORDS_S = 2.0  # for the usage that comes after a reply has ended
CHECK_S = 5.0  # for a server that failed to say that it is well again
_PASSING = (408, 409, 425, 429)
_SHOWN_CHARS = 300
_EXCERPT_CHARS = 80
# What streams come as; some servers do not care.
_STREAM_KINDS = ("text/event-stream", "application/octet-stream", "text/plain", "")


class Failure(Exception):
    """An exchange failed. `is_passing`: it may go well another time. `status` is the answer's, None without one."""

    def __init__(
        self, message: str, *, hint: str | None = None, status: int | None = None, is_passing: bool = False,
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.message, self.hint, self.status = message, hint, status
        self.is_passing, self.retry_after_s = is_passing, retry_after_s

    def error(self) -> BackendError:
        """What the user is told."""
        return BackendError(self.message, hint=self.hint)


@dataclass
class _Server:
    url: str
    rests_until: float = 0.0
    is_suspect: bool = False  # it failed, and has not been seen well since


class UpstreamHttp:
    """Asks the servers of one upstream. One client per event loop, made when first needed."""

    def __init__(self, settings: UpstreamSettings, key: str) -> None:
        self._settings, self._key = settings, key
        self._servers = [_Server(url) for url in settings.urls]
        self._next = 0
        self._held: tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request; they hold the key, so they are never shown."""
        own = {"accept-encoding": "identity", "user-agent": "narthex"}
        own |= {"authorization": f"Bearer {self._key}"} if self._key else {}
        return {**self._settings.extra_headers, **own}

    async def chunks(self, body: Mapping[str, Any], watch: Watch) -> AsyncGenerator[dict[str, Any]]:
        """The reply's chunks as they come; a reply that comes whole is one chunk.

        Tries again, and elsewhere, for as long as nothing of the reply has come.
        Raises: Failure; Interrupted as `watch` says.
        """
        payload = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace")
        tried: list[_Server] = []
        for attempt in range(self._settings.retries + 1):
            server = await self._pick(tried, watch)
            tried.append(server)
            has_begun = False
            try:
                async with aclosing(self._attempt(server, payload, watch)) as chunks:
                    async for chunk in chunks:
                        has_begun = has_begun or carries(chunk)
                        yield chunk
                server.is_suspect = False
                return
            except Failure as failure:
                self._note(server, failure)
                if has_begun or not failure.is_passing or attempt == self._settings.retries:
                    raise
                if all(other in tried for other in self._servers):
                    await self._back_off(attempt // len(self._servers), failure, watch)
                    tried = []
                log.info("%s; trying again", failure.message)

    async def aclose(self) -> None:
        """Close the connections that are kept open."""
        held, self._held = self._held, None
        if held is not None and held[0] is asyncio.get_running_loop():
            await held[1].aclose()

    def _client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._held is None or self._held[0] is not loop:  # a client's connections belong to the loop that made them
            timeout = httpx2.Timeout(None, connect=self._settings.timeouts.connect_s)
            # No connection outlives its turn: there is none to find stale, or to leave behind when a loop ends.
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            client = httpx2.AsyncClient(
                verify=needs_certificates(self._settings.urls), trust_env=self._settings.trust_env,
                follow_redirects=False, timeout=timeout, limits=limits,
            )  # fmt: skip
            self._held = (loop, client)
        return self._held[1]

    async def _pick(self, tried: list[_Server], watch: Watch) -> _Server:
        """The next server in turn that is well and was not tried; where there is none, the one that rests least."""
        for _ in self._servers:
            server = self._servers[self._next % len(self._servers)]
            self._next += 1
            if server in tried or server.rests_until > time.monotonic():
                continue
            if server.is_suspect and len(self._servers) > 1 and not await self._is_well(server, watch):
                server.rests_until = time.monotonic() + self._settings.rest_s
                continue
            return server
        left = [server for server in self._servers if server not in tried] or self._servers
        return min(left, key=lambda server: server.rests_until)

    async def _is_well(self, server: _Server, watch: Watch) -> bool:
        """Whether a server that failed answers again."""
        client = self._client()
        request = client.build_request("GET", f"{server.url}/models", headers=self.headers)
        try:
            response = await _send(client, request, watch, CHECK_S)
            await response.aclose()
        except (TimeoutError, httpx2.HTTPError):
            return False
        server.is_suspect = response.status_code >= 500
        return not server.is_suspect

    def _note(self, server: _Server, failure: Failure) -> None:
        """Let a server rest that failed in a way that may pass."""
        if failure.is_passing:
            busy = failure.status in _PASSING
            rest_s = failure.retry_after_s if failure.retry_after_s is not None else self._settings.rest_s
            server.rests_until = time.monotonic() + rest_s
            server.is_suspect = not busy

    async def _back_off(self, rounds: int, failure: Failure, watch: Watch) -> None:
        """Wait: as long as the server asks, else longer each time, and never all at the same moment."""
        if failure.retry_after_s is not None:
            if failure.retry_after_s > MAX_RETRY_AFTER_S:
                raise failure
            await watch.sleep(failure.retry_after_s)
        else:
            await watch.sleep(min(MAX_BACKOFF_S, self._settings.backoff_s * 2**rounds) * random.uniform(0.5, 1.0))

    async def _attempt(self, server: _Server, payload: bytes, watch: Watch) -> AsyncGenerator[dict[str, Any]]:
        """One POST to one server. Raises: Failure for all that can go wrong with it."""
        began, limit_s = time.monotonic(), self._settings.timeouts.first_byte_s
        client, where = self._client(), server.url
        headers = {**self.headers, "content-type": "application/json", "accept": "text/event-stream"}
        request = client.build_request("POST", f"{where}/chat/completions", content=payload, headers=headers)
        try:
            response = await _send(client, request, watch, limit_s)
            try:
                if response.status_code != 200:
                    raise await self._refusal(where, response, watch)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise Failure(f"{where} compresses its answer unasked", hint="switch that off in the server")
                first_s = max(0.0, limit_s - (time.monotonic() - began))
                async with aclosing(self._documents(where, response, watch, first_s)) as documents:
                    async for document in documents:
                        yield document
            finally:
                await response.aclose()
        except TimeoutError:
            raise Failure(f"{where} has not answered for too long", hint="see its log, or raise the timeouts in "
                          "narthex.toml", is_passing=True) from None  # fmt: skip
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            why = self._clean(str(error)) or "no answer"
            raise Failure(f"{where} cannot be reached: {why}", hint="start the server, or check its url",
                          is_passing=True) from None  # fmt: skip
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            why = self._clean(str(error)) or type(error).__name__
            raise Failure(f"the connection to {where} broke: {why}", hint="ask again, or see the server's log",
                          is_passing=True) from None  # fmt: skip

    async def _documents(
        self, where: str, response: httpx2.Response, watch: Watch, first_s: float
    ) -> AsyncGenerator[dict[str, Any]]:
        """The JSON documents of an answer that began well."""
        kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
        body = _Body(response, watch, first_s, self._settings.timeouts.between_bytes_s)
        if kind == "application/json":
            yield _as_chunk(self._document(where, await body.whole()))
            return
        if kind not in _STREAM_KINDS:
            raise self._garbage(where, f"{kind} where a stream was expected")
        parser, has_chunks, is_open = SseParser(), False, True
        while is_open:
            try:
                piece = await body.next()
                events = parser.feed(piece) if piece else parser.finish()
            except ValueError as error:
                raise self._garbage(where, str(error)) from None
            except (TimeoutError, httpx2.HTTPError):
                if body.has_ended_well:  # what is missing is the usage at most
                    return
                raise
            is_open = bool(piece)
            for event in events:
                if event.strip() == DONE:
                    return
                document = self._document(where, event)
                has_chunks = has_chunks or "choices" in document
                body.has_ended_well = body.has_ended_well or is_finish(document)
                yield document
        if not has_chunks and body.start.strip():
            raise self._garbage(where, body.start.decode("utf-8", "replace"))
        if not body.has_ended_well:
            raise Failure(
                f"{where} closed the connection in the middle of a reply",
                hint="ask again, or see the server's log", is_passing=True,
            )  # fmt: skip

    def _document(self, where: str, source: str) -> dict[str, Any]:
        """One JSON object that is no error. Raises: Failure."""
        try:
            document = json.loads(source)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._garbage(where, source)
        error = document.get("error")
        if error:
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and not isinstance(code, bool) else None
            is_passing = status is None or status in _PASSING or status >= 500
            told = self._clean(_error_text(document))
            raise Failure(f"{where} failed: {told}", hint="see the server's log", status=status, is_passing=is_passing)
        return document

    async def _refusal(self, where: str, response: httpx2.Response, watch: Watch) -> Failure:
        """What an answer other than 200 says."""
        status = response.status_code
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("location", "")).netloc or "another place"
            return Failure(
                f"{where} sends us to {self._clean(target)}, and redirects are not followed",
                hint="give the url that it leads to, if that is the one you mean", status=status,
            )  # fmt: skip
        body = _Body(response, watch, CHECK_S, CHECK_S)
        try:
            told = self._clean(_error_text_of((await body.up_to(MAX_ERROR_BYTES)).decode("utf-8", "replace")))
        except (TimeoutError, ValueError, httpx2.HTTPError):
            told = ""
        message = f"{where} answers with status {status}" + (f": {told}" if told else "")
        is_passing = status in _PASSING or status >= 500
        hints = {
            401: "check the API key: key_env in narthex.toml names its variable",
            403: "check the API key: key_env in narthex.toml names its variable",
            404: "check the upstream's url and its model's name",
            429: "it has too much to do; lower max_parallel, or ask later",
        }
        hint = hints.get(status, "see the server's log" if is_passing else "check the upstream's settings")
        after = _retry_after(response.headers.get("retry-after", ""))
        return Failure(message, hint=hint, status=status, is_passing=is_passing, retry_after_s=after)

    def _garbage(self, where: str, source: str) -> Failure:
        shown = self._clean(source)[:_EXCERPT_CHARS]
        return Failure(
            f"{where} sent something that is no chat completion: {shown}",
            hint="check that the url ends where /chat/completions follows",
        )

    def _clean(self, text: str) -> str:
        """Somebody else's words for a message of ours: one line, not long, and without the key that some repeat."""
        if self._key:
            text = text.replace(self._key, "[the key]")
        line = " ".join(text.split())
        return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"


class _Body:
    """An answer's bytes, with a limit on waiting for each piece and on all of them together."""

    def __init__(self, response: httpx2.Response, watch: Watch, first_s: float, between_s: float) -> None:
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._watch, self._limit_s, self._between_s = watch, first_s, between_s
        self._size = 0
        self.start = b""  # for an error's excerpt
        self.has_ended_well = False  # the reply has said why it ends; little can follow

    async def next(self) -> bytes:
        """The next piece, b"" at the end. Raises: TimeoutError; ValueError beyond MAX_REPLY_BYTES."""
        piece = b""
        while not piece:
            limit_s = min(LAST_WORDS_S, self._limit_s) if self.has_ended_well else self._limit_s
            found = await self._watch.wait(_next_of(self._pieces), limit_s)
            self._limit_s = self._between_s
            if found is None:
                return b""
            piece = found
        self._size += len(piece)
        if self._size > MAX_REPLY_BYTES:
            raise ValueError(f"more than {MAX_REPLY_BYTES:,} bytes")
        self.start = self.start or piece[:_SHOWN_CHARS]
        return piece

    async def up_to(self, num_bytes: int) -> bytes:
        """The beginning, at least `num_bytes` of it where there is so much."""
        whole = b""
        while len(whole) < num_bytes and (piece := await self.next()):
            whole += piece
        return whole

    async def whole(self) -> str:
        """All of it, where it is not longer than one event may be; what is cut off is no JSON any more."""
        return (await self.up_to(MAX_EVENT_BYTES)).decode("utf-8", "replace")


async def _send(client: httpx2.AsyncClient, request: httpx2.Request, watch: Watch, limit_s: float) -> httpx2.Response:
    """The answer's head. One that comes at the very moment when nobody waits any more is closed."""
    sending = asyncio.ensure_future(client.send(request, stream=True))
    try:
        return await watch.wait(sending, limit_s)
    except BaseException:
        if sending.done() and not sending.cancelled() and sending.exception() is None:
            await sending.result().aclose()
        raise


async def _next_of(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _as_chunk(document: dict[str, Any]) -> dict[str, Any]:
    """A reply that came whole, in the shape of a chunk."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        return document
    written = [{**choice, "delta": choice.get("message")} for choice in choices if isinstance(choice, dict)]
    return {**document, "choices": written}


def _error_text_of(source: str) -> str:
    try:
        document = json.loads(source)
    except (ValueError, RecursionError):
        return source
    return _error_text(document) if isinstance(document, dict) else source


def _error_text(document: dict[str, Any]) -> str:
    """The message of an error in any of the shapes that servers write."""
    error = document.get("error") or document
    if isinstance(error, dict):
        error = next((error[name] for name in ("message", "detail", "msg", "type") if error.get(name)), error)
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from a number or a date."""
    try:
        return max(0.0, float(value)) if math.isfinite(float(value)) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
