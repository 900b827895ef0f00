"""`narthex` from outside: streams, exit codes, JSON, what is kept. What the tiny model says does not matter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from narthex.chat import parse_event
from narthex.cli import main
from narthex.store import Store

PANEL = str(Path(__file__).parents[2] / "examples" / "panel.png")
QUESTION = "What does gauge C read?"
SHORT = ("--max-think", "6", "-o", "answer_tokens", "6", "-o", "tool_calls", "1")


def home_of(environment) -> Path:
    return Path(environment["NARTHEX_HOME"])


def test_a_picture_is_asked_about_and_the_run_is_kept(narthex, tiny_model, environment):
    done = narthex("ask", QUESTION, "--image", PANEL, "-m", str(tiny_model), "--json", "--events", *SHORT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"answer", "mode", "model", "finish_reason", "ledger", "events"} <= set(found)
    assert (found["mode"], found["model"]) == ("thinking", "tiny")
    assert found["ledger"]["prompt_tokens"] > 16 and 0 < found["ledger"]["thought_tokens"] <= 2 * 6 + 2
    events = [parse_event(event) for event in found["events"]]
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[-1].answer == found["answer"]
    with Store.open(home_of(environment)) as store:
        (run,) = store.runs()
        assert run.status == "done" and store.events(run.id) == events
    assert any(path.is_file() for path in (home_of(environment) / "blobs").rglob("*"))


def test_greedy_is_repeated_and_a_seed_is_honoured(tiny_model, monkeypatch, capsys):
    # In this process: five times the import of torch would say nothing more.
    monkeypatch.setattr("sys.stdin", None)

    def ask(*more: str) -> str:
        limits = ("--mode", "instant", "-o", "answer_tokens", "12", "--no-save")
        assert main(["ask", "C?", "-m", str(tiny_model), *limits, *more]) == 0
        shown = capsys.readouterr()
        assert re.match(r"0 looks, 0 thought \+ \d+ answer tokens", shown.err.splitlines()[-1])
        assert "\x1b" not in shown.out + shown.err
        return shown.out

    assert ask() == ask()
    first, again, other = (ask("-o", "temperature", "1.5", "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again != other


def test_text_from_a_pipe_is_the_question(narthex, tiny_model, environment):
    done = narthex("ask", "-m", str(tiny_model), "--mode", "instant", "-o", "answer_tokens", "4", stdin=b"What is C?\n")
    assert done.returncode == 0, done.stderr
    with Store.open(home_of(environment)) as store:
        assert store.runs()[0].question == "What is C?"


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (("--image", __file__), b"", "not a picture"),
        (("--mode", "instant"), b"far too much to read\n" * 5000, "tokens"),
    ],
    ids=["no picture", "context overflow"],
)
def test_what_is_wrong_is_said_in_two_lines(narthex, tiny_model, environment, arguments, stdin, error):
    done = narthex("ask", QUESTION, "-m", str(tiny_model), *arguments, stdin=stdin)
    assert done.returncode == 2 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]  # first opening
    assert len(lines) == 2 and lines[0].startswith("error: ") and error in lines[0] and lines[1].startswith("hint: ")
    if home_of(environment).exists():
        with Store.open(home_of(environment)) as store:
            assert [run.status for run in store.runs()] in ([], ["failed"])


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_ends_with_130_and_the_run_is_marked(endless_model, environment, tmp_path):
    command = [sys.executable, "-m", "narthex.cli", "ask", "C?", "-m", str(endless_model)]
    process = subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        # Its thought goes on for thousands of tokens; some of it is on disk before any of it is seen.
        while True:
            seen = os.read(process.stderr.fileno(), 4096)
            assert seen, "it ended before it was interrupted"
            if b"WARNING" not in seen and seen.strip():
                break
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert out == b"" and b"Traceback" not in err and err.endswith(b"interrupted\n")
    with Store.open(home_of(environment)) as store:
        (run,) = store.runs()
        assert run.status == "cut" and store.cut_on_open == ()
        assert len(store.events(run.id)) > 2


def test_eval_prints_the_object_of_the_design(narthex, tiny_model):
    done = narthex(
        "eval", "worlds.panels", "--mode", "instant", "--limit", "2", "--seed", "3", "-m", str(tiny_model), "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["task"], found["seed"], found["n"], found["model"]) == ("worlds.panels", 3, 2, "tiny")
    assert {"accuracy", "low", "high", "tokens_mean", "seconds_mean"} <= set(found["modes"]["instant"])


def test_demo_draws_asks_and_judges(narthex, tiny_model, environment):
    done = narthex("demo", "--seed", "11", "-m", str(tiny_model))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("exact answer: ") == 3 and "seed 11" in done.stdout
    assert (home_of(environment) / "demo-11.png").is_file()
