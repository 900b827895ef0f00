"""`narthex chat` and `narthex trace` from outside, over a tiny model of ours: one event loop, many turns."""

from __future__ import annotations

import json
from pathlib import Path

from narthex.store import Store

PANEL = str(Path(__file__).parents[2] / "examples" / "panel.png")


def test_turns_share_a_model_and_a_conversation_and_each_is_traced(narthex, tiny_model, environment):
    model = ("-m", str(tiny_model), "-o", "answer_tokens=4", "--max-think", "6")
    lines = f"!image {PANEL}\nWhat is C?\n!mode instant\nAnd D?\n"
    done = narthex("chat", *model, "-o", "agents=2", "--mode", "contemplating", stdin=lines.encode())
    assert done.returncode == 0, done.stderr
    done = narthex("chat", "-c", "-o", "answer_tokens=4", "--mode", "instant", stdin=b"And E?\n")
    assert done.returncode == 0, done.stderr
    with Store.open(Path(environment["NARTHEX_HOME"])) as store:
        (record,) = store.conversations.latest()
        turns = store.conversations.turns(record.id)
        assert [turn.asked[-1].text for turn in turns] == ["What is C?", "And D?", "And E?"]
        assert all(turn.replied is not None for turn in turns)
    found = json.loads(narthex("trace", turns[0].run_id[:10], "--json").stdout)
    assert (found["mode"], found["status"], found["model"]) == ("contemplating", "done", "tiny")
    ledgers = [agent["ledger"] for each in found["rounds"] for agent in each["agents"]]
    assert sum(ledger["thought_tokens"] for ledger in ledgers) == found["ledger"]["thought_tokens"]
    assert sum(ledger["prompt_tokens"] for ledger in ledgers) == found["ledger"]["prompt_tokens"] > 0
