"""Forgetting for good: rows, the bytes that nothing else shows, and what the journal still has of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, delete, select, text
from sqlalchemy.exc import SQLAlchemyError

from narthex.store import schema
from narthex.store.blobs import Blobs
from narthex.store.errors import told_as_store_error

_HINT = "is the disk full, or the file held by another program?"


def erase_conversation(engine: Engine, blobs: Blobs, conversation_id: str) -> None:
    """Its turns, their runs and all that these left. Raises: StoreError, and then nothing is gone."""
    turns, table = schema.turns, schema.conversations
    with told_as_store_error("delete the conversation", hint=_HINT), blobs.held():
        with engine.begin() as connection:
            query = select(turns.c.run_id).where(turns.c.conversation_id == conversation_id)
            run_ids = list(connection.scalars(query))
            connection.execute(delete(turns).where(turns.c.conversation_id == conversation_id))
            connection.execute(delete(table).where(table.c.id == conversation_id))
            unused = _erase_runs(connection, blobs, run_ids)
        blobs.remove_files(unused)
    _empty_journal(engine)


def erase_response(engine: Engine, blobs: Blobs, response_id: str, run_id: str) -> None:
    """The response, its run and all that it left. Raises: StoreError, and then nothing is gone."""
    table = schema.responses
    with told_as_store_error("delete the response", hint=_HINT), blobs.held():
        with engine.begin() as connection:
            connection.execute(delete(table).where(table.c.id == response_id))
            unused = _erase_runs(connection, blobs, [run_id])
        blobs.remove_files(unused)
    _empty_journal(engine)


def _erase_runs(connection: Connection, blobs: Blobs, run_ids: Sequence[str]) -> list[str]:
    """Returns the hashes of bytes that nothing shows any more, to be removed once this is committed."""
    hashes: list[str] = []
    for run_id in run_ids:
        held = schema.run_blobs
        hashes += connection.scalars(select(held.c.sha256).where(held.c.run_id == run_id))
        connection.execute(delete(held).where(held.c.run_id == run_id))
        connection.execute(delete(schema.events).where(schema.events.c.run_id == run_id))
        connection.execute(delete(schema.runs).where(schema.runs.c.id == run_id))
    return blobs.forget_unused(connection, hashes)


def _empty_journal(engine: Engine) -> None:
    """Deleted rows are overwritten in the database; the journal beside it holds them until it is emptied."""
    try:
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    except SQLAlchemyError:
        pass  # somebody is reading; the next one to close or to delete empties it
