"""`narthex users` and `narthex keys`: what they write, print and refuse."""

from __future__ import annotations

import json

import pytest

from narthex.cli.app import main
from narthex.store import Store


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Run a command line: (exit code, stdout, stderr)."""
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))

    def run(*arguments):
        code = main(arguments)
        return (code, *capsys.readouterr())

    return run


def test_users_come_change_and_go(say, tmp_path):
    code, out, _ = say("users")
    assert code == 0 and "no users" in out and not (tmp_path / "home").exists(), "looking makes nothing"
    assert say("users", "add", "ada", "--role", "admin", "--group", "lab", "--group", "ops")[:2] == (
        0, "ada: admin, in lab, ops\n")  # fmt: skip
    assert say("users", "set", "ada", "--role", "user", "--group", "-")[1] == "ada: user\n"
    listed = json.loads(say("users", "--json")[1])["users"]
    assert [(user["name"], user["role"], user["groups"], user["keys"]) for user in listed] == [("ada", "user", [], [])]
    assert say("users", "remove", "ada")[1] == "ada is removed\n" and "no users" in say("users")[1]


def test_a_key_is_shown_once_and_revoked_by_its_id_or_itself(say, tmp_path):
    say("users", "add", "ada")
    _, out, err = say("keys", "add", "ada", "--name", "laptop")
    key = out.strip()
    with Store.open(tmp_path / "home") as store:
        assert store.people.holder(key).user.name == "ada" and "once" in err
    code, out, _ = say("keys")
    assert code == 0 and key not in out and key.split("_")[1] in out and "laptop" in out
    assert say("keys", "revoke", key)[0] == 0 and say("keys", "revoke", key)[0] == 2
    second = json.loads(say("keys", "add", "ada", "--json")[1])
    assert json.loads(say("keys", "--json")[1])["keys"][0]["id"] == second["id"]
    assert say("keys", "revoke", second["id"])[0] == 0 and "no keys" in say("keys")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("users", "ad", "x"), "did you mean 'add'"), (("users", "add"), "lacks a name"),
        (("users", "add", "a b"), "cannot be the name"), (("users", "add", "x", "--role", "root"), "no role 'root'"),
        (("users", "remove", "eve"), "no user 'eve'"), (("keys", "add", "eve"), "no user 'eve'"),
        (("keys", "revoke", "1234"), "no key '1234'"), (("keys", "add"), "lacks a user"), (("keys", "x"), "unknown"),
    ],
)  # fmt: skip
def test_what_it_refuses_is_one_line_and_a_hint(say, arguments, told):
    code, out, err = say(*arguments)
    assert code == 2 and out == "" and told in err and err.startswith("error: ")
