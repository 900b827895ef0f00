"""Responses of the API: which run answers which request, and which response went before. What came out is the run's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, insert, select, update

from narthex.chat import Message
from narthex.store import schema
from narthex.store.conversations import read_messages, written_messages
from narthex.store.errors import told_as_store_error

_HINT = "is the disk full, or the file held by another program?"


class ResponseRecord(NamedTuple):
    """One response. `asked` is what it added to what was said before; `request` is plain data, for whoever shows it."""

    id: str
    user: str
    created: float
    run_id: str
    previous: str | None
    asked: tuple[Message, ...]
    request: dict[str, Any]


class Responses:
    """Kept in the store's database. Every method is one transaction and may be called from any thread or process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self, response_id: str, *, run_id: str, asked: Sequence[Message], request: Mapping[str, Any], user: str = "",
        previous: str | None = None, created: float | None = None,
    ) -> None:  # fmt: skip
        """Write it before it is answered. Raises: StoreError."""
        row = {
            "id": response_id, "user": user, "created": time.time() if created is None else created,
            "run_id": run_id, "previous": previous, "asked": written_messages(asked),
            "request": json.dumps(dict(request)),
        }  # fmt: skip
        with told_as_store_error("write the response", hint=_HINT), self._engine.begin() as connection:
            connection.execute(insert(schema.responses).values(row))

    def note(self, response_id: str, **more: Any) -> None:
        """Add to what its `request` says. Nothing if it is gone. Raises: StoreError."""
        table = schema.responses
        with told_as_store_error("write the response", hint=_HINT), self._engine.begin() as connection:
            text = connection.scalar(select(table.c.request).where(table.c.id == response_id))
            if text is not None:
                request = json.dumps({**json.loads(text), **more})
                connection.execute(update(table).where(table.c.id == response_id).values(request=request))

    def record(self, response_id: str) -> ResponseRecord | None:
        """One response, or None if there is none of that id. Raises: InputError for what a newer Narthex wrote."""
        query = select(schema.responses).where(schema.responses.c.id == response_id)
        with told_as_store_error("read the response", hint=_HINT), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        told = {**row._mapping, "asked": read_messages(row.asked), "request": json.loads(row.request)}
        return ResponseRecord(**told)
