"""What happens in a run, as a stream of typed events: the only thing terminal, page, API, trace and tests show from.

`seq` counts from 0 without gaps within a run, over all its agents. `t` is seconds since the run's start.
`agent_id` is None where the whole run is meant. Fields may be added, never renamed: events are stored as they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from narthex.base.errors import InputError, NarthexError
from narthex.chat.budget import Budget, Mode
from narthex.chat.ledger import AgentLedger, Ledger
from narthex.chat.messages import Frozen, Part, ToolCall

# stop: the model ended by itself; length: its room ran out; tool_calls: the caller's own tools are to be run.
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
AgentRole = Literal["solo", "proposer", "refiner", "aggregator", "judge"]


class EventBase(Frozen):
    run_id: str
    agent_id: str | None = None
    seq: Annotated[int, Field(ge=0)]
    t: Annotated[float, Field(ge=0)]


class AgentEvent(EventBase):
    """An event that always belongs to one agent."""

    agent_id: str


class RunStarted(EventBase):
    """First of every run. `question` is what was asked, cut to a line; `tools` are the names on offer."""

    type: Literal["run_started"] = "run_started"
    mode: Mode
    model: str
    question: str = ""
    tools: tuple[str, ...] = ()
    budget: Budget = Budget()
    seed: int | None = None


class AgentStarted(AgentEvent):
    type: Literal["agent_started"] = "agent_started"
    role: AgentRole = "solo"
    round: Annotated[int, Field(ge=0)] = 0
    seed: int | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None


class ThoughtDelta(AgentEvent):
    """More of an agent's thought."""

    type: Literal["thought_delta"] = "thought_delta"
    text: str


class AgentTextDelta(AgentEvent):
    """More of what an agent says, which need not become the run's answer."""

    type: Literal["agent_text_delta"] = "agent_text_delta"
    text: str


class ToolStarted(AgentEvent):
    type: Literal["tool_started"] = "tool_started"
    call: ToolCall


class ToolFinished(AgentEvent):
    """A tool's result as the model gets it. `is_error` marks a mistake of the model that it may mend."""

    type: Literal["tool_finished"] = "tool_finished"
    call_id: str
    name: str
    parts: tuple[Part, ...] = ()
    is_error: bool = False
    seconds: Annotated[float, Field(ge=0)] = 0.0


class TurnFinished(AgentEvent):
    """One exchange with the model has ended: what it cost. Calls that it asked for are run after this."""

    type: Literal["turn_finished"] = "turn_finished"
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    cached_tokens: Annotated[int, Field(ge=0)] = 0
    thought_tokens: Annotated[int, Field(ge=0)] = 0
    answer_tokens: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0


class ApprovalAsked(AgentEvent):
    """A call waits until somebody allows or refuses it; `approval_given` says what they said."""

    type: Literal["approval_asked"] = "approval_asked"
    call: ToolCall


class ApprovalGiven(AgentEvent):
    """`by`: who decided, a rule or a person. `reason` is what the model is told where it was refused."""

    type: Literal["approval_given"] = "approval_given"
    call_id: str
    is_allowed: bool
    by: Literal["rule", "person"] = "person"
    reason: str = ""


class AgentFinished(AgentEvent):
    """`confidence` is in 0..1, None where the model gives no probabilities.

    An agent may come to calls of the caller's own tools instead of an answer. `error` is set where it failed.
    """

    type: Literal["agent_finished"] = "agent_finished"
    answer: str
    calls: tuple[ToolCall, ...] = ()
    error: str | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    finish_reason: FinishReason = "stop"
    ledger: AgentLedger | None = None


class Agreement(EventBase):
    """How the answers stand: weight of each, and the probability that the leader stays the leader."""

    type: Literal["agreement"] = "agreement"
    tally: dict[str, float]
    probability: Annotated[float, Field(ge=0, le=1)]


class RoundStarted(EventBase):
    type: Literal["round_started"] = "round_started"
    round: Annotated[int, Field(ge=0)]
    purpose: Literal["propose", "judge", "refine", "answer"]


class Waiting(EventBase):
    """Nothing else has happened for `quiet_s` seconds; `agents` are still at work."""

    type: Literal["waiting"] = "waiting"
    quiet_s: Annotated[float, Field(ge=0)]
    agents: tuple[str, ...] = ()


class AnswerStarted(EventBase):
    """The answer begins, or begins anew: text shown before was said before a tool call and is withdrawn."""

    type: Literal["answer_started"] = "answer_started"


class AnswerDelta(EventBase):
    """More of the run's answer. Those since the last `answer_started`, joined, are `RunFinished.answer`."""

    type: Literal["answer_delta"] = "answer_delta"
    text: str


class RunFinished(EventBase):
    """Last of a run that ended well. `calls` are for the caller to run, if `finish_reason` is "tool_calls"."""

    type: Literal["run_finished"] = "run_finished"
    answer: str
    ledger: Ledger
    finish_reason: FinishReason = "stop"
    calls: tuple[ToolCall, ...] = ()


class RunFailed(EventBase):
    """Last of a run that did not: what an error would have said. `ledger` is what was spent until then.

    `code` names the kind of failure for programs, where it has a name.
    """

    type: Literal["run_failed"] = "run_failed"
    message: str
    hint: str | None = None
    code: str | None = None
    exit_code: int = 1
    http_status: int = 500
    ledger: Ledger | None = None

    def error(self) -> NarthexError:
        """The failure as an error again, for whoever would rather raise it."""
        error = NarthexError(self.message, hint=self.hint)
        error.exit_code, error.http_status = self.exit_code, self.http_status
        return error


Event = Annotated[
    RunStarted
    | AgentStarted
    | ThoughtDelta
    | AgentTextDelta
    | TurnFinished
    | ToolStarted
    | ToolFinished
    | ApprovalAsked
    | ApprovalGiven
    | AgentFinished
    | Agreement
    | RoundStarted
    | Waiting
    | AnswerStarted
    | AnswerDelta
    | RunFinished
    | RunFailed,
    Field(discriminator="type"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(json: str | bytes | dict[str, Any]) -> Event:
    """The event that `event.model_dump_json()` (or `model_dump()`) came from.

    Raises: InputError if it is none that this version knows.
    """
    try:
        return _EVENT.validate_python(json) if isinstance(json, dict) else _EVENT.validate_json(json)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise InputError(
            f"not an event: {place}: {first['msg']}", hint="it may have been written by a newer Narthex"
        ) from None
