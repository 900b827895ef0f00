"""Rollouts: a model answers items as it would for a user, tools and all, and what it was shown and said is kept as ids.

A run has one turn per tool call and one more. Where a turn's prompt repeats the ids of the turn before it, reply
included, both are one sequence to learn from; where the template writes them otherwise, each is its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from narthex.backends.local import LocalBackend, TapedTurn
from narthex.base.errors import NarthexError
from narthex.base.log import get_logger
from narthex.chat import Budget, Conversation, Message, Part, RunFinished
from narthex.evals.worlds import Item, get_world, tools_for
from narthex.reason import run as reason
from narthex.reason.approvals import always
from narthex.reason.prompts import Proposal, second_look
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import Tool, ToolContext, get_tool, zoom
from narthex.tools.sandbox import sandbox_problem

log = get_logger(__name__)

TEMPERATURE = 1.0  # draws as the model was trained; what is learned from is then its own distribution
KEPT_RUNS = 4096  # results of python
MAX_PROCESSES = 4  # that run it at a time: more would only wait for a processor, and their time is limited


class Task(NamedTuple):
    """What a group answers: an item, by its place in its world; `proposals` are what others answered before."""

    item: Item
    proposals: tuple[Proposal, ...] = ()


@dataclass(frozen=True)
class Piece:
    """One sequence to learn from: T ids, and for each whether the model drew it and with which log-probability.

    ids int64, drawn bool, logprobs float32: (T,); tiles: float32 (N, 3, S, S).
    """

    ids: np.ndarray
    drawn: np.ndarray
    logprobs: np.ndarray
    tiles: np.ndarray


@dataclass(frozen=True)
class Rollout:
    """One answer and how it came about.

    `is_whole`: it came to an answer within its budget. `tokens`: what was said before the answer, thought and calls.
    `calls` of tools, looks among them.
    """

    answer: str
    is_whole: bool
    is_right: bool
    tokens: int
    looks: int
    calls: int
    pieces: tuple[Piece, ...]


class Toolbox:
    """The tools of one stage's rollouts: zoom always, python where the world gives it and the machine can hold it.

    Equal calls of python without pictures run once: each takes a process of 0.3 s, and a group writes the same line.
    For one event loop.
    """

    def __init__(self) -> None:
        self._can_run = sandbox_problem() is None
        self._results: OrderedDict[str, asyncio.Future[tuple[Part, ...]]] = OrderedDict()
        self._places = asyncio.Semaphore(MAX_PROCESSES)
        self._python = replace(get_tool("python"), _function=self._run)

    def of(self, world: str) -> tuple[Tool, ...]:
        """The tools that the items of a world are answered with."""
        others = [self._python if name == "python" else get_tool(name) for name in tools_for(world)]
        return (zoom, *(tool for tool in others if tool is not self._python or self._can_run))

    async def _run(self, context: ToolContext, code: str, pictures: Sequence[int] = ()) -> tuple[Part, ...]:
        if pictures:
            return await self._call(context, {"code": code, "pictures": pictures})
        if code not in self._results:
            self._results[code] = asyncio.ensure_future(self._call(context, {"code": code}))
            if len(self._results) > KEPT_RUNS:
                self._results.popitem(last=False)
        return await asyncio.shield(self._results[code])

    async def _call(self, context: ToolContext, arguments: dict[str, Any]) -> tuple[Part, ...]:
        async with self._places:
            return await get_tool("python").call(context, arguments)


async def roll_out(
    backend: LocalBackend, toolbox: Toolbox, task: Task, budget: Budget, *, seeds: Sequence[int],
    temperature: float,
) -> list[Rollout]:  # fmt: skip
    """A group: one answer per seed, all under way at once, each in Thinking with the tools of the item's world."""
    gallery = Gallery(MemoryBlobs())  # one for the group, whose agents crop alike
    pictures = () if task.item.picture is None else (gallery.add_image(task.item.picture),)
    messages = [Message.of("user", task.item.question, *pictures)]
    if task.proposals:
        messages.append(Message.of("user", second_look(task.proposals)))
    asked, tools = Conversation(messages=tuple(messages)), toolbox.of(task.item.world)

    async def one(seed: int) -> Rollout:
        tape: list[TapedTurn] = []
        events = reason(
            asked, "thinking", budget, backend.taped(tape), tools, gallery=gallery, seed=seed, temperature=temperature,
            approve=always(),
        )  # fmt: skip
        end: RunFinished | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    end = event if isinstance(event, RunFinished) else None
        except NarthexError as error:  # a context that overflows, say: no answer, and nothing to learn from
            log.debug("a rollout ended early: %s", error)
        return _judged(task.item, end, tape, backend.chat.thought_end_id)

    return list(await asyncio.gather(*map(one, seeds)))


def _judged(item: Item, end: RunFinished | None, tape: Sequence[TapedTurn], end_id: int | None) -> Rollout:
    """Score a run as an evaluation does. What was not answered within its budget is wrong."""
    answer = "" if end is None else end.answer
    is_whole = end is not None and end.finish_reason == "stop" and bool(answer.strip())
    is_right = is_whole and get_world(item.world).check(item, answer)
    tokens = sum(len(turn.reply) for turn in tape)
    if is_whole:  # the answer's own words are free: they are what was asked for
        last = [token.id for token in tape[-1].reply]
        tokens -= len(last) - (last.index(end_id) + 1 if end_id in last else 0)
    looks, calls = (0, 0) if end is None else (end.ledger.looks, end.ledger.tool_calls)
    return Rollout(answer, is_whole, is_right, tokens, looks, calls, pieces_of(tape))


def pieces_of(tape: Sequence[TapedTurn]) -> tuple[Piece, ...]:
    """The turns of one run as sequences: a turn that goes on word for word from the one before is part of its piece."""
    pieces: list[Piece] = []
    ids: list[int] = []
    logprobs: list[float | None] = []
    for number, turn in enumerate(tape):
        goes_on = bool(ids) and turn.prompt[: len(ids)] == ids
        if not goes_on:
            ids, logprobs = [], []
        logprobs += [None] * (len(turn.prompt) - len(ids))
        ids = turn.prompt + [token.id for token in turn.reply]
        logprobs += [None if token.is_forced else token.logprob for token in turn.reply]
        if goes_on:
            pieces.pop()
        pieces.append(_piece(ids, logprobs, tape[number].tiles))
    return tuple(piece for piece in pieces if piece.drawn.any())


def _piece(ids: Sequence[int], logprobs: Sequence[float | None], tiles: np.ndarray) -> Piece:
    drawn = np.array([value is not None for value in logprobs], dtype=bool)
    values = np.array([value or 0.0 for value in logprobs], dtype=np.float32)
    return Piece(np.array(ids, dtype=np.int64), drawn, values, tiles)
