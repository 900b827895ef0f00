"""The scheduler: which sequence gets which tokens of each step, and what happens when pages run short.

First come, first served, by request number:

    decoding   every running sequence whose prompt is computed gets its pending tokens, one or a few
    prompts    share what the step has left: the oldest takes half of it, the next half of the rest, and so on, so that
               a long prompt neither stalls who decodes nor keeps a short one from starting
    pages      are taken from the youngest running sequence when none is free; it waits in its old place of the queue

The oldest sequence always goes on, so everyone's wait is bounded by the work of those before. Released blocks stay
cached until someone needs them. Everything here is synchronous and deterministic: the thread is in `engine.py`.
"""

from __future__ import annotations

import itertools
import time
from bisect import insort
from dataclasses import dataclass
from typing import NamedTuple, get_args

from narthex.base.errors import ConfigError, InputError
from narthex.engine.admission import check_ids, check_pictures, check_room
from narthex.engine.decoder import Decoder
from narthex.engine.fixed import FIXED_PROMPT, FIXED_ROWS
from narthex.engine.grammar import GrammarCompiler
from narthex.engine.memory import KVPages, Work
from narthex.engine.pages import PagePool
from narthex.engine.products import Form, Weights
from narthex.engine.request import NO_TOKEN, FinishReason, Request, TokenOut
from narthex.engine.runner import Runner
from narthex.engine.sampler import Drawn, Undrawable, draw
from narthex.engine.sequence import Pictures, Sequence
from narthex.engine.tables import BlockTables, chunk_blocks
from narthex.model import Transformer


@dataclass(frozen=True)
class EngineConfig:
    """Sizes. `cache_tokens` bounds the positions kept in all (None: eight contexts); the rest is per step.

    `max_running` counts requests let in; continuations of one prompt may go beyond it. With `deterministic`, a
    request's tokens and log-probabilities do not depend on what else is served; see `fixed.py` for how.

    `weights` says how the decoder's matrices are kept; what packs them needs a CPU on which PyTorch has FBGEMM.
        auto    half where that loses nothing (the weights came from bfloat16 or float16), else as_is
        as_is   the model's own tensors, in its own dtype; changes of them in place are seen
        half    two bytes each, multiplied in float32: a copy beside the model
        int8    one byte each and a scale per output; inputs are rounded to 8 bits, too, with one scale for a whole step
    """

    cache_tokens: int | None = None
    block_size: int = 16
    step_tokens: int = 512
    max_running: int = 64
    deterministic: bool = False
    weights: Weights = "auto"

    def __post_init__(self) -> None:
        small = [name for name in ("block_size", "step_tokens", "max_running") if getattr(self, name) < 1]
        if small or (self.cache_tokens is not None and self.cache_tokens < 1):
            raise ConfigError(f"{', '.join(small or ['cache_tokens'])} must be at least 1")
        if self.weights not in get_args(Form) and self.weights != "auto":
            raise ConfigError(f"weights is {self.weights!r}; it can be auto, {', '.join(get_args(Form))}")
        if self.deterministic and self.weights == "int8":
            raise ConfigError("with int8 weights a step has one scale for all its requests: it can't be deterministic")


class Out(NamedTuple):
    """One token for the request numbered `number`."""

    number: int
    token: TokenOut


class EngineCore:
    """Takes requests, and at each `step` gives the tokens that it drew."""

    def __init__(
        self, model: Transformer, config: EngineConfig | None = None, grammars: GrammarCompiler | None = None
    ) -> None:
        self.config = config or EngineConfig()
        self.model_config, self._grammars = model.config, grammars
        text = model.config.text
        self.context_tokens = text.max_position_embeddings
        size, chunk = self.config.block_size, text.attention_chunk_size
        unit = -(-FIXED_PROMPT // size) * size if self.config.deterministic else 1
        self._unit, step_tokens = unit, max(self.config.step_tokens, unit, size)
        self._num_blocks = -(-(self.config.cache_tokens or 8 * self.context_tokens) // size)
        kinds = {text.chunk_of(layer) is not None for layer in range(text.num_hidden_layers)}
        # Chunked layers keep a bounded part of each sequence: more pages than all running ones can hold are no use.
        most = self.config.max_running * chunk_blocks(chunk, step_tokens, size) if chunk else 0
        self.pool = PagePool(
            (self._num_blocks if False in kinds else 0, min(self._num_blocks, most) if True in kinds else 0)
        )
        decoder = Decoder(model, self.config.weights, group_rows=FIXED_ROWS if self.config.deterministic else 0)
        pages = KVPages(text, self.pool.num_pages, size, decoder.dtype, model.device)
        self.runner = Runner(model, decoder, pages, is_fixed=self.config.deterministic)
        self._tables = BlockTables(self.pool, pages, chunk if True in kinds else None, step_tokens, unit)
        self._open: dict[int, int] = {}  # request number -> continuations that have not ended
        self._running: list[Sequence] = []  # both sorted by age
        self._waiting: list[Sequence] = []
        self._numbers = itertools.count()

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not (self._running or self._waiting)

    def add(self, request: Request) -> int:
        """Queue a request and return its number. Raises: as `prepare`."""
        sequence = self.prepare(request)
        self.enqueue(sequence)
        return sequence.number

    def prepare(self, request: Request) -> Sequence:
        """Check a request and number it; other threads may do so while a step runs.

        Raises: ContextOverflowError or InputError, at once and with the numbers, for what can never be served.
        """
        vision = self.model_config.vision
        check_ids(request, self.model_config.text.vocab_size)
        tokens_per_tile = vision.tokens_per_tile if vision else 1
        pictures = Pictures(request, self.model_config.image_token_index, tokens_per_tile)
        check_pictures(request, self.model_config, pictures)
        matcher = None
        if request.grammar is not None:
            if self._grammars is None:
                raise InputError("this engine was built without a tokenizer, which grammars need")
            matcher = self._grammars.compile(request.grammar)
        sequence = Sequence(next(self._numbers), request, pictures, matcher=matcher)
        check_room(sequence, self.context_tokens, self.config.block_size, self._num_blocks)
        return sequence

    def enqueue(self, sequence: Sequence) -> None:
        """Let a prepared request wait its turn."""
        self._open[sequence.number] = sequence.request.n
        insort(self._waiting, sequence, key=_age)

    def cancel(self, number: int) -> None:
        """Stop every continuation of a request and give its pages back. Unknown numbers are fine: it may have ended."""
        if self._open.pop(number, None) is None:
            return
        for sequence in [s for s in self._running if s.number == number]:
            self._running.remove(sequence)
            self._tables.release(sequence)
        self._waiting = [s for s in self._waiting if s.number != number]

    def step(self) -> list[Out]:
        """Serve one step and return what was drawn; nothing where nothing is to do."""
        outs = self._expire()
        works = self._schedule()
        if not works:
            return outs
        logits_RV = self.runner.step(works)
        ready = []
        for sequence, count in works:
            is_ready = count == sequence.num_pending
            sequence.num_computed += count
            self._tables.settle(sequence)
            if is_ready:
                ready.append(sequence)
        rows, sequences = self._branch(ready)
        drawn = draw(logits_RV if len(rows) == len(logits_RV) else logits_RV[rows], sequences)
        for sequence, token in zip(sequences, drawn, strict=True):
            outs += self._advance(sequence, token)
        return outs

    def refresh(self) -> None:
        """Take the model's weights as they are now, and forget whatever was computed with those before.

        Raises: InputError while requests are under way: half of a reply would come from either.
        """
        if not self.is_idle:
            count = len(self._running) + len(self._waiting)
            raise InputError(f"{count} requests are under way", hint="refresh the weights when they have ended")
        rows = FIXED_ROWS if self.config.deterministic else 0
        self.runner.take(Decoder(self.runner.model, self.config.weights, group_rows=rows))
        self.pool.clear_cache()

    def check(self) -> None:
        """Compare pool and sequences. Raises: NarthexError with the arithmetic of whatever does not add up."""
        self._tables.check([*self._running, *self._waiting])

    # What to serve.

    def _schedule(self) -> list[Work]:
        """Works for the next step, those of one token first. Nobody in it has been preempted."""
        works: list[Work] = []
        size = self.config.block_size
        for sequence in [s for s in self._running if self._is_decoding(s)]:
            if sequence in self._running:  # not preempted by one before it
                count = 1 if self.config.deterministic else sequence.num_pending
                if self._make_room(sequence, count):
                    works.append(Work(sequence, count))
        budget = max(self.config.step_tokens - sum(work.num_tokens for work in works), size)
        prompts = [s for s in self._running if not self._is_decoding(s)]
        prompts = (prompts + self._admit(budget // size - len(prompts)))[: max(1, budget // size)]
        for place, sequence in enumerate(prompts):
            if budget <= 0 or sequence not in self._running:
                continue
            share = budget if place == len(prompts) - 1 else max(size, -(-budget // 2))
            count = self._prompt_tokens(sequence, min(share, budget))
            if self._make_room(sequence, count):
                works.append(Work(sequence, count))
                budget -= count
        works = [work for work in works if work.sequence in self._running]
        return sorted(works, key=lambda work: work.num_tokens != 1)

    def _is_decoding(self, sequence: Sequence) -> bool:
        """Drawn or forced tokens are pending, and few: after a preemption, a reply is computed again like a prompt."""
        is_short = self.config.deterministic or sequence.num_pending <= self.config.block_size
        return sequence.is_decoding and is_short

    def _prompt_tokens(self, sequence: Sequence, share: int) -> int:
        """Of its pending tokens, as many as fit; with fixed shapes, up to the next border, whatever the share."""
        if not self.config.deterministic:
            return min(sequence.num_pending, share)
        return min(self._unit - sequence.num_computed % self._unit, sequence.num_prompt - sequence.num_computed)

    def _admit(self, places: int) -> list[Sequence]:
        """Let waiting sequences in: those there is room for, but none past one that waits for pages."""
        admitted: list[Sequence] = []
        # Looking further down the queue than this costs more than it can find.
        for sequence in self._waiting[: 2 * self.config.max_running]:
            if len(admitted) >= places or len(self._running) >= self.config.max_running:
                break
            if self._tables.is_coming(sequence, self._running):
                continue
            if not self._tables.admit(sequence):
                break
            insort(self._running, sequence, key=_age)
            admitted.append(sequence)
        taken = set(map(_age, admitted))
        self._waiting = [s for s in self._waiting if _age(s) not in taken]
        return admitted

    def _make_room(self, sequence: Sequence, count: int) -> bool:
        """Blocks for the next `count` tokens, preempting the youngest; False where that is the sequence itself."""
        while not self._tables.grow(sequence, count):
            youngest = self._running.pop()
            self._tables.release(youngest)
            insort(self._waiting, youngest, key=_age)
            if youngest is sequence:
                return False
        return True

    # What was drawn.

    def _branch(self, ready: list[Sequence]) -> tuple[list[int], list[Sequence]]:
        """Rows of the logits and who draws from them: where a prompt of n continuations is done, its siblings join."""
        rows, sequences = [], []
        for row, sequence in enumerate(ready):
            rows.append(row)
            sequences.append(sequence)
            if sequence.index or not sequence.is_fresh:
                continue
            for index in range(1, sequence.request.n):
                other = sequence.sibling(index)
                self._tables.share(sequence, other)
                insort(self._running, other, key=_age)
                rows.append(row)
                sequences.append(other)
        return rows, sequences

    def _advance(self, sequence: Sequence, drawn: Drawn | Undrawable) -> list[Out]:
        """Append the drawn token, force what must be forced, and end the sequence where it ends."""
        if isinstance(drawn, Undrawable):
            self._end(sequence)
            return [_last(sequence, "error", drawn.error)]
        think = sequence.request.think
        is_spent = sequence.is_thinking and think is not None and sequence.num_thought >= think.tokens
        if is_spent and think is not None and drawn.id != think.end_id:
            forced = sequence.close_thought()
            if forced:  # what was drawn continued the thought; the answer's first token comes with the next step
                outs = [_out(sequence, Drawn(token), is_forced=True) for token in forced]
                if sequence.is_full:
                    outs[-1] = _out(sequence, Drawn(forced[-1]), is_forced=True, reason="length")
                    self._end(sequence)
                return outs
        sequence.append(drawn.id)
        reason: FinishReason | None = None
        if drawn.id in sequence.request.stop_ids or sequence.is_complete:
            reason = "stop"
        elif sequence.is_full:
            reason = "length"
        if reason:
            self._end(sequence)
        return [_out(sequence, drawn, reason=reason)]

    def _end(self, sequence: Sequence) -> None:
        (self._running if sequence in self._running else self._waiting).remove(sequence)
        self._tables.release(sequence)
        self._open[sequence.number] -= 1
        if not self._open[sequence.number]:
            del self._open[sequence.number]

    def _expire(self) -> list[Out]:
        """End the sequences whose deadline has passed."""
        outs, now = [], time.monotonic()
        for sequence in [*self._running, *self._waiting]:
            limit = sequence.request.deadline_s
            if limit is None or now - sequence.submitted < limit:
                continue
            if sequence.index == 0 and sequence.is_fresh:  # its siblings have not been born
                outs += [_last(sequence, "deadline", index=index) for index in range(1, sequence.request.n)]
                self._open[sequence.number] = 1
            outs.append(_last(sequence, "deadline"))
            self._end(sequence)
        return outs


def _age(sequence: Sequence) -> tuple[int, int]:
    return sequence.age


def _out(sequence: Sequence, drawn: Drawn, *, is_forced: bool = False, reason: FinishReason | None = None) -> Out:
    cached = sequence.num_cached
    return Out(
        sequence.number,
        TokenOut(sequence.index, drawn.id, is_forced, drawn.logprob, drawn.top_logprobs, reason, cached),
    )


def _last(sequence: Sequence, reason: FinishReason, error: str = "", *, index: int | None = None) -> Out:
    """The end of a continuation that was cut: there is no token."""
    index = sequence.index if index is None else index
    cached = sequence.num_cached
    return Out(sequence.number, TokenOut(index, NO_TOKEN, finish_reason=reason, cached_tokens=cached, error=error))
