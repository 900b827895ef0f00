"""`POST /v1/chat/completions`: one object, or a stream of chunks, from the same events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from narthex.backends.base import TokenChance
from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.chat import Event, RunFailed, RunFinished
from narthex.reason.merge import Merge
from narthex.serve.asked import Asked
from narthex.serve.callers import Caller
from narthex.serve.chances import Chances, written_chances
from narthex.serve.errors import CONTEXT_CODE, ApiError, as_api_error
from narthex.serve.line import Line
from narthex.serve.replies import Reply, own_field, summed_usage, written_call
from narthex.serve.runs import ClientLeft, events_of, unless_left
from narthex.serve.service import Service
from narthex.serve.streams import KEEP_ALIVE, KEEP_ALIVE_S, send_body, start, written

log = get_logger(__name__)

_DONE = b"data: [DONE]\n\n"
# Until something else has happened, a stream may still begin as an error, with the status that says so.
_PRELUDE = ("run_started", "agent_started", "round_started", "turn_finished")


class _Choice:
    """One of the answers: a run of its own."""

    def __init__(self, asked: Asked, index: int) -> None:
        seed = None if asked.seed is None else asked.seed + index
        self.asked = asked if index == 0 else replace(asked, seed=seed, blobs=asked.blobs.copy())
        self.index, self.run_id = index, uuid.uuid4().hex
        self.line = Line(asked.backend, asked.stops, asked.extras)
        self.reply = Reply(asked.showing)
        self._chances = Chances(self.line, holds_back=asked.showing.holds_back)

    @property
    def end(self) -> RunFinished:
        if self.reply.end is None:
            raise RuntimeError("a run ended without its last event")
        return self.reply.end

    def feed(self, event: Event) -> list[tuple[dict[str, Any], list[TokenChance]]]:
        """What may be shown now, each with the chances of its tokens. Raises: ApiError where the run failed."""
        if event.type == "run_failed":
            raise self._as_error(event)
        chances = self._chances.take(event)
        shown = []
        for piece in self.reply.feed(event):
            if piece.kind == "content":
                shown.append(({"content": piece.text}, chances))
                chances = []
            else:
                shown.append(({"reasoning": piece.text, "reasoning_content": piece.text}, []))
        if event.type == "run_finished":
            self._check_kept()
        return shown

    def whole(self) -> dict[str, Any]:
        """The choice in one piece, in which nothing withdrawn is ever shown."""
        reply, end = self.reply, self.end
        message: dict[str, Any] = {"role": "assistant", "content": end.answer, "refusal": None}
        if reply.reasoning:
            message |= {"reasoning": reply.reasoning, "reasoning_content": reply.reasoning}
        if reply.calls:
            message["content"] = end.answer or None
            message["tool_calls"] = [written_call(call) for call in reply.calls]
        logprobs = None
        if self.asked.extras.top_logprobs is not None:
            logprobs = written_chances(chance for piece in self.line.chances[-1] for chance in piece)
        reply.num_withdrawn = 0
        return {"index": self.index, "message": message, "logprobs": logprobs, "finish_reason": reply.finish_reason}

    def own_field(self) -> dict[str, Any]:
        return own_field(self.asked.mode, self.reply, self.run_id, is_kept=self.asked.is_kept)

    def _as_error(self, event: RunFailed) -> ApiError:
        is_overflow = self.line.has_overflowed and event.http_status == 400
        return ApiError(
            event.message, status=event.http_status, hint=event.hint, param="messages" if is_overflow else None,
            code=CONTEXT_CODE if is_overflow else event.code,
        )  # fmt: skip

    def _check_kept(self) -> None:
        """Raises: ApiError where an upstream has left out what was asked for."""
        extras, name = self.asked.extras, self.asked.backend.name
        if extras.must_call and not self.reply.calls and self.reply.finish_reason == "stop":
            raise ApiError(
                f"{name} has called nothing", status=502, param="tool_choice", code="not_kept_by_upstream",
                hint="this upstream does not force calls",
            )  # fmt: skip
        if extras.top_logprobs is not None and self.end.answer and not any(map(any, self.line.chances)):
            raise ApiError(
                f"{name} gives no probabilities", param="logprobs", code="not_kept_by_upstream",
                hint="leave 'logprobs' out",
            )  # fmt: skip


class Completion(Response):
    """One chat completion under way: it runs while it is sent, and ends its runs when the client leaves."""

    def __init__(self, service: Service, asked: Asked, caller: Caller) -> None:
        super().__init__()
        self._service, self._asked, self._caller = service, asked, caller
        self._choices = [_Choice(asked, index) for index in range(asked.num_choices)]
        self._id = f"chatcmpl-{self._choices[0].run_id}"
        self._ended_last = self._choices[0]
        self._created = int(time.time())
        self._has_begun = False  # the stream: from then on an error is a part of it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._stream(send) if self._asked.is_streamed else self._whole(send)
        try:
            await unless_left(receive, work, self._service)
        except ClientLeft:
            log.info("%s: its client has left", self._id)
        except ApiError as error:
            if not self._has_begun:
                raise
            await _send_chunks(send, [error.body()])
            await send_body(send, _DONE, is_last=True)

    async def _events(self) -> AsyncGenerator[tuple[_Choice, Event]]:
        """Those of all runs, as they come. Raises: ApiError."""
        try:
            if len(self._choices) == 1:
                async with aclosing(self._run(self._choices[0])) as one:
                    async for pair in one:
                        yield pair
                return
            merge: Merge[tuple[_Choice, Event]] = Merge()
            for choice in self._choices:
                merge.add(self._run_beside(choice))
            async with aclosing(merge.stream()) as all_:
                async for pair in all_:
                    yield pair
        except NarthexError as error:
            raise as_api_error(error) from None

    async def _run(self, choice: _Choice) -> AsyncGenerator[tuple[_Choice, Event]]:
        events = events_of(self._service, choice.asked, self._caller, choice.line, run_id=choice.run_id)
        async with aclosing(events) as stream:
            async for event in stream:
                yield choice, event

    async def _run_beside(self, choice: _Choice) -> AsyncGenerator[tuple[_Choice, Event]]:
        """As `_run`; where it alone is cancelled, by its id, the others are to hear of it."""
        try:
            async with aclosing(self._run(choice)) as stream:
                async for pair in stream:
                    yield pair
        except asyncio.CancelledError:
            raise ApiError("one of the runs was cancelled", status=409, code="cancelled") from None

    # In one piece.

    async def _whole(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            async for choice, event in events:
                choice.feed(event)
        choices = [choice.whole() for choice in self._choices]
        document = {**self._head("chat.completion"), "choices": choices, **self._sums()}
        await start(send, "application/json", self._asked.warnings)
        await send_body(send, written(document), is_last=True)

    # As a stream.

    async def _stream(self, send: Send) -> None:
        last_sent = time.monotonic()
        try:
            async with aclosing(self._events()) as events:
                async for choice, event in events:
                    chunks = [self._chunk(choice, delta, chances) for delta, chances in choice.feed(event)]
                    if not self._has_begun and (chunks or event.type not in _PRELUDE):
                        await self._begin(send)
                        last_sent = time.monotonic()
                    if event.type == "run_finished":
                        chunks += self._last_chunks(choice)
                    is_silent = event.type == "waiting" or time.monotonic() - last_sent >= KEEP_ALIVE_S
                    if chunks:
                        await _send_chunks(send, chunks)
                    elif self._has_begun and is_silent:
                        await send_body(send, KEEP_ALIVE)
                    else:
                        continue
                    last_sent = time.monotonic()
            await _send_chunks(send, [self._final_chunk()])
        except ApiError:
            raise
        except Exception:
            if not self._has_begun:
                raise
            log.exception("%s", self._id)
            raise ApiError("something went wrong here", status=500) from None
        await send_body(send, _DONE, is_last=True)

    async def _begin(self, send: Send) -> None:
        self._has_begun = True
        await start(send, "text/event-stream", self._asked.warnings)
        first = {"role": "assistant", "content": ""}
        await _send_chunks(send, [self._chunk(choice, first) for choice in self._choices])

    def _last_chunks(self, choice: _Choice) -> list[dict[str, Any]]:
        """The calls of one answer, and how it ended. The very last chunk of all is `_final_chunk`."""
        chunks = [
            self._chunk(choice, {"tool_calls": [{"index": index, **written_call(call)}]})
            for index, call in enumerate(choice.reply.calls)
        ]
        self._ended_last = choice
        is_final = not self._asked.wants_usage and all(other.reply.end is not None for other in self._choices)
        return chunks if is_final else [*chunks, self._chunk(choice, {}, is_last=True)]

    def _final_chunk(self) -> dict[str, Any]:
        """What is ours, with the usage, or with the end of the answer that ended last."""
        sums = self._sums()
        if self._asked.wants_usage:
            return {**self._head("chat.completion.chunk"), "choices": [], **sums}
        del sums["usage"]
        return {**self._chunk(self._ended_last, {}, is_last=True), **sums}

    def _chunk(
        self, choice: _Choice, delta: dict[str, Any], chances: Sequence[TokenChance] = (), *, is_last: bool = False
    ) -> dict[str, Any]:
        logprobs = written_chances(chances) if chances and self._asked.extras.top_logprobs is not None else None
        reason = choice.reply.finish_reason if is_last else None
        told = {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [told]}
        return {**chunk, "usage": None} if self._asked.wants_usage else chunk

    def _sums(self) -> dict[str, Any]:
        """The usage of all runs together, and what is ours alone; of further answers under `others`."""
        first, *others = [choice.own_field() for choice in self._choices]
        usage = summed_usage([choice.end.ledger for choice in self._choices])
        return {"usage": usage, "narthex": {**first, "others": others} if others else first}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id, "object": kind, "created": self._created, "model": self._asked.model,
            "system_fingerprint": None,
        }  # fmt: skip


async def _send_chunks(send: Send, chunks: Sequence[dict[str, Any]]) -> None:
    await send_body(send, b"".join(b"data: " + written(chunk) + b"\n\n" for chunk in chunks))
