"""One agent: ask the model, run the tools it calls, show it the results, until it answers or its budget ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from narthex.backends.base import Backend, TurnEnd, TurnRequest
from narthex.base.config import did_you_mean
from narthex.base.errors import BackendError, ModelMistake
from narthex.chat import (
    AgentFinished,
    AgentLedger,
    AgentStarted,
    AnswerDelta,
    AnswerStarted,
    Budget,
    BudgetEnforced,
    Conversation,
    Event,
    FilePart,
    FinishReason,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThoughtDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from narthex.reason.clock import Clock
from narthex.tokens.gallery import Gallery
from narthex.tools import Tool

SPARE_TURNS = 2  # beyond one per tool call: to be told that no calls are left, and to answer


@dataclass(frozen=True)
class Settings:
    """How one agent draws: whether it thinks, what it may use, and its dice."""

    thinking: bool
    tools: tuple[Tool, ...]
    budget: Budget
    temperature: float
    top_p: float
    seed: int | None


@dataclass
class Agent:
    """An agent of a run. `work` streams its events; afterwards `answer`, `ledger` and the rest say how it went."""

    agent_id: str
    conversation: Conversation
    settings: Settings
    backend: Backend
    gallery: Gallery
    clock: Clock
    answer: str = ""
    finish_reason: FinishReason = "length"
    budget_enforced: BudgetEnforced = "native"
    ledger: AgentLedger = field(init=False)
    estimated: bool = False
    _shown: str = ""  # text streamed since the last answer_started

    def __post_init__(self) -> None:
        self.ledger = AgentLedger(agent_id=self.agent_id)
        self._max_calls = self.settings.budget.tool_calls or 0

    async def work(self) -> AsyncGenerator[Event]:
        """Stream everything up to and including `agent_finished`; text goes straight into the run's answer.

        Text that turns out to stand before a tool call is withdrawn by the next `answer_started`.
        """
        began, settings = self.clock.elapsed(), self.settings
        yield AgentStarted(**self._stamp(), seed=settings.seed, temperature=settings.temperature)
        try:
            async with aclosing(self._take_turns()) as events:
                async for event in events:
                    yield event
        finally:  # a run that fails has cost something too
            self.ledger = self.ledger.model_copy(update={"seconds": self.clock.elapsed() - began})
        if self._shown != self.answer:  # said before a call, with nothing after it
            yield AnswerStarted(**self._stamp())
        yield AgentFinished(**self._stamp(), answer=self.answer, finish_reason=self.finish_reason, ledger=self.ledger)

    async def _take_turns(self) -> AsyncGenerator[Event]:
        """Turn after turn, and the tools between them, until the model answers or what it may spend is spent."""
        for _ in range(self._max_calls + SPARE_TURNS):
            end: TurnEnd | None = None
            async with aclosing(self._turn()) as turn:
                async for step in turn:
                    if isinstance(step, TurnEnd):
                        end = step
                    else:
                        yield step
            if end is None:
                raise BackendError(f"{self.backend.name} stopped in the middle of a reply", hint="ask again")
            self._account(end)
            if not (end.calls or end.mistakes):
                self.answer, self.finish_reason = end.text, end.finish_reason
                return
            async with aclosing(self._use_tools(end)) as events:
                async for event in events:
                    yield event
            wall_s = self.settings.budget.wall_s
            if wall_s is not None and self.clock.elapsed() >= wall_s:
                return

    async def _turn(self) -> AsyncGenerator[Event | TurnEnd]:
        """One exchange, as events and, last, how it ended."""
        is_answering = False
        async with aclosing(self.backend.turn(self._request())) as deltas:
            async for delta in deltas:
                if isinstance(delta, TurnEnd):
                    yield delta
                elif delta.kind == "thought":
                    yield ThoughtDelta(**self._stamp(), text=delta.text)
                else:
                    if not is_answering:
                        is_answering, self._shown = True, ""
                        yield AnswerStarted(**self._stamp())
                    self._shown += delta.text
                    yield AnswerDelta(**self._stamp(), text=delta.text)

    def _stamp(self) -> dict[str, Any]:
        return self.clock.stamp(self.agent_id)

    def _request(self) -> TurnRequest:
        """The next turn's request, with what is left of the run's budget."""
        budget, spent = self.settings.budget, self.ledger
        think_left = None if budget.think_tokens is None else max(0, budget.think_tokens - spent.thought_tokens)
        return TurnRequest(
            messages=self.conversation.messages,
            load_image=self.gallery.load,
            tools=tuple(tool.spec for tool in self.settings.tools),
            thinking=self.settings.thinking,
            think_tokens=think_left,
            answer_tokens=budget.answer_tokens,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            seed=self.settings.seed,
            deadline_s=None if budget.wall_s is None else max(0.0, budget.wall_s - self.clock.elapsed()),
        )

    def _account(self, end: TurnEnd) -> None:
        usage, ledger = end.usage, self.ledger
        known = usage.flops is not None and (ledger.flops is not None or ledger.turns == 0)
        self.ledger = ledger.model_copy(
            update={
                "turns": ledger.turns + 1,
                "prompt_tokens": ledger.prompt_tokens + usage.prompt_tokens,
                "cached_tokens": ledger.cached_tokens + usage.cached_tokens,
                "thought_tokens": ledger.thought_tokens + usage.thought_tokens,
                "answer_tokens": ledger.answer_tokens + usage.answer_tokens,
                "flops": (ledger.flops or 0.0) + (usage.flops or 0.0) if known else None,
            }
        )
        if self.budget_enforced == "native":  # one turn that needed another way is what should be known
            self.budget_enforced = end.budget_enforced
        self.estimated = self.estimated or usage.estimated

    async def _use_tools(self, end: TurnEnd) -> AsyncGenerator[Event]:
        """Run the calls in the order written, tell of those that could not be read, and append it all."""
        said = (TextPart(text=end.text),) if end.text else ()
        messages = [Message(role="assistant", parts=said, thought=end.thought, calls=end.calls)]
        work: list[tuple[ToolCall, str | None]] = [(call, None) for call in end.calls]
        for number, mistake in enumerate(end.mistakes):
            # Unique in the run, as ids of calls are; the name says to whoever watches what kind of call it was.
            call_id = f"unreadable_{self.ledger.turns}_{number}"
            work.append((ToolCall(id=call_id, name="unreadable"), mistake))
        for call, unreadable in work:
            yield ToolStarted(**self._stamp(), call=call)
            began = self.clock.elapsed()
            try:
                parts, is_error = await self._call(call, unreadable), False
            except ModelMistake as mistake:
                parts, is_error = (TextPart(text="error: " + " ".join(str(mistake).split())),), True
            looks = sum(isinstance(part, ImagePart) for part in parts)
            self.ledger = self.ledger.model_copy(update={"looks": self.ledger.looks + (looks > 0)})
            messages.append(Message(role="tool", parts=parts, call_id=call.id))
            yield ToolFinished(
                **self._stamp(), call_id=call.id, name=call.name, parts=parts, is_error=is_error,
                seconds=self.clock.elapsed() - began,
            )  # fmt: skip
        self.conversation = self.conversation.with_messages(*messages)

    async def _call(self, call: ToolCall, unreadable: str | None) -> tuple[Part, ...]:
        """Run a call and count it, unless no calls are left. Raises: ModelMistake, which goes back as the result."""
        if self.ledger.tool_calls >= self._max_calls:
            raise ModelMistake(f"no calls are left of {self._max_calls}; answer now")
        self.ledger = self.ledger.model_copy(update={"tool_calls": self.ledger.tool_calls + 1})
        if unreadable is not None:
            raise ModelMistake(unreadable)
        tools = {tool.spec.name: tool for tool in self.settings.tools}
        if call.name not in tools:
            guess = did_you_mean(call.name, tools)
            hint = f"did you mean {guess}?" if guess else f"the tools are: {', '.join(tools) or 'none'}"
            raise ModelMistake(f"there is no tool {call.name!r}; {hint}")
        return await tools[call.name].call(_Context(self.conversation.pictures, self.gallery), call.arguments)


class _Context:
    """The ToolContext of one call."""

    def __init__(self, pictures: Sequence[ImagePart], gallery: Gallery) -> None:
        self._pictures, self._gallery = pictures, gallery

    @property
    def num_pictures(self) -> int:
        return len(self._pictures)

    def open_picture(self, index: int) -> Image.Image:
        if not 0 <= index < len(self._pictures):
            have = f"0..{len(self._pictures) - 1}" if self._pictures else "none"
            raise ModelMistake(f"there is no picture {index}; pictures here: {have}")
        return self._gallery.load(self._pictures[index])

    def keep_picture(self, image: Image.Image) -> ImagePart:
        return self._gallery.add_image(image)

    def keep_file(self, path: Path) -> FilePart:
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        raise NotImplementedError

    async def ask_model(self, question: str, pictures: Sequence[int] = ()) -> str:
        raise NotImplementedError
