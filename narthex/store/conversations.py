"""Conversations: what was said, turn by turn. A turn is a question and, once it is answered, what came back.

Turns are a tree: each goes on from its parent, and two of one parent are branches. A turn is written when its run
begins and again when it ends, so a process that dies in between leaves a question without an answer, which can be asked
again. Only answered turns are part of what the model reads later.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from narthex.base.errors import InputError
from narthex.chat import Conversation, Message
from narthex.store import schema
from narthex.store.errors import StoreError, told_as_store_error

TITLE_CHARACTERS = 200  # as of a run's question: a list shows a line
LAST_TURN = "last"  # as a parent: whichever turn was begun last

TurnStatus = Literal["running", "finished", "failed", "cut"]
_STATUS: dict[str | None, TurnStatus] = {"running": "running", "failed": "failed"}

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])
_HINT = "is the disk full, or the file held by another program?"


class Turn(NamedTuple):
    """A question (a system prompt may stand before it) and its reply; `replied` is None where it was cut.

    `parent` is the turn it goes on from, None where it begins anew; `settings` is what it was asked with.
    """

    id: str
    run_id: str
    asked: tuple[Message, ...]
    replied: tuple[Message, ...] | None
    parent: str | None = None
    started: float = 0.0
    settings: Mapping[str, Any] = MappingProxyType({})
    status: TurnStatus = "cut"


class ConversationRecord(NamedTuple):
    """A conversation as listed. Times are seconds since 1970, UTC; `settings` is what its last turn was asked with."""

    id: str
    started: float
    changed: float
    title: str
    settings: dict[str, Any]
    num_turns: int
    user: str = ""


class Conversations:
    """Kept in the store's database. Every method is one transaction and may be called from any thread or process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, title: str = "", *, user: str = "") -> str:
        """A conversation in which nothing has been said; returns its id. Its first question gives it a title."""
        conversation_id = uuid.uuid4().hex
        with told_as_store_error("write the conversation", hint=_HINT), self._engine.begin() as connection:
            connection.execute(insert(schema.conversations).values(_row(conversation_id, title, {}, user)))
        return conversation_id

    def rename(self, conversation_id: str, title: str) -> None:
        """Call it by a line of text. Nothing if it is gone."""
        table = schema.conversations
        change = update(table).where(table.c.id == conversation_id).values(title=_line(title))
        with told_as_store_error("write the title", hint=_HINT), self._engine.begin() as connection:
            connection.execute(change)

    def begin_turn(
        self, conversation_id: str, asked: Sequence[Message], *, run_id: str, settings: Mapping[str, Any],
        user: str = "", parent: str | None = LAST_TURN, may_create: bool = True,
    ) -> str:  # fmt: skip
        """Write a question before it is answered, and return the turn's id. A new id makes a new conversation.

        `settings` is plain data (model, mode, tools) for whoever goes on with it later; `user` is of a new one.
        Raises: StoreError if it cannot be written; InputError for a new id where none may be made.
        """
        turn_id, now = uuid.uuid4().hex, time.time()
        row = _row(conversation_id, asked[-1].text if asked else "", settings, user)
        table, turns = schema.conversations, schema.turns
        with told_as_store_error("write the question", hint=_HINT), self._engine.begin() as connection:
            title = func.coalesce(func.nullif(table.c.title, ""), row["title"])
            changed = {"changed": now, "settings": row["settings"], "title": title}
            if not connection.execute(update(table).where(table.c.id == conversation_id).values(changed)).rowcount:
                if not may_create:
                    raise InputError("the conversation has been deleted", hint="begin a new one")
                connection.execute(insert(table).values(row))
            query = select(turns.c.id, turns.c.number).where(turns.c.conversation_id == conversation_id)
            last = connection.execute(query.order_by(turns.c.number.desc()).limit(1)).one_or_none()
            if parent == LAST_TURN:
                parent = last.id if last else None
            connection.execute(
                insert(turns).values(
                    id=turn_id, conversation_id=conversation_id, number=last.number + 1 if last else 0,
                    run_id=run_id, asked=written_messages(asked), replied=None, parent=parent,
                    started=now, settings=row["settings"], words=_words(asked),
                )
            )  # fmt: skip
            hold(connection, run_id, [part.sha256 for message in asked for part in message.pictures])
        return turn_id

    def finish_turn(self, turn_id: str, replied: Sequence[Message]) -> None:
        """Write what came back. Raises: StoreError if it cannot be written, or the turn is gone."""
        text, turns = written_messages(replied), schema.turns
        with told_as_store_error("write the answer", hint=_HINT), self._engine.begin() as connection:
            values = {"replied": text, "words": turns.c.words + _words(replied)}
            found = connection.execute(update(turns).where(turns.c.id == turn_id).values(values)).rowcount
        if not found:
            raise StoreError("the question of this answer is no longer in the store", hint="ask again")

    def drop_turn(self, turn_id: str) -> None:
        """Forget a question, and its conversation if nothing else was said in it. Nothing if it is gone already.

        What went on from it goes on from its parent.
        """
        turns, table = schema.turns, schema.conversations
        with told_as_store_error("take the question back", hint=_HINT), self._engine.begin() as connection:
            query = select(turns.c.conversation_id, turns.c.parent).where(turns.c.id == turn_id)
            home, parent = connection.execute(query).one_or_none() or (None, None)
            connection.execute(update(turns).where(turns.c.parent == turn_id).values(parent=parent))
            connection.execute(delete(turns).where(turns.c.id == turn_id))
            left = connection.scalar(select(func.count()).where(turns.c.conversation_id == home))
            if not left:
                connection.execute(delete(table).where(table.c.id == home))

    def record(self, conversation_id: str) -> ConversationRecord | None:
        """One conversation, or None if there is none of that id."""
        query = _select_records().where(schema.conversations.c.id == conversation_id)
        with told_as_store_error("read the conversation", hint=_HINT), self._engine.connect() as connection:
            return next(iter(_records(connection, query)), None)

    def latest(
        self, *, limit: int = 50, user: str | None = None, search: str = "", before: float | None = None
    ) -> list[ConversationRecord]:
        """The conversations that went on last, newest first: of one user, or (None) of all.

        search: only those in whose title or turns that text stands, in capitals or not. before: changed before then.
        """
        table, turns = schema.conversations, schema.turns
        query = _select_records().order_by(table.c.changed.desc(), table.c.id).limit(limit)
        if user is not None:
            query = query.where(table.c.user == user)
        if before is not None:
            query = query.where(table.c.changed < before)
        if search:
            said = turns.c.words.contains(search.casefold(), autoescape=True)
            in_turns = exists().where(turns.c.conversation_id == table.c.id, said)
            in_title = func.casefold(table.c.title).contains(search.casefold(), autoescape=True)
            query = query.where(or_(in_title, in_turns))
        with told_as_store_error("read the conversations", hint=_HINT), self._engine.connect() as connection:
            return _records(connection, query)

    def find(self, prefix: str, *, user: str | None = None) -> list[ConversationRecord]:
        """Those whose id begins so, newest first; one of exactly that id alone."""
        table = schema.conversations
        query = _select_records().where(table.c.id.startswith(prefix, autoescape=True))
        if user is not None:
            query = query.where(table.c.user == user)
        with told_as_store_error("read the conversations", hint=_HINT), self._engine.connect() as connection:
            found = _records(connection, query.order_by(table.c.changed.desc()))
        return [record for record in found if record.id == prefix] or found

    def turns(self, conversation_id: str) -> list[Turn]:
        """All turns in order, the unanswered ones too. Raises: InputError for what a newer Narthex wrote."""
        return self._turns(schema.turns.c.conversation_id == conversation_id)

    def home_of(self, run_id: str) -> str | None:
        """The id of the conversation that a run is a turn of; None where it is in none."""
        query = select(schema.turns.c.conversation_id).where(schema.turns.c.run_id == run_id)
        with told_as_store_error("read the conversation", hint=_HINT), self._engine.connect() as connection:
            return connection.scalar(query)

    def turn_of(self, run_id: str) -> Turn | None:
        """The turn that a run answers, if it answers one."""
        return next(iter(self._turns(schema.turns.c.run_id == run_id)), None)

    def _turns(self, which: ColumnElement[bool]) -> list[Turn]:
        table, runs = schema.turns, schema.runs
        query = select(table, runs.c.status).join(runs, runs.c.id == table.c.run_id, isouter=True)
        query = query.where(which).order_by(table.c.number)
        with told_as_store_error("read the conversation", hint=_HINT), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            Turn(
                row.id, row.run_id, read_messages(row.asked),
                None if row.replied is None else read_messages(row.replied),
                row.parent, row.started, json.loads(row.settings),
                "finished" if row.replied is not None else _STATUS.get(row.status, "cut"),
            )
            for row in rows
        ]  # fmt: skip


def hold(connection: Connection, run_id: str, hashes: Iterable[str]) -> None:
    """Note, in a transaction, that a run shows these bytes."""
    rows = [{"run_id": run_id, "sha256": sha256} for sha256 in dict.fromkeys(hashes)]
    if rows:
        connection.execute(sqlite_insert(schema.run_blobs).on_conflict_do_nothing(), rows)


def line_of(turns: Sequence[Turn], leaf: str | None = LAST_TURN) -> list[Turn]:
    """The turns from the root to `leaf` (default: the last of all), each the parent of the next."""
    by_id = {turn.id: turn for turn in turns}
    here = turns[-1].id if turns and leaf == LAST_TURN else leaf
    found: list[Turn] = []
    while here is not None and (turn := by_id.pop(here, None)) is not None:
        found.append(turn)
        here = turn.parent
    return found[::-1]


def answered(turns: Sequence[Turn]) -> Conversation:
    """What the model reads of a line of turns: the answered ones."""
    messages = [message for turn in turns if turn.replied is not None for message in (*turn.asked, *turn.replied)]
    return Conversation(messages=tuple(messages))


def written_messages(messages: Sequence[Message]) -> str:
    """Messages as JSON."""
    return _MESSAGES.dump_json(tuple(messages)).decode()


def read_messages(text: str) -> tuple[Message, ...]:
    """Messages from JSON. Raises: InputError for what a newer Narthex wrote."""
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError:
        raise InputError(
            "the conversation holds messages that this Narthex does not know", hint="use the Narthex that wrote it"
        ) from None


def _row(conversation_id: str, title: str, settings: Mapping[str, Any], user: str) -> dict[str, Any]:
    now = time.time()
    return {
        "id": conversation_id, "started": now, "changed": now, "settings": json.dumps(dict(settings)),
        "title": _line(title), "user": user,
    }  # fmt: skip


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "…"


def _words(messages: Sequence[Message]) -> str:
    """What is searched: what users and assistants said, case folded, a line each."""
    said = [message.text for message in messages if message.role in ("user", "assistant")]
    return "".join(text.casefold() + "\n" for text in said if text)


def _select_records() -> Select[Any]:
    table, turns = schema.conversations, schema.turns
    num_turns = select(func.count()).where(turns.c.conversation_id == table.c.id).scalar_subquery()
    columns = (table.c.id, table.c.started, table.c.changed, table.c.title, table.c.settings)
    return select(*columns, num_turns, table.c.user)


def _records(connection: Connection, query: Select[Any]) -> list[ConversationRecord]:
    return [
        ConversationRecord(id_, started, changed, title, json.loads(settings), num_turns, user)
        for id_, started, changed, title, settings, num_turns, user in connection.execute(query)
    ]
