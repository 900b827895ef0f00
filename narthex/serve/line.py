"""The model as one run of the API sees it: replies end before a stop string, and an answer has the form asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from narthex.backends.base import Backend, TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.base.errors import ContextOverflowError
from narthex.serve.stops import StopCutter


class Line:
    """A backend between a run and its model. It remembers whether a turn was refused for its length."""

    def __init__(self, backend: Backend, stops: tuple[str, ...]) -> None:
        self._backend, self._stops = backend, stops
        self.name, self.context_tokens = backend.name, backend.context_tokens
        self.max_parallel = backend.max_parallel
        self.has_overflowed = False

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        if self._stops:
            turn = self._cut_turn(request)
        elif request.answer_schema is not None:
            turn = self._formed_turn(request)
        else:
            turn = self._backend.turn(request)
        try:
            async with aclosing(turn) as deltas:
                async for delta in deltas:
                    yield delta
        except ContextOverflowError:
            self.has_overflowed = True
            raise

    async def _cut_turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """The turn up to the first stop string in its text. The model stops there too, so the usage is its own."""
        cutter = StopCutter(self._stops)
        async with aclosing(self._backend.turn(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    if rest := cutter.drain():
                        yield TurnDelta("text", rest)
                    end = delta._replace(text=cutter.passed)
                    yield end._replace(finish_reason="stop", calls=(), mistakes=()) if cutter.is_cut else end
                elif delta.kind == "thought":
                    yield delta
                elif text := cutter.feed(delta.text):
                    yield delta._replace(text=text)
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
