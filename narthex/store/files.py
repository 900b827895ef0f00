"""Files that users keep here to name them in questions: their bytes in blobs, a row for each upload."""

from __future__ import annotations

import time
import uuid
from typing import NamedTuple

from sqlalchemy import Engine, delete, insert, select

from narthex.store import schema
from narthex.store.blobs import Blobs
from narthex.store.errors import told_as_store_error

_HINT = "is the disk full, or the file held by another program?"


class FileRecord(NamedTuple):
    """One upload. `created` is seconds since 1970, UTC; `user` is whose it is."""

    id: str
    user: str
    created: float
    name: str
    purpose: str
    media_type: str
    size_bytes: int
    sha256: str


class Files:
    """Kept in the store's database. Every method is one transaction and may be called from any thread or process."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        self._engine, self._blobs = engine, blobs

    def add(self, data: bytes, *, name: str, purpose: str, media_type: str, user: str = "") -> FileRecord:
        """Keep a file; it is on disk when this returns. Raises: StoreError."""
        with self._blobs.held():
            sha256 = self._blobs.put(data, media_type)
            record = FileRecord(
                f"file-{uuid.uuid4().hex}", user, time.time(), name, purpose, media_type, len(data), sha256
            )
            with told_as_store_error("write the file", hint=_HINT), self._engine.begin() as connection:
                connection.execute(insert(schema.files).values(record._asdict()))
        return record

    def record(self, file_id: str) -> FileRecord | None:
        """One file, or None if there is none of that id."""
        query = select(schema.files).where(schema.files.c.id == file_id)
        with told_as_store_error("read the files", hint=_HINT), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else FileRecord(**row._mapping)

    def list(self, *, user: str, limit: int, after: str | None = None, purpose: str | None = None) -> list[FileRecord]:
        """A user's files, newest first; only those behind the one called `after`, only those for `purpose`."""
        table = schema.files
        query = select(table).where(table.c.user == user).order_by(table.c.created.desc(), table.c.id).limit(limit)
        if purpose is not None:
            query = query.where(table.c.purpose == purpose)
        if after is not None:
            created = select(table.c.created).where(table.c.id == after).scalar_subquery()
            query = query.where((table.c.created < created) | ((table.c.created == created) & (table.c.id > after)))
        with told_as_store_error("read the files", hint=_HINT), self._engine.connect() as connection:
            return [FileRecord(**row._mapping) for row in connection.execute(query)]

    def delete(self, file_id: str) -> None:
        """Forget a file, and its bytes where nothing else shows them. Nothing if it is gone already."""
        table = schema.files
        with told_as_store_error("delete the file", hint=_HINT), self._blobs.held():
            with self._engine.begin() as connection:
                hashes = list(connection.scalars(select(table.c.sha256).where(table.c.id == file_id)))
                connection.execute(delete(table).where(table.c.id == file_id))
                unused = self._blobs.forget_unused(connection, hashes)
            self._blobs.remove_files(unused)
