"""Events, budget and ledger."""

from __future__ import annotations

import json
import typing

import pytest
from pydantic import ValidationError

from narthex import chat
from narthex.base import InputError
from narthex.chat import AgentLedger, Budget, Ledger, TextPart, ToolCall, parse_event, parse_mode

RUN = {"run_id": "r1", "seq": 3, "t": 0.25}
AGENT = {**RUN, "agent_id": "a1"}
EXAMPLES = [
    chat.RunStarted(**RUN, mode="thinking", model="nano", question="what?", tools=("zoom",), seed=1),
    chat.AgentStarted(**AGENT, role="refiner", round=1, temperature=0.7),
    chat.ThoughtDelta(**AGENT, text="hm "),
    chat.AgentTextDelta(**AGENT, text="42"),
    chat.TurnFinished(**AGENT, prompt_tokens=9, thought_tokens=3, seconds=0.1),
    chat.ToolStarted(**AGENT, call=ToolCall(id="c", name="zoom", arguments={"box": [0, 0, 9, 9], "image": 0})),
    chat.ToolFinished(**AGENT, call_id="c", name="zoom", parts=(TextPart(text="done"),), seconds=0.1),
    chat.ApprovalAsked(**AGENT, call=ToolCall(id="c", name="python", arguments={"code": "1"})),
    chat.ApprovalGiven(**AGENT, call_id="c", is_allowed=False, by="person", reason="no"),
    chat.AgentFinished(**AGENT, answer="42", confidence=0.5, ledger=AgentLedger(agent_id="a1")),
    chat.Agreement(**RUN, tally={"42": 3.0, "41": 1.0}, probability=0.9),
    chat.RoundStarted(**RUN, round=1, purpose="refine"),
    chat.Waiting(**RUN, quiet_s=2.0, agents=("a1",)),
    chat.AnswerStarted(**RUN),
    chat.AnswerDelta(**RUN, text="42"),
    chat.RunFinished(**RUN, answer="42", ledger=Ledger(agents=1)),
    chat.RunFailed(**RUN, message="no", hint="yes", exit_code=2, http_status=400),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
def test_every_event_survives_json(event):
    written = event.model_dump_json()
    assert parse_event(written) == event == parse_event(json.loads(written))


def test_no_kind_of_event_is_left_out_above():
    union = typing.get_args(typing.get_args(chat.Event)[0])
    assert {type(event) for event in EXAMPLES} == set(union)


@pytest.mark.parametrize(
    "wrong", ["{}", "not json", b"\xff", {"type": "run_exploded"}, {**AGENT, "type": "answer_delta"},
              {**RUN, "type": "thought_delta", "text": "whose?"}]
)
def test_what_is_no_event_gets_one_clear_line(wrong):
    with pytest.raises(InputError, match="not an event"):
        parse_event(wrong)


def test_events_refuse_times_that_json_cannot_say():
    with pytest.raises(ValidationError):
        chat.AnswerStarted(run_id="r", seq=0, t=float("nan"))


@pytest.mark.parametrize(
    ("effort", "context", "think"),
    [("none", 100_000, 0), ("low", 100_000, 1024), ("max", 100_000, 98_976), ("high", 1_000, 750), ("max", 1_000, 750)],
)
def test_effort_is_clipped_to_the_context_and_leaves_the_answer_room(effort, context, think):
    budget = Budget.for_effort(effort, context)
    assert budget.think_tokens == think
    assert budget.answer_tokens is not None and think + budget.answer_tokens <= context


def test_an_unknown_effort_or_mode_is_said_with_a_hint():
    with pytest.raises(InputError, match="unknown effort 'hihg'") as caught:
        Budget.for_effort("hihg", 1000)
    assert caught.value.hint == "did you mean 'high'?"
    with pytest.raises(InputError, match="unknown mode 'deep'") as caught:
        parse_mode("deep")
    assert "contemplating" in (caught.value.hint or "")
    assert parse_mode("Thinking") == "thinking"


def test_explicit_wins_over_default_and_a_ceiling_only_lowers():
    asked = Budget(think_tokens=0, wall_s=100.0)
    filled = asked.filled_from(Budget(think_tokens=500, agents=4))
    assert filled == Budget(think_tokens=0, agents=4, wall_s=100.0)
    assert filled.lowered_to(Budget(agents=9, wall_s=10.0, rounds=2)) == Budget(
        think_tokens=0, agents=4, wall_s=10.0, rounds=2
    )


@pytest.mark.parametrize("wrong", [{"think_tokens": -1}, {"agents": 0}, {"wall_s": 0}, {"thinktokens": 5}])
def test_budgets_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        Budget.model_validate(wrong)


def test_the_total_is_the_sum_of_the_agents():
    agents = [
        AgentLedger(agent_id="a", prompt_tokens=9, cached_tokens=4, thought_tokens=5, looks=1, tool_calls=2, seconds=1),
        AgentLedger(agent_id="b", prompt_tokens=20, answer_tokens=7, seconds=3.0, flops=5.0),
        AgentLedger(agent_id="c", round=1, prompt_tokens=1, seconds=2.0, flops=5.0),
    ]
    total = Ledger.total(agents, seconds=5.5)
    assert (total.prompt_tokens, total.cached_tokens, total.thought_tokens, total.answer_tokens) == (30, 4, 5, 7)
    assert (total.agents, total.rounds, total.looks, total.tool_calls) == (3, 2, 1, 2)
    assert (total.seconds, total.critical_path_s) == (5.5, 5.0)
    assert total.flops is None, "one agent's FLOPs are unknown, so their sum is"
    assert Ledger.total(agents[1:], seconds=1.0).flops == 10.0
    assert Ledger.model_validate_json(total.model_dump_json()) == total


def test_an_empty_run_costs_nothing():
    total = Ledger.total([], seconds=0.0)
    assert (total.agents, total.rounds, total.flops) == (0, 0, None)
