"""A run's events become a response: its output items, and the events of OpenAI's stream, numbered.

Nothing else goes in, so the same events make the same items and the same numbers: a response that is read again, or
gone on listening to after a number, is told from what the store has of its run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from narthex.chat import Event, Ledger, RunFailed, ToolCall
from narthex.serve.replies import Piece, Reply, Showing, own_field

Document = dict[str, Any]
Ended = Literal["cancelled", "incomplete"]


@dataclass(frozen=True)
class Told:
    """What is known of a response before it is answered. `echo`: what it was asked with, as it is given back.

    `has_summary`: thought comes out as a summary.
    """

    id: str
    run_id: str
    created: float
    echo: Mapping[str, Any]
    showing: Showing
    has_summary: bool = False
    is_background: bool = False
    is_kept: bool = True


@dataclass
class _Open:
    """The item that grows. `kind`: a message, or thought."""

    item: Document
    index: int
    kind: Literal["message", "reasoning"]
    text: list[str] = field(default_factory=list)


class Telling:
    """Feed it every event of a run; it says what goes out. `response` is how things stand."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._reply = Reply(told.showing)
        self._output: list[Document] = []
        self._open: _Open | None = None
        self._sequence = 0
        self._ended_t = 0.0
        self._status = "queued" if told.is_background else "in_progress"
        self._more: Document = {}
        self.is_over = False

    @property
    def response(self) -> Document:
        """The response object."""
        told = self._told
        known = {"error": None, "incomplete_details": None, "usage": None, "completed_at": None, **self._more}
        if self._open is not None:
            self._write(self._open)
        # Items go on growing; what has been told does not.
        output = json.loads(json.dumps(self._output))
        return {
            "id": told.id, "object": "response", "created_at": told.created, "status": self._status,
            "background": told.is_background, **told.echo, "output": output, **known,
        }  # fmt: skip

    def begin(self) -> list[Document]:
        """The first events, before anything has happened."""
        events = [self._event("response.created", response=self.response)]
        if self._told.is_background:
            events.append(self._event("response.queued", response=self.response))
        self._status = "in_progress"
        return [*events, self._event("response.in_progress", response=self.response)]

    def feed(self, event: Event) -> list[Document]:
        """What one event of the run adds; after the last of them, `is_over`."""
        self._ended_t = event.t
        if event.type == "run_failed":
            return self._fail(event)
        withdrawn = self._reply.num_withdrawn
        pieces = self._reply.feed(event)
        events: list[Document] = []
        if self._reply.num_withdrawn > withdrawn:
            events += self._close(phase="commentary")
            pieces = [*filter(lambda piece: piece.text, (
                piece._replace(text=piece.text.removeprefix("\n\n")) for piece in pieces))]  # fmt: skip
        for piece in pieces:
            events += self._grow(piece)
        if event.type == "run_finished":
            events += self._finish(event.finish_reason in ("length", "cancelled"), event.ledger)
        return events

    def cut(self, ended: Ended) -> list[Document]:
        """The end of a run that has none of its own."""
        events = self._close(status="incomplete")
        self._status, self.is_over = ended, True
        # The stream's protocol has no event for what was cancelled.
        return [*events, self._event("response.incomplete", response=self.response)]

    def _grow(self, piece: Piece) -> list[Document]:
        kind: Literal["message", "reasoning"] = "message" if piece.kind == "content" else "reasoning"
        events: list[Document] = []
        if self._open is None or self._open.kind != kind:
            events += self._close()
            events += self._begin_message() if kind == "message" else self._begin_thought()
        assert self._open is not None
        self._open.text.append(piece.text)
        delta = {"delta": piece.text, **self._where()}
        if kind == "message":
            return [*events, self._event("response.output_text.delta", **delta, logprobs=[])]
        name = "response.reasoning_summary_text" if self._told.has_summary else "response.reasoning_text"
        return [*events, self._event(f"{name}.delta", **delta)]

    def _begin_message(self) -> list[Document]:
        item: Document = {
            "id": self._item_id("msg"), "type": "message", "role": "assistant", "status": "in_progress",
            "phase": "final_answer", "content": [],
        }  # fmt: skip
        events = self._begin(item, "message")
        return [*events, self._event("response.content_part.added", **self._where(), part=_text(""))]

    def _begin_thought(self) -> list[Document]:
        item: Document = {
            "id": self._item_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": [],
            "encrypted_content": None,
        }  # fmt: skip
        events = self._begin(item, "reasoning")
        name = "reasoning_summary_part" if self._told.has_summary else "content_part"
        return [*events, self._event(f"response.{name}.added", **self._where(), part=self._thought_part(""))]

    def _begin(self, item: Document, kind: Literal["message", "reasoning"]) -> list[Document]:
        event = self._event("response.output_item.added", output_index=len(self._output), item=dict(item))
        self._open = _Open(item, len(self._output), kind)
        self._output.append(item)
        return [event]

    def _write(self, grown: _Open) -> None:
        """Put the text so far into the item."""
        text, item = "".join(grown.text), grown.item
        if grown.kind == "message":
            item["content"] = [_text(text)]
        else:
            item["summary" if self._told.has_summary else "content"] = [self._thought_part(text)]

    def _close(self, *, status: str = "completed", phase: str | None = None) -> list[Document]:
        if self._open is None:
            return []
        done, where, text = self._open, self._where(), "".join(self._open.text)
        self._write(done)
        done.item["status"] = status
        if phase is not None:
            done.item["phase"] = phase
        if done.kind == "message":
            names, part = ("output_text", "content_part"), _text(text)
        elif self._told.has_summary:
            names, part = ("reasoning_summary_text", "reasoning_summary_part"), self._thought_part(text)
        else:
            names, part = ("reasoning_text", "content_part"), self._thought_part(text)
        more: Document = {"logprobs": []} if done.kind == "message" else {}
        self._open = None
        return [
            self._event(f"response.{names[0]}.done", **where, text=text, **more),
            self._event(f"response.{names[1]}.done", **where, part=part),
            self._event("response.output_item.done", output_index=done.index, item=dict(done.item)),
        ]

    def _call(self, call: ToolCall) -> list[Document]:
        """A call of the caller's function; its arguments come whole."""
        arguments, index = json.dumps(call.arguments, ensure_ascii=False), len(self._output)
        item = {
            "id": self._item_id("fc"), "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": "", "status": "in_progress",
        }  # fmt: skip
        where = {"item_id": item["id"], "output_index": index}
        done = {**item, "arguments": arguments, "status": "completed"}
        self._output.append(done)
        return [
            self._event("response.output_item.added", output_index=index, item=item),
            self._event("response.function_call_arguments.delta", **where, delta=arguments),
            self._event("response.function_call_arguments.done", **where, arguments=arguments, name=call.name),
            self._event("response.output_item.done", output_index=index, item=done),
        ]

    def _finish(self, is_short: bool, ledger: Ledger) -> list[Document]:
        events = self._close(status="incomplete" if is_short else "completed")
        for call in self._reply.calls:
            events += self._call(call)
        self._status, self.is_over = "incomplete" if is_short else "completed", True
        self._more = {
            "usage": usage_of_response(ledger),
            "completed_at": None if is_short else self._told.created + self._ended_t,
            "incomplete_details": {"reason": "max_output_tokens"} if is_short else None,
            "narthex": own_field(self._told.showing.mode, self._reply, self._told.run_id, is_kept=self._told.is_kept),
        }
        return [*events, self._event(f"response.{self._status}", response=self.response)]

    def _fail(self, event: RunFailed) -> list[Document]:
        events = self._close(status="incomplete")
        self._status, self.is_over = "failed", True
        codes = {429: "rate_limit_exceeded", 400: "invalid_prompt"}
        said = event.message + (f" ({event.hint})" if event.hint else "")
        self._more = {
            "error": {"code": codes.get(event.http_status, "server_error"), "message": said},
            "usage": None if event.ledger is None else usage_of_response(event.ledger),
        }
        return [*events, self._event("response.failed", response=self.response)]

    def _where(self) -> Document:
        assert self._open is not None
        part = "summary_index" if self._open.kind == "reasoning" and self._told.has_summary else "content_index"
        return {"item_id": self._open.item["id"], "output_index": self._open.index, part: 0}

    def _thought_part(self, text: str) -> Document:
        return {"type": "summary_text" if self._told.has_summary else "reasoning_text", "text": text}

    def _item_id(self, kind: str) -> str:
        return f"{kind}_{self._told.run_id}_{len(self._output)}"

    def _event(self, kind: str, **fields: Any) -> Document:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event


def usage_of_response(ledger: Ledger) -> Document:
    """The ledger's sum: thought is a part of what came out."""
    out = ledger.thought_tokens + ledger.answer_tokens
    return {
        "input_tokens": ledger.prompt_tokens,
        "input_tokens_details": {"cached_tokens": ledger.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": ledger.thought_tokens},
        "total_tokens": ledger.prompt_tokens + out,
    }


def _text(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
