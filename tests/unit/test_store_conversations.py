"""Conversations are kept turn by turn, and a question without an answer is told apart from one with."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from narthex.chat import ImagePart, Message, ToolCall
from narthex.store import Store, StoreError, answered, database

PICTURE = ImagePart(sha256="ab" * 32, media_type="image/png", width=4, height=3)


def ask(store, text, *pictures, home="c1", run_id="r1", **settings):
    return store.conversations.begin_turn(
        home, [Message.of("user", text, *pictures)], run_id=run_id, settings=settings or {"mode": "thinking"}
    )


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as opened:
        yield opened


def test_what_was_said_comes_back_as_it_was(store):
    call = ToolCall(id="1", name="zoom", arguments={"box": [0, 0, 9, 9]})
    reply = [
        Message(role="assistant", calls=(call,)),
        Message(role="tool", parts=(PICTURE,), call_id="1"),
        Message.of("assistant", "347 bar"),
    ]
    store.conversations.finish_turn(ask(store, "C?", PICTURE), reply)
    store.conversations.finish_turn(ask(store, "And D?", mode="instant"), [Message.of("assistant", "35 bar")])
    first, second = store.conversations.turns("c1")
    assert (first.asked, first.replied) == ((Message.of("user", "C?", PICTURE),), tuple(reply))
    said = [message.text for message in answered([first, second]).messages]
    assert said == ["C?", "", "", "347 bar", "And D?", "35 bar"]
    (record,) = store.conversations.latest()
    assert (record.id, record.title, record.num_turns, record.settings) == ("c1", "C?", 2, {"mode": "instant"})
    assert record.changed > record.started


def test_a_question_without_an_answer_is_kept_and_not_read(store):
    store.conversations.finish_turn(ask(store, "one"), [Message.of("assistant", "1")])
    ask(store, "two", run_id="r2")
    with Store.open(store.folder) as again:
        turns = again.conversations.turns("c1")
    assert [(turn.run_id, turn.replied is None) for turn in turns] == [("r1", False), ("r2", True)]
    assert [message.text for message in answered(turns).messages] == ["one", "1"]


def test_what_is_taken_back_leaves_the_conversation_as_before(store):
    store.conversations.finish_turn(ask(store, "one"), [Message.of("assistant", "1")])
    before = store.conversations.turns("c1")
    failed = ask(store, "two")
    store.conversations.drop_turn(failed)
    assert store.conversations.turns("c1") == before
    with pytest.raises(StoreError, match="no longer"):
        store.conversations.finish_turn(failed, [])
    store.conversations.drop_turn(ask(store, "alone", home="c2"))
    assert [record.id for record in store.conversations.latest()] == ["c1"]


def test_the_last_to_go_on_comes_first_and_a_prefix_is_enough(store):
    for home in ("abc1", "abd2", "abc"):
        ask(store, home, home=home)
    ask(store, "again", home="abd2")
    assert [record.id for record in store.conversations.latest()] == ["abd2", "abc", "abc1"]
    assert [record.id for record in store.conversations.latest(limit=1)] == ["abd2"]
    assert {record.id for record in store.conversations.find("ab")} == {"abc1", "abd2", "abc"}
    assert [record.id for record in store.conversations.find("abc")] == ["abc"], "an exact id is nobody's prefix"
    assert store.conversations.find("%") == store.conversations.find("zz") == []


def test_turns_begun_side_by_side_get_numbers_of_their_own(store):
    with Store.open(store.folder) as other:
        threads = [threading.Thread(target=ask, args=(each, "q")) for each in (store, other) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(store.conversations.turns("c1")) == 16


def test_a_store_of_version_1_is_brought_up_to_date_with_its_runs(tmp_path):
    Store.open(tmp_path).close()
    database.migrate(tmp_path / "narthex.db", "0001")
    connection = sqlite3.connect(tmp_path / "narthex.db")
    with connection:
        connection.execute("drop table alembic_version")
        connection.execute(
            "insert into runs (id, started, mode, model, status, question, owner) values "
            "('r1', 1, 'instant', 'nano', 'done', 'what?', 'x')"
        )
    connection.close()
    with Store.open(tmp_path) as store:
        assert store.run("r1").question == "what?"
        ask(store, "new")
        assert len(store.conversations.latest()) == 1
