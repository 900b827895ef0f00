"""Users, their groups and keys, and a line for each of their runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "user_groups",
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "name", name="pk_user_groups"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_groups_user_id_users", ondelete="CASCADE"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_keys_user_id_users", ondelete="CASCADE"),
    )
    op.create_index("ix_keys_user_id", "keys", ["user_id"])
    _create_audit()


def downgrade() -> None:
    for table in ("audit", "keys", "user_groups", "users"):
        op.drop_table(table)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("user_name", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("weights", sa.String),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("tools", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("thought_tokens", sa.Integer, nullable=False),
        sa.Column("answer_tokens", sa.Integer, nullable=False),
        sa.Column("agent_seconds", sa.Float, nullable=False),
        sa.Column("cost", sa.Float),
        sa.PrimaryKeyConstraint("run_id", name="pk_audit"),
    )
    op.create_index("ix_audit_user_id_started", "audit", ["user_id", "started"])
