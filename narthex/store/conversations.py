"""Conversations: what was said, turn by turn. A turn is a question and, once it is answered, what came back.

A turn is written when its run begins and again when it ends, so a process that dies in between leaves a question
without an answer, which can be asked again. Only answered turns are part of what the model reads later.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, update

from narthex.base.errors import InputError
from narthex.chat import Conversation, Message
from narthex.store import schema
from narthex.store.errors import StoreError, told_as_store_error

TITLE_CHARACTERS = 200  # as of a run's question: a list shows a line

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])
_HINT = "is the disk full, or the file held by another program?"


class Turn(NamedTuple):
    """A question (a system prompt may stand before it) and its reply; `replied` is None where it was cut."""

    id: str
    run_id: str
    asked: tuple[Message, ...]
    replied: tuple[Message, ...] | None


class ConversationRecord(NamedTuple):
    """A conversation as listed. Times are seconds since 1970, UTC; `settings` is what its last turn was asked with."""

    id: str
    started: float
    changed: float
    title: str
    settings: dict[str, Any]
    num_turns: int


class Conversations:
    """Kept in the store's database. Every method is one transaction and may be called from any thread or process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin_turn(
        self, conversation_id: str, asked: Sequence[Message], *, run_id: str, settings: Mapping[str, Any]
    ) -> str:
        """Write a question before it is answered, and return the turn's id. A new id makes a new conversation.

        `settings` is plain data (model, mode, tools) for whoever goes on with it later.
        Raises: StoreError if it cannot be written.
        """
        turn_id, now = uuid.uuid4().hex, time.time()
        title = " ".join(asked[-1].text.split()) if asked else ""
        row = {
            "id": conversation_id, "started": now, "changed": now, "settings": json.dumps(dict(settings)),
            "title": title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1] + "…",
        }  # fmt: skip
        table = schema.conversations
        with told_as_store_error("write the question", hint=_HINT), self._engine.begin() as connection:
            changed = {"changed": now, "settings": row["settings"]}
            if not connection.execute(update(table).where(table.c.id == conversation_id).values(changed)).rowcount:
                connection.execute(insert(table).values(row))
            turns = schema.turns
            last = select(func.max(turns.c.number)).where(turns.c.conversation_id == conversation_id)
            number = connection.scalar(last)
            connection.execute(
                insert(turns).values(
                    id=turn_id, conversation_id=conversation_id, number=0 if number is None else number + 1,
                    run_id=run_id, asked=_MESSAGES.dump_json(tuple(asked)).decode(), replied=None,
                )
            )  # fmt: skip
        return turn_id

    def finish_turn(self, turn_id: str, replied: Sequence[Message]) -> None:
        """Write what came back. Raises: StoreError if it cannot be written, or the turn is gone."""
        text, turns = _MESSAGES.dump_json(tuple(replied)).decode(), schema.turns
        with told_as_store_error("write the answer", hint=_HINT), self._engine.begin() as connection:
            found = connection.execute(update(turns).where(turns.c.id == turn_id).values(replied=text)).rowcount
        if not found:
            raise StoreError("the question of this answer is no longer in the store", hint="ask again")

    def drop_turn(self, turn_id: str) -> None:
        """Forget a question, and its conversation if nothing else was said in it. Nothing if it is gone already."""
        turns, table = schema.turns, schema.conversations
        with told_as_store_error("take the question back", hint=_HINT), self._engine.begin() as connection:
            home = connection.scalar(select(turns.c.conversation_id).where(turns.c.id == turn_id))
            connection.execute(delete(turns).where(turns.c.id == turn_id))
            left = connection.scalar(select(func.count()).where(turns.c.conversation_id == home))
            if not left:
                connection.execute(delete(table).where(table.c.id == home))

    def latest(self, *, limit: int = 50) -> list[ConversationRecord]:
        """The conversations that went on last, newest first."""
        query = _select_records().order_by(schema.conversations.c.changed.desc()).limit(limit)
        with told_as_store_error("read the conversations", hint=_HINT), self._engine.connect() as connection:
            return _records(connection, query)

    def find(self, prefix: str) -> list[ConversationRecord]:
        """Those whose id begins so, newest first; one of exactly that id alone."""
        table = schema.conversations
        query = _select_records().where(table.c.id.startswith(prefix, autoescape=True))
        with told_as_store_error("read the conversations", hint=_HINT), self._engine.connect() as connection:
            found = _records(connection, query.order_by(table.c.changed.desc()))
        return [record for record in found if record.id == prefix] or found

    def turns(self, conversation_id: str) -> list[Turn]:
        """All turns in order, the unanswered ones too. Raises: InputError for what a newer Narthex wrote."""
        table = schema.turns
        query = select(table.c.id, table.c.run_id, table.c.asked, table.c.replied)
        query = query.where(table.c.conversation_id == conversation_id).order_by(table.c.number)
        with told_as_store_error("read the conversation", hint=_HINT), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            Turn(row.id, row.run_id, _messages(row.asked), None if row.replied is None else _messages(row.replied))
            for row in rows
        ]


def answered(turns: Sequence[Turn]) -> Conversation:
    """What the model reads of a conversation: its answered turns."""
    messages = [message for turn in turns if turn.replied is not None for message in (*turn.asked, *turn.replied)]
    return Conversation(messages=tuple(messages))


def _messages(text: str) -> tuple[Message, ...]:
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError:
        raise InputError(
            "the conversation holds messages that this Narthex does not know", hint="use the Narthex that wrote it"
        ) from None


def _select_records() -> Select[Any]:
    table, turns = schema.conversations, schema.turns
    num_turns = select(func.count()).where(turns.c.conversation_id == table.c.id).scalar_subquery()
    return select(table.c.id, table.c.started, table.c.changed, table.c.title, table.c.settings, num_turns)


def _records(connection: Connection, query: Select[Any]) -> list[ConversationRecord]:
    return [
        ConversationRecord(id_, started, changed, title, json.loads(settings), num_turns)
        for id_, started, changed, title, settings, num_turns in connection.execute(query)
    ]
