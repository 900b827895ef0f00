"""What a run looks like, from its events: in a pipe and in a terminal."""

from __future__ import annotations

import io

import pytest

from narthex.chat import (
    AnswerDelta,
    AnswerStarted,
    ImagePart,
    Ledger,
    RunFinished,
    RunStarted,
    TextPart,
    ThoughtDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from narthex.cli.show import Teller, result_json

from .cli_helpers import Terminal

STAMP = {"run_id": "r", "seq": 0, "t": 0.0}
AGENT = {**STAMP, "agent_id": "a"}
LEDGER = Ledger(prompt_tokens=310, thought_tokens=24, answer_tokens=3, tool_calls=1, looks=1, seconds=0.94)
CROP = ImagePart(sha256="0" * 64, media_type="image/png", width=64, height=60)
CALL = ToolCall(id="1", name="zoom", arguments={"box": [250, 500, 500, 750], "image": 0})


def run_of(*middle, answer="347 bar", tools=("zoom",), finish_reason="stop"):
    start = RunStarted(**STAMP, mode="thinking", model="nano", tools=tools)
    return [start, *middle, RunFinished(**STAMP, answer=answer, ledger=LEDGER, finish_reason=finish_reason)]


def say(text):
    return [AnswerStarted(**STAMP), AnswerDelta(**STAMP, text=text)]


LOOK = [ToolStarted(**AGENT, call=CALL), ToolFinished(**AGENT, call_id="1", name="zoom", parts=(CROP,))]
LOOKING = [ThoughtDelta(**AGENT, text="Find "), ThoughtDelta(**AGENT, text="C."), *LOOK, *say("347 bar")]


def show(events, out, err):
    teller = Teller(out, err)
    for event in events:
        teller.show(event)
    return out.getvalue(), err.getvalue()


def test_a_pipe_gets_the_answer_and_stderr_the_rest_without_control_codes():
    out, err = show(run_of(*LOOKING), io.StringIO(), io.StringIO())
    assert out == "347 bar\n"
    assert err == (
        "Find C.\n"
        "look 1: box 250,500..500,750 of picture 0 (64 x 60 px)\n"
        "1 look, 24 thought + 3 answer tokens, prompt 310, 0.9 s\n"
    )


def test_what_was_withdrawn_never_reaches_a_pipe():
    out, _ = show(run_of(*say("Wait, let me look."), *LOOK, *say("347 bar")), io.StringIO(), io.StringIO())
    assert out == "347 bar\n"


def test_a_terminal_streams_and_marks_what_was_withdrawn():
    screen = Terminal()
    show(run_of(*say("Wait."), *LOOK, *say("347 bar")), screen, screen)
    lines = [line.removeprefix("\x1b[2m").removesuffix("\x1b[0m") for line in screen.getvalue().splitlines()]
    assert lines[0] == "Wait."
    assert lines[1].startswith("look 1:")
    assert lines[2:4] == ["(said before a tool call, and withdrawn)", "347 bar"]


def test_without_tools_a_pipe_streams_too():
    out = io.StringIO()
    teller = Teller(out, io.StringIO())
    for event in run_of(*say("347"), tools=())[:-1]:
        teller.show(event)
    assert out.getvalue() == "347"


def test_thought_is_dim_only_where_colour_is_wanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[2mFind \x1b[0m" in show(run_of(*LOOKING), io.StringIO(), Terminal())[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in show(run_of(*LOOKING), Terminal(), Terminal())[1]


def test_a_model_cannot_drive_the_terminal_and_a_file_gets_what_it_wrote():
    nasty = "\x1b]0;owned\x07\u009b2Jbar"
    events = run_of(ThoughtDelta(**AGENT, text=nasty), *say(nasty), answer=nasty)
    out, err = show(events, Terminal(), io.StringIO())
    assert out == "]0;owned2Jbar\n" and "\x1b" not in err
    assert show(events, io.StringIO(), io.StringIO())[0] == nasty + "\n"


def test_a_refused_call_and_a_cut_reply_are_said():
    refused = ToolFinished(
        **AGENT, call_id="1", name="zoom", parts=(TextPart(text="error: zoom: box [1] is\nshort"),), is_error=True
    )
    unread = refused.model_copy(update={"name": "unreadable"})
    _, err = show(run_of(refused, unread, answer="", finish_reason="length"), io.StringIO(), io.StringIO())
    assert "zoom refused: box [1] is short\n" in err
    assert "call refused: zoom: box [1] is short\n" in err
    assert "(cut: the room for the reply ran out)\n" in err


def test_a_warning_never_breaks_an_answer_in_a_pipe():
    out = io.StringIO()
    teller = Teller(out, io.StringIO())
    start, begin, delta, end = run_of(*say("347"), tools=(), answer="347")
    for event in (start, begin, delta):
        teller.show(event)
    teller.warn("the disk is full")
    teller.show(delta)
    teller.show(end)
    assert out.getvalue() == "347347\n"


@pytest.mark.parametrize("with_events", [True, False])
def test_the_json_object_has_the_fields_of_the_design(with_events):
    events = run_of(*LOOKING)
    found = result_json(events[0], events[-1], events if with_events else None)
    assert {"answer", "mode", "model", "finish_reason", "ledger"} <= set(found)
    assert {
        "prompt_tokens", "cached_tokens", "thought_tokens", "answer_tokens", "tool_calls", "looks", "agents", "rounds",
        "seconds", "critical_path_s",
    } <= set(found["ledger"])  # fmt: skip
    assert ("events" in found) == with_events
