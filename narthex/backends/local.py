"""The embedded model behind the backend protocol: conversations become ids, ids become thought, text and calls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.base.devices import pick_device
from narthex.base.errors import ContextOverflowError
from narthex.chat import answer_reserve
from narthex.model import Transformer, count_parameters, generate
from narthex.tokens import ChatFormat, Prompt, ReplyDelta
from narthex.weights import open_model

_DONE = object()  # end of a stream of tokens


class Room(NamedTuple):
    """Tokens a reply may take: for its thought, and in all."""

    think: int
    total: int


class LocalBackend:
    """One opened model folder. Turns run one at a time, in a thread, by the naive `generate`."""

    def __init__(self, name: str, model: Transformer, chat: ChatFormat) -> None:
        self.name, self.model, self.chat = name, model, chat
        self.context_tokens = model.config.text.max_position_embeddings
        self._active_parameters = count_parameters(model)[1]
        self._turn = asyncio.Lock()

    @classmethod
    def open(cls, folder: Path, *, device: str | None = None) -> LocalBackend:
        """Open a folder; float32 on a CPU (its matrix-vector products are faster than bfloat16's), else bfloat16.

        Raises: WeightsError or ConfigError for a folder that is no sound model.
        """
        where = pick_device(device)
        opened = open_model(folder, device=where, dtype=torch.float32 if where == "cpu" else torch.bfloat16)
        return cls(Path(folder).resolve().name, opened.model.eval(), ChatFormat.open(Path(folder)))

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        prompt = self.chat.render(
            request.messages, tools=request.tools, thinking=request.thinking, load_image=request.load_image
        )
        room = self._room(len(prompt.ids), request)
        async with self._turn:
            reply = _Reply(self, prompt, room, request)
            stream = _in_thread(reply.tokens)
            try:
                async for token in stream:
                    for delta in reply.take(token):
                        yield delta
            finally:
                await stream.aclose()
            for delta in reply.finish():
                yield delta
            yield reply.end(self._flops(len(prompt.ids) + reply.num_tokens))

    def _room(self, num_prompt: int, request: TurnRequest) -> Room:
        """Share what the context leaves: the answer's reserve first, thought from the rest."""
        left = self.context_tokens - num_prompt
        reserve = min(answer_reserve(self.context_tokens), request.answer_tokens or self.context_tokens)
        if left < min(reserve, 16) or left <= 0:
            raise ContextOverflowError(
                f"the conversation takes {num_prompt} tokens, and {self.name} has {self.context_tokens}, reply included",
                hint="ask less at once, or choose a model with a longer context",
            )
        think = max(0, left - reserve) if request.thinking else 0
        if request.think_tokens is not None:
            think = min(think, request.think_tokens)
        answer = left - think if request.answer_tokens is None else min(request.answer_tokens, left - think)
        return Room(think, think + answer + len(self.chat.close_ids))

    def _flops(self, num_tokens: int) -> float:
        """Multiplications and additions of the decoder's matrices: 2 per active parameter and token."""
        return 2.0 * self._active_parameters * num_tokens


class _Reply:
    """One reply in the making: draws tokens, forces the thought's end when its room is spent, parses."""

    def __init__(self, backend: LocalBackend, prompt: Prompt, room: Room, request: TurnRequest) -> None:
        self._backend, self._prompt, self._room, self._request = backend, prompt, room, request
        self._chat = backend.chat
        self._parser = self._chat.reply_parser(thinking=request.thinking, tools=bool(request.tools))
        self._until = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        self._said = {"thought": "", "text": ""}
        self._stopped = False
        self._in_thought = request.thinking and self._chat.thought_end_id is not None
        self.num_tokens = self._thought_tokens = 0

    def tokens(self) -> Iterator[int]:
        """Token ids of the whole reply, forced ones included. Runs in a thread of its own."""
        ids = list(self._prompt.ids)
        spent = 0
        if self._in_thought and self._room.think > 0:
            for token in self._draw(ids, min(self._room.think, self._room.total)):
                yield token
                ids.append(token)
                spent += 1
                if token == self._chat.thought_end_id or token in self._chat.stop_ids:
                    break
        if spent and ids[-1] in self._chat.stop_ids:
            return
        if self._in_thought and (not spent or ids[-1] != self._chat.thought_end_id):
            ids += self._chat.close_ids
            spent += len(self._chat.close_ids)
            yield from self._chat.close_ids
        yield from self._draw(ids, self._room.total - spent)

    def _draw(self, ids: list[int], limit: int) -> Iterator[int]:
        tiles = torch.from_numpy(self._prompt.tiles) if len(self._prompt.tiles) else None
        request = self._request
        drawn = generate(
            self._backend.model, ids, tiles, max_new_tokens=limit, stop_ids=self._chat.stop_ids,
            temperature=request.temperature, top_p=request.top_p, seed=(request.seed or 0) + len(ids),
        )  # fmt: skip
        for token in drawn:
            if self._until is not None and time.monotonic() > self._until:
                return
            yield token

    def take(self, token: int) -> list[TurnDelta]:
        self.num_tokens += 1
        if self._in_thought:
            self._thought_tokens += 1
            self._in_thought = token != self._chat.thought_end_id
        self._stopped = token in self._chat.stop_ids
        return self._deltas(self._parser.feed(token))

    def finish(self) -> list[TurnDelta]:
        """What the parser still held back."""
        self._reply = self._parser.finish()
        rest = []
        for kind, whole in (("thought", self._reply.thought), ("text", self._reply.text)):
            if len(whole) > len(self._said[kind]):
                rest.append(TurnDelta("thought" if kind == "thought" else "text", whole[len(self._said[kind]) :]))
        return rest

    def _deltas(self, found: Iterable[ReplyDelta]) -> list[TurnDelta]:
        deltas = [TurnDelta(delta.kind, delta.text) for delta in found if delta.kind != "call" and delta.text]
        for delta in deltas:
            self._said[delta.kind] += delta.text
        return deltas

    def end(self, flops: float) -> TurnEnd:
        answer_tokens = self.num_tokens - self._thought_tokens
        usage = TurnUsage(len(self._prompt.ids), 0, self._thought_tokens, answer_tokens, flops)
        return TurnEnd(*self._reply, "stop" if self._stopped else "length", usage)


async def _in_thread(make: Callable[[], Iterator[int]]) -> AsyncGenerator[int]:
    """Run a blocking iterator in a thread; closing this stops it at its next item and waits for it."""
    loop, queue, stop = asyncio.get_running_loop(), asyncio.Queue(), threading.Event()  # type: ignore[var-annotated]

    def work() -> None:
        last: object = _DONE
        try:
            for item in make():
                if stop.is_set():
                    break
                loop.call_soon_threadsafe(queue.put_nowait, item)
        except BaseException as error:  # it belongs to whoever reads the queue
            last = error
        loop.call_soon_threadsafe(queue.put_nowait, last)

    thread = threading.Thread(target=work, name="narthex-generate", daemon=True)
    thread.start()
    try:
        while (item := await queue.get()) is not _DONE:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
