"""Several agents at once: lines that are written over in a terminal, and lines that stay, there and in a pipe."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from rich.cells import cell_len

from narthex.base.log import get_logger, setup_logging
from narthex.chat import (
    AgentFinished,
    AgentLedger,
    AgentStarted,
    AgentTextDelta,
    Agreement,
    AnswerDelta,
    AnswerStarted,
    ApprovalAsked,
    ImagePart,
    Ledger,
    RoundStarted,
    RunFailed,
    RunFinished,
    RunStarted,
    ThoughtDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
    Waiting,
)
from narthex.cli.stage import Stage

from .cli_helpers import Terminal, screen_of

CROP = ImagePart(sha256="0" * 64, media_type="image/png", width=64, height=60)
LOOK = ToolCall(id="1", name="zoom", arguments={"box": [250, 500, 500, 750], "image": 0})
NASTY = "\x1b[2J\x1b]0;owned\x07 weit\n\nund breit " + "数字" * 60


class Script:
    """Events in order: `seq` and `t` count up by themselves."""

    def __init__(self) -> None:
        self.seq = itertools.count()
        self.events: list = []

    def add(self, kind, agent_id=None, **more):
        number = next(self.seq)
        who = {} if agent_id is None else {"agent_id": agent_id}
        self.events.append(kind(run_id="r", seq=number, t=number / 10, **who, **more))
        return self

    def ended(self, agent_id, answer, **more):
        ledger = AgentLedger(agent_id=agent_id, thought_tokens=80, answer_tokens=5, seconds=3.2)
        return self.add(AgentFinished, agent_id, answer=answer, ledger=ledger, **more)


def a_run(*, long: str = "") -> Script:
    """Four agents: one agrees after a look, one fails, one is stopped; then somebody reads them and answers."""
    run = Script().add(RunStarted, mode="contemplating", model="nano", tools=("zoom",))
    run.add(RoundStarted, round=0, purpose="propose")
    for number in range(4):
        run.add(AgentStarted, f"agent-{number}", role="proposer", seed=number, temperature=0.8)
    run.add(ThoughtDelta, "agent-0", text="Find C." + long)
    run.add(ToolStarted, "agent-0", call=LOOK)
    run.add(ToolFinished, "agent-0", call_id="1", name="zoom", parts=(CROP,))
    run.add(AgentTextDelta, "agent-1", text="347" + long)
    run.ended("agent-0", "347 bar" + long)
    run.add(Waiting, quiet_s=5.0, agents=("agent-1", "agent-2"))
    run.ended("agent-1", "347 bar")
    run.add(Agreement, tally={"347 bar": 2.0}, probability=0.81)
    run.ended("agent-2", "", finish_reason="cancelled", error=None)
    run.ended("agent-3", "", error="the server went away" + long)
    run.add(RoundStarted, round=1, purpose="answer")
    run.add(AgentStarted, "agent-4", role="aggregator", round=1)
    run.add(ThoughtDelta, "agent-4", text="Two say 347.")
    return run


def answered(run: Script, *, calls_again: bool = False) -> Script:
    if calls_again:
        run.add(AnswerStarted, "agent-4").add(AnswerDelta, "agent-4", text="Let me look.")
        run.add(ToolStarted, "agent-4", call=LOOK)
        run.add(ToolFinished, "agent-4", call_id="1", name="zoom", parts=(CROP,))
    run.add(AnswerStarted, "agent-4").add(AnswerDelta, "agent-4", text="347 ")
    run.add(Waiting, quiet_s=2.0, agents=("agent-4",))
    run.add(AnswerDelta, "agent-4", text="bar").ended("agent-4", "347 bar")
    return run.add(RunFinished, answer="347 bar", ledger=Ledger(agents=5, rounds=2, looks=1, seconds=4.0))


def show(run: Script, out, err) -> Stage:
    stage = Stage(out, err)
    for event in run.events:
        stage.show(event)
    return stage


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_pipe_gets_a_line_for_each_agent_when_it_is_done():
    out, err = io.StringIO(), io.StringIO()
    show(answered(a_run()), out, err)
    assert out.getvalue() == "347 bar\n"
    lines = err.getvalue().splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "round 1: propose",
        "agent-0 347 bar 85 tokens 3.2 s",
        "still working (5 s)",
        "agent-1 347 bar 85 tokens 3.2 s",
        "agreement: 347 bar 2 (81% that the first stays first)",
        "agent-2 no answer (stopped) 85 tokens 3.2 s",
        "agent-3 failed: the server went away 85 tokens 3.2 s",
        "round 2: answer",
        "agent-4 read them all and answered 85 tokens 3.2 s",
        "5 agents in 2 rounds, 1 look, 0 thought + 0 answer tokens, prompt 0, 4.0 s",
    ]
    assert "\x1b" not in err.getvalue()


def test_a_terminal_sees_who_is_at_work_and_what_each_does():
    screen = Terminal()
    run = a_run()
    stage = Stage(screen, screen)
    doing: list[str] = []
    for event in run.events:
        stage.show(event)
        if stage._board is not None and stage._board._live is not None:
            stage._board._live.refresh()
        doing.append("\n".join(screen_of(screen.getvalue())))
    stage.close()
    by_type = {(event.type, event.agent_id): text for event, text in zip(run.events, doing, strict=True)}
    assert "agent-0  thinking" in by_type["thought_delta", "agent-0"]
    assert "agent-3  starting" in by_type["thought_delta", "agent-0"]
    assert "agent-0  looking at box 250,500..500,750 of picture 0" in by_type["tool_started", "agent-0"]
    assert "agent-1  answering" in by_type["agent_text_delta", "agent-1"]
    assert "still working (5 s)" in by_type["waiting", None]
    assert "agent-4  thinking" in by_type["thought_delta", "agent-4"]
    # Done agents have one line each, once, and nothing of the lines written over is left.
    last = screen_of(screen.getvalue())
    assert [line.split()[0] for line in last if line.startswith("agent-")] == [f"agent-{n}" for n in range(5)]
    assert not [line for line in last if "still working" in line or (line.startswith("agent-4") and "cut" not in line)]


@pytest.mark.parametrize("columns", [80, 50])
def test_nothing_is_garbled_however_much_is_said_and_however_narrow(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Terminal()
    run = answered(a_run(long=NASTY), calls_again=True)
    stage = Stage(screen, screen)
    for event in run.events:
        stage.show(event)
        if stage._board is not None and stage._board._live is not None:
            stage._board._live.refresh()
    lines = screen_of(screen.getvalue(), columns)
    ours = [line for line in lines if line.startswith("agent-")]
    assert [line.split()[0] for line in ours] == [f"agent-{number}" for number in range(5)]
    assert all(cell_len(line) < columns for line in ours), "wide signs take two columns"
    assert all(line.endswith(" 3.2 s") for line in ours), "seconds stay in sight"
    assert "Let me look." in lines and "347 bar" in lines, "what is said has lines of its own"


def test_waiting_never_breaks_an_answer_that_streams():
    screen = Terminal()
    show(answered(a_run()), screen, screen)
    assert "347 bar" in screen_of(screen.getvalue())


def test_the_board_comes_back_when_what_was_said_was_no_answer():
    screen = Terminal()
    stage = Stage(screen, screen)
    for event in answered(a_run(), calls_again=True).events:
        stage.show(event)
        if event.type in ("tool_started", "answer_started") and event.agent_id == "agent-4":
            assert (stage._board._live is not None) == (event.type == "tool_started")


def test_a_warning_from_below_stands_above_those_at_work():
    screen = Terminal()
    setup_logging(stream=screen)
    stage = Stage(screen, screen)
    try:
        for event in answered(a_run()).events:
            stage.show(event)
            if stage._board is not None and stage._board._live is not None:
                get_logger("backends").warning("the server said no to %s", event.seq)
                stage._board._live.refresh()
        get_logger("backends").warning("afterwards")
    finally:
        setup_logging()
    lines = screen_of(screen.getvalue())
    warned = [line for line in lines if line.startswith("WARNING narthex.backends: the server said no to ")]
    assert len(warned) > 5 and "WARNING narthex.backends: afterwards" in lines
    assert len([line for line in lines if line.startswith("agent-")]) == 5, "nothing is left of what was written over"


def test_no_colour_where_none_is_wanted_and_no_board_on_a_dumb_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    show(answered(a_run()), screen, screen)
    codes = re.findall(r"\x1b\[[?\d;]*([A-Za-z])", screen.getvalue())
    assert "m" not in codes and "K" in codes, "lines are written over, and nothing has a colour"
    monkeypatch.setenv("TERM", "dumb")
    screen = Terminal()
    show(answered(a_run()), screen, screen)
    assert "\x1b" not in screen.getvalue()


def test_what_is_cut_says_what_each_was_doing():
    out, err = io.StringIO(), io.StringIO()
    run = Script().add(RunStarted, mode="contemplating", model="nano").add(AgentStarted, "agent-0", role="proposer")
    run.add(ThoughtDelta, "agent-0", text="Find C.")
    show(run, out, err).close()
    assert " ".join(err.getvalue().split()).startswith("agent-0 cut while thinking 7 chars")
    assert out.getvalue() == ""


def test_a_run_that_fails_leaves_no_agent_on_the_screen():
    screen = Terminal()
    run = Script().add(RunStarted, mode="contemplating", model="nano").add(AgentStarted, "agent-0", role="proposer")
    run.add(RunFailed, message="all failed")
    stage = show(run, screen, screen)
    assert stage._board._live is None and "cut while starting" in screen.getvalue()


def test_a_held_stage_shows_nothing_until_it_is_released():
    err = io.StringIO()
    run = Script().add(RunStarted, mode="thinking", model="nano").add(ThoughtDelta, "agent-0", text="Find C.")
    stage = show(run, io.StringIO(), err)
    stage.hold()
    assert err.getvalue() == "Find C.\n", "a line of its own for whoever writes now"
    for event in Script().add(ThoughtDelta, "agent-0", text="It is 3.").events:
        stage.show(event)
    assert err.getvalue() == "Find C.\n"
    stage.release()
    assert err.getvalue() == "Find C.\nIt is 3."


async def test_a_person_is_asked_after_what_led_there_was_shown():
    stage = Stage(io.StringIO(), io.StringIO())
    for event in Script().add(RunStarted, mode="thinking", model="n").add(ApprovalAsked, "agent-0", call=LOOK).events:
        stage.show(event)
    await stage.until_asked("1")
