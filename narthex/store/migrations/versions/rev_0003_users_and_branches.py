"""Whose a run and a conversation is; turns as a tree; files; responses; which bytes belong to which run.

Turns so far followed each other: each gets the one before it as its parent. Which bytes a run shows is read from its
events and its turn.
"""

from __future__ import annotations

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_HASHES = re.compile(r'"sha256":"([0-9a-f]{64})"')


def upgrade() -> None:
    for table, time in (("runs", "started"), ("conversations", "changed")):
        op.add_column(table, sa.Column("user", sa.String, nullable=False, server_default=""))
        op.create_index(f"ix_{table}_user_{time}", table, ["user", time])
    op.add_column("turns", sa.Column("parent", sa.String))
    op.add_column("turns", sa.Column("started", sa.Float, nullable=False, server_default="0"))
    op.add_column("turns", sa.Column("settings", sa.Text, nullable=False, server_default="{}"))
    op.add_column("turns", sa.Column("words", sa.Text, nullable=False, server_default=""))
    op.create_index("ix_turns_run_id", "turns", ["run_id"])
    _create_tables()
    _fill_turns()
    _fill_run_blobs()
    op.execute("UPDATE schema_version SET version = 3")


def downgrade() -> None:
    for table in ("responses", "files", "run_blobs"):
        op.drop_table(table)
    op.drop_index("ix_turns_run_id")
    for column in ("parent", "started", "settings", "words"):
        op.drop_column("turns", column)
    for table, time in (("runs", "started"), ("conversations", "changed")):
        op.drop_index(f"ix_{table}_user_{time}")
        op.drop_column(table, "user")
    op.execute("UPDATE schema_version SET version = 2")


def _create_tables() -> None:
    op.create_table(
        "run_blobs",
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sha256", name="pk_run_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_blobs_sha256", "run_blobs", ["sha256"])
    op.create_table(
        "files",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False, server_default=""),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("media_type", sa.String, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_user_created", "files", ["user", "created"])
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_table(
        "responses",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False, server_default=""),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("previous", sa.String),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_run_id", "responses", ["run_id"])


def _fill_turns() -> None:
    connection = op.get_bind()
    before: dict[str, str] = {}
    rows = connection.exec_driver_sql(
        "SELECT t.id, t.conversation_id, t.asked, t.replied, coalesce(r.started, c.changed), c.settings FROM turns t "
        "JOIN conversations c ON c.id = t.conversation_id LEFT JOIN runs r ON r.id = t.run_id "
        "ORDER BY t.conversation_id, t.number"
    ).all()
    for turn_id, conversation_id, asked, replied, started, settings in rows:
        connection.exec_driver_sql(
            "UPDATE turns SET parent = ?, started = ?, settings = ?, words = ? WHERE id = ?",
            (before.get(conversation_id), started, settings, _words(asked) + _words(replied), turn_id),
        )
        before[conversation_id] = turn_id


def _words(text: str | None) -> str:
    """What messages say, case folded: of users and assistants, each on a line of its own."""
    said = [
        "".join(part["text"] for part in message.get("parts", ()) if part["type"] == "text")
        for message in (json.loads(text) if text else ())
        if message["role"] in ("user", "assistant")
    ]
    return "".join(line.casefold() + "\n" for line in said if line)


def _fill_run_blobs() -> None:
    connection = op.get_bind()
    insert = "INSERT OR IGNORE INTO run_blobs (run_id, sha256) VALUES (?, ?)"
    for query in (
        "SELECT run_id, asked || coalesce(replied, '') FROM turns",
        "SELECT run_id, json FROM events WHERE json LIKE '%\"sha256\":\"%'",
    ):
        found = [(run_id, sha256) for run_id, text in connection.exec_driver_sql(query) for sha256 in
                 set(_HASHES.findall(text))]  # fmt: skip
        for pair in found:
            connection.exec_driver_sql(insert, pair)
