"""Contemplating: agents side by side, what they agree on, and what happens when they do not, fail or take long."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from PIL import Image

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError
from narthex.chat import Budget, Conversation, Ledger, Message, ToolCall, ToolSpec, parse_event
from narthex.reason import quiet, run
from narthex.reason.contemplating import GROUP
from narthex.tokens.gallery import Gallery, MemoryBlobs

BOX = {"box": [0, 0, 500, 500]}
WEATHER = ToolSpec(name="weather", description="The weather of a city.", parameters={"type": "object"})


def ask(backend, budget=None, *, question="What does C read?", seed=7, **how):
    gallery = Gallery(MemoryBlobs())
    picture = gallery.add_image(Image.new("RGB", (100, 80)))
    asked = Conversation(messages=(Message.of("user", question, picture),))
    return run(asked, "contemplating", budget, backend, gallery=gallery, seed=seed, **how)


async def events_of(backend, budget=None, **how):
    async with aclosing(ask(backend, budget, **how)) as stream:
        found = [event async for event in stream]
    assert [event.seq for event in found] == list(range(len(found)))
    assert [event.t for event in found] == sorted(event.t for event in found)
    assert all(parse_event(event.model_dump_json()) == event for event in found)
    started = [event.agent_id for event in found if event.type == "agent_started"]
    assert started == [f"agent-{number}" for number in range(len(started))]
    assert sorted(event.agent_id for event in found if event.type == "agent_finished") == sorted(started)
    ledger = found[-1].ledger
    assert ledger.agents == len(started)
    again = Ledger.total(ledger.by_agent, seconds=ledger.seconds)
    assert (again.prompt_tokens, again.thought_tokens, again.answer_tokens, again.tool_calls) == (
        ledger.prompt_tokens, ledger.thought_tokens, ledger.answer_tokens, ledger.tool_calls
    )  # fmt: skip
    text = ""
    for event in found:
        text = "" if event.type == "answer_started" else text + (event.text if event.type == "answer_delta" else "")
    assert found[-1].type == "run_failed" or text == found[-1].answer
    assert backend.num_open == 0
    return found


def roles(found):
    return [event.role for event in found if event.type == "agent_started"]


def by_turn(*replies):
    """A backend that answers its n-th request with the n-th reply, and with the last from then on."""
    count = iter(range(10**6))
    return ScriptedBackend(lambda request: replies[min(next(count), len(replies) - 1)])


def prose(num_words, seed):
    """Words that do not repeat themselves."""
    return " ".join(f"word{(seed + 7 * place) % 10_007}" for place in range(num_words))


async def test_agreement_ends_it_early():
    backend = ScriptedBackend(lambda request: Said("12 bar", thought="It reads so."))
    found = await events_of(backend)
    assert roles(found) == ["proposer"] * GROUP
    assert (found[-1].answer, found[-1].finish_reason) == ("12 bar", "stop")
    tallies = [event for event in found if event.type == "agreement"]
    assert tallies[-1].tally == {"12 bar": pytest.approx(len(backend.requests) - 1, abs=1)}
    assert tallies[-1].probability >= 0.95
    assert not [event for event in found if event.type == "answer_delta" and event.agent_id is None]
    assert found[-1].ledger.rounds == 1


async def test_all_are_asked_where_that_is_wished():
    found = await events_of(ScriptedBackend(lambda request: Said("12 bar")), Budget(agents=6), stops_early=False)
    assert roles(found) == ["proposer"] * 6 and found[-1].answer == "12 bar"
    assert all(event.finish_reason == "stop" for event in found if event.type == "agent_finished")


async def test_agents_share_the_prompt_and_differ_in_their_dice():
    backend = ScriptedBackend(lambda request: Said("12 bar"))
    await events_of(backend)
    first, *others = backend.requests
    assert all(request.messages == first.messages and request.thinking for request in others)
    assert first.temperature == 0 and all(request.temperature > 0 for request in others)
    assert len({request.seed for request in backend.requests}) == GROUP


async def test_the_same_seed_gives_the_same_run():
    def told(request):
        return Said(str(request.seed % 5))

    runs = [await events_of(ScriptedBackend(told), seed=3) for _ in range(2)]
    one, other = ([event.model_dump(exclude={"run_id", "t", "seconds", "ledger"}) for event in found] for found in runs)
    assert one == other


async def test_who_stays_split_refines_and_an_aggregator_answers():
    def told(request):
        last = request.messages[-1].text
        if "Answers so far" not in last:
            return Said(str(request.seed % 1000) + " bar")  # everyone something else
        assert "may be wrong" in last and request.messages[0].text == "What does C read?"
        return Said("aye" if len(backend.requests) <= 12 else "12 bar")

    backend = ScriptedBackend(told)
    found = await events_of(backend, Budget(agents=8, rounds=1))
    assert roles(found) == ["proposer"] * 8 + ["refiner"] * 4 + ["aggregator"]
    assert [event.purpose for event in found if event.type == "round_started"] == [
        "propose", "propose", "refine", "answer",
    ]  # fmt: skip
    assert found[-1].answer == "12 bar" and found[-1].ledger.rounds == 4
    last = backend.requests[-1].messages[-1].text
    assert "- aye (4)" in last and last.count("\n- ") == 9, "the aggregator reads every answer, with its votes"
    heard = [event for event in found if event.type == "answer_delta"]
    assert {event.agent_id for event in heard} == {"agent-12"} and len(heard) == 2, "and streams"


async def test_a_refined_majority_is_the_answer():
    def told(request):
        return Said("12 bar" if "Answers so far" in request.messages[-1].text else str(request.seed % 997))

    found = await events_of(ScriptedBackend(told), Budget(agents=2, rounds=1))
    assert roles(found) == ["proposer"] * 2 + ["refiner"] * 4 and found[-1].answer == "12 bar"


async def test_pictures_and_tools_are_every_agents():
    def told(request):
        looked = any(message.role == "tool" and message.pictures for message in request.messages)
        return Said("12 bar") if looked else Said(calls=(ToolCall(id="c", name="zoom", arguments=BOX),))

    found = await events_of(ScriptedBackend(told))
    assert found[-1].answer == "12 bar" and found[-1].ledger.looks >= 3
    assert len({event.agent_id for event in found if event.type == "tool_finished"}) == GROUP


async def test_one_agents_failure_is_its_own():
    def told(request):
        if len(backend.requests) == 2:
            raise BackendError("the line is dead")
        if len(backend.requests) == 3:
            raise ZeroDivisionError("a fault of ours")
        return Said("12 bar")

    backend = ScriptedBackend(told)
    found = await events_of(backend, Budget(agents=4))
    errors = [event.error for event in found if event.type == "agent_finished" and event.error]
    assert len(errors) == 2 and errors[0] == "the line is dead" and "ZeroDivisionError: a fault of ours" in errors[1]
    assert found[-1].answer == "12 bar" and found[-1].ledger.agents == 4


async def test_an_aggregator_that_fails_loses_nothing():
    def told(request):
        if "Answers so far" in request.messages[-1].text:
            raise BackendError("the line is dead")
        return Said("12 bar" if len(backend.requests) % 3 else str(request.seed))

    backend = ScriptedBackend(told)
    found = await events_of(backend, Budget(agents=4, rounds=1, wall_s=60.0))
    assert found[-1].type == "run_finished" and found[-1].answer == "12 bar"


async def test_what_is_read_of_others_fits_the_context():
    def told(request):
        return Said(prose(30, request.seed) if len(backend.requests) <= 8 else "the end")

    backend = ScriptedBackend(told, context_tokens=256)
    await events_of(backend, Budget(agents=8, rounds=0))
    assert len(backend.requests[-1].messages[-1].text) < 256 + 300


async def test_where_all_fail_the_run_does():
    def told(request):
        raise BackendError("the line is dead", hint="plug it in")

    found = await events_of(ScriptedBackend(told), Budget(agents=4))
    assert (found[-1].type, found[-1].message, found[-1].hint) == ("run_failed", "the line is dead", "plug it in")
    assert found[-1].ledger.agents == 4


async def test_the_budget_is_for_all_agents_together():
    asked = []

    def told(request):
        asked.append(request.think_tokens)
        return Said(str(request.seed % 997), thought="a b c")

    found = await events_of(ScriptedBackend(told), Budget(agents=4, rounds=0, think_tokens=100, tool_calls=3))
    assert asked[:4] == [20] * 4 and asked[4] == 100 - 12, "what proposers left is the aggregator's"
    assert found[-1].ledger.thought_tokens == 15


async def test_tool_calls_are_counted_for_all_agents_together():
    def told(request):
        if request.messages[-1].role == "tool" and "no calls are left" in request.messages[-1].text:
            return Said("12")
        return Said(calls=(ToolCall(id=f"c{len(backend.requests)}", name="zoom", arguments=BOX),))

    backend = ScriptedBackend(told)
    found = await events_of(backend, Budget(agents=4, tool_calls=6))
    fine = [event for event in found if event.type == "tool_finished" and not event.is_error]
    assert len(fine) == found[-1].ledger.tool_calls == 6 and found[-1].answer == "12"


async def test_no_more_agents_at_once_than_the_backend_carries():
    most = []

    def told(request):
        most.append(backend.num_open)
        return Said(str(request.seed % 997))

    backend = ScriptedBackend(told, max_parallel=2, word_s=0.001)
    await events_of(backend, Budget(agents=6, rounds=1))
    assert max(most) == 2


async def test_long_answers_are_grouped_by_a_judge():
    sentence = "The reading is best understood as twelve bar, given the scale, the needle and the unit printed below it"

    def told(request):
        text = request.messages[-1].text
        if text.startswith("Question:"):
            assert not request.thinking and text.count(sentence) == 4
            return Said("Here you are: [[1, 2, 4], [3]]")
        return Said(f"{sentence}, says number {request.seed % 997} of us.")

    found = await events_of(ScriptedBackend(told), Budget(agents=4))
    assert roles(found) == ["proposer"] * 4 + ["judge"]
    answers = [event.answer for event in found if event.type == "agent_finished"]
    assert found[-1].answer in (answers[0], answers[1], answers[3])
    (agreement,) = [event for event in found if event.type == "agreement"]
    assert sorted(agreement.tally.values()) == [1.0, 3.0]


@pytest.mark.parametrize("reply", ["", "no idea", "[[1, 2", '[["a"]]', "[[99, 98]]", '{"groups": 3}'])
async def test_a_judge_that_babbles_groups_nothing(reply):
    def told(request):
        text = request.messages[-1].text
        if text.startswith("Question:"):
            return Said(reply)
        return Said("the end" if "independently" in text else prose(40, request.seed))

    found = await events_of(ScriptedBackend(told), Budget(agents=4, rounds=0))
    assert roles(found)[-1] == "aggregator" and found[-1].answer == "the end"


async def test_essays_are_not_voted_on():
    def told(request):
        if "independently" in request.messages[-1].text:
            return Said(prose(200, len(backend.requests)) if len(backend.requests) <= 8 else "the synthesis")
        return Said(prose(200, request.seed))

    backend = ScriptedBackend(told)
    found = await events_of(backend)
    assert roles(found) == ["proposer"] * 4 + ["refiner"] * 4 + ["aggregator"]
    assert found[-1].answer == "the synthesis" and not [event for event in found if event.type == "agreement"]


async def test_a_callers_tools_come_back_as_calls():
    def told(request):
        assert "weather" in [tool.name for tool in request.tools]
        return Said(calls=(ToolCall(id=f"c{len(backend.requests)}", name="weather", arguments={"city": "Rome"}),))

    backend = ScriptedBackend(told)
    found = await events_of(backend, caller_tools=(WEATHER,))
    assert (found[-1].finish_reason, found[-1].answer) == ("tool_calls", "")
    assert [(call.name, call.arguments) for call in found[-1].calls] == [("weather", {"city": "Rome"})]


async def test_unsure_and_looping_traces_are_cut():
    def told(request):
        number = len(backend.requests)
        if number == 6:
            return Said("99 bar", thought="and again " * 200)
        if number == 7:
            return Said("99 bar", thought="a guess", confidence=0.1)
        return Said(str(number % 4), confidence=0.8)

    backend = ScriptedBackend(told)
    found = await events_of(backend, Budget(agents=8, rounds=0))
    ends = {event.agent_id: event for event in found if event.type == "agent_finished"}
    assert [ends[f"agent-{number}"].finish_reason for number in (4, 5, 6)] == ["stop", "cancelled", "cancelled"]
    assert ends["agent-5"].ledger.thought_tokens < 100 and "99 bar" not in found[-1].answer


async def test_everyone_stops_within_a_second_when_nobody_listens():
    backend = ScriptedBackend(lambda request: Said(prose(10_000, 1)), word_s=0.01)
    stream = ask(backend)
    async for event in stream:
        if event.type == "agent_text_delta":
            break
    assert backend.num_open == GROUP
    began = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - began < 5 and backend.num_open == 0


async def test_a_silence_is_told(monkeypatch):
    monkeypatch.setattr(quiet, "QUIET_S", 0.05)
    backend = ScriptedBackend(lambda request: Said("12 bar"), word_s=0.2)
    found = await events_of(backend, Budget(agents=2))
    waits = [event for event in found if event.type == "waiting"]
    assert len(waits) >= 2 and waits[0].agents == ("agent-0", "agent-1") and waits[0].quiet_s >= 0.05
    assert found[-1].answer == "12 bar"


async def test_a_wall_leaves_time_to_answer():
    def told(request):
        return Said("late " * 3 if len(backend.requests) > 4 else prose(10_000, 1))

    backend = ScriptedBackend(told, word_s=0.005)

    async def turn(request, turn=backend.turn):  # what a backend does with a deadline
        began = time.monotonic()
        async with aclosing(turn(request)) as deltas:
            async for delta in deltas:
                if request.deadline_s is not None and time.monotonic() - began > request.deadline_s:
                    request.stop.set()
                yield delta

    backend.turn = turn
    began = time.monotonic()
    found = await events_of(backend, Budget(agents=4, wall_s=1.0))
    assert roles(found)[-1] == "aggregator" and found[-1].answer == "late late late "
    assert time.monotonic() - began < 10, "10,000 words of 5 ms take 50 s"
    await asyncio.sleep(0)


async def test_an_answer_keeps_its_schema_in_every_agent():
    schema = {"type": "object", "properties": {"value": {"type": "integer"}}}
    backend = ScriptedBackend(lambda request: Said('{"value": 12}'))
    found = await events_of(backend, answer_schema=schema)
    assert found[-1].answer == '{"value": 12}'
    assert all(request.answer_schema == schema for request in backend.requests)
