"""What is deleted is gone: rows, bytes that nothing else shows, and every trace of them on the disk."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from narthex.base.errors import InputError
from narthex.chat import AnswerDelta, ImagePart, Ledger, Message, RunFinished, RunStarted, ToolFinished
from narthex.store import Store

SECRET = "the patient's name is Quenneville"


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as opened:
        yield opened


def picture(store, data, run_id=None):
    sha256 = store.blobs.put(data, "image/png", run_id=run_id)
    return ImagePart(sha256=sha256, media_type="image/png", width=2, height=2)


def converse(store, home, run_id, asked=None, crop=None, text=SECRET, user=""):
    """A whole turn: a question with a picture, a look at a crop, an answer."""
    store.append(RunStarted(run_id=run_id, seq=0, t=0, mode="thinking", model="nano", question=text), user=user)
    pictures = (asked,) if asked else ()
    turn_id = store.conversations.begin_turn(
        home, [Message.of("user", text, *pictures)], run_id=run_id, settings={}, user=user
    )
    if crop:
        store.append(
            ToolFinished(run_id=run_id, agent_id="a", seq=1, t=0, call_id="1", name="zoom", parts=(crop,))
        )
    store.append(AnswerDelta(run_id=run_id, seq=2, t=0, text=text))
    store.conversations.finish_turn(turn_id, [Message.of("assistant", text)])
    store.append(RunFinished(run_id=run_id, seq=3, t=1, answer=text, ledger=Ledger()))
    store.flush()


def on_disk(folder, needle):
    return [path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def test_a_conversation_is_deleted_for_good(store):
    asked, crop, shared = (picture(store, data) for data in (b"asked", b"a crop", b"both have it"))
    converse(store, "c1", "r1", asked, crop)
    converse(store, "c1", "r2", shared)
    converse(store, "c2", "r3", shared, text="something else")
    folder = store.folder_of("c1")
    folder.mkdir(parents=True)
    (folder / "sums.csv").write_text("1")
    assert on_disk(store.folder, SECRET.encode())
    store.erase_conversation("c1")
    assert store.conversations.record("c1") is None and store.conversations.turns("c1") == []
    assert store.run("r1") is None and store.events("r1") == []
    for gone in (asked, crop):
        with pytest.raises(InputError):
            store.blobs.get(gone.sha256)
        assert not list(store.folder.rglob(gone.sha256))
    assert store.blobs.get(shared.sha256).data == b"both have it"
    assert not folder.exists() and store.conversations.record("c2").num_turns == 1
    assert on_disk(store.folder, SECRET.encode()) == [], "neither the database nor its journal remembers"


def test_a_response_takes_its_run_with_it(store):
    crop = picture(store, b"crop")
    converse(store, "c1", "r1", crop=crop)
    asked = [Message.of("user", SECRET)]
    store.responses.add("resp_1", run_id="r1", asked=asked, request={"model": "nano"}, user="ann")
    record = store.responses.record("resp_1")
    assert (record.user, record.asked[0].text, record.request) == ("ann", SECRET, {"model": "nano"})
    store.erase_response("resp_1", "r1")
    assert store.responses.record("resp_1") is None and store.run("r1") is None
    assert crop.sha256 not in store.blobs


def test_files_are_their_owners_and_their_bytes_go_with_the_last_who_shows_them(store):
    first = store.files.add(b"one", name="a.txt", purpose="user_data", media_type="text/plain", user="ann")
    second = store.files.add(b"one", name="b.txt", purpose="vision", media_type="text/plain", user="bob")
    third = store.files.add(b"two", name="c.txt", purpose="user_data", media_type="text/plain", user="ann")
    assert first.sha256 == second.sha256 and store.files.record(first.id) == first
    assert [each.id for each in store.files.list(user="ann", limit=9)] == [third.id, first.id]
    assert [each.id for each in store.files.list(user="ann", limit=9, after=third.id)] == [first.id]
    assert store.files.list(user="bob", limit=9, purpose="user_data") == []
    store.files.delete(first.id)
    assert store.files.record(first.id) is None and first.sha256 in store.blobs
    store.files.delete(second.id)
    assert first.sha256 not in store.blobs and not list(store.folder.rglob(first.sha256))
    store.files.delete(second.id)


def test_bytes_are_seen_by_who_has_a_run_or_a_file_with_them(store):
    asked, crop = picture(store, b"asked"), picture(store, b"crop")
    converse(store, "c1", "r1", asked, crop, user="ann")
    of_bob = store.files.add(b"bob's", name="b", purpose="vision", media_type="image/png", user="bob")
    loose = picture(store, b"nobody's")
    seen = {(user, each.sha256) for user in ("ann", "bob", "") for each in (asked, crop, of_bob, loose)
            if store.blobs.is_seen_by(each.sha256, user)}  # fmt: skip
    assert seen == {("ann", asked.sha256), ("ann", crop.sha256), ("bob", of_bob.sha256)}


def test_bytes_that_come_again_while_they_are_deleted_stay_whole(store):
    """One side deletes the conversation that shows them, the other keeps them for another run, over and over."""
    problems = []

    def keep(number):
        sha256 = store.blobs.put(b"the same", "image/png", run_id=f"keep{number}")
        if store.blobs.get(sha256).data != b"the same":
            problems.append(number)

    for number in range(8):
        converse(store, f"c{number}", f"r{number}", picture(store, b"the same", run_id=f"r{number}"))
        with sqlite3.connect(store.folder / "narthex.db") as connection:
            connection.execute("delete from run_blobs where run_id like 'keep%'")
        connection.close()
        threads = [
            threading.Thread(target=store.erase_conversation, args=(f"c{number}",)),
            threading.Thread(target=keep, args=(number,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.blobs.get(picture(store, b"the same").sha256)
    assert problems == []
