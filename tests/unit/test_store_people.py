"""Users, keys of which only hashes are kept, and what was spent."""

from __future__ import annotations

import hashlib
import re
import time

import pytest

from narthex.base.errors import InputError
from narthex.store import AuditLine, Store
from narthex.store.people import MAX_KEYS


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as store:
        yield store


def line(run_id, user_id="u", **more):
    return AuditLine(run_id, user_id, "ada", "k", more.pop("started", time.time()), "nano", "ab" * 32, "thinking",
                     {"think_tokens": 9}, ("zoom",), **more)  # fmt: skip


def test_users_have_a_role_and_groups(store):
    assert not store.people.has_users()
    ada = store.people.add_user("ada", "admin", ["lab", "lab", "ops"])
    store.people.add_user("bo@example.org")
    assert store.people.has_users() and ada.groups == ("lab", "ops") and store.people.user("ada") == ada
    assert [(user.name, user.role) for user in store.people.users()] == [("ada", "admin"), ("bo@example.org", "user")]
    changed = store.people.change_user("ada", role="user", groups=[])
    assert (changed.id, changed.role, changed.groups) == (ada.id, "user", ())
    assert store.people.change_user("ada") == changed


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 65, "../a"])
def test_odd_names_are_refused(store, name):
    with pytest.raises(InputError, match="cannot be the name"):
        store.people.add_user(name)
    with pytest.raises(InputError, match="cannot be the name"):
        store.people.add_user("fine", groups=[name])
    assert store.people.users() == []


def test_a_name_is_taken_once_and_only_who_is_there_is_found(store):
    store.people.add_user("ada")
    with pytest.raises(InputError, match="already"):
        store.people.add_user("ada")
    for call in (store.people.user, store.people.remove_user, store.people.change_user):
        with pytest.raises(InputError, match="no user"):
            call("eve")


def test_a_key_opens_until_it_is_revoked_and_only_its_hash_is_kept(store, tmp_path):
    ada = store.people.add_user("ada", groups=["lab"])
    made = store.people.add_key(ada.id, "laptop")
    assert re.fullmatch(rf"nx_{made.id}_[\w-]{{43}}", made.key)
    assert store.people.holder(made.key) == (ada, made.id)
    for wrong in ("", "nx_", made.key[:-1], made.key + "x", made.key[:-1] + ("a" if made.key[-1] != "a" else "b")):
        assert store.people.holder(wrong) is None
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("narthex.db*"))
    assert made.key[12:].encode() not in kept and hashlib.sha256(made.key.encode()).hexdigest().encode() in kept
    assert not store.people.revoke_key(made.id, user_id="another")
    assert store.people.holder(made.key) is not None
    assert store.people.revoke_key(made.id, user_id=ada.id) and not store.people.revoke_key(made.id)
    assert store.people.holder(made.key) is None
    (record,) = store.people.list_keys(ada.id)
    assert record.name == "laptop" and record.revoked is not None


def test_a_removed_user_leaves_no_key_and_no_heir(store):
    first = store.people.add_user("ada", groups=["lab"])
    key = store.people.add_key(first.id).key
    store.people.remove_user("ada")
    assert store.people.holder(key) is None and store.people.list_keys() == [] and not store.people.has_users()
    again = store.people.add_user("ada")
    assert again.id != first.id and again.groups == ()
    with pytest.raises(InputError, match="no such user"):
        store.people.add_key(first.id)


def test_keys_are_bounded(store):
    ada = store.people.add_user("ada")
    for _ in range(MAX_KEYS):
        last = store.people.add_key(ada.id)
    with pytest.raises(InputError, match=f"{MAX_KEYS} keys"):
        store.people.add_key(ada.id)
    store.people.revoke_key(last.id)
    store.people.add_key(ada.id)
    with pytest.raises(InputError, match="printable"):
        store.people.add_key(ada.id, "a\x1b[2J")


def test_a_line_says_who_what_and_how_much(store):
    begun = line("r1")
    store.audit.begin(begun)
    store.flush()
    assert store.audit.lines() == [begun]
    ended = begun._replace(status="done", ended=9.0, prompt_tokens=3, thought_tokens=2, answer_tokens=1,
                           agent_seconds=0.5, cost=0.1)  # fmt: skip
    store.audit.note(ended)
    store.flush()
    assert store.audit.lines() == [ended] and store.audit.lines(user_id="another") == []


def test_what_was_spent_is_summed_by_user_by_group_and_by_day(store):
    ada, bo = store.people.add_user("ada", groups=["lab"]), store.people.add_user("bo", groups=["lab"])
    now = time.time()
    for number, (user, started, tokens) in enumerate(
        [(ada.id, now, 10), (ada.id, now - 2 * 86_400, 20), (bo.id, now, 5), ("", now, 100)]
    ):
        store.audit.begin(line(f"r{number}", user, started=started, prompt_tokens=tokens, answer_tokens=1,
                               thought_tokens=1, agent_seconds=1.5))  # fmt: skip
    store.flush()
    assert store.audit.spent(now - 60, user_id=ada.id) == (12, 1.5)
    assert store.audit.spent(0, user_id=ada.id) == (34, 3.0)
    assert store.audit.spent(now - 60, group="lab") == (19, 3.0)
    assert store.audit.spent(0, group="nobody") == (0, 0.0)
    assert [(day.runs, day.prompt_tokens, day.cost) for day in store.audit.days(ada.id, 30)] == [
        (1, 20, None), (1, 10, None)]  # fmt: skip
    assert [day.prompt_tokens for day in store.audit.days(ada.id, 1)] == [10]
