"""A scripted server that speaks Chat Completions over a real socket, for tests: well, badly, or not at all.

    with FakeServer(lambda request: Reply(text="It is 12.", thought="Let me see.")) as server:
        backend = open_upstream(server.url, Settings())

Loopback only, a port of its own, and a thread of its own, so that blocking code and event loops can both ask it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal
from weakref import WeakSet

_MAX_BODY = 256 * 2**20
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(frozen=True)
class Call:
    """A tool call as a model writes it: `arguments` is the text that should be JSON."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True)
class Reply:
    """What the server answers. The defaults are those of a well-behaved server that streams word by word.

    `thought_in`: the field that carries thought, or "tags" in the content, or "opened" for tags without the first.
    `usage` None: none is sent; a dict: that one; by default the words are counted. `logprobs` go with the content's
    words, in order, where asked for. `cut_after` and `hang_after` count events of the stream: after so many the
    connection is closed, or nothing more comes. `split_bytes` sends the stream in pieces of that size. `status` other
    than 200 answers `error`; `raw`, where set, is the body as it stands.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    thought_in: Literal["reasoning", "reasoning_content", "tags", "opened"] = "reasoning"
    usage: Mapping[str, Any] | Literal["counted"] | None = "counted"
    logprobs: Sequence[float] = ()
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    cut_after: int | None = None
    hang_after: int | None = None
    split_bytes: int | None = None
    chunk: Literal["words", "characters", "whole"] = "words"
    calls_whole: bool = False
    line_end: str = "\n"
    comments: bool = False
    has_done: bool = True
    streams: bool = True
    status: int = 200
    error: str = "it went wrong"
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "text/event-stream"


@dataclass
class Received:
    """One request as it came, and whether whoever sent it left before its answer was complete."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    has_left: bool = False
    is_answered: bool = False


Script = Callable[[dict[str, Any]], Reply]


class FakeServer:
    """Answers POST /v1/chat/completions as `script` says, GET /v1/models with `models`. Use it with `with`.

    `continues`: it honours `continue_final_message`, which shows in its count of prompt tokens.
    """

    def __init__(
        self, script: Script, *, models: Sequence[Mapping[str, Any]] = ({"id": "fake"},), continues: bool = False
    ) -> None:
        self._script, self._models, self._continues = script, models, continues
        self.requests: list[Received] = []  # of chat completions
        self.others: list[Received] = []
        self.num_open = self.peak = 0  # chat completions being answered: now, and at most
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fake-server", daemon=True)
        self._is_ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens, as an upstream's `url`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all chat completions that were asked for."""
        return [request.body for request in self.requests]

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._is_ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._hang_up())
        self._loop.close()

    async def _hang_up(self) -> None:
        """End what is still being answered, and let its sockets close."""
        await asyncio.sleep(0)  # connections that came at the last moment get their tasks
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            received = await _read(reader)
            if received is not None:
                await self._answer(received, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked has left, or the server ends
        finally:
            writer.close()

    async def _answer(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if received.path != "/v1/chat/completions":
            self.others.append(received)
            is_list = received.path == "/v1/models"
            document = {"object": "list", "data": [dict(model) for model in self._models]} if is_list else {}
            _head(writer, 200 if is_list else 404, "application/json", {})
            _send(writer, json.dumps(document).encode())
            _send(writer, b"")
            await writer.drain()
            return
        self.requests.append(received)
        reply = self._script(received.body)
        left = asyncio.ensure_future(reader.read(1))
        self.num_open += 1
        self.peak = max(self.peak, self.num_open)
        try:
            await self._play(reply, received, writer, left)
        except ConnectionError:  # a write can fail before the read has seen the end
            received.has_left = True
            raise
        finally:
            self._release(received)
            received.has_left = received.has_left or left.done()
            left.cancel()

    def _release(self, received: Received) -> None:
        """It counts as answered from just before its last event on: whoever reads that may ask again at once."""
        if not received.is_answered:
            received.is_answered = True
            self.num_open -= 1

    async def _play(
        self, reply: Reply, received: Received, writer: asyncio.StreamWriter, left: asyncio.Future[bytes]
    ) -> None:
        await _pause(reply.first_delay_s, left)
        is_stream = reply.streams and bool(received.body.get("stream")) and reply.status == 200
        _head(writer, reply.status, reply.content_type if is_stream else "application/json", reply.headers)
        if reply.status != 200:
            events = [json.dumps({"error": {"message": reply.error, "type": "error", "code": reply.status}}).encode()]
        elif reply.raw is not None:
            events = [reply.raw]
        elif is_stream:
            events = _stream_events(reply, received.body, self._usage(reply, received.body))
        else:
            events = [_whole(reply, self._usage(reply, received.body))]
        for number, event in enumerate(events):
            if number == reply.cut_after:
                return
            if number == reply.hang_after:
                await left
                return
            if number == len(events) - 1:
                self._release(received)
            size = reply.split_bytes or len(event) or 1
            for start in range(0, len(event), size):
                _send(writer, event[start : start + size])
                await writer.drain()
                if left.done():
                    return
                if reply.split_bytes:
                    await asyncio.sleep(0)
            await _pause(reply.delay_s, left)
        _send(writer, b"")
        await writer.drain()

    def _usage(self, reply: Reply, body: dict[str, Any]) -> Mapping[str, Any] | None:
        if reply.usage != "counted":
            return reply.usage
        prompt = 4 + len(json.dumps(body.get("messages", [])).split())
        if self._continues and body.get("continue_final_message"):
            prompt -= 4
        thought, answer = len(_words(reply.thought)), len(_words(reply.text))
        answer += sum(len(_words(call.arguments)) for call in reply.calls)
        most = _most_tokens(body)
        if most is not None:
            thought = min(thought, most)
            answer = min(answer, most - thought)
        return {
            "prompt_tokens": prompt, "completion_tokens": thought + answer, "total_tokens": prompt + thought + answer,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }  # fmt: skip


async def _read(reader: asyncio.StreamReader) -> Received | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = [line.partition(":") for line in head[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = min(int(headers.get("content-length", "0")), _MAX_BODY)
    body = await reader.readexactly(length) if length else b"{}"
    return Received(method, path, headers, json.loads(body))


def _head(writer: asyncio.StreamWriter, status: int, kind: str, more: Mapping[str, str]) -> None:
    headers = {"content-type": kind, "transfer-encoding": "chunked", "connection": "close", **more}
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """One piece of a chunked body; the empty one is its end."""
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def _pause(seconds: float, left: asyncio.Future[bytes]) -> None:
    if seconds:
        await asyncio.wait({left}, timeout=seconds)


def _stream_events(reply: Reply, body: dict[str, Any], usage: Mapping[str, Any] | None) -> list[bytes]:
    """The events of a stream, each with the blank line that ends it."""
    most = _most_tokens(body)
    deltas = [*_thought_deltas(reply), *_text_deltas(reply, has_logprobs=bool(body.get("logprobs")))]
    reason = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
    if most is not None and len(deltas) > most:
        deltas, reason = deltas[:most], "length"
    else:
        deltas += _call_deltas(reply)
    choices: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}, *deltas]
    choices.append({"delta": {}, "finish_reason": reason})
    documents: list[dict[str, Any]] = [{"choices": [{"index": 0, **choice}]} for choice in choices]
    if usage is not None and (body.get("stream_options") or {}).get("include_usage"):
        documents.append({"choices": [], "usage": dict(usage)})
    common = {"id": "fake-1", "object": "chat.completion.chunk", "created": 0, "model": "fake"}
    lines = ["data: " + json.dumps({**common, **document}, ensure_ascii=False) for document in documents]
    if reply.has_done:
        lines.append("data: [DONE]")
    if reply.comments:
        lines = [part for line in lines for part in (": still here", line)]
    return [(line + 2 * reply.line_end).encode() for line in lines]


def _most_tokens(body: dict[str, Any]) -> int | None:
    return body.get("max_tokens") or body.get("max_completion_tokens")


def _thought_deltas(reply: Reply) -> list[dict[str, Any]]:
    if not reply.thought:
        return []
    if reply.thought_in in ("reasoning", "reasoning_content"):
        return [{"delta": {reply.thought_in: piece}} for piece in _pieces(reply.thought, reply)]
    marked = ("<think>\n" if reply.thought_in == "tags" else "") + reply.thought + "\n</think>\n\n"
    return [{"delta": {"content": piece}} for piece in _pieces(marked, reply)]


def _text_deltas(reply: Reply, *, has_logprobs: bool) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"delta": {"content": piece}} for piece in _pieces(reply.text, reply)]
    if has_logprobs:
        for delta, logprob in zip(deltas, reply.logprobs, strict=False):
            delta["logprobs"] = {"content": [{"token": delta["delta"]["content"], "logprob": logprob}]}
    return deltas


def _call_deltas(reply: Reply) -> list[dict[str, Any]]:
    """Each call in pieces, those of several interleaved as parallel calls may come; or whole, all in one."""
    if reply.calls_whole:
        whole = [_whole_call(call, number) for number, call in enumerate(reply.calls)]
        return [{"delta": {"tool_calls": whole}}] if whole else []
    begun, going_on = [], []
    for index, call in enumerate(reply.calls):
        named = {"index": index, "id": call.id or f"call_{index}", "type": "function"}
        begun.append({"delta": {"tool_calls": [{**named, "function": {"name": call.name, "arguments": ""}}]}})
        for start in range(0, len(call.arguments), 7):
            piece = {"index": index, "function": {"arguments": call.arguments[start : start + 7]}}
            going_on.append((start, {"delta": {"tool_calls": [piece]}}))
    return begun + [delta for _, delta in sorted(going_on, key=lambda pair: pair[0])]


def _whole_call(call: Call, number: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": function}


def _whole(reply: Reply, usage: Mapping[str, Any] | None) -> bytes:
    """A reply that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.thought:
        message["reasoning"] = reply.thought
    if reply.calls:
        message["tool_calls"] = [_whole_call(call, number) for number, call in enumerate(reply.calls)]
    reason = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
    choice = {"index": 0, "message": message, "finish_reason": reason}
    document: dict[str, Any] = {"id": "fake-1", "object": "chat.completion", "choices": [choice]}
    return json.dumps(document if usage is None else {**document, "usage": dict(usage)}, ensure_ascii=False).encode()


def _pieces(text: str, reply: Reply) -> list[str]:
    if reply.chunk == "words":
        return _words(text)
    return list(text) if reply.chunk == "characters" else [text] if text else []


def _words(text: str) -> list[str]:
    """Words with the space behind them: joined again they are the text."""
    return re.findall(r"\s*\S+\s*", text)
