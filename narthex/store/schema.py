"""The tables as they are now. Named constraints and one MetaData, so that Alembic can compare and migrate them.

A change of the tables is a change here, a step in `migrations/versions`, and its name in `HEAD`.
"""

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

HEAD = "0004"  # the last step of `migrations/versions`; a test compares

# Before there were steps a number said which tables there are. It stays at this one for good: by it, a Narthex of those
# days sees that a store is newer than itself.
LAST_NUMBER = 3

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))
# Alembic's own, and none of those that it compares.
alembic_version = Table(
    "alembic_version", MetaData(naming_convention={"pk": "%(table_name)s_pkc"}),
    Column("version_num", String(32), primary_key=True),
)  # fmt: skip


def _user() -> Column[str]:
    """Whose it is; empty: of whoever has this machine."""
    return Column("user", String, nullable=False, server_default="")


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
    _user(),
)
Index("ix_runs_started", runs.c.started)
Index("ix_runs_user_started", runs.c.user, runs.c.started)
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

# Which bytes a run shows. No foreign keys: the run's own row comes with the next group commit.
run_blobs = Table(
    "run_blobs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    sqlite_with_rowid=False,
)
Index("ix_run_blobs_sha256", run_blobs.c.sha256)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("started", Float, nullable=False),  # seconds since 1970, UTC
    Column("changed", Float, nullable=False),
    Column("title", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: what the last turn was asked with
    _user(),
)
Index("ix_conversations_changed", conversations.c.changed)
Index("ix_conversations_user_changed", conversations.c.user, conversations.c.changed)

turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, ForeignKey("conversations.id"), nullable=False),
    Column("number", Integer, nullable=False),  # their order; a gap is a turn that was taken back
    Column("run_id", String, nullable=False),  # no foreign key: the run's own rows come with the next group commit
    Column("asked", Text, nullable=False),  # JSON: messages
    Column("replied", Text),  # JSON: messages; none while it runs, and for ever if it was cut
    Column("parent", String),  # the turn it goes on from; two of one parent are branches, none begins anew
    Column("started", Float, nullable=False, server_default="0"),
    Column("settings", Text, nullable=False, server_default="{}"),  # JSON: what it was asked with
    Column("words", Text, nullable=False, server_default=""),  # what was said, case folded, to be searched
    UniqueConstraint("conversation_id", "number"),
)
Index("ix_turns_run_id", turns.c.run_id)

files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    _user(),
    Column("created", Float, nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
)
Index("ix_files_user_created", files.c.user, files.c.created)
Index("ix_files_sha256", files.c.sha256)

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    _user(),
    Column("created", Float, nullable=False),
    Column("run_id", String, nullable=False),
    Column("previous", String),  # the response it goes on from
    Column("asked", Text, nullable=False),  # JSON: messages, without what came before
    Column("request", Text, nullable=False),  # JSON: what it was asked with
)
Index("ix_responses_run_id", responses.c.run_id)
