"""`narthex eval` end to end: a server on this machine that knows the answers, pages, comparisons, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from narthex.backends.fake_server import FakeServer, Reply
from narthex.cli import main
from narthex.evals.task import get_task

SEED, LIMIT = 5, 8


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def knows(task: str) -> Any:
    """A server's script: right wherever it is offered tools, and wrong without."""
    answers = {item.question: item.answer for item in (get_task(task).item(SEED, index) for index in range(LIMIT))}

    def script(body: dict[str, Any]) -> Reply:
        asked = next(message for message in body["messages"] if message["role"] == "user")["content"]
        question = asked if isinstance(asked, str) else next(part["text"] for part in asked if part["type"] == "text")
        question = question.removesuffix("\n\nPicture 0:")
        thinks = bool(body.get("tools"))
        return Reply(text=answers[question] if thinks else "I do not know.", thought="Let me see." if thinks else "")

    return script


def test_any_model_behind_a_server_climbs_the_ladder(capsys, tmp_path):
    with FakeServer(knows("worlds")) as server:
        arguments = ["eval", "worlds", "--upstream", server.url, "-m", "large", "--mode", "instant,thinking"]
        arguments += ["--limit", str(LIMIT), "--seed", str(SEED), "--json", "--html", "page.html", "--items", "i.jsonl"]
        assert main(arguments) == 0
        sent = list(server.bodies)
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "large" and found["n"] == LIMIT and len(found["by_world"]) == 8
    assert found["modes"]["thinking"]["accuracy"] == 1.0 and found["modes"]["instant"]["accuracy"] == 0.0
    assert found["modes"]["thinking"]["tokens_mean"] > 0 and 0 < found["guessing"]["accuracy"] < 0.6
    assert found["modes"]["thinking"]["guessing_p"] < 0.01 < found["modes"]["instant"]["guessing_p"]
    pictures = [
        part for body in sent for message in body["messages"] if isinstance(message["content"], list)
        for part in message["content"] if part["type"] == "image_url"
    ]  # fmt: skip
    assert len(pictures) >= 14 and {body["model"] for body in sent} == {"large"}
    offered = [{tool["function"]["name"] for tool in body.get("tools", ())} for body in sent]
    assert {"zoom", "python"} in offered and {"zoom"} in offered, "python where the world reckons"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "large" in page and "data:image/jpeg" in page
    assert len((tmp_path / "i.jsonl").read_text(encoding="utf-8").splitlines()) == 2 * LIMIT


def test_two_reports_are_compared(capsys, tmp_path):
    with FakeServer(knows("worlds.words")) as server:
        for name, mode in (("a", "instant"), ("b", "instant,thinking")):
            arguments = ["eval", "worlds.words", "--upstream", server.url, "--limit", "2", "--seed", str(SEED)]
            assert main([*arguments, "--mode", mode, "--json"]) == 0
            (tmp_path / f"{name}.json").write_text(capsys.readouterr().out)
    assert main(["eval", "compare", "a.json", "b.json", "--html", "both.html"]) == 0
    assert "instant" in capsys.readouterr().out and "both.html" in {path.name for path in tmp_path.iterdir()}
    assert main(["eval", "compare", "a.json", "b.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["names"] == ["a", "b"] and list(told["arms"]) == ["instant"] and told["arms"]["instant"]["points"] == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["compare", "a.json"], "compare takes two reports, not 1"),
        (["compare", "a.json", "b.json"], "cannot read a.json"),
        (["compare", "a.json", "b.json", "--seed", "1"], "asks no model"),
        (["worlds", "worlds.words"], "one task at a time"),
        (["worlds", "--html", "gone/page.html"], "there is no folder gone"),
        (["worlds", "--html", "."], "is a folder"),
        (["worlds", "--limit", "0"], "limit is 0"),
        (["world"], "did you mean 'worlds'?"),
    ],
)
def test_refusals_come_before_any_model_is_opened(monkeypatch, capsys, arguments, why):
    monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: pytest.fail("a model was opened"))
    assert main(["eval", *arguments]) == 2
    shown = capsys.readouterr()
    assert why in shown.err and "hint: " in shown.err and shown.out == ""
