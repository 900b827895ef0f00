"""The database file: opened for many readers and one writer, and brought up to date, with a copy of it before that.

    none there         the tables of `schema`, marked as the last step
    an older one       a copy in backups/, then every step that is missing, in one transaction
    a newer one        refused
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, select

from narthex.base.errors import UserError
from narthex.base.log import get_logger
from narthex.store import schema

# How long a statement waits for another process that is writing, before it fails.
_BUSY_TIMEOUT_MS = 10_000
BACKUPS = "backups"

_MIGRATIONS = Path(__file__).parent / "migrations"
_log = get_logger("store")


def connect(database: Path) -> Engine:
    """An engine for everyday use: foreign keys hold, and what is deleted is overwritten."""
    engine = create_engine(URL.create("sqlite", database=str(database)))

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut, too
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()
        connection.create_function("casefold", 1, str.casefold, deterministic=True)

    return engine


def prepare(engine: Engine, database: Path) -> None:
    """Make the tables, or bring them up to date. Only one process at a time may be in here.

    Raises: UserError for a store of a newer Narthex; what the database or the disk raises.
    """
    found = _revision(engine, database)
    if found is None:
        with _transaction(database) as connection:
            schema.metadata.create_all(connection)
            connection.execute(insert(schema.schema_version).values(version=schema.LAST_NUMBER))
            schema.alembic_version.create(connection)
            connection.execute(insert(schema.alembic_version).values(version_num=schema.HEAD))
    elif found != schema.HEAD:
        copy = _back_up(database, found)
        _log.info("the store is brought from step %s to %s; %s is as it was", found, schema.HEAD, copy)
        migrate(database, schema.HEAD)


def migrate(database: Path, target: str) -> None:
    """Take all steps to the one called `target`, forwards or backwards, or none of them."""
    from alembic import command  # a quarter of a second, and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with _transaction(database) as connection:
        if not inspect(connection).has_table("alembic_version"):  # a store from before the steps
            number = connection.scalar(select(func.max(schema.schema_version.c.version)))
            schema.alembic_version.create(connection)
            connection.execute(insert(schema.alembic_version).values(version_num=f"{number:04}"))
        config.attributes["connection"] = connection
        is_back = target < (connection.scalar(select(schema.alembic_version)) or "")
        (command.downgrade if is_back else command.upgrade)(config, target)


@contextmanager
def _transaction(database: Path) -> Iterator[Connection]:
    """One transaction for changes of the tables, too: the driver alone begins none for CREATE and ALTER."""
    engine = create_engine(URL.create("sqlite", database=str(database)))

    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _revision(engine: Engine, database: Path) -> str | None:
    """The step that the tables are at; None where there are none. Raises: UserError for one that nobody here knows."""
    there = inspect(engine)
    if not there.has_table("schema_version"):
        return None
    with engine.connect() as connection:
        number = connection.scalar(select(func.max(schema.schema_version.c.version))) or 0
        step = connection.scalar(select(schema.alembic_version)) if there.has_table("alembic_version") else None
    found = step or f"{number:04}"
    known = {path.name[4:8] for path in (_MIGRATIONS / "versions").glob("rev_*.py")}
    if found in known and number <= schema.LAST_NUMBER:
        return found
    told = f"version {number}" if step is None or number > schema.LAST_NUMBER else f"step {step}"
    raise UserError(
        f"the store {database} is at {told}, which this Narthex does not know (its own last step is {schema.HEAD})",
        hint="use the Narthex that wrote it, or set NARTHEX_HOME to another folder",
    )


def _back_up(database: Path, found: str) -> Path:
    """A whole copy, whatever still stands in the journal beside it. One of the same step is replaced."""
    folder = database.parent / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    copy = folder / f"narthex-{found}.db"
    part = copy.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(copy)
    return copy
