"""`POST /v1/chat/completions`: one object, or a stream of chunks, from the same events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.chat import Event, RunFailed
from narthex.serve.asked import Asked
from narthex.serve.callers import Caller
from narthex.serve.errors import CONTEXT_CODE, ApiError, as_api_error
from narthex.serve.line import Line
from narthex.serve.replies import Piece, Reply, own_field, usage_of, written_call
from narthex.serve.runs import ClientLeft, events_of, unless_left
from narthex.serve.service import Service
from narthex.serve.streams import KEEP_ALIVE, KEEP_ALIVE_S, send_body, start, written

log = get_logger(__name__)

_DONE = b"data: [DONE]\n\n"
# Until something else has happened, a stream may still begin as an error, with the status that says so.
_PRELUDE = ("run_started", "agent_started", "round_started", "turn_finished")


class Completion(Response):
    """One chat completion under way: it runs while it is sent, and ends its run when the client leaves."""

    def __init__(self, service: Service, asked: Asked, caller: Caller) -> None:
        super().__init__()
        self._service, self._asked, self._caller = service, asked, caller
        self._run_id = uuid.uuid4().hex
        self._line = Line(asked.backend, asked.stops)
        self._reply = Reply(asked.showing)
        self._created = int(time.time())
        self._has_begun = False  # the stream: from then on an error is a part of it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._stream(send) if self._asked.is_streamed else self._whole(send)
        try:
            await unless_left(receive, work, self._service)
        except ClientLeft:
            log.info("run %s: its client has left", self._run_id)
        except ApiError as error:
            if not self._has_begun:
                raise
            await _send_chunks(send, [error.body()])
            await send_body(send, _DONE, is_last=True)

    async def _events(self) -> AsyncGenerator[Event]:
        """The run's. Raises: ApiError where it fails."""
        events = events_of(self._service, self._asked, self._caller, self._line, run_id=self._run_id)
        try:
            async with aclosing(events) as stream:
                async for event in stream:
                    if event.type == "run_failed":
                        raise self._as_error(event)
                    yield event
        except NarthexError as error:
            raise as_api_error(error) from None

    def _as_error(self, event: RunFailed) -> ApiError:
        is_overflow = self._line.has_overflowed and event.http_status == 400
        return ApiError(
            event.message, status=event.http_status, hint=event.hint, param="messages" if is_overflow else None,
            code=CONTEXT_CODE if is_overflow else event.code,
        )  # fmt: skip

    # In one piece.

    async def _whole(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            async for event in events:
                self._reply.feed(event)
        await start(send, "application/json", self._asked.warnings)
        await send({"type": "http.response.body", "body": written(self._object())})

    def _object(self) -> dict[str, Any]:
        reply = self._reply
        if reply.end is None:
            raise RuntimeError("a run ended without its last event")
        message: dict[str, Any] = {"role": "assistant", "content": reply.end.answer, "refusal": None}
        if reply.reasoning:
            message |= {"reasoning": reply.reasoning, "reasoning_content": reply.reasoning}
        if reply.calls:
            message["content"] = reply.end.answer or None
            message["tool_calls"] = [written_call(call) for call in reply.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
        # In one piece nothing withdrawn is ever shown.
        reply.num_withdrawn = 0
        return {
            **self._head("chat.completion"), "choices": [choice], "usage": usage_of(reply.end.ledger),
            "narthex": own_field(self._asked.mode, reply, self._run_id, is_kept=self._asked.is_kept),
        }  # fmt: skip

    # As a stream.

    async def _stream(self, send: Send) -> None:
        last_sent = time.monotonic()
        try:
            async with aclosing(self._events()) as events:
                async for event in events:
                    chunks = [self._delta(piece) for piece in self._reply.feed(event)]
                    if not self._has_begun and (chunks or event.type not in _PRELUDE):
                        await self._begin(send)
                        last_sent = time.monotonic()
                    is_silent = event.type == "waiting" or time.monotonic() - last_sent >= KEEP_ALIVE_S
                    if chunks:
                        await _send_chunks(send, chunks)
                    elif self._has_begun and is_silent:
                        await send_body(send, KEEP_ALIVE)
                    else:
                        continue
                    last_sent = time.monotonic()
            await _send_chunks(send, self._last_chunks())
        except ApiError:
            raise
        except Exception:
            if not self._has_begun:
                raise
            log.exception("run %s", self._run_id)
            raise ApiError("something went wrong here", status=500) from None
        await send_body(send, _DONE, is_last=True)

    async def _begin(self, send: Send) -> None:
        self._has_begun = True
        await start(send, "text/event-stream", self._asked.warnings)
        await _send_chunks(send, [self._chunk({"role": "assistant", "content": ""})])

    def _delta(self, piece: Piece) -> dict[str, Any]:
        if piece.kind == "content":
            return self._chunk({"content": piece.text})
        return self._chunk({"reasoning": piece.text, "reasoning_content": piece.text})

    def _last_chunks(self) -> list[dict[str, Any]]:
        reply = self._reply
        if reply.end is None:
            raise RuntimeError("a run ended without its last event")
        chunks = [
            self._chunk({"tool_calls": [{"index": index, **written_call(call)}]})
            for index, call in enumerate(reply.calls)
        ]
        own = {"narthex": own_field(self._asked.mode, reply, self._run_id, is_kept=self._asked.is_kept)}
        last = self._chunk({}, finish_reason=reply.finish_reason)
        if not self._asked.wants_usage:
            return [*chunks, {**last, **own}]
        usage = {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(reply.end.ledger)}
        return [*chunks, last, {**usage, **own}]

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._asked.wants_usage else chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._run_id}", "object": kind, "created": self._created, "model": self._asked.model,
            "system_fingerprint": None,
        }  # fmt: skip


async def _send_chunks(send: Send, chunks: Sequence[dict[str, Any]]) -> None:
    await send_body(send, b"".join(b"data: " + written(chunk) + b"\n\n" for chunk in chunks))
