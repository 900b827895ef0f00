"""A question becomes a run: one stream of typed events, whatever the mode and whatever the model."""

from __future__ import annotations

import math
import secrets
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

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
    ToolSpec,
    parse_mode,
)
from narthex.reason.agent import Agent, Settings
from narthex.reason.approvals import Approve, never
from narthex.reason.clock import Clock
from narthex.reason.contemplating import GROUP, Contemplation
from narthex.reason.desk import Desk, Folder, Purse
from narthex.reason.equality import Same
from narthex.reason.quiet import with_waiting
from narthex.tokens.gallery import Gallery
from narthex.tools import Tool, zoom

MAX_TOOL_CALLS = 16  # several times what a demonstration of our worlds needs
MAX_AGENTS = 16
_MEDIUM = EFFORT_THINK_TOKENS["medium"] or 0
# What a mode may spend where nobody said otherwise. Contemplating's limits are for all its agents together: as much for
# each of them, for those who refine and for the one who answers, as Thinking has.
DEFAULTS: dict[Mode, Budget] = {
    "instant": Budget(think_tokens=0, tool_calls=MAX_TOOL_CALLS),  # for a caller's own tools: it has none itself
    "thinking": Budget(think_tokens=_MEDIUM, tool_calls=MAX_TOOL_CALLS),
    "contemplating": Budget(
        think_tokens=_MEDIUM * (MAX_AGENTS + GROUP + 1), tool_calls=MAX_TOOL_CALLS * (MAX_AGENTS + GROUP + 1),
        agents=MAX_AGENTS, rounds=1,
    ),
}  # fmt: skip
_QUESTION_CHARS = 200  # of the question, in run_started


def default_tools(mode: Mode) -> tuple[Tool, ...]:
    """The tools a mode has where nobody said otherwise: who thinks may look again, Instant does not."""
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
    ceiling: Budget | None = None,
    caller_tools: Sequence[ToolSpec] = (),
    answer_schema: Mapping[str, Any] | None = None,
    approve: Approve | None = None,
    folder: Path | None = None,
    same: Same | None = None,
    tenant: str = "",
    stops_early: bool = True,
) -> AsyncGenerator[Event]:
    """Answer the conversation's last question.

    The first event is `run_started`, the last `run_finished` or `run_failed`; closing the iterator stops all work. The
    answer is the text of the `answer_delta` since the last `answer_started`.

    tools: None means the mode's own. caller_tools: only told to the model; where it calls one, the run finishes with
    `calls` and the reason "tool_calls". approve: asked about calls of tools that need it (default: refused). folder:
    keeps what tools leave, across runs; without one it ends with the run. ceiling: can only lower what may be spent.
    answer_schema: a JSON schema for the answer. same: when two answers are equal, where the task knows. tenant: runs
    of different ones share no cached work. stops_early: False lets Contemplating ask all its agents, for comparison.

    At `temperature` 0 the same question gets the same answer, in Contemplating the same first proposal. Above it, and
    for the other agents, a seed does that; where none is given, one is drawn and told in `run_started`.
    Raises, before the first event: InputError for a conversation that asks nothing, an unknown mode, dice that cannot
    be thrown, or two tools of one name.
    """
    question = _question(conversation)
    limits = _limits(mode, budget, ceiling or Budget())
    _check_dice(temperature, top_p)
    if seed is None and (temperature > 0 or mode == "contemplating"):
        seed = secrets.randbelow(2**31)  # short enough to be typed again
    chosen = default_tools(mode) if tools is None else tuple(tools)
    if not limits.tool_calls:
        chosen, caller_tools = (), ()  # nobody is shown what they may not use
    _check_names(chosen, caller_tools)
    clock = Clock(run_id or uuid.uuid4().hex)
    desk = Desk(backend, gallery, clock, Purse(limits.tool_calls or 0), Folder(folder), approve or never())
    settings = Settings(
        mode != "instant", chosen, limits, temperature, top_p, seed, tuple(caller_tools), answer_schema, tenant
    )
    work: Agent | Contemplation
    if mode == "contemplating":
        work = Contemplation(conversation, question, settings, desk, same, stops_early)
    else:
        work = Agent("agent-0", conversation, settings, desk)
    start = RunStarted(
        **clock.stamp(), mode=mode, model=backend.name, question=question, budget=limits, seed=seed,
        tools=(*(tool.spec.name for tool in chosen), *(spec.name for spec in caller_tools)),
    )  # fmt: skip
    yield clock.numbered(start)
    try:
        async with aclosing(with_waiting(work.work(), clock)) as events:
            async for event in events:
                yield clock.numbered(event)
    except NarthexError as error:
        failed = RunFailed(
            **clock.stamp(), message=str(error), hint=error.hint, exit_code=error.exit_code,
            http_status=error.http_status, ledger=_ledger(work, clock),
        )  # fmt: skip
        yield clock.numbered(failed)
        return
    finally:
        desk.folder.close()
    finished = RunFinished(
        **clock.stamp(), answer=work.answer, calls=work.calls, ledger=_ledger(work, clock),
        finish_reason=work.finish_reason,
    )  # fmt: skip
    yield clock.numbered(finished)


def _question(conversation: Conversation) -> str:
    """The last message, if it is somebody asking something. Raises: InputError."""
    last = conversation.messages[-1] if conversation.messages else None
    if last is None or last.role not in ("user", "tool"):
        raise InputError("there is no question to answer", hint="end with a user's message, or with a tool's result")
    if last.role == "user" and not last.text.strip():
        raise InputError("the question is empty", hint='for example: narthex ask "What does gauge C read?"')
    return " ".join(last.text.split())[:_QUESTION_CHARS]


def _limits(mode: Mode, budget: Budget | None, ceiling: Budget) -> Budget:
    """What this run may spend: what was said, else the mode's own, under a ceiling. Raises: InputError."""
    limits = (budget or Budget()).filled_from(DEFAULTS[parse_mode(mode)]).lowered_to(ceiling)
    # whoever compares modes gives one budget to all; what Instant makes of it is told in `run_started`
    return limits.model_copy(update={"think_tokens": 0}) if mode == "instant" else limits


def _check_names(tools: Sequence[Tool], caller_tools: Sequence[ToolSpec]) -> None:
    """Raises: InputError where two tools have one name."""
    names = [*(tool.spec.name for tool in tools), *(spec.name for spec in caller_tools)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"more than one tool is called {', '.join(twice)}", hint="give each a name of its own")


def _check_dice(temperature: float, top_p: float) -> None:
    """Raises: InputError."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature is {temperature}", hint="0 is greedy, 1 draws as the model was trained")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}", hint="1 keeps every token, 0.9 drops the unlikeliest tenth")


def _ledger(work: Agent | Contemplation, clock: Clock) -> Ledger:
    agents = work.agents if isinstance(work, Contemplation) else [work]
    others = [agent.budget_enforced for agent in agents if agent.budget_enforced != "native"]
    return Ledger.total(
        [agent.ledger for agent in agents], seconds=clock.elapsed(), budget_enforced=others[0] if others else "native",
        estimated=any(agent.estimated for agent in agents),
    )  # fmt: skip
