"""What the engine is asked, and what it gives back: token ids and tensors only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from narthex.base.errors import InputError

FinishReason = Literal["stop", "length", "deadline", "cancelled", "error"]
MAX_CONTINUATIONS = 64  # of one prompt; more is a mistake or an attack
MAX_BIAS = 100.0  # either way: at float32 it decides already (OpenAI's bound)
NO_TOKEN = -1


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy, and ties go to the lower id.

    Penalties look at the tokens generated so far; repetition also at the prompt's. `top_logprobs` counts alternatives
    reported per token (None: no log-probabilities at all). The same seed gives the same draws for the same logits.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "temperature": 0 <= self.temperature <= 10,
            "top_k": self.top_k is None or self.top_k >= 1,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": 0 < self.repetition_penalty <= 10,
            "frequency_penalty": -2 <= self.frequency_penalty <= 2,
            "presence_penalty": -2 <= self.presence_penalty <= 2,
            "logit_bias": all(abs(bias) <= MAX_BIAS for bias in self.logit_bias.values()),
            "top_logprobs": self.top_logprobs is None or 0 <= self.top_logprobs <= 64,
        }
        wrong = [f"{name} is {getattr(self, name)}" for name, is_fine in bounds.items() if not is_fine]
        if wrong:
            raise InputError("sampling out of bounds: " + ", ".join(wrong))

    @cached_property
    def is_cut(self) -> bool:
        """Whether some tokens can't be drawn at all."""
        return self.top_k is not None or self.top_p < 1 or self.min_p > 0

    @cached_property
    def changes_scores(self) -> bool:
        """Whether penalties or a bias are added before the token is chosen."""
        penalties = self.frequency_penalty or self.presence_penalty or self.logit_bias
        return bool(penalties) or self.repetition_penalty != 1


@dataclass(frozen=True)
class ThinkBudget:
    """A thought that began in the prompt ends with `end_id`; after `tokens` of it `close_ids` are forced.

    A thought that ends by itself right where the budget does ends so: `end_id` may be drawn as one token more. The
    forced ids count neither against the budget nor against the answer; they are to end the thought.
    """

    tokens: int
    end_id: int
    close_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise InputError(f"a thinking budget of {self.tokens} tokens; at least 0 is needed")


@dataclass(frozen=True)
class Grammar:
    """What the answer must look like, from the first token after the thought on. The source is checked at submission.

    json_schema: a JSON Schema as text; regex: of the whole answer; lark: a Lark grammar with the rule `start`.
    """

    kind: Literal["json_schema", "regex", "lark"]
    source: str


@dataclass(frozen=True)
class Request:
    """One prompt to continue.

    ids: (T,) the prompt; tiles: float32 (N, 3, S, S), whose features go where the image token stands, in order.
    `max_new_tokens` bounds what comes after the thought (everything, where no `think` is given), `max_length` prompt
    and reply together, forced ids included. `deadline_s` is wall time from submission. Requests with different
    `cache_salt` never share cached pages, nor features of pictures. `n` continuations share everything computed for
    the prompt: nothing is copied but the block they part in.
    """

    ids: tuple[int, ...]
    tiles: np.ndarray | None = None
    max_new_tokens: int = 256
    max_length: int | None = None
    stop_ids: frozenset[int] = frozenset()
    sampling: Sampling = Sampling()
    think: ThinkBudget | None = None
    n: int = 1
    cache_salt: str = ""
    deadline_s: float | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if not self.ids:
            raise InputError("the prompt holds no tokens")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; at least 1 is needed")
        if self.max_length is not None and self.max_length <= len(self.ids):
            raise InputError(f"max_length is {self.max_length}, and the prompt alone has {len(self.ids)} tokens")
        if not 1 <= self.n <= MAX_CONTINUATIONS:
            raise InputError(f"n is {self.n}; 1 to {MAX_CONTINUATIONS} continuations are possible")
        if self.deadline_s is not None and not self.deadline_s >= 0:
            raise InputError(f"deadline_s is {self.deadline_s}; seconds from now are meant")


class TokenOut(NamedTuple):
    """One token of a continuation, 0..n-1. `finish_reason` is set on its last; one that was cut ends with NO_TOKEN.

    `error` says what went wrong where the reason is "error": with this continuation, not with the engine.
    """

    continuation: int
    id: int
    is_forced: bool = False
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    error: str = ""
