"""One agent: ask the model, run the tools it calls, show it the results, until it answers or its budget ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest
from narthex.base.errors import BackendError
from narthex.chat import (
    AgentFinished,
    AgentLedger,
    AgentRole,
    AgentStarted,
    AgentTextDelta,
    AnswerDelta,
    AnswerStarted,
    Budget,
    BudgetEnforced,
    Conversation,
    Event,
    FinishReason,
    ImagePart,
    Message,
    TextPart,
    ThoughtDelta,
    ToolCall,
    ToolSpec,
    TurnFinished,
)
from narthex.reason.bench import Bench, Wish
from narthex.reason.collapse import is_looping
from narthex.reason.desk import Desk
from narthex.tools import Tool

SPARE_TURNS = 2  # beyond one per tool call: to be told that no calls are left, and to answer
ASIDE_TOKENS = 1024  # of a reply to a question that a tool asks
WATCH_CHARS = 64  # a trace is searched for repetition each time it has grown by so much


@dataclass(frozen=True)
class Settings:
    """How one agent works: whether it thinks, what it may use and spend, and its dice.

    `caller_tools` are run by whoever asked: calling one ends the agent.
    """

    thinking: bool
    tools: tuple[Tool, ...]
    budget: Budget
    temperature: float
    top_p: float
    seed: int | None
    caller_tools: tuple[ToolSpec, ...] = ()
    answer_schema: Mapping[str, Any] | None = None
    tenant: str = ""
    wants_confidence: bool = False


@dataclass
class Agent:
    """An agent of a run. `work` streams its events; afterwards `answer`, `ledger` and the rest say how it went.

    What a solo agent and an aggregator say is the run's answer; others are heard by their peers alone. Set `stop`, and
    it ends soon with what it has. `floor`: below this confidence its trace is given up as collapsing.
    """

    agent_id: str
    conversation: Conversation
    settings: Settings
    desk: Desk
    role: AgentRole = "solo"
    round: int = 0
    answer: str = ""
    calls: tuple[ToolCall, ...] = ()
    confidence: float | None = None
    finish_reason: FinishReason = "length"
    budget_enforced: BudgetEnforced = "native"
    estimated: bool = False
    floor: float = 0.0
    error: str | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ledger: AgentLedger = field(init=False)
    _shown: str = ""  # text streamed since the last answer_started

    def __post_init__(self) -> None:
        self.ledger = AgentLedger(agent_id=self.agent_id, round=self.round)

    @property
    def is_heard(self) -> bool:
        return self.role in ("solo", "aggregator")

    async def work(self) -> AsyncGenerator[Event]:
        """Stream everything up to and including `agent_finished`; what is heard goes straight into the run's answer.

        Text that turns out to stand before a tool call is withdrawn by the next `answer_started`.
        """
        began, settings, clock = self.desk.clock.elapsed(), self.settings, self.desk.clock
        yield AgentStarted(
            **self._stamp(), role=self.role, round=self.round, seed=settings.seed, temperature=settings.temperature
        )
        try:
            async with aclosing(self._take_turns()) as events:
                async for event in events:
                    yield event
        finally:  # a run that fails has cost something too
            self.ledger = self.ledger.model_copy(update={"seconds": clock.elapsed() - began})
        if self.is_heard and self._shown != self.answer:  # said before a call, with nothing after it
            yield AnswerStarted(**self._stamp())
        yield self.finished()

    def finished(self) -> AgentFinished:
        return AgentFinished(
            **self._stamp(), answer=self.answer, calls=self.calls, error=self.error, confidence=self.confidence,
            finish_reason=self.finish_reason, ledger=self.ledger,
        )  # fmt: skip

    async def _take_turns(self) -> AsyncGenerator[Event]:
        """Turn after turn, and the tools between them, until the model answers or what it may spend is spent."""
        for _ in range(self.desk.purse.limit + SPARE_TURNS):
            end: TurnEnd | None = None
            began = self.desk.clock.elapsed()
            async with aclosing(self._turn()) as turn:
                async for step in turn:
                    if isinstance(step, TurnEnd):
                        end = step
                    else:
                        yield step
            if end is None:
                raise BackendError(f"{self.desk.backend.name} stopped in the middle of a reply", hint="ask again")
            self._account(end)
            yield self._turn_finished(end, self.desk.clock.elapsed() - began)
            self.answer, self.finish_reason = end.text, end.finish_reason
            if end.finish_reason == "cancelled" or not (end.calls or end.mistakes):
                return
            theirs = {spec.name for spec in self.settings.caller_tools}
            if wanted := tuple(call for call in end.calls if call.name in theirs):
                self.calls, self.finish_reason = wanted, "tool_calls"
                return
            self.answer, self.finish_reason = "", "length"
            async with aclosing(self._use_tools(end)) as events:
                async for event in events:
                    yield event
            wall_s = self.settings.budget.wall_s
            if self.stop.is_set() or (wall_s is not None and self.desk.clock.elapsed() >= wall_s):
                self.finish_reason = "cancelled" if self.stop.is_set() else "length"
                return

    async def _turn(self) -> AsyncGenerator[Event | TurnEnd]:
        """One exchange, as events and, last, how it ended."""
        is_answering, written = False, ""
        async with aclosing(self.desk.backend.turn(self._request())) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    yield delta
                    continue
                written += delta.text
                self._watch(delta, written)
                if delta.kind == "thought":
                    yield ThoughtDelta(**self._stamp(), text=delta.text)
                elif not self.is_heard:
                    yield AgentTextDelta(**self._stamp(), text=delta.text)
                else:
                    if not is_answering:
                        is_answering, self._shown = True, ""
                        yield AnswerStarted(**self._stamp())
                    self._shown += delta.text
                    yield AnswerDelta(**self._stamp(), text=delta.text)

    def _watch(self, delta: TurnDelta, written: str) -> None:
        """Stop an unheard trace that has lost its way: it repeats itself, or is less sure than the others."""
        if self.is_heard:
            return
        is_lost = delta.confidence is not None and delta.confidence < self.floor
        is_due = len(written) // WATCH_CHARS > (len(written) - len(delta.text)) // WATCH_CHARS
        if is_lost or (is_due and is_looping(written)):
            self.stop.set()

    def _stamp(self) -> dict[str, Any]:
        return self.desk.clock.stamp(self.agent_id)

    def _request(self) -> TurnRequest:
        """The next turn's request, with what is left of the agent's budget."""
        settings, budget, spent = self.settings, self.settings.budget, self.ledger
        think_left = None if budget.think_tokens is None else max(0, budget.think_tokens - spent.thought_tokens)
        elapsed = self.desk.clock.elapsed()
        return TurnRequest(
            messages=self.conversation.messages,
            load_image=self.desk.gallery.load,
            tools=(*(tool.spec for tool in settings.tools), *settings.caller_tools),
            may_call=self.desk.purse.calls > 0,
            thinking=settings.thinking,
            think_tokens=think_left,
            answer_tokens=budget.answer_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=settings.seed,
            deadline_s=None if budget.wall_s is None else max(0.0, budget.wall_s - elapsed),
            answer_schema=settings.answer_schema,
            wants_confidence=settings.wants_confidence,
            stop=self.stop,
            tenant=settings.tenant,
        )

    def _turn_finished(self, end: TurnEnd, seconds: float) -> TurnFinished:
        usage = end.usage
        return TurnFinished(
            **self._stamp(), prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens,
            thought_tokens=usage.thought_tokens, answer_tokens=usage.answer_tokens, seconds=seconds,
        )  # fmt: skip

    def _account(self, end: TurnEnd) -> None:
        usage, ledger = end.usage, self.ledger
        known = usage.flops is not None and (ledger.flops is not None or ledger.turns == 0)
        is_priced = usage.cost is not None and (ledger.cost is not None or ledger.turns == 0)
        self.ledger = ledger.model_copy(
            update={
                "turns": ledger.turns + 1,
                "prompt_tokens": ledger.prompt_tokens + usage.prompt_tokens,
                "cached_tokens": ledger.cached_tokens + usage.cached_tokens,
                "thought_tokens": ledger.thought_tokens + usage.thought_tokens,
                "answer_tokens": ledger.answer_tokens + usage.answer_tokens,
                "flops": (ledger.flops or 0.0) + (usage.flops or 0.0) if known else None,
                "cost": (ledger.cost or 0.0) + (usage.cost or 0.0) if is_priced else None,
            }
        )
        if self.budget_enforced == "native":  # one turn that needed another way is what should be known
            self.budget_enforced = end.budget_enforced
        self.estimated = self.estimated or usage.estimated
        if end.confidence is not None:  # a chain is as sure as its least sure link
            self.confidence = min(end.confidence, 1.0 if self.confidence is None else self.confidence)

    async def _use_tools(self, end: TurnEnd) -> AsyncGenerator[Event]:
        """Run the calls, tell of those that could not be read, and append it all."""
        said = (TextPart(text=end.text),) if end.text else ()
        wishes = [Wish(call) for call in end.calls]
        for number, mistake in enumerate(end.mistakes):
            # Unique in the run, as ids of calls are; the name says to whoever watches what kind of call it was.
            call_id = f"unreadable_{self.ledger.turns}_{number}"
            wishes.append(Wish(ToolCall(id=call_id, name="unreadable"), mistake))
        bench = Bench(self.desk, self.settings.tools, self.conversation.pictures, self._ask_aside, self._stamp)
        async with aclosing(bench.use(wishes)) as events:
            async for event in events:
                yield event
        ledger = self.ledger
        self.ledger = ledger.model_copy(
            update={"tool_calls": ledger.tool_calls + bench.num_calls, "looks": ledger.looks + bench.num_looks}
        )
        asked = Message(role="assistant", parts=said, thought=end.thought, calls=end.calls)
        self.conversation = self.conversation.with_messages(asked, *bench.results(wishes))

    async def _ask_aside(self, question: str, pictures: Sequence[ImagePart]) -> str:
        """What the model says to a question of a tool's; its tokens are this agent's."""
        request = replace(
            self._request(), messages=(Message.of("user", question, *pictures),), tools=(), thinking=False,
            think_tokens=0, answer_tokens=ASIDE_TOKENS, answer_schema=None, wants_confidence=False,
        )  # fmt: skip
        async with aclosing(self.desk.backend.turn(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    self._account(delta._replace(confidence=None))
                    return delta.text
        raise BackendError(f"{self.desk.backend.name} stopped in the middle of a reply", hint="ask again")
