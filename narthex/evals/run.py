"""Run a task: draw its items, have them answered in each mode, score the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from narthex.backends.base import Backend
from narthex.base.errors import InputError, NarthexError
from narthex.chat import (
    Budget,
    Conversation,
    Event,
    Message,
    Mode,
    RunFailed,
    RunFinished,
    ThoughtDelta,
    ToolStarted,
    parse_mode,
)
from narthex.evals.baselines import BASELINES, all_agents, long_thinking, mean_tokens, num_votes, vote
from narthex.evals.chance import chance
from narthex.evals.guessing import guess
from narthex.evals.record import UNDRAWN, Record, costs
from narthex.evals.report import Report
from narthex.evals.task import Outcome, Settings, Solver, Task, get_task
from narthex.evals.worlds import Item, tools_for
from narthex.evals.worlds.edge import is_decline
from narthex.reason import default_tools
from narthex.reason import run as reason
from narthex.reason.approvals import always
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import get_tool

# (mode, items answered in it, items in all)
Progress = Callable[[str, int, int], None]


def evaluate(
    task: str,
    modes: Sequence[str],
    *,
    limit: int,
    seed: int,
    backend: Backend,
    concurrency: int = 1,
    temperature: float = 0.0,
    budget: Budget | None = None,
    ceiling: Budget | None = None,
    progress: Progress | None = None,
) -> Report:
    """Answer `limit` items of a task in every mode, each item in all modes before the next is drawn.

    With Contemplating among the modes, what it must be compared with is measured on the same items (`baselines.py`).
    An item that fails is recorded as wrong, with its reason, and the rest goes on. Ctrl-C ends the evaluation with a
    report of what is complete until then, marked `partial`. `concurrency`: items under way at a time.
    Must not be called from a running event loop.
    Raises: ConfigError for an unknown task; InputError for an unknown mode or a count below 1.
    """
    chosen = get_task(task)
    parsed = _parse_modes(modes)
    for name, count in (("limit", limit), ("concurrency", concurrency)):
        if count < 1:
            raise InputError(f"{name} is {count}", hint=f"give a {name} of 1 or more")
    baselines = BASELINES if "contemplating" in parsed else ()
    report = Report(chosen.name, seed, backend.name, parsed, limit, temperature, baselines)
    bench = _Bench(chosen, report, backend, Settings(temperature, budget, ceiling=ceiling), solve, progress)
    began = time.monotonic()
    try:
        asyncio.run(bench.work(concurrency))
    except KeyboardInterrupt:
        report.partial = report.n < limit
    report.seconds = time.monotonic() - began
    arms = (*parsed, *baselines)
    report.items.sort(key=lambda record: (record.index, arms.index(record.mode)))
    return report


async def solve(item: Item, mode: Mode, backend: Backend, settings: Settings, *, seed: int) -> Outcome:
    """Ask one item as a user would: its question and its picture, with the mode's own tools and its world's."""
    began = time.monotonic()
    seen = _Seen()
    error: str | None = None
    try:
        gallery = Gallery(MemoryBlobs())
        pictures = () if item.picture is None else (gallery.add_image(item.picture),)
        asked = Conversation(messages=(Message.of("user", item.question, *pictures),))
        own = default_tools(mode)
        tools = (*own, *map(get_tool, tools_for(item.world))) if own else ()
        events = reason(
            asked, mode, settings.budget, backend, tools, gallery=gallery, seed=seed,
            temperature=settings.temperature, stops_early=settings.stops_early, ceiling=settings.ceiling,
            tenant=settings.tenant,
            approve=always(),  # a world's own tools; python refuses by itself where it can't be held
        )  # fmt: skip
        async with aclosing(events):
            async for event in events:
                seen.take(event)
        if seen.end is None:
            error = "the run stopped without saying how it ended"
    except NarthexError as told:
        error = told.message
    except Exception as bug:  # one item's bug must not cost the others; its name stands in the report
        error = _told(bug)
    return seen.outcome(error, time.monotonic() - began)


class _Seen:
    """What an evaluation takes from a run's events."""

    def __init__(self) -> None:
        self.end: RunFinished | RunFailed | None = None
        self._thought: list[str] = []
        self._calls: list[dict[str, object]] = []

    def take(self, event: Event) -> None:
        if isinstance(event, ThoughtDelta):
            self._thought.append(event.text)
        elif isinstance(event, ToolStarted):
            if self._thought and self._thought[-1] != "\n":  # one line of thought per turn
                self._thought.append("\n")
            self._calls.append({"name": event.call.name, **event.call.arguments})
        elif isinstance(event, RunFinished | RunFailed):
            self.end = event

    def outcome(self, error: str | None, seconds: float) -> Outcome:
        """`error` is what was raised, if anything was; else the last event says how the run went."""
        end = self.end
        ledger = None if end is None else end.ledger
        finished = end if error is None and isinstance(end, RunFinished) else None
        if error is None and isinstance(end, RunFailed):
            error = end.message
        return Outcome(
            answer=finished.answer if finished else "",
            thought="".join(self._thought),
            calls=tuple(self._calls),
            ledger=ledger,
            finish_reason=finished.finish_reason if finished else None,
            seconds=seconds if ledger is None else ledger.seconds,
            error=error,
        )


class _Bench:
    """The work of one evaluation. Records go straight into the report, so that a stop loses only what is under way."""

    def __init__(
        self,
        task: Task,
        report: Report,
        backend: Backend,
        settings: Settings,
        solver: Solver,
        progress: Progress | None,
    ) -> None:
        self._task, self._report, self._backend = task, report, backend
        self._settings, self._solver, self._progress = settings, solver, progress
        self._done = dict.fromkeys((*report.modes, *report.baselines), 0)

    async def work(self, concurrency: int) -> None:
        """All modes, then the baselines, which are to spend what the modes did."""
        for arms in (self._report.modes, self._report.baselines):
            indices = iter(range(self._report.limit) if arms else ())
            takers = min(concurrency, self._report.limit)
            await asyncio.gather(*(self._take_from(indices, arms) for _ in range(takers)))

    async def _take_from(self, indices: Iterator[int], arms: Sequence[str]) -> None:
        for index in indices:
            # Drawn once for all modes and dropped afterwards: a thousand pictures would fill gigabytes.
            item = self._draw(index)
            for arm in arms:
                await asyncio.sleep(0)  # Ctrl-C takes hold where something waits, and a backend need not
                self._report.items.append(await self._answer(index, item, arm))
                self._done[arm] += 1
                if self._progress is not None:
                    self._progress(arm, self._done[arm], self._report.limit)

    def _solve(self, arm: str, index: int, item: Item) -> Awaitable[Outcome]:
        """Answer an item in a mode, or as a baseline does."""
        # Items differ in their dice too; with one seed for all, sampling would repeat the same luck.
        backend, seed = self._backend, self._report.seed + index
        # Nor do ways of answering share what is cached: the later ones would seem cheaper than they are.
        settings = self._settings._replace(tenant=arm)
        if arm in self._report.modes:
            return self._solver(item, parse_mode(arm), backend, settings, seed=seed)
        tokens = mean_tokens(self._report.of("contemplating"))
        if arm == "vote_equal_tokens":
            votes = num_votes(index, tokens, self._thinking_tokens())
            return vote(item, backend, settings, self._solver, seed=seed, votes=votes)
        if arm == "long_thinking":
            return long_thinking(item, backend, settings, self._solver, seed=seed, tokens=tokens)
        return all_agents(item, backend, settings, self._solver, seed=seed)

    def _thinking_tokens(self) -> float:
        """Tokens of a Thinking run; without that mode, of an agent of Contemplating."""
        if thinking := mean_tokens(self._report.of("thinking")):
            return thinking
        records = self._report.of("contemplating")
        return mean_tokens(records) * len(records) / max(1, sum(record.agents or 1 for record in records))

    def _draw(self, index: int) -> Item | str:
        """An item, or why there is none."""
        try:
            return self._task.item(self._report.seed, index)
        except Exception as bug:
            return f"the item could not be drawn: {_told(bug)}"

    async def _answer(self, index: int, item: Item | str, arm: str) -> Record:
        if isinstance(item, str):
            return Record(
                index, arm, world=self._task.world_of(index), kind=UNDRAWN, question="",
                expected="", answer="", right=False, declined=False, legible=False, difficulty=0.0, chance=None,
                seconds=0.0, error=item,
            )  # fmt: skip
        outcome = await self._solve(arm, index, item)
        right, guessed, blind, error = False, None, None, outcome.error
        try:
            right = error is None and self._task.check(item, outcome.answer)
            guessed, blind = chance(item), guess(item)
        except Exception as bug:
            error = error or f"the answer could not be scored: {_told(bug)}"
        return Record(
            index, arm, item.world, item.kind, item.question, item.answer, outcome.answer, right,
            is_decline(outcome.answer), item.legible, item.difficulty, guessed, outcome.seconds,
            **costs(outcome.ledger), finish_reason=outcome.finish_reason, error=error, thought=outcome.thought,
            calls=outcome.calls, guess=None if blind is None else blind.share,
        )  # fmt: skip


def _parse_modes(names: Sequence[str]) -> tuple[Mode, ...]:
    """Modes in the order given, each once. Raises: InputError for an unknown one."""
    modes = tuple(dict.fromkeys(parse_mode(name.strip()) for name in names if name.strip()))
    if not modes:
        raise InputError("no mode is named", hint="for example: --mode instant,thinking")
    return modes


def _told(bug: Exception) -> str:
    return f"{type(bug).__name__}: {bug}"
