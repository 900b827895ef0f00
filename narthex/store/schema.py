"""The tables. Named constraints and one MetaData, so that Alembic can compare and migrate them later."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Raised with every change of the tables. A store of a higher version is refused, one of a lower will be migrated.
SCHEMA_VERSION = 2

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("started", Float, nullable=False),  # seconds since 1970, UTC
    Column("ended", Float),
    Column("mode", String, nullable=False),
    Column("model", String, nullable=False),
    Column("status", String, nullable=False),
    Column("question", Text, nullable=False),
    Column("owner", String, nullable=False),  # whose lock file says that the run may still be going
)
Index("ix_runs_started", runs.c.started)
Index("ix_runs_status", runs.c.status)

events = Table(
    "events",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("json", Text, nullable=False),
    sqlite_with_rowid=False,  # kept in the order in which they are read
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("created", Float, nullable=False),
)

# Version 2.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("started", Float, nullable=False),  # seconds since 1970, UTC
    Column("changed", Float, nullable=False),
    Column("title", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: what the last turn was asked with
)
Index("ix_conversations_changed", conversations.c.changed)

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, ForeignKey("conversations.id"), nullable=False),
    Column("number", Integer, nullable=False),  # their order; a gap is a turn that failed
    Column("run_id", String, nullable=False),  # no foreign key: the run's own rows come with the next group commit
    Column("asked", Text, nullable=False),  # JSON: messages
    Column("replied", Text),  # JSON: messages; none while it runs, and for ever if it was cut
    UniqueConstraint("conversation_id", "number"),
)
