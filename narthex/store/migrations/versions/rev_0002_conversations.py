"""Conversations and their turns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("changed", sa.Float, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_changed", "conversations", ["changed"])
    op.create_table(
        "turns",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("replied", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_turns_conversation_id_conversations"
        ),
        sa.UniqueConstraint("conversation_id", "number", name="uq_turns_conversation_id"),
    )
    op.execute("UPDATE schema_version SET version = 2")


def downgrade() -> None:
    op.drop_table("turns")
    op.drop_table("conversations")
    op.execute("UPDATE schema_version SET version = 1")
