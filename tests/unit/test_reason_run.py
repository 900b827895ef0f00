"""A run is its events: gapless, in order, and adding up, whatever a model does."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest
from PIL import Image

from narthex.backends.base import TurnDelta, TurnEnd, TurnUsage
from narthex.backends.fake import Said, ScriptedBackend
from narthex.backends.local import LocalBackend
from narthex.base.errors import BackendError, ContextOverflowError, InputError
from narthex.chat import Budget, Conversation, ImagePart, Message, TextPart, ToolCall, parse_event
from narthex.reason import DEFAULTS, default_tools, run
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import zoom

BOX = {"box": [0, 0, 500, 500]}


def calls(*arguments, name="zoom", start=0):
    return tuple(ToolCall(id=f"c{start + i}", name=name, arguments=given) for i, given in enumerate(arguments))


def script(*replies):
    """A backend that says one reply after the other, and the last one from then on."""
    left = list(replies)
    return ScriptedBackend(lambda request: left.pop(0) if len(left) > 1 else left[0])


async def events_of(backend, mode="thinking", budget=None, tools=None, *, pictures=1, question="What?", **how):
    """All events of a run, checked to be what every run is."""
    gallery = Gallery(MemoryBlobs())
    shown = [gallery.add_image(Image.new("RGB", (100 + i, 80))) for i in range(pictures)]
    asked = Conversation(messages=(Message.of("user", question, *shown),))
    async with aclosing(run(asked, mode, budget, backend, tools, gallery=gallery, **how)) as stream:
        found = [event async for event in stream]
    check(found)
    return found


def check(found):
    assert [event.seq for event in found] == list(range(len(found))), "gapless, in order"
    assert [event.t for event in found] == sorted(event.t for event in found)
    assert len({event.run_id for event in found}) == 1
    assert all(parse_event(event.model_dump_json()) == event for event in found)
    kinds = [event.type for event in found]
    assert kinds[:2] == ["run_started", "agent_started"]
    assert kinds[-1] in ("run_finished", "run_failed")
    assert kinds.count("run_finished") + kinds.count("run_failed") == 1
    started = [event.call.id for event in found if event.type == "tool_started"]
    ended = {event.call_id: event.seq for event in found if event.type == "tool_finished"}
    begun = {event.call.id: event.seq for event in found if event.type == "tool_started"}
    assert set(started) == set(ended) and len(set(started)) == len(started)
    assert all(begun[call] < ended[call] for call in begun), "calls run side by side, each from start to end"
    end = found[-1]
    if end.type == "run_finished":
        assert kinds[-2] == "agent_finished"
        assert shown_answer(found) == end.answer == found[-2].answer
        assert end.ledger.by_agent == (found[-2].ledger,)
    if end.ledger is not None:
        (agent,) = end.ledger.by_agent
        for name in ("prompt_tokens", "thought_tokens", "answer_tokens", "tool_calls", "looks"):
            assert getattr(end.ledger, name) == getattr(agent, name)
        assert end.ledger.agents == end.ledger.rounds == 1
        assert end.ledger.seconds >= end.ledger.critical_path_s == agent.seconds > 0


def shown_answer(found):
    """What somebody who watches has before them at the end."""
    text = ""
    for event in found:
        if event.type == "answer_started":
            text = ""
        elif event.type == "answer_delta":
            text += event.text
    return text


def results(found):
    """Texts of tool results, in the order in which the calls were written."""
    ended = {event.call_id: event for event in found if event.type == "tool_finished"}
    order = [event.call.id for event in found if event.type == "tool_started"]
    return ["".join(part.text for part in ended[call].parts if part.type == "text") for call in order]


async def test_think_look_answer():
    backend = script(Said(thought="Find C.", calls=calls(BOX)), Said(thought="It reads.", text="12 bar"))
    found = await events_of(backend)
    kinds = list(dict.fromkeys(event.type for event in found))
    assert kinds == ["run_started", "agent_started", "thought_delta", "turn_finished", "tool_started", "tool_finished",
                     "answer_started", "answer_delta", "agent_finished", "run_finished"]  # fmt: skip
    end = found[-1]
    assert (end.answer, end.finish_reason) == ("12 bar", "stop")
    assert (end.ledger.tool_calls, end.ledger.looks) == (1, 1)
    assert (end.ledger.thought_tokens, end.ledger.answer_tokens) == (4, 2)
    assert end.ledger.by_agent[0].turns == 2
    (result,) = [event for event in found if event.type == "tool_finished"]
    (crop,) = result.parts
    assert (crop.width, crop.height, result.is_error) == (50, 40, False)
    said, came = backend.requests[1].messages[1:]
    assert (said.role, said.thought, said.calls) == ("assistant", "Find C.", calls(BOX))
    assert (came.role, came.call_id, came.parts) == ("tool", "c0", (crop,))


async def test_the_start_says_what_the_run_may_do():
    backend = script(Said(text="ok"))
    start = (await events_of(backend, question="  What\n does it   read? "))[0]
    assert (start.question, start.model, start.tools, start.seed) == ("What does it read?", "scripted", ("zoom",), None)
    assert start.budget == DEFAULTS["thinking"]
    asked = Budget(tool_calls=3, answer_tokens=9)
    start = (await events_of(backend, budget=asked, run_id="r-7"))[0]
    assert (start.run_id, start.budget.tool_calls, start.budget.answer_tokens) == ("r-7", 3, 9)
    assert start.budget.think_tokens == DEFAULTS["thinking"].think_tokens
    assert [request.answer_tokens for request in backend.requests] == [None, 9]


async def test_instant_neither_thinks_nor_looks():
    backend = script(Said(thought="never", text="12"))
    found = await events_of(backend, "instant", Budget(think_tokens=50))
    assert not [event for event in found if event.type == "thought_delta"]
    assert found[0].budget.think_tokens == 0 and found[0].tools == ()
    (request,) = backend.requests
    assert (request.thinking, request.tools, request.think_tokens) == (False, (), 0)
    assert default_tools("instant") == () and default_tools("thinking") == (zoom,)


async def test_a_callers_own_tools_work_in_instant():
    found = await events_of(script(Said(calls=calls(BOX)), Said(text="12")), "instant", tools=(zoom,))
    assert found[0].tools == ("zoom",)
    assert (found[-1].answer, found[-1].ledger.looks) == ("12", 1)


async def test_text_before_a_call_is_withdrawn():
    found = await events_of(script(Said(text="Let me look.", calls=calls(BOX)), Said(text="12 bar")))
    assert found[-1].answer == "12 bar"
    assert "Let " in [event.text for event in found if event.type == "answer_delta"]


@pytest.mark.parametrize("last", [Said(), Said(thought="so long", finish_reason="length")])
async def test_withdrawn_text_stays_withdrawn_where_nothing_follows(last):
    found = await events_of(script(Said(text="Let me look.", calls=calls(BOX)), last))
    assert found[-1].answer == "" and found[-1].finish_reason == last.finish_reason


async def test_every_mistake_goes_back_to_the_model():
    backend = script(
        Said(calls=(*calls({}, {"box": [9, 9, 1, 1]}), *calls({}, name="zom", start=2), *calls({}, name="x", start=3))),
        Said(calls=calls({"box": [0, 0, 500, 500], "image": 4}, start=4)),
        Said(text="12"),
    )
    found = await events_of(backend)
    assert [text.split(": ")[0] for text in results(found)] == ["error"] * 5
    told = "\n".join(results(found))
    for words in ("box: field required", "is empty", "did you mean zoom?", "no tool 'x'; the tools are: zoom",
                  "no picture 4; pictures here: 0..0"):  # fmt: skip
        assert words in told
    assert all(event.is_error for event in found if event.type == "tool_finished")
    assert (found[-1].answer, found[-1].ledger.tool_calls, found[-1].ledger.looks) == ("12", 5, 0)


async def test_an_unreadable_call_is_told_beside_a_good_one():
    backend = script(
        Said(calls=calls(BOX), mistakes=("the JSON ends\ntoo soon", "what is this")), Said(mistakes=("again",)),
        Said(text="12"),
    )  # fmt: skip
    found = await events_of(backend)
    names = [event.call.name for event in found if event.type == "tool_started"]
    assert names == ["zoom", "unreadable", "unreadable", "unreadable"]
    assert results(found) == ["", "error: the JSON ends too soon", "error: what is this", "error: again"]
    assert [message.role for message in backend.requests[1].messages] == ["user", "assistant", "tool", "tool", "tool"]
    assert found[-1].ledger.tool_calls == 4


async def test_calls_end_at_their_limit():
    backend = script(Said(calls=calls(BOX, BOX)), Said(calls=calls(BOX, start=2)), Said(text="12"))
    found = await events_of(backend, budget=Budget(tool_calls=1))
    assert results(found) == ["", *["error: no calls are left of 1; answer now"] * 2]
    assert (found[-1].answer, found[-1].ledger.tool_calls, found[-1].ledger.looks) == ("12", 1, 1)


async def test_a_model_that_only_calls_is_stopped():
    count = iter(range(1000))
    backend = ScriptedBackend(lambda request: Said(text="hm", calls=calls(BOX, start=next(count))))
    found = await events_of(backend, budget=Budget(tool_calls=3))
    assert (found[-1].answer, found[-1].finish_reason) == ("", "length")
    assert found[-1].ledger.tool_calls == 3 and len(backend.requests) == 5


async def test_no_calls_at_all_means_no_tools_are_shown():
    backend = script(Said(text="12"))
    found = await events_of(backend, budget=Budget(tool_calls=0))
    assert found[0].tools == () and backend.requests[0].tools == ()


async def test_the_thought_of_all_turns_is_one_budget():
    first, second = Said(thought="1 2 3", calls=calls(BOX)), Said(thought="4 5", calls=calls(BOX, start=1))
    backend = script(first, second, Said(text="12"))
    await events_of(backend, budget=Budget(think_tokens=4))
    assert [request.think_tokens for request in backend.requests] == [4, 1, 0]


async def test_no_turn_begins_after_the_time_is_up():
    def slow(request):
        time.sleep(0.06)
        return Said(calls=calls(BOX))

    backend = ScriptedBackend(slow)
    found = await events_of(backend, budget=Budget(wall_s=0.05))
    assert len(backend.requests) == 1 and found[-1].finish_reason == "length"
    assert 0 < backend.requests[0].deadline_s <= 0.05


async def test_a_picture_that_came_back_can_be_looked_into():
    inner = {"box": [0, 0, 500, 500], "image": 2}
    backend = script(Said(calls=calls(BOX)), Said(calls=calls(inner, start=1)), Said(text="12"))
    found = await events_of(backend, pictures=2)
    sizes = [event.parts[0].width for event in found if event.type == "tool_finished"]
    assert sizes == [50, 25]


async def test_dice():
    backend = script(Said(text="12"))
    for seed in (None, 7):
        start, agent, *_ = await events_of(backend, temperature=0.8, top_p=0.9, seed=seed)
        request = backend.requests[-1]
        assert start.seed == agent.seed == request.seed is not None
        assert (agent.temperature, request.temperature, request.top_p) == (0.8, 0.8, 0.9)
        assert seed in (None, start.seed)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"question": "  \n"}, "question is empty"),
        ({"mode": "thinkin"}, "unknown mode 'thinkin'"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
    ],
)
async def test_a_run_that_cannot_be_is_refused_before_its_first_event(how, words):
    backend = script(Said(text="12"))
    with pytest.raises(InputError, match=words) as caught:
        await events_of(backend, **how)
    assert caught.value.hint and not backend.requests


@pytest.mark.parametrize("messages", [(), (Message.of("assistant", "hello"),)])
async def test_a_conversation_that_asks_nothing_is_refused(messages):
    stream = run(Conversation(messages=messages), "thinking", None, script(Said()), gallery=Gallery(MemoryBlobs()))
    with pytest.raises(InputError, match="no question"):
        await anext(stream)


@pytest.mark.parametrize("error", [ContextOverflowError("too long", hint="less"), BackendError("gone", hint="wait")])
async def test_what_fails_on_the_way_is_the_last_event(error):
    def fails(request):
        if len(request.messages) > 1:
            raise error
        return Said(thought="Find it.", calls=calls(BOX))

    end = (await events_of(ScriptedBackend(fails)))[-1]
    assert (end.type, end.message, end.hint) == ("run_failed", error.message, error.hint)
    assert (end.exit_code, end.http_status) == (error.exit_code, error.http_status)
    assert (end.ledger.tool_calls, end.ledger.thought_tokens) == (1, 2), "what was spent until then"


async def test_a_picture_whose_bytes_are_gone_fails_the_run(tiny_folder):
    lost = ImagePart(sha256="a" * 64, media_type="image/png", width=9, height=9)
    asked = Conversation(messages=(Message.of("user", "What?", lost),))
    backend = LocalBackend.open(tiny_folder, device="cpu")
    found = [event async for event in run(asked, "thinking", None, backend, gallery=Gallery(MemoryBlobs()))]
    check(found)
    assert found[-1].type == "run_failed" and "nothing is kept" in found[-1].message


async def test_a_bug_keeps_its_traceback():
    def breaks(request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await events_of(ScriptedBackend(breaks))


class Cut:
    """A backend that stops in the middle, counts in estimates, or enforces budgets in its own way."""

    name, context_tokens = "cut", 4096

    def __init__(self, *ends):
        self._ends = list(ends)

    async def turn(self, request):
        yield TurnDelta("text", "12")
        end = self._ends.pop(0)
        if end is not None:
            yield end


async def test_a_reply_without_an_end_is_a_failure():
    end = (await events_of(Cut(None)))[-1]
    assert (end.type, end.exit_code) == ("run_failed", 3) and "cut stopped in the middle" in end.message


async def test_the_ledger_says_how_it_knows():
    first = TurnEnd("", "12", calls(BOX), (), "stop", TurnUsage(9, 4, 5, 2, 100.0, estimated=True), "reasked")
    last = TurnEnd("", "12", (), (), "stop", TurnUsage(20, 9, 0, 2, 50.0))
    ledger = (await events_of(Cut(first, last)))[-1].ledger
    assert (ledger.estimated, ledger.budget_enforced, ledger.flops) == (True, "reasked", 150.0)
    assert (ledger.prompt_tokens, ledger.cached_tokens) == (29, 13)
    unknown = TurnEnd("", "12", (), (), "stop", TurnUsage(20, 9, 0, 2))
    assert (await events_of(Cut(first, unknown)))[-1].ledger.flops is None


@pytest.mark.parametrize("mode", ["instant", "thinking"])
async def test_over_the_embedded_model_a_run_is_reproducible(tiny_folder, mode):
    """It knows nothing, and still every event is in its place and the budget holds."""
    backend = LocalBackend.open(tiny_folder, device="cpu")
    budget = Budget(answer_tokens=12) if mode == "instant" else Budget(answer_tokens=12, think_tokens=20, tool_calls=2)

    async def once(**how):
        found = await events_of(backend, mode, budget, **how)
        assert found[-1].ledger.thought_tokens <= 20
        kinds = ("thought_delta", "answer_delta")  # how many tokens an event brings, is a matter of speed
        return ["".join(event.text for event in found if event.type == kind) for kind in kinds]

    assert await once() == await once()
    hot = {"temperature": 1.5}
    assert await once(**hot, seed=1) == await once(**hot, seed=1) != await once(**hot, seed=2)


async def test_closing_or_cancelling_a_run_stops_its_work_within_a_second(tiny_folder, monkeypatch):
    backend = LocalBackend.open(tiny_folder, device="cpu")
    decode = backend.model.decode

    def late(*arguments):
        time.sleep(0.1)
        return decode(*arguments)

    monkeypatch.setattr(backend.model, "decode", late)
    gallery = Gallery(MemoryBlobs())
    asked = Conversation(messages=(Message(role="user", parts=(TextPart(text="What?"),)),))

    async def watch(is_impatient):
        async with aclosing(run(asked, "thinking", None, backend, gallery=gallery)) as stream:
            async for event in stream:
                if event.type == "thought_delta" and is_impatient:
                    return

    for is_impatient in (True, False):
        task = asyncio.create_task(watch(is_impatient))
        await asyncio.sleep(0.4)
        began = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name == "narthex-generate"]
