"""The embedded model behind the backend protocol: conversations become ids, ids become thought, text and calls."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import torch

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.base.devices import pick_device
from narthex.base.errors import BackendError, ContextOverflowError, WeightsError
from narthex.chat import answer_reserve
from narthex.model import Continuation, Transformer, count_parameters
from narthex.tokens import ChatFormat, Prompt, ReplyDelta
from narthex.weights import open_model

MIN_ANSWER_TOKENS = 16  # a context with less than this left for the answer is full
_SEEDS = 2**63  # PyTorch takes no larger ones
_DONE = object()  # end of a stream


class Room(NamedTuple):
    """Tokens that a reply may take: for its thought with the mark that ends it, for its answer, and in all."""

    think: int
    answer: int
    total: int


class LocalBackend:
    """One opened model folder. Turns run one at a time, in a thread, by the naive loop."""

    def __init__(self, name: str, model: Transformer, chat: ChatFormat) -> None:
        self.name, self.model, self.chat = name, model, chat
        self.context_tokens = model.config.text.max_position_embeddings
        self._active_parameters = count_parameters(model)[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Lock()

    @classmethod
    def open(cls, folder: Path, *, device: str | None = None) -> LocalBackend:
        """Open a folder; float32 on a CPU (its matrix-vector products are faster than bfloat16's), else bfloat16.

        Raises: WeightsError or ConfigError for a folder that is no sound model.
        """
        where = pick_device(device)
        opened = open_model(folder, device=where, dtype=torch.float32 if where == "cpu" else torch.bfloat16)
        chat, entries = ChatFormat.open(Path(folder)), opened.config.text.vocab_size
        if chat.tokenizer.vocab_size > entries:
            raise WeightsError(
                f"tokenizer.json has {chat.tokenizer.vocab_size} entries, and the model knows {entries}",
                hint="tokenizer.json and the weights must be of the same model",
            )
        return cls(Path(folder).resolve().name, opened.model.eval(), chat)

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`. Waiting for other turns counts against the deadline."""
        until = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        # With no room for even one token of thought, thinking is switched off where the prompt can say so.
        num_close = len(self.chat.close_ids)
        thinking = request.thinking and (request.think_tokens is None or request.think_tokens > num_close)
        prompt = self.chat.render(
            request.messages, tools=request.tools, thinking=thinking, load_image=request.load_image
        )
        reply = _Reply(self, prompt, self._room(len(prompt.ids), request, thinking), request, thinking, until)
        lock = self._lock()
        try:
            async with asyncio.timeout(request.deadline_s):
                await lock.acquire()
        except TimeoutError:
            yield reply.end()
            return
        try:
            async with aclosing(_in_thread(reply.work)) as stream:
                async for delta in stream:
                    yield delta
        except torch.OutOfMemoryError as error:
            raise BackendError(
                f"{self.name} ran out of memory: {str(error).splitlines()[0]}",
                hint="ask less at once, or choose a smaller model",
            ) from None
        finally:
            lock.release()
        yield reply.end()

    def _lock(self) -> asyncio.Lock:
        """The running loop's own: once a task had to wait for it, an asyncio lock is tied to that task's loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._turns = loop, asyncio.Lock()
        return self._turns

    def _room(self, num_prompt: int, request: TurnRequest, thinking: bool) -> Room:
        """Share what the context leaves: the answer's reserve first, thought from the rest."""
        left = self.context_tokens - num_prompt
        reserve = answer_reserve(self.context_tokens)
        if request.answer_tokens is not None:
            reserve = min(reserve, request.answer_tokens)
        if left < max(1, min(reserve, MIN_ANSWER_TOKENS)):
            raise ContextOverflowError(
                f"the conversation takes {num_prompt} tokens, and {self.name} has {self.context_tokens} for it "
                "and the reply together",
                hint="ask less at once, or choose a model with a longer context",
            )
        think = max(0, left - reserve) if thinking else 0
        if request.think_tokens is not None:
            think = min(think, request.think_tokens)
        return Room(think, left if request.answer_tokens is None else request.answer_tokens, left)

    def flops(self, num_tokens: int) -> float:
        """Multiplications and additions of the decoder's matrices: 2 per active parameter and token."""
        return 2.0 * self._active_parameters * num_tokens


class _Reply:
    """One reply in the making. `work` draws and parses it, in a thread; `end` says how it went, afterwards."""

    def __init__(
        self,
        backend: LocalBackend,
        prompt: Prompt,
        room: Room,
        request: TurnRequest,
        thinking: bool,
        until: float | None,
    ) -> None:
        """`until` is a time of `time.monotonic`."""
        self._backend, self._prompt, self._room, self._request = backend, prompt, room, request
        self._chat, self._until = backend.chat, until
        self._parser = self._chat.reply_parser(thinking=thinking, tools=bool(request.tools))
        self._num_thought = self._num_answer = 0
        self._is_stopped = False

    def work(self) -> Iterator[TurnDelta | None]:
        """Deltas as tokens settle them, and None after each step of the model, so that there is a moment to stop.

        When the thought's room is spent, its end is forced; the answer goes on from there.
        """
        close, line = self._chat.close_ids, self._begin()
        while not self._is_over():
            if self._parser.in_thought and self._num_thought + len(close) >= self._room.think:
                if not close or self._num_thought + len(close) > self._room.total:
                    break  # a family whose thought cannot be ended, or a context that has no room to
                line.force(close)
                for token in close:
                    yield from self._take(token)
                if self._parser.in_thought:
                    break
                continue
            token_drawn = line.step()
            if token_drawn is not None:
                yield from self._take(token_drawn)
            yield None
        yield from _shown(self._parser.drain())

    def end(self) -> TurnEnd:
        num_prompt, num_reply = len(self._prompt.ids), self._num_thought + self._num_answer
        flops = self._backend.flops(num_prompt + num_reply) if num_reply else 0.0
        usage = TurnUsage(num_prompt, 0, self._num_thought, self._num_answer, flops)
        return TurnEnd(*self._parser.finish(), "stop" if self._is_stopped else "length", usage)

    def _begin(self) -> Continuation:
        request, ids = self._request, self._prompt.ids
        seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        return Continuation(
            self._backend.model,
            ids,
            torch.from_numpy(self._prompt.tiles) if len(self._prompt.tiles) else None,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=(seed + len(ids)) % _SEEDS,  # the turns of a run share a seed, and are not to repeat each other's luck
        )

    def _take(self, token: int) -> Iterator[TurnDelta]:
        was_in_thought = self._parser.in_thought
        found = self._parser.feed(token)
        # the marks that begin and end a thought are part of it
        if was_in_thought or self._parser.in_thought:
            self._num_thought += 1
        else:
            self._num_answer += 1
        self._is_stopped = token in self._chat.stop_ids
        yield from _shown(found)

    def _is_over(self) -> bool:
        is_late = self._until is not None and time.monotonic() >= self._until
        is_full = self._num_thought + self._num_answer >= self._room.total
        has_answered = not self._parser.in_thought and self._num_answer >= self._room.answer
        return self._is_stopped or is_late or is_full or has_answered


def _shown(found: list[ReplyDelta]) -> Iterator[TurnDelta]:
    for delta in found:
        if delta.kind != "call" and delta.text:
            yield TurnDelta(delta.kind, delta.text)


async def _in_thread(make: Callable[[], Iterator[TurnDelta | None]]) -> AsyncGenerator[TurnDelta]:
    """Run a blocking iterator in a thread; None is not passed on. Closing this stops it at its next item, and waits."""
    loop, stop = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[object] = asyncio.Queue()

    def put(item: object) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens any more
            stop.set()

    def work() -> None:
        last: object = _DONE
        try:
            for item in make():
                if stop.is_set():
                    break
                if item is not None:
                    put(item)
        except BaseException as error:  # it belongs to whoever reads the queue
            last = error
        put(last)

    thread = threading.Thread(target=work, name="narthex-generate", daemon=True)
    thread.start()
    try:
        while (item := await queue.get()) is not _DONE:
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
