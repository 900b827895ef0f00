"""Who may ask: users with a role and groups, and their keys, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from narthex.base.errors import InputError
from narthex.store.errors import told_as_store_error
from narthex.store.people_schema import keys, user_groups, users

Role = Literal["admin", "user"]
ROLES: tuple[Role, ...] = get_args(Role)

KEY_BYTES = 32
MAX_KEYS = 100  # of a user; a program that makes one a minute is at fault
MAX_NAME_CHARS = 64
_NAME = re.compile(r"[\w.@+-]+")
_KEY = re.compile(r"nx_[0-9a-f]{8}_[\w-]{43}", re.ASCII)
_HINT = "is the disk full, or the file held by another program?"


class UserRecord(NamedTuple):
    """A user. `created` is seconds since 1970, UTC."""

    id: str
    name: str
    role: Role
    groups: tuple[str, ...]
    created: float


class KeyRecord(NamedTuple):
    """A key without its secret. `revoked` is None while it opens."""

    id: str
    user_id: str
    name: str
    created: float
    revoked: float | None


class NewKey(NamedTuple):
    """`key` is the whole key: it is shown once, and never again."""

    id: str
    name: str
    key: str


class Holder(NamedTuple):
    """Whose key it was."""

    user: UserRecord
    key_id: str


class People:
    """Kept in the store's database. Every method is one transaction and may be called from any thread or process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def has_users(self) -> bool:
        """Whether there is any; from the first one on, nobody gets in without a key."""
        with told_as_store_error("look for users", hint=_HINT), self._engine.connect() as connection:
            return connection.execute(select(users.c.id).limit(1)).first() is not None

    def users(self) -> list[UserRecord]:
        """All of them, by name."""
        with told_as_store_error("read the users", hint=_HINT), self._engine.connect() as connection:
            ids = connection.scalars(select(users.c.id).order_by(users.c.name)).all()
            return [_user(connection, id_) for id_ in ids]

    def user(self, name: str) -> UserRecord:
        """The one of that name. Raises: InputError."""
        with told_as_store_error("look for a user", hint=_HINT), self._engine.connect() as connection:
            return _user(connection, _id_of(connection, name))

    def add_user(self, name: str, role: Role = "user", groups: Iterable[str] = ()) -> UserRecord:
        """Raises: InputError for a name that is odd or taken; StoreError."""
        names = _checked_groups(groups)
        _check_name(name, "user")
        id_ = uuid.uuid4().hex
        row = {"id": id_, "name": name, "role": role, "created": time.time()}
        with told_as_store_error("add a user", hint=_HINT), self._engine.begin() as connection:
            if connection.execute(select(users.c.id).where(users.c.name == name)).first() is not None:
                raise InputError(f"there is a user '{name}' already", hint="narthex users set changes role and groups")
            connection.execute(insert(users).values(row))
            _set_groups(connection, id_, names)
            return _user(connection, id_)

    def change_user(self, name: str, *, role: Role | None = None, groups: Iterable[str] | None = None) -> UserRecord:
        """Give a user another role, or other groups than before; None changes nothing. Raises: as `add_user`."""
        names = None if groups is None else _checked_groups(groups)
        with told_as_store_error("change a user", hint=_HINT), self._engine.begin() as connection:
            id_ = _id_of(connection, name)
            if role is not None:
                connection.execute(update(users).where(users.c.id == id_).values(role=role))
            if names is not None:
                _set_groups(connection, id_, names)
            return _user(connection, id_)

    def remove_user(self, name: str) -> None:
        """Forget a user and the keys. What was kept stays on disk; over HTTP nobody reaches it. Raises: InputError."""
        with told_as_store_error("remove a user", hint=_HINT), self._engine.begin() as connection:
            connection.execute(delete(users).where(users.c.id == _id_of(connection, name)))

    def add_key(self, user_id: str, name: str = "") -> NewKey:
        """A new key of a user. Raises: InputError where the user is gone, or has too many; StoreError.

        Kept is its SHA-256. A slow hash would protect what people can remember and others can guess; a key is 256
        random bits, so there is nothing to try, and a fast hash costs no request any time.
        """
        if len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InputError(f"a key's name has at most {MAX_NAME_CHARS} characters, all of them printable")
        id_ = secrets.token_hex(4)
        key = f"nx_{id_}_{secrets.token_urlsafe(KEY_BYTES)}"
        row = {"id": id_, "user_id": user_id, "name": name, "sha256": _sha256(key), "created": time.time()}
        with told_as_store_error("add a key", hint=_HINT), self._engine.begin() as connection:
            if connection.execute(select(users.c.id).where(users.c.id == user_id)).first() is None:
                raise InputError("there is no such user")
            own = select(func.count()).where(keys.c.user_id == user_id, keys.c.revoked.is_(None))
            if (connection.scalar(own) or 0) >= MAX_KEYS:
                raise InputError(f"there are {MAX_KEYS} keys already", hint="revoke what is not used any more")
            connection.execute(insert(keys).values(row))
        return NewKey(id_, name, key)

    def list_keys(self, user_id: str | None = None) -> list[KeyRecord]:
        """Those of a user, or all; the oldest first, revoked ones too."""
        query = select(*(keys.c[name] for name in KeyRecord._fields)).order_by(keys.c.created)
        if user_id is not None:
            query = query.where(keys.c.user_id == user_id)
        with told_as_store_error("read the keys", hint=_HINT), self._engine.connect() as connection:
            return [KeyRecord(*row) for row in connection.execute(query)]

    def revoke_key(self, key_id: str, *, user_id: str | None = None) -> bool:
        """Let a key open nothing any more; False where there is none of that id (and that user) that does."""
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked.is_(None))
        if user_id is not None:
            change = change.where(keys.c.user_id == user_id)
        with told_as_store_error("revoke a key", hint=_HINT), self._engine.begin() as connection:
            return connection.execute(change.values(revoked=time.time())).rowcount > 0

    def holder(self, key: str) -> Holder | None:
        """Whose key that is; None for what is none, or was revoked. What time it takes tells nothing of the secret."""
        if not _KEY.fullmatch(key):
            return None
        query = select(keys.c.id, keys.c.user_id).where(keys.c.sha256 == _sha256(key), keys.c.revoked.is_(None))
        with told_as_store_error("look for a key", hint=_HINT), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else Holder(_user(connection, row.user_id), row.id)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _check_name(name: str, what: str) -> None:
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name):
        hint = f"up to {MAX_NAME_CHARS} letters, digits and . @ + - _"
        raise InputError(f"'{name[:80]}' cannot be the name of a {what}", hint=hint)


def _checked_groups(groups: Iterable[str]) -> Sequence[str]:
    names = sorted(set(groups))
    for name in names:
        _check_name(name, "group")
    return names


def _id_of(connection: Connection, name: str) -> str:
    found = connection.scalar(select(users.c.id).where(users.c.name == name))
    if found is None:
        raise InputError(f"there is no user '{name[:80]}'", hint="narthex users lists them")
    return str(found)


def _user(connection: Connection, id_: str) -> UserRecord:
    row: Any = connection.execute(select(users).where(users.c.id == id_)).one()
    query = select(user_groups.c.name).where(user_groups.c.user_id == id_).order_by(user_groups.c.name)
    return UserRecord(row.id, row.name, row.role, tuple(connection.scalars(query)), row.created)


def _set_groups(connection: Connection, id_: str, names: Sequence[str]) -> None:
    connection.execute(delete(user_groups).where(user_groups.c.user_id == id_))
    for name in names:
        connection.execute(insert(user_groups).values(user_id=id_, name=name))
