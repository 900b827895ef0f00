"""`ask` and `demo` over a model that follows a script."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError
from narthex.cli import main
from narthex.cli.demo import draw_item
from narthex.evals.worlds import get_world
from narthex.store import Store

from .cli_helpers import looks_once


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stdin", None)
    Image.new("RGB", (256, 256), "navy").save(tmp_path / "panel.png")
    return tmp_path / "home"


@pytest.fixture
def answering(monkeypatch):
    """Give `narthex` a model that does as its script says."""

    def use(script) -> ScriptedBackend:
        backend = ScriptedBackend(script, name="scripted")
        monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: backend)
        return backend

    return use


def test_a_run_is_shown_and_kept(answering, capsys, home):
    answering(looks_once("347 bar"))
    assert main(["ask", "What does gauge C read?", "--image", "panel.png"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "347 bar\n"
    assert shown.err.splitlines()[:3] == [
        "Find C.",
        "look 1: box 250,500..500,750 of picture 0 (64 x 64 px)",
        "C reads it.",
    ]
    with Store.open(home) as store:
        (run,) = store.runs()
        assert (run.status, run.question, run.mode) == ("done", "What does gauge C read?", "thinking")
        assert sum(event.type == "tool_finished" for event in store.events(run.id)) == 1


def test_json_is_one_object_and_silence_around_it(answering, capsys, home):
    answering(looks_once("347 bar"))
    assert main(["ask", "C?", "-a", "panel.png", "--json", "--events", "--no-save"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["answer"], found["mode"], found["finish_reason"]) == ("347 bar", "thinking", "stop")
    assert found["ledger"]["looks"] == 1
    assert [found["events"][place]["type"] for place in (0, -1)] == ["run_started", "run_finished"]
    assert shown.err == "" and not home.exists()


def test_everything_said_reaches_the_model(answering, monkeypatch):
    backend = answering(lambda _: Said(text="ok"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("from a pipe: °\n".encode())))
    options = ["-o", "temperature", "0.5", "-o", "top_p=0.9", "--seed", "7", "--max-think", "9"]
    assert main(["ask", "Read this.", "-s", "Be brief.", *options]) == 0
    (request,) = backend.requests
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "Read this.\n\nfrom a pipe: °"),
    ]
    assert (request.temperature, request.top_p, request.seed, request.think_tokens) == (0.5, 0.9, 7, 9)


def test_a_pipe_alone_is_the_question_and_instant_does_not_think(answering, monkeypatch):
    backend = answering(lambda _: Said(text="ok"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"What is this?\n")))
    assert main(["ask", "--mode", "instant"]) == 0
    (request,) = backend.requests
    assert request.messages[-1].text == "What is this?" and not request.thinking and not request.tools


@pytest.mark.parametrize("is_right", [True, False])
def test_the_demo_judges_every_answer_against_the_exact_one(answering, capsys, home, is_right):
    item = draw_item(7).item
    assert (item.kind, item.legible) == ("read", False)
    answering(lambda request: Said(text=item.answer if request.thinking == is_right else "nothing"))
    assert main(["demo", "--seed", "7"]) == 0
    out = capsys.readouterr().out
    verdicts = re.findall(r"^(right|wrong) \(exact answer: (.*?)\)", out, re.MULTILINE)
    thinking, instant = ("right", "wrong") if is_right else ("wrong", "right")
    assert verdicts == [(each, item.answer) for each in (instant, thinking, thinking)]
    assert item.question in out and "seed 7" in out and "\x1b" not in out
    with Image.open(home / "demo-7.png") as picture:
        assert picture.size == item.picture.size
    commands = out.rstrip().splitlines()[-2:]
    assert "ask" in commands[0] and commands[1].split()[-1] == "8"


def test_a_mode_that_fails_does_not_end_the_demo(answering, capsys, home):
    def script(request):
        if not request.thinking:
            raise BackendError("no room for it")
        return Said(text="nothing")

    answering(script)
    assert main(["demo", "--seed", "7"]) == 0
    verdicts = re.findall(r"^(failed|right|wrong) \(exact answer", capsys.readouterr().out, re.MULTILINE)
    assert verdicts == ["failed", "wrong", "wrong"]


def test_the_example_is_what_its_script_draws():
    folder = Path(__file__).parents[2] / "examples"
    item = get_world("panels").item(20261122, 53041, split="test")
    assert f'WORLD, SEED, INDEX = "{item.world}", 20261122, 53041' in (folder / "draw.py").read_text()
    assert (folder / "panel.txt").read_text(encoding="utf-8") == item.question + "\n"
    with Image.open(folder / "panel.png") as picture:
        difference = np.abs(np.asarray(picture.convert("RGB"), dtype=float) - np.asarray(item.picture, dtype=float))
    # Not to the last bit: another version of the font engine may shade an edge otherwise.
    assert difference.mean() < 1
