"""Bytes by their hash: one file each, written once. The same picture sent twice is kept once."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, select, union_all
from sqlalchemy.dialects.sqlite import insert

from narthex.base.errors import InputError
from narthex.store import schema
from narthex.store.errors import StoreError, told_as_store_error
from narthex.store.owners import exclusive

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Blob(NamedTuple):
    data: bytes
    media_type: str


class Blobs:
    """Files under `folder`/ab/abcd…, their media types in the database. Safe to use from many threads and processes."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._local = threading.local()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes or removes bytes meanwhile, in this process or another: what is found stays until used."""
        if getattr(self._local, "is_held", False):
            yield
            return
        lock = self._folder.with_suffix(".lock")
        with told_as_store_error(f"write {lock}", hint="is the disk full?"), exclusive(lock):
            self._local.is_held = True
            try:
                yield
            finally:
                self._local.is_held = False

    def put(self, data: bytes, media_type: str, *, run_id: str | None = None) -> str:
        """Keep the bytes and return their sha256 in hex. Of equal bytes the first media type stays.

        They are on disk when this returns, and noted as what run `run_id` shows. Raises: StoreError if they cannot be
        written.
        """
        with self.held():
            return self._put(data, media_type, run_id)

    def _put(self, data: bytes, media_type: str, run_id: str | None) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        row = {"sha256": sha256, "media_type": media_type, "size_bytes": len(data), "created": time.time()}
        with told_as_store_error(f"write {path}", hint="is the disk full?"):
            # Damaged bytes are replaced by sound ones when they come again.
            if not (path.is_file() and path.read_bytes() == data):
                _write_whole(path, data)
            # The row follows the file, so that a row always has one.
            with self._engine.begin() as connection:
                connection.execute(insert(schema.blobs).values(row).on_conflict_do_nothing())
                if run_id is not None:
                    shown = insert(schema.run_blobs).values(run_id=run_id, sha256=sha256)
                    connection.execute(shown.on_conflict_do_nothing())
        return sha256

    def is_seen_by(self, sha256: str, user: str) -> bool:
        """Whether a run of that user shows these bytes, or a file of theirs has them."""
        runs, held, files = schema.runs, schema.run_blobs, schema.files
        of_runs = select(held.c.sha256).join(runs, runs.c.id == held.c.run_id)
        of_runs = of_runs.where(held.c.sha256 == sha256, runs.c.user == user)
        of_files = select(files.c.sha256).where(files.c.sha256 == sha256, files.c.user == user)
        with told_as_store_error(f"look for {sha256[:80]}", hint="is the disk all right?"):
            with self._engine.connect() as connection:
                return connection.execute(union_all(of_runs, of_files).limit(1)).first() is not None

    def forget_unused(self, connection: Connection, hashes: Iterable[str]) -> list[str]:
        """Drop the rows of those that no run and no file shows; returns them, for `remove_files` after the commit.

        Both inside `held`.
        """
        unused = []
        for sha256 in dict.fromkeys(hashes):
            tables = (schema.run_blobs, schema.files)
            uses = [select(table.c.sha256).where(table.c.sha256 == sha256) for table in tables]
            if connection.execute(union_all(*uses).limit(1)).first() is None:
                connection.execute(delete(schema.blobs).where(schema.blobs.c.sha256 == sha256))
                unused.append(sha256)
        return unused

    def remove_files(self, hashes: Iterable[str]) -> None:
        """Remove the bytes of rows that are gone."""
        for sha256 in hashes:
            self._path(sha256).unlink(missing_ok=True)

    def get(self, sha256: str) -> Blob:
        """The bytes of that hash, checked against it.

        Raises: InputError if there is none of that name; StoreError if the file is gone or damaged.
        """
        media_type = self._media_type(sha256)
        if media_type is None:
            raise InputError(f"nothing is stored under '{sha256[:80]}'", hint="attach the picture again")
        path = self._path(sha256)
        with told_as_store_error(f"read {path}", hint="attach the picture again"):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{path} is damaged: it no longer has its hash", hint="attach the picture again")
        return Blob(data, media_type)

    def __contains__(self, sha256: object) -> bool:
        return isinstance(sha256, str) and self._media_type(sha256) is not None

    def _media_type(self, sha256: str) -> str | None:
        if not _SHA256.fullmatch(sha256):
            return None
        query = select(schema.blobs.c.media_type).where(schema.blobs.c.sha256 == sha256)
        with told_as_store_error(f"look for {sha256}", hint="is the disk all right?"):
            with self._engine.connect() as connection:
                return connection.scalar(query)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def _write_whole(path: Path, data: bytes) -> None:
    """Write beside and rename, so that no reader and no crash ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
