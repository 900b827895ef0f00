"""The embedded model behind the backend protocol: conversations become ids, ids become thought, text and calls."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from narthex.backends.base import TokenChance, TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.backends.confidence import Confidence
from narthex.backends.inside import Inside, look_inside
from narthex.base.devices import pick_device
from narthex.base.errors import ContextOverflowError, InputError, WeightsError
from narthex.chat import ToolSpec, answer_reserve
from narthex.engine import Engine, EngineConfig, Request, Sampling, ThinkBudget, TokenOut, TokenStream
from narthex.engine.grammar import Grammar, GrammarCompiler, Matcher, with_bounded_space
from narthex.model import Transformer, count_parameters
from narthex.tokens import ChatFormat, Prompt, ReplyDelta
from narthex.weights import open_model

MIN_ANSWER_TOKENS = 16  # a context with less than this left for the answer is full
MAX_CACHE_BYTES = 2 * 2**30  # of keys and values, unless one context takes more
CACHED_CONTEXTS = 16  # more than this helps nobody on one machine
_SEEDS = 2**63  # PyTorch takes no larger ones


class Room(NamedTuple):
    """Tokens that a reply may take: for its thought with the mark that ends it, for its answer, and in all."""

    think: int
    answer: int
    total: int


class TapedTurn(NamedTuple):
    """A turn as the engine had it: the prompt's ids and tiles (float32 (N, 3, S, S)), and what was drawn, in order.

    A drawn token carries its log-probability; forced ones do not. The reply's last token is the one that ended it.
    """

    prompt: list[int]
    tiles: np.ndarray
    reply: list[TokenOut]


class LocalBackend:
    """One opened model folder behind one engine: turns of all its callers are batched together."""

    def __init__(
        self, name: str, model: Transformer, chat: ChatFormat, grammars: GrammarCompiler | None = None,
        config: EngineConfig | None = None,
    ) -> None:  # fmt: skip
        """Without `grammars`, answers cannot be held to a schema. `config`: None chooses a cache for many contexts."""
        self.name, self.model, self.chat = name, model, chat
        self.weights_sha256: str | None = None  # of the folder's manifest
        self.context_tokens = model.config.text.max_position_embeddings
        self.grammars = grammars
        self.engine = Engine(model, config or EngineConfig(cache_tokens=_cache_tokens(model)), grammars)
        self.max_parallel = self.engine.core.config.max_running
        self._active_parameters = count_parameters(model)[1]
        self._tape: list[TapedTurn] | None = None

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
        grammars = _Grammars(Path(folder) / "tokenizer.json", entries, chat.stop_ids)
        backend = cls(Path(folder).resolve().name, opened.model.eval(), chat, grammars)
        backend.weights_sha256 = opened.manifest_sha256
        return backend

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`. Waiting for a place in the batch counts against the deadline."""
        # With no room for even one token of thought, thinking is switched off where the prompt can say so.
        num_close = len(self.chat.close_ids)
        thinking = request.thinking and (request.think_tokens is None or request.think_tokens > num_close)
        prompt = self.chat.render(
            request.messages, tools=request.tools, thinking=thinking, load_image=request.load_image
        )
        reply = _Reply(self, prompt, self._room(len(prompt.ids), request, thinking), request, thinking)
        async with aclosing(reply.stream()) as deltas:
            async for delta in deltas:
                yield delta
        yield reply.end()

    def taped(self, tape: list[TapedTurn]) -> LocalBackend:
        """The same model behind the same engine, whose turns are also put on `tape` as they end.

        No text is between: what is taped are the ids that were prompted and drawn, for whoever learns from them.
        """
        other = copy.copy(self)
        other._tape = tape
        return other

    def refresh(self) -> None:
        """Take the model's weights as they are now, after they were changed in place. Raises: as `Engine.refresh`."""
        self.engine.refresh()

    def inside(self, request: TurnRequest) -> Inside:
        """What went on in the model while it gave the request's last message. For a thread. Raises: InputError."""
        return look_inside(
            self.model, self.chat, request.messages, tools=request.tools, thinking=request.thinking,
            load_image=request.load_image,
        )  # fmt: skip

    def close(self) -> None:
        """Stop the engine's thread; turns that are still open fail."""
        self.engine.close()

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


def _cache_tokens(model: Transformer) -> int:
    """Positions to keep keys and values of: as many as are useful, within MAX_CACHE_BYTES, and one context at least."""
    text = model.config.text
    numbers = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
    affordable = MAX_CACHE_BYTES // (numbers * model.dtype.itemsize)
    context = text.max_position_embeddings
    return max(context, min(CACHED_CONTEXTS * context, affordable))


class _Grammars(GrammarCompiler):
    """Reads the tokenizer when the first schema comes: a large one takes a while, and most never need it."""

    def __init__(self, path: Path, vocab_size: int, stop_ids: tuple[int, ...]) -> None:
        self._path, self._entries, self._stop_ids = path, vocab_size, stop_ids
        self._lock, self._is_ready = threading.Lock(), False

    def compile(self, grammar: Grammar) -> Matcher:
        with self._lock:
            if not self._is_ready:
                source = self._path.read_text(encoding="utf-8")
                super().__init__(source, vocab_size=self._entries, stop_ids=self._stop_ids)
                self._is_ready = True
        return super().compile(grammar)


class _Reply:
    """One reply in the making: asks the engine, parses what comes, and says afterwards how it went."""

    def __init__(
        self, backend: LocalBackend, prompt: Prompt, room: Room, request: TurnRequest, thinking: bool
    ) -> None:
        self._backend, self._prompt, self._room, self._request = backend, prompt, room, request
        self._chat = backend.chat
        self._parser = self._chat.reply_parser(thinking=thinking, tools=bool(request.tools))
        self._until = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        # The turns of a run share a seed, and are not to repeat each other's luck.
        seed = secrets.randbelow(_SEEDS) if request.seed is None else request.seed
        self._seed = (seed + len(prompt.ids)) % _SEEDS
        self._num_thought = self._num_answer = self._num_cached = 0
        self._is_stopped = self._is_cancelled = False
        has_form = request.answer_schema is not None or bool(request.must_call)
        self._grammar = _answer_grammar(request, backend.grammars) if has_form else None
        self._chances: list[TokenChance] = []  # of tokens whose text is not settled yet
        self._confidence = Confidence()
        self._tape = backend._tape
        self._taken: list[TokenOut] = []  # for the tape

    async def stream(self) -> AsyncGenerator[TurnDelta]:
        """Deltas as tokens settle them.

        Where the thought ends by a token of its own, the engine forces it. Families that spell the mark out are cut by
        us and asked to go on from it, which costs little: what they have read and thought is in the engine's cache.
        """
        stop = self._request.stop
        stopped = None if stop is None else asyncio.ensure_future(stop.wait())
        try:
            async with aclosing(self._generate(stopped)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if stopped is not None:
                stopped.cancel()
        if self._tape is not None:
            self._tape.append(TapedTurn(self._prompt.ids, self._prompt.tiles, self._taken))
        for delta in self._shown(self._parser.drain()):
            yield delta

    async def _generate(self, stopped: asyncio.Future[Any] | None) -> AsyncGenerator[TurnDelta]:
        """Ask the engine, and again where a thought was cut, until the reply is whole. `stopped`: nobody wants more."""
        ids, close = list(self._prompt.ids), self._chat.close_ids
        while not self._is_over() and not self._is_interrupted():
            engine_request = self._engine_request(ids)
            async with aclosing(self._backend.engine.submit(engine_request)) as tokens:
                if stopped is not None:
                    stopped.add_done_callback(partial(_stop, tokens))
                while (found := await tokens.take()) and not self._is_interrupted():
                    for delta in self._read(found, engine_request, ids):
                        yield delta
                        if self._is_interrupted():
                            return
                    if self._is_cut(engine_request):
                        break
            if self._is_interrupted():
                return
            if self._parser.in_thought and self._chat.thought_end_id is None and close:
                ids += close
                forced = (TokenOut(0, id_, is_forced=True) for id_ in close)
                for delta in self._shown([settled for token in forced for settled in self._take(token)]):
                    yield delta
                if self._parser.in_thought:
                    return
            elif not self._lacks_grammar(engine_request) or self._parser.in_thought:
                return

    def _read(self, found: list[TokenOut], asked: Request, ids: list[int]) -> Iterator[TurnDelta]:
        """Deltas of tokens that came together, up to where the reply is cut; what is of one kind is one delta.

        Where confidence is wanted, somebody may stop the turn for what a token shows: each is shown by itself then.
        """
        settled: list[ReplyDelta] = []
        for token in found:
            if token.id >= 0:
                ids.append(token.id)
                settled += self._take(token)
            if self._request.wants_confidence:
                yield from self._shown(settled)
                settled = []
            if self._is_cut(asked):
                break
        yield from self._shown(settled)

    def _is_cut(self, asked: Request) -> bool:
        """The thought is spent and the engine does not know how to end it, or the answer is to be held to a form."""
        if not self._parser.in_thought:
            return self._lacks_grammar(asked)
        limit = self._room.think - len(self._chat.close_ids)
        return self._chat.thought_end_id is None and self._num_thought >= limit

    def _is_interrupted(self) -> bool:
        """The turn is to stop, in the queue or between two tokens, before its end."""
        stop = self._request.stop
        self._is_cancelled = stop is not None and stop.is_set() and not self._is_over()
        return self._is_cancelled

    def _lacks_grammar(self, request: Request) -> bool:
        """The answer is to be held to a form, and this request, made inside a spelt-out thought, does not do it."""
        return self._grammar is not None and request.grammar is None

    def end(self) -> TurnEnd:
        num_prompt, num_reply = len(self._prompt.ids), self._num_thought + self._num_answer
        flops = self._backend.flops(num_prompt - self._num_cached + num_reply) if num_reply else 0.0
        usage = TurnUsage(num_prompt, self._num_cached, self._num_thought, self._num_answer, flops)
        reason: Literal["stop", "length", "cancelled"] = "stop" if self._is_stopped else "length"
        if self._is_cancelled:
            reason = "cancelled"
        return TurnEnd(*self._parser.finish(), reason, usage, confidence=self._confidence.lowest)

    def _engine_request(self, ids: list[int]) -> Request:
        request, room, close = self._request, self._room, self._chat.close_ids
        think, end_id = None, self._chat.thought_end_id
        if self._parser.in_thought and end_id is not None:
            think = ThinkBudget(max(0, room.think - len(close)), end_id, close)
        spent = self._num_thought + self._num_answer
        to_come = min(room.total - spent, max(1, room.answer - self._num_answer))
        if self._parser.in_thought and think is None:
            to_come = room.total - spent
        return Request(
            ids=tuple(ids),
            tiles=self._prompt.tiles if len(self._prompt.tiles) else None,
            max_new_tokens=to_come,
            max_length=self._backend.context_tokens,
            stop_ids=frozenset(self._chat.stop_ids),
            sampling=Sampling(
                temperature=request.temperature, top_p=request.top_p, seed=self._seed,
                frequency_penalty=request.frequency_penalty, presence_penalty=request.presence_penalty,
                logit_bias=request.logit_bias, top_logprobs=self._num_logprobs(),
            ),
            think=think,
            cache_salt=request.tenant,
            # A thought whose end the engine does not know would be held to the answer's form.
            grammar=self._grammar if think is not None or not self._parser.in_thought else None,
            deadline_s=None if self._until is None else max(0.0, self._until - time.monotonic()),
        )

    def _take(self, token: TokenOut) -> list[ReplyDelta]:
        if self._tape is not None:
            self._taken.append(token)
        was_in_thought = self._parser.in_thought
        found = self._parser.feed(token.id)
        # the marks that begin and end a thought are part of it
        if was_in_thought or self._parser.in_thought:
            self._num_thought += 1
        else:
            self._num_answer += 1
        self._num_cached = self._num_cached or min(token.cached_tokens, len(self._prompt.ids))
        # the engine also stops where a grammar lets nothing follow
        self._is_stopped = token.id in self._chat.stop_ids or token.finish_reason == "stop"
        if token.logprob is not None and not token.is_forced:
            self._confidence.push(token.logprob)
            is_text = not (was_in_thought or self._parser.in_thought)
            if self._request.top_logprobs is not None and is_text and self._chat.tokenizer.name(token.id) is None:
                top = tuple((*self._word(id_), logprob) for id_, logprob in token.top_logprobs)
                self._chances.append(TokenChance(*self._word(token.id), token.logprob, top))
        return found

    def _word(self, id_: int) -> tuple[str, bytes]:
        data = self._chat.tokenizer.decode_bytes([id_])
        return data.decode("utf-8", errors="replace"), data

    def _num_logprobs(self) -> int | None:
        if self._request.top_logprobs is not None:
            return self._request.top_logprobs
        return 0 if self._request.wants_confidence or self._tape is not None else None

    def _shown(self, found: list[ReplyDelta]) -> Iterator[TurnDelta]:
        """What is neither a call nor empty; neighbours of one kind as one."""
        for kind, deltas in itertools.groupby(found, key=lambda delta: delta.kind):
            text = "".join(delta.text for delta in deltas)
            if kind == "call" or not text:
                continue
            chances: tuple[TokenChance, ...] = ()
            if kind == "text":
                chances, self._chances = tuple(self._chances), []
            yield TurnDelta(kind, text, self._confidence.last, chances)

    def _is_over(self) -> bool:
        is_late = self._until is not None and time.monotonic() >= self._until
        is_full = self._num_thought + self._num_answer >= self._room.total
        has_answered = not self._parser.in_thought and self._num_answer >= self._room.answer
        return self._is_stopped or is_late or is_full or has_answered


def _stop(tokens: TokenStream, _: asyncio.Future[Any]) -> None:
    tokens.stop()


def _answer_grammar(request: TurnRequest, grammars: GrammarCompiler | None) -> Grammar:
    """The schema; where there are tools, or else calls of them, in any of the shapes that models write. Where a call
    is to come, calls alone.

    Arguments are held to their tool's schema where a grammar can be made of it; else the tool's own check tells the
    model what is wrong.
    """
    if not (request.tools and request.may_call) or grammars is None:
        return Grammar("json_schema", json.dumps(request.answer_schema))
    tools = [tool for tool in request.tools if not request.must_call or tool.name in request.must_call]
    bound = _calls_or_answer(request, tools, [tool.parameters for tool in tools])
    try:
        grammars.compile(bound)
    except InputError:
        return _calls_or_answer(request, tools, [{"type": "object"}] * len(tools))
    return bound


def _calls_or_answer(
    request: TurnRequest, tools: Sequence[ToolSpec], arguments: Sequence[Mapping[str, Any]]
) -> Grammar:
    marked = r"/(<tool_call>|<function=|\[[A-Za-z_][A-Za-z_0-9.]*\()(.|\n)*/"
    numbers = range(len(tools))
    lines = ["start: call (BREAK call)*"]
    if not request.must_call:
        answer = json.dumps(with_bounded_space(request.answer_schema))
        lines = ["start: answer | call (BREAK call)* | MARKED", f"answer: %json {answer}", f"MARKED: {marked}"]
    lines += [
        "call: " + " | ".join(f"call_{number}" for number in numbers),
    ]
    for number, tool, schema in zip(numbers, tools, arguments, strict=True):
        head = ('"{" SPACE "\\"name\\":" SPACE ' + json.dumps(f'"{tool.name}",') + ' SPACE "\\"parameters\\":" SPACE')
        lines.append(f'call_{number}: {head} arguments_{number} SPACE "}}"')
        lines.append(f"arguments_{number}: %json {json.dumps(with_bounded_space(dict(schema)))}")
    return Grammar("lark", "\n".join([*lines, r"BREAK: /\n+/", "SPACE: / ?/"]))
