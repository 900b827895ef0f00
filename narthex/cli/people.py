"""`narthex users` and `narthex keys`: who may ask a server of this store."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError
from narthex.cli.choices import AsJson
from narthex.cli.logs import database

if TYPE_CHECKING:
    from narthex.store import KeyRecord, Role, UserRecord

USER_ACTIONS = ("add", "set", "remove")
KEY_ACTIONS = ("add", "revoke")


def users(
    action: Annotated[
        str | None, typer.Argument(metavar="add|set|remove", help="Without one: all users.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the user.", show_default=False)] = None,
    role: Annotated[str | None, typer.Option("--role", metavar="user|admin", help="Default: user.")] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="A group; again for more. - alone: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the users of this machine's server, add one, change role and groups, or remove one.

    From the first user on, the server asks everybody for a key. A removed user's keys open nothing any more.
    """
    if action is None:
        _list_users(as_json=as_json)
        return
    _check_action(action, USER_ACTIONS)
    if name is None:
        raise InputError(f"narthex users {action} lacks a name", hint=f"for example: narthex users {action} ada")
    from narthex.store import Store

    groups = None if group is None else [each for each in group if each != "-"]
    with Store.open() as store:
        if action == "remove":
            store.people.remove_user(name)
            _say({"removed": name}, f"{name} is removed", as_json=as_json)
            return
        chosen = None if role is None else _role(role)
        if action == "add":
            user = store.people.add_user(name, chosen or "user", groups or ())
        else:
            user = store.people.change_user(name, role=chosen, groups=groups)
    shown = f"{user.name}: {user.role}" + (f", in {', '.join(user.groups)}" if user.groups else "")
    _say(_user_as_json(user), shown, as_json=as_json)
    if action == "add":
        print(f"narthex keys add {user.name} makes a key", file=sys.stderr)


def keys(
    action: Annotated[
        str | None, typer.Argument(metavar="add|revoke", help="Without one: all keys.", show_default=False)
    ] = None,
    who: Annotated[
        str | None, typer.Argument(metavar="USER|ID", help="Whose new key; which to revoke.", show_default=False)
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What the key is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the keys, make one for a user, or revoke one.

    A new key is shown once: only its hash is kept. A revoked one opens nothing from the next request on.
    """
    if action is None:
        _list_keys(as_json=as_json)
        return
    _check_action(action, KEY_ACTIONS)
    if who is None:
        raise InputError(f"narthex keys {action} lacks a {'user' if action == 'add' else 'key'}", hint="narthex keys")
    from narthex.store import Store

    with Store.open() as store:
        if action == "add":
            made = store.people.add_key(store.people.user(who).id, name)
            _say({"user": who, **made._asdict()}, made.key, as_json=as_json)
            print("this is shown once; only its hash is kept", file=sys.stderr)
            return
        key_id = _id_of(who)
        if not store.people.revoke_key(key_id):
            raise InputError(f"no key '{key_id[:80]}' opens anything", hint="narthex keys lists them")
        _say({"revoked": key_id}, f"{key_id} is revoked", as_json=as_json)


class Standing(NamedTuple):
    """Names of users and groups, and whether there are keys that open."""

    users: frozenset[str]
    groups: frozenset[str]
    has_keys: bool


def standing() -> Standing:
    """How things stand in this machine's store; none is made. Raises: StoreError."""
    found, by_user = _everybody()
    groups = frozenset(group for user in found for group in user.groups)
    return Standing(frozenset(user.name for user in found), groups, bool(by_user))


def _list_users(*, as_json: bool) -> None:
    found, by_user = _everybody()
    if as_json:
        told = [_user_as_json(user) | {"keys": [key.id for key in by_user.get(user.id, ())]} for user in found]
        print(json.dumps({"users": told}))
        return
    if not found:
        print("there are no users: the server is for programs of this machine, and asks for no key")
    rows = [[user.name, user.role, ", ".join(user.groups), _counted(by_user.get(user.id, ()))] for user in found]
    _print_rows(rows)


def _list_keys(*, as_json: bool) -> None:
    found, by_user = _everybody()
    rows, told = [], []
    for user in found:
        for key in by_user.get(user.id, ()):
            rows.append([key.id, user.name, time.strftime("%Y-%m-%d", time.localtime(key.created)), key.name])
            told.append({"id": key.id, "user": user.name, "name": key.name, "created": key.created})
    if as_json:
        print(json.dumps({"keys": told}))
        return
    if not rows:
        print("there are no keys")
    _print_rows(rows)


def _everybody() -> tuple[list[UserRecord], dict[str, list[KeyRecord]]]:
    """All users, and by their ids the keys that open."""
    if not database().exists():
        return [], {}
    from narthex.store import Store

    with Store.open() as store:
        by_user: dict[str, list[KeyRecord]] = {}
        for key in store.people.list_keys():
            if key.revoked is None:
                by_user.setdefault(key.user_id, []).append(key)
        return store.people.users(), by_user


def _check_action(action: str, known: Sequence[str]) -> None:
    if action not in known:
        guess = did_you_mean(action, known)
        hint = f"did you mean '{guess}'?" if guess else f"use {', '.join(known)}, or nothing"
        raise InputError(f"unknown action '{action[:80]}'", hint=hint)


def _role(name: str) -> Role:
    from narthex.store import ROLES

    for role in ROLES:
        if name == role:
            return role
    raise InputError(f"there is no role '{name[:80]}'", hint=f"use one of {', '.join(ROLES)}")


def _id_of(text: str) -> str:
    """A key's id; a whole key is taken, too: who found one somewhere wants it shut at once."""
    steps = text.split("_")
    return steps[1] if len(steps) >= 3 and steps[0] == "nx" else text


def _user_as_json(user: UserRecord) -> dict[str, Any]:
    return {"name": user.name, "role": user.role, "groups": list(user.groups), "created": user.created}


def _counted(keys: Sequence[KeyRecord]) -> str:
    return f"{len(keys)} key{'' if len(keys) == 1 else 's'}"


def _say(told: dict[str, Any], line: str, *, as_json: bool) -> None:
    print(json.dumps(told) if as_json else line)


def _print_rows(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
