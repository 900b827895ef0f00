"""One protocol, whatever the model: a turn goes in, a stream of deltas and one end come out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from PIL import Image

from narthex.chat import BudgetEnforced, ImagePart, Message, ToolCall, ToolSpec


@dataclass(frozen=True)
class TurnRequest:
    """One exchange with the model.

    `think_tokens` (the mark that ends the thought among them) and `answer_tokens` bound this turn (None: what the
    context leaves); `deadline_s` counts from now. `seed` None: dice of their own on every turn. `answer_schema` is a
    JSON schema that the reply's text is to satisfy (thought and calls are free of it). `may_call` False: the tools stay
    in the prompt, but no call is wanted any more. `must_call`: the reply is to call one of these. `top_logprobs`: text
    comes with the chances of its tokens, and of so many others each. Penalties are of what was written in this turn;
    `logit_bias` is by id of the model's own vocabulary. Set `stop`, and the turn ends within a second with what it has,
    its usage counted. Turns of different `tenant`s share nothing that is kept.
    """

    messages: tuple[Message, ...]
    load_image: Callable[[ImagePart], Image.Image]
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True
    thinking: bool = False
    think_tokens: int | None = None
    answer_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    deadline_s: float | None = None
    answer_schema: Mapping[str, Any] | None = None
    wants_confidence: bool = False
    must_call: tuple[str, ...] = ()
    top_logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: asyncio.Event | None = None
    tenant: str = ""


class TokenChance(NamedTuple):
    """A token that was drawn, as text and as bytes, with its log-probability, and the likeliest in its place."""

    text: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


class TurnDelta(NamedTuple):
    """More thought or more text, never empty; `confidence` in 0..1 is of the last tokens, where wanted and known.

    `chances`: of the tokens that settled this text, where they were asked for.
    """

    kind: Literal["thought", "text"]
    text: str
    confidence: float | None = None
    chances: tuple[TokenChance, ...] = ()


class TurnUsage(NamedTuple):
    """What the turn cost. Token counts are exact unless `estimated`; cached tokens are part of the prompt's.

    `cost` is money, in the currency of the settings' price; None where none is set.
    """

    prompt_tokens: int
    cached_tokens: int
    thought_tokens: int
    answer_tokens: int
    flops: float | None = None
    estimated: bool = False
    cost: float | None = None


class TurnEnd(NamedTuple):
    """Last of every turn. `text` and `thought` are the joined deltas; `mistakes` are calls that could not be read.

    `confidence` in 0..1 is of the whole reply: how likely its least likely stretch was. None where no probabilities are
    known. "cancelled" is a turn that was stopped or cut off on its way; what it has stands.
    """

    thought: str
    text: str
    calls: tuple[ToolCall, ...]
    mistakes: tuple[str, ...]
    finish_reason: Literal["stop", "length", "cancelled"]
    usage: TurnUsage
    budget_enforced: BudgetEnforced = "native"
    confidence: float | None = None


class Backend(Protocol):
    """A model that can be asked. Safe to share between tasks of one event loop."""

    @property
    def name(self) -> str:
        """What the model is called, in events and reports."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens of prompt and reply together."""
        ...

    @property
    def max_parallel(self) -> int:
        """Turns that it can carry at once without harm; more would wait."""
        ...

    def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """Stream one reply; closing the iterator early stops the model's work.

        Raises: ContextOverflowError before the first delta where the prompt leaves no room; BackendError when the
        model cannot be reached.
        """
        ...
