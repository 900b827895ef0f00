"""A question becomes a run: one stream of typed events, whatever the mode and whatever the model."""

from __future__ import annotations

import math
import secrets
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from narthex.backends.base import Backend
from narthex.base.errors import InputError, NarthexError
from narthex.chat import (
    EFFORT_THINK_TOKENS,
    Budget,
    Conversation,
    Event,
    Ledger,
    Mode,
    RunFailed,
    RunFinished,
    RunStarted,
    parse_mode,
)
from narthex.reason.agent import Agent, Settings
from narthex.reason.clock import Clock
from narthex.tokens.gallery import Gallery
from narthex.tools import Tool, zoom

MAX_TOOL_CALLS = 16  # several times what a demonstration of our worlds needs
# What a mode may spend where nobody said otherwise.
DEFAULTS: dict[Mode, Budget] = {
    "instant": Budget(think_tokens=0, tool_calls=MAX_TOOL_CALLS),  # for a caller's own tools: it has none itself
    "thinking": Budget(think_tokens=EFFORT_THINK_TOKENS["medium"], tool_calls=MAX_TOOL_CALLS),
}
_QUESTION_CHARS = 200  # of the question, in run_started


def default_tools(mode: Mode) -> tuple[Tool, ...]:
    """The tools a mode has where nobody said otherwise: Thinking looks again, Instant does not."""
    return () if mode == "instant" else (zoom,)


async def run(
    conversation: Conversation,
    mode: Mode,
    budget: Budget | None,
    backend: Backend,
    tools: Sequence[Tool] | None = None,
    *,
    gallery: Gallery,
    seed: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    run_id: str | None = None,
) -> AsyncGenerator[Event]:
    """Answer the conversation's last question.

    The first event is `run_started`, the last `run_finished` or `run_failed`; closing the iterator stops all work. The
    answer is the text of the `answer_delta` since the last `answer_started`. `tools` None means the mode's own.
    At `temperature` 0 the same question gets the same answer. Above it a seed does that; where none is given, one is
    drawn and told in `run_started`.
    Raises, before the first event: InputError for a conversation that asks nothing, a mode that is not there, or dice
    that cannot be thrown.
    """
    question = _question(conversation)
    limits = _limits(mode, budget)
    _check_dice(temperature, top_p)
    if seed is None and temperature > 0:
        seed = secrets.randbelow(2**31)  # short enough to be typed again
    chosen = default_tools(mode) if tools is None else tuple(tools)
    if not limits.tool_calls:
        chosen = ()  # nobody is shown what they may not use
    clock = Clock(run_id or uuid.uuid4().hex)
    settings = Settings(mode != "instant", chosen, limits, temperature, top_p, seed)
    agent = Agent("agent-0", conversation, settings, backend, gallery, clock)
    yield RunStarted(
        **clock.stamp(), mode=mode, model=backend.name, question=question, budget=limits, seed=seed,
        tools=tuple(tool.spec.name for tool in chosen),
    )  # fmt: skip
    try:
        async with aclosing(agent.work()) as events:
            async for event in events:
                yield event
    except NarthexError as error:
        yield RunFailed(
            **clock.stamp(), message=str(error), hint=error.hint, exit_code=error.exit_code,
            http_status=error.http_status, ledger=_ledger(agent, clock),
        )  # fmt: skip
        return
    yield RunFinished(
        **clock.stamp(), answer=agent.answer, ledger=_ledger(agent, clock), finish_reason=agent.finish_reason
    )


def _question(conversation: Conversation) -> str:
    """The last message, if it is somebody asking something. Raises: InputError."""
    last = conversation.messages[-1] if conversation.messages else None
    if last is None or last.role not in ("user", "tool"):
        raise InputError("there is no question to answer", hint="end with a user's message, or with a tool's result")
    if last.role == "user" and not last.text.strip():
        raise InputError("the question is empty", hint='for example: narthex ask "What does gauge C read?"')
    return " ".join(last.text.split())[:_QUESTION_CHARS]


def _limits(mode: Mode, budget: Budget | None) -> Budget:
    """What this run may spend: what was said, else the mode's own. Raises: InputError for a mode that cannot be run."""
    if parse_mode(mode) not in DEFAULTS:
        raise InputError(f"mode '{mode}' is not there yet", hint=f"use {' or '.join(DEFAULTS)}")
    limits = (budget or Budget()).filled_from(DEFAULTS[mode])
    # whoever compares modes gives one budget to all; what Instant makes of it is told in `run_started`
    return limits.model_copy(update={"think_tokens": 0}) if mode == "instant" else limits


def _check_dice(temperature: float, top_p: float) -> None:
    """Raises: InputError."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature is {temperature}", hint="0 is greedy, 1 draws as the model was trained")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}", hint="1 keeps every token, 0.9 drops the unlikeliest tenth")


def _ledger(agent: Agent, clock: Clock) -> Ledger:
    return Ledger.total(
        [agent.ledger], seconds=clock.elapsed(), budget_enforced=agent.budget_enforced, estimated=agent.estimated
    )
