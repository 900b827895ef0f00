"""`trace` and `logs`: what is kept of a run, read back from its events."""

from __future__ import annotations

import json

import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError
from narthex.chat import (
    AgentFinished,
    AgentLedger,
    AgentStarted,
    AnswerDelta,
    AnswerStarted,
    ApprovalAsked,
    ApprovalGiven,
    FilePart,
    ImagePart,
    Ledger,
    RunFailed,
    RunFinished,
    RunStarted,
    TextPart,
    ThoughtDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from narthex.cli import main
from narthex.cli.tree import lines_of, trace_of
from narthex.store import Store

from .cli_helpers import require_refusal
from .test_cli_board import Script, a_run, answered

LOOK = ToolCall(id="1", name="zoom", arguments={"box": [250, 500, 500, 750], "image": 0})
SUM = ToolCall(id="1", name="python", arguments={"code": "print(1 + 1)\n" * 40})
CROP = ImagePart(sha256="0" * 64, media_type="image/png", width=64, height=60)
FILE = FilePart(sha256="1" * 64, name="sums.csv", num_bytes=1234)
ROW = {"id": "abc123", "mode": "thinking", "model": "nano", "status": "done", "question": "C?"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stdin", None)
    return tmp_path / "home"


def use_scripted(monkeypatch, script):
    backend = ScriptedBackend(script, name="scripted")
    monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: backend)


def solo() -> Script:
    run = Script().add(RunStarted, mode="thinking", model="nano", question="C?", tools=("zoom", "python"), seed=7)
    run.add(AgentStarted, "agent-0", seed=7, temperature=0.5).add(ThoughtDelta, "agent-0", text="Find C.")
    run.add(ToolStarted, "agent-0", call=LOOK)
    run.add(ToolFinished, "agent-0", call_id="1", name="zoom", parts=(CROP,), seconds=0.02)
    run.add(ThoughtDelta, "agent-0", text="Now ").add(ThoughtDelta, "agent-0", text="add.")
    run.add(AnswerStarted, "agent-0").add(AnswerDelta, "agent-0", text="Wait.")
    second = SUM.model_copy(update={"id": "2"})
    run.add(ToolStarted, "agent-0", call=second).add(ApprovalAsked, "agent-0", call=second)
    return run.add(ApprovalGiven, "agent-0", call_id="2", is_allowed=True, by="person")


def done() -> Script:
    run = solo().add(
        ToolFinished, "agent-0", call_id="2", name="python", parts=(TextPart(text="2\n" * 200), FILE), seconds=1.5
    )
    run.add(AnswerStarted, "agent-0").add(AnswerDelta, "agent-0", text="347 bar")
    share = AgentLedger(agent_id="agent-0", prompt_tokens=310, cached_tokens=96, thought_tokens=24, answer_tokens=30,
                        tool_calls=2, looks=1, seconds=2.5)  # fmt: skip
    run.add(AgentFinished, "agent-0", answer="347 bar", ledger=share, confidence=0.875)
    return run.add(RunFinished, answer="347 bar", ledger=Ledger.total([share], seconds=2.6))


def test_one_agent_s_turns_calls_tokens_and_seconds():
    found = trace_of(done().events)
    (round_,) = found["rounds"]
    (agent,) = round_["agents"]
    assert (agent["ledger"]["thought_tokens"], agent["seconds"], agent["confidence"]) == (24, 2.5, 0.875)
    first, second, third = agent["turns"]
    assert [turn["thought_characters"] for turn in (first, second, third)] == [7, 8, 0]
    assert [turn["text_characters"] for turn in (first, second, third)] == [0, 5, 7]
    (look,), (sums,) = first["calls"], second["calls"]
    assert (look["arguments"]["box"], look["seconds"], look["pictures"][0]["width"]) == ([250, 500, 500, 750], 0.02, 64)
    assert (sums["approval"]["by"], sums["files"][0]["name"], sums["text"]) == ("person", "sums.csv", "2\n" * 200)
    assert (found["answer"], found["ledger"]["looks"], found["seed"]) == ("347 bar", 1, 7)
    json.dumps(found, allow_nan=False)


def test_the_tree_is_short_lines_for_people():
    lines = list(lines_of({**ROW, **trace_of(done().events)}))
    assert lines[0] == "run abc123  thinking, nano  done"
    assert lines[2] == "with: seed 7, tools zoom, python"
    tree = lines[3:-2]
    assert tree[0].startswith("└─ agent-0: 347 bar  [24 thought + 30 answer tokens, prompt 310 (96 cached), 2.5 s")
    assert tree[1:3] == [
        "   ├─ turn 1 at 0.2 s: 7 characters of thought, 1 call",
        "   │  └─ zoom: box 250,500..500,750 of picture 0 -> 64 x 60 px  [0.02 s]",
    ]
    assert "allowed by a person -> file sums.csv, 1,234 bytes; 2 2" in tree[4]
    assert lines[-2:] == [
        "answer: 347 bar",
        "took: 1 look, 24 thought + 30 answer tokens, prompt 310 (96 cached), 2.6 s, 2 calls",
    ]
    assert max(map(len, lines)) < 350


def test_rounds_agreement_and_failures_of_several_agents():
    found = trace_of(answered(a_run()).events)
    assert [(each["round"], each["purpose"], len(each["agents"])) for each in found["rounds"]] == [
        (0, "propose", 4), (1, "answer", 1)
    ]  # fmt: skip
    proposers = found["rounds"][0]["agents"]
    assert [agent["error"] for agent in proposers] == [None, None, None, "the server went away"]
    assert found["rounds"][0]["agreement"][0]["probability"] == 0.81
    text = "\n".join(lines_of({**ROW, **found}))
    assert "├─ round 1: propose" in text and "└─ round 2: answer" in text
    assert "│  ├─ agent-3 (proposer): failed: the server went away" in text
    assert "│  └─ agreement: 347 bar 2 (81% that the first stays first)" in text
    assert "   └─ agent-4 (aggregator): 347 bar" in text


def test_calls_of_two_agents_may_have_the_same_id():
    run = Script().add(RunStarted, mode="contemplating", model="nano")
    for agent in ("a", "b"):
        run.add(AgentStarted, agent, role="proposer").add(ToolStarted, agent, call=LOOK)
    for agent, seconds in (("a", 1.0), ("b", 2.0)):
        run.add(ToolFinished, agent, call_id="1", name="zoom", parts=(CROP,), seconds=seconds)
    agents = trace_of(run.events)["rounds"][0]["agents"]
    assert [agent["turns"][0]["calls"][0]["seconds"] for agent in agents] == [1.0, 2.0]


@pytest.mark.parametrize("count", range(1, 12))
def test_a_run_that_was_cut_anywhere_is_shown_with_what_it_has(count):
    events = solo().events[:count]
    found = trace_of(events)
    lines = list(lines_of({**ROW, "status": "cut", **found}))
    assert any(line.startswith("cut after") for line in lines) and lines[-1] == f"took at least: {events[-1].t:.1f} s"
    json.dumps(found, allow_nan=False)
    if count > 9:
        assert any("with this of an answer: Wait." in line for line in lines)
        assert any(line.endswith("(cut)") and "python" in line for line in lines)


def test_what_was_spent_before_the_cut_is_summed():
    lines = list(lines_of({**ROW, "status": "cut", **trace_of(a_run().events)}))
    assert lines[-1].startswith("took at least: 4 agents, 0 looks, 320 thought + 20 answer tokens")


def test_a_run_that_failed_says_why_and_what_it_took():
    run = Script().add(RunStarted, mode="thinking", model="nano")
    run.add(RunFailed, message="the server\x1b[2J went away", hint="start it", ledger=Ledger(prompt_tokens=9))
    lines = list(lines_of({**ROW, "status": "failed", **trace_of(run.events)}))
    assert "failed: the server[2J went away (start it)" in lines and "prompt 9" in lines[-1]


def test_a_kept_run_is_found_by_the_beginning_of_its_id(monkeypatch, capsys, home):
    use_scripted(monkeypatch, lambda request: Said(text=request.messages[-1].text))
    for question in ("one", "two"):
        assert main(["ask", question]) == 0
    with Store.open(home) as store:
        second, first = store.runs()
    capsys.readouterr()
    assert main(["trace", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["answer"], found["status"]) == (second.id, "two", "done")
    assert main(["trace", first.id[:10]]) == 0
    assert "answer: one\n" in capsys.readouterr().out
    assert main(["trace", "zzz"]) == 2
    require_refusal(capsys.readouterr().err, error="no run 'zzz'", hint="narthex logs")
    assert main(["trace", ""]) == 2
    require_refusal(capsys.readouterr().err, error="2 runs begin with", hint=first.id[:8])


def test_logs_lists_what_is_kept(monkeypatch, capsys, home):
    def script(request) -> Said:
        if request.messages[-1].text == "break":
            raise BackendError("gone")
        return Said(text="ok")

    assert main(["logs"]) == 0
    assert capsys.readouterr().out == f"runs are kept: {home / 'narthex.db'}\n"
    use_scripted(monkeypatch, script)
    assert [main(["ask", question]) for question in ("first \x1b[2J" + "long " * 30, "break")] == [0, 3]
    capsys.readouterr()
    assert main(["logs"]) == 0
    out = capsys.readouterr().out
    with Store.open(home) as store:
        last, first = store.runs()
    assert f"\n  {last.id[:8]}  " in out and "break (failed)" in out and f"\n  {first.id[:8]}  " in out
    assert "\x1b" not in out and max(map(len, out.splitlines()[1:])) <= 100, "after the line with the folder's name"
    assert main(["logs", "-n", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ([run["id"] for run in found["runs"]], found["kept"]) == ([last.id], True)
    assert [record["num_turns"] for record in found["conversations"]] == [1]
    assert main(["logs", "path"]) == 0
    assert capsys.readouterr().out == f"{home / 'narthex.db'}\n"


def test_keeping_is_switched_off_and_on_and_one_run_may_differ(monkeypatch, capsys, home):
    use_scripted(monkeypatch, lambda _: Said(text="ok"))
    assert main(["logs", "off"]) == 0
    assert "not kept" in capsys.readouterr().out
    assert main(["ask", "one"]) == 0
    assert not (home / "narthex.db").exists()
    assert main(["ask", "two", "--save"]) == 0
    assert main(["logs", "on"]) == 0
    assert main(["ask", "three"]) == main(["ask", "four", "--no-save"]) == 0
    with Store.open(home) as store:
        assert [run.question for run in store.runs()] == ["three", "two"]


def test_a_home_that_cannot_be_written_is_one_line(capsys, home):
    home.write_text("a file where a folder should be")
    assert main(["logs", "off"]) == 2
    require_refusal(capsys.readouterr().err, error="cannot write", hint="NARTHEX_HOME")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["logs", "of"], "unknown action 'of'"), (["logs", "-n", "-1"], "--count is -1"), (["trace"], "no run is kept")],
)
def test_what_is_wrong_is_said_in_two_lines(arguments, error, capsys, home):
    assert main(arguments) == 2
    require_refusal(capsys.readouterr().err, error=error, hint=".+")
    assert not home.exists()
