"""`ask --upstream`: a server on this machine instead of a model of ours, and what the settings allow."""

from __future__ import annotations

import io
import json

import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.backends.fake_server import FakeServer, Reply
from narthex.cli import main
from narthex.store import Store


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stdin", None)
    return tmp_path / "home"


def test_a_server_is_asked_by_address_and_by_name(capsys, home):
    with FakeServer(lambda _: Reply(text="It is 12.", thought="Let me see.")) as server:
        assert main(["ask", "C?", "--upstream", server.url]) == 0
        shown = capsys.readouterr()
        assert shown.out == "It is 12.\n" and shown.err.startswith("Let me see.\n")
        (home / "narthex.toml").write_text(f'[upstreams.mine]\nurl = "{server.url}"\n')
        assert main(["ask", "D?", "--upstream", "mine", "-m", "large", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["model"] == "large"
        assert server.bodies[-1]["model"] == "large"


def test_a_conversation_goes_on_where_it_was_and_says_so(capsys, home):
    with FakeServer(lambda _: Reply(text="It is 12.")) as server:
        assert main(["ask", "C?", "--upstream", server.url]) == 0
        capsys.readouterr()
        assert main(["ask", "-c", "And D?"]) == 0
        assert f"this conversation is with {server.url}, and goes on there" in capsys.readouterr().err
        assert [message["role"] for message in server.bodies[-1]["messages"]] == ["user", "assistant", "user"]
    with Store.open(home) as store:
        assert store.conversations.latest()[0].settings["upstream"] == server.url


def test_a_server_that_is_not_there_is_one_line_and_exit_code_3(capsys):
    with FakeServer(lambda _: Reply(text="")) as server:
        url = server.url
    assert main(["ask", "C?", "--upstream", url]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("error: ") and lines[-1].startswith("hint: ") and "Traceback" not in "".join(lines)


def test_a_reply_that_breaks_off_is_shown_marked_and_asked_again(monkeypatch, capsys, home):
    replies = iter([Reply(text="It is twelve and a half.", cut_after=3), Reply(text="It is 12.")])
    with FakeServer(lambda _: next(replies)) as server:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"C?\n")))
        assert main(["chat", "--mode", "instant", "--upstream", server.url]) == 0
        with Store.open(home) as store:
            (turn,) = store.conversations.turns(store.conversations.latest()[0].id)
            assert turn.replied is None
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"!again\n")))
        assert main(["chat", "-c"]) == 0
    shown = capsys.readouterr()
    first, second = shown.out.splitlines()
    assert "It is twelve and a half.".startswith(first.strip()) and first and second == "It is 12."
    assert "(cut: the reply broke off on its way)" in shown.err and "!again asks once more" in shown.err
    with Store.open(home) as store:
        (turn,) = store.conversations.turns(store.conversations.latest()[0].id)
        assert [message.text for message in turn.replied] == ["It is 12."]
        assert [run.status for run in store.runs()] == ["done", "cut"]


def test_what_the_settings_lower_is_said(monkeypatch, capsys, home):
    backend = ScriptedBackend(lambda _: Said(text="ok"))
    monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: backend)
    home.mkdir()
    (home / "narthex.toml").write_text("[ceiling]\nthink_tokens = 100\nanswer_tokens = 50\n")
    assert main(["ask", "C?", "--max-think", "200", "-o", "answer_tokens", "20"]) == 0
    err = capsys.readouterr().err
    assert "warning: think_tokens is 100, not 200: the settings allow no more\n" in err and "answer_tokens" not in err
    assert (backend.requests[-1].think_tokens, backend.requests[-1].answer_tokens) == (100, 20)
