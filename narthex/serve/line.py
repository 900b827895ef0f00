"""The model as one run of the API sees it: replies end before a stop string, an answer has the form asked for, and
what was said about drawing tokens and calling tools holds on every turn.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from narthex.backends.base import Backend, TokenChance, TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.base.errors import ContextOverflowError
from narthex.serve.stops import StopCutter


@dataclass(frozen=True)
class Extras:
    """What a caller may say about every turn, beside what a run does; see `TurnRequest`."""

    must_call: tuple[str, ...] = ()
    top_logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def on(self, request: TurnRequest) -> TurnRequest:
        """The request with all of it; a call is asked for only where one may come."""
        names = {tool.name for tool in request.tools} if request.may_call else set()
        return replace(
            request, must_call=tuple(name for name in self.must_call if name in names),
            top_logprobs=self.top_logprobs, frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty, logit_bias=self.logit_bias,
        )  # fmt: skip


class Line:
    """A backend between a run and its model. It remembers whether a turn was refused for its length, and, turn by turn,
    the chances of the tokens of each piece of text.
    """

    def __init__(self, backend: Backend, stops: tuple[str, ...], extras: Extras | None = None) -> None:
        self._backend, self._stops, self._extras = backend, stops, extras or Extras()
        self.chances: list[list[tuple[TokenChance, ...]]] = []
        self.name, self.context_tokens = backend.name, backend.context_tokens
        self.max_parallel = backend.max_parallel
        self.has_overflowed = False

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        request = self._extras.on(request)
        chances: list[tuple[TokenChance, ...]] = []
        self.chances.append(chances)
        if self._stops:
            turn = self._cut_turn(request)
        elif request.answer_schema is not None and not request.must_call:
            turn = self._formed_turn(request)
        else:
            turn = self._backend.turn(request)
        try:
            async with aclosing(turn) as deltas:
                async for delta in deltas:
                    if isinstance(delta, TurnDelta) and delta.kind == "text":
                        chances.append(delta.chances)
                    yield delta
        except ContextOverflowError:
            self.has_overflowed = True
            raise

    async def _cut_turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """The turn up to the first stop string in its text. The model stops there too, so the usage is its own."""
        cutter = StopCutter(self._stops)
        waiting: tuple[TokenChance, ...] = ()  # of text that is held
        async with aclosing(self._backend.turn(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    if rest := cutter.drain():
                        yield TurnDelta("text", rest, None, waiting)
                    end = delta._replace(text=cutter.passed)
                    yield end._replace(finish_reason="stop", calls=(), mistakes=()) if cutter.is_cut else end
                    continue
                if delta.kind == "thought":
                    yield delta
                    continue
                waiting += delta.chances
                if text := cutter.feed(delta.text):
                    yield delta._replace(text=text, chances=_within(text, waiting) if cutter.is_cut else waiting)
                    waiting = ()
                if cutter.is_cut and request.stop is not None:
                    request.stop.set()

    async def _formed_turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """A turn that is to answer in a form. What has not got it is asked for again: the form alone, without thought.

        While calls are allowed a model may begin one and make nothing of it, and many upstreams are only told of the
        form in words, so text is held until it is known to be the answer. A model may also end inside its thought.
        """
        holds_back, has_shown = bool(request.tools) and request.may_call, False
        held: list[TurnDelta] = []
        first: TurnEnd | None = None
        async with aclosing(self._backend.turn(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    first = delta
                elif delta.kind == "thought" or not holds_back:
                    has_shown = has_shown or delta.kind == "text"
                    yield delta
                else:
                    held.append(delta)
        if first is None or has_shown or _is_formed(first):
            for delta in held:
                yield delta
            if first is not None:
                yield first
            return
        again = replace(request, may_call=False, thinking=False, think_tokens=0)
        async with aclosing(self._backend.turn(again)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    thought, usage = first.thought + delta.thought, _sum(first.usage, delta.usage)
                    yield delta._replace(thought=thought, usage=usage)
                else:
                    yield delta


def _within(text: str, chances: tuple[TokenChance, ...]) -> tuple[TokenChance, ...]:
    """Those of tokens that begin before the text ends: what was cut off was never said."""
    kept, num_chars = [], 0
    for chance in chances:
        if num_chars >= len(text):
            break
        num_chars += len(chance.text)
        kept.append(chance)
    return tuple(kept)


def _is_formed(end: TurnEnd) -> bool:
    """Whether the turn is what it should be: calls, JSON, or no whole reply anyway."""
    if end.calls or end.mistakes or end.finish_reason != "stop":
        return True
    try:
        json.loads(end.text)
    except (ValueError, RecursionError):
        return False
    return True


def _sum(one: TurnUsage, other: TurnUsage) -> TurnUsage:
    return TurnUsage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        thought_tokens=one.thought_tokens + other.thought_tokens,
        answer_tokens=one.answer_tokens + other.answer_tokens,
        flops=None if one.flops is None or other.flops is None else one.flops + other.flops,
        estimated=one.estimated or other.estimated,
        cost=None if one.cost is None or other.cost is None else one.cost + other.cost,
    )
