"""Conversations are kept turn by turn, and a question without an answer is told apart from one with."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from narthex.chat import ImagePart, Message, RunFailed, RunStarted, ToolCall
from narthex.store import Store, StoreError, answered, database, line_of

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


def test_two_turns_of_one_parent_are_branches_and_the_model_reads_one_line(store):
    def said(text, **how):
        turn_id = store.conversations.begin_turn("c1", [Message.of("user", text)], run_id=text, settings={}, **how)
        store.conversations.finish_turn(turn_id, [Message.of("assistant", text.upper())])
        return turn_id

    root = said("one")
    left, right = said("left"), said("right", parent=root)
    leaf = said("leaf", parent=left)
    anew = said("anew", parent=None)
    turns = store.conversations.turns("c1")
    assert [turn.parent for turn in turns] == [None, root, root, left, None]
    assert [turn.id for turn in line_of(turns, leaf)] == [root, left, leaf]
    assert [turn.id for turn in line_of(turns, right)] == [root, right]
    assert [turn.id for turn in line_of(turns)] == [anew] and line_of(turns, None) == []
    read = [message.text for message in answered(line_of(turns, leaf)).messages]
    assert read == ["one", "ONE", "left", "LEFT", "leaf", "LEAF"]
    store.conversations.drop_turn(left)
    turns = store.conversations.turns("c1")
    assert [turn.id for turn in line_of(turns, leaf)] == [root, leaf], "what went on from it goes on from its parent"


def test_each_user_has_conversations_of_their_own(store):
    for user in ("ann", "bob", ""):
        home = store.conversations.create(f"of {user}", user=user)
        store.conversations.begin_turn(home, [Message.of("user", "Q")], run_id=f"r{user}", settings={}, user=user)
    assert [record.title for record in store.conversations.latest(user="ann")] == ["of ann"]
    assert len(store.conversations.latest()) == 3
    (record,) = store.conversations.latest(user="bob")
    assert store.conversations.record(record.id).user == "bob" and store.conversations.record("no") is None
    assert store.conversations.find(record.id, user="ann") == []


def test_search_looks_in_titles_and_in_what_was_said(store):
    ask(store, "Straße in GAUGE C?", home="c1")
    store.conversations.finish_turn(ask(store, "D?", home="c2"), [Message.of("assistant", "35 BAR, 100% sure")])
    store.conversations.rename("c2", "Ärger im  Werk")

    def found(text):
        return [record.id for record in store.conversations.latest(search=text)]

    assert found("strasse") == found("gauge c") == ["c1"]
    assert found("bar") == found("ÄRGER") == found("100%") == ["c2"]
    assert found("user") == found("%%") == found("_") == found("role") == []
    assert [record.title for record in store.conversations.latest(search="bar")] == ["Ärger im Werk"]


def test_conversations_are_paged_by_when_they_changed(store):
    for number in range(5):
        ask(store, "Q", home=f"c{number}")
    first = store.conversations.latest(limit=2)
    then = store.conversations.latest(limit=9, before=first[-1].changed)
    assert [record.id for record in first + then] == ["c4", "c3", "c2", "c1", "c0"]


def test_the_first_question_is_the_title_where_none_was_given(store):
    home = store.conversations.create()
    assert store.conversations.record(home).num_turns == 0
    ask(store, "What  now?", home=home)
    ask(store, "And then?", home=home)
    assert store.conversations.record(home).title == "What now?"


def test_the_status_of_a_turn_is_that_of_its_run(store):
    def begin(run_id):
        store.append(RunStarted(run_id=run_id, seq=0, t=0, mode="instant", model="nano"))
        return ask(store, "Q", run_id=run_id)

    begin("going")
    begin("failed")
    store.append(RunFailed(run_id="failed", seq=1, t=0, message="no"))
    begin("cut")
    store.cut("cut")
    store.conversations.finish_turn(begin("done"), [Message.of("assistant", "A")])
    ask(store, "Q", run_id="never")
    store.flush()
    turns = store.conversations.turns("c1")
    assert [turn.status for turn in turns] == ["running", "failed", "cut", "finished", "cut"]
    assert store.conversations.turn_of("cut").id == turns[2].id and store.conversations.turn_of("no") is None
