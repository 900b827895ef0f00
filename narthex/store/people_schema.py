"""Tables of who may ask: users, their groups, their keys, and one line for each of their runs."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, String, Table, Text

from narthex.store.schema import metadata

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("created", Float, nullable=False),  # seconds since 1970, UTC; so are all times
)

user_groups = Table(
    "user_groups",
    metadata,
    Column("user_id", String, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),  # a part of the key, so that one who finds a key knows which it is
    Column("user_id", String, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", String, nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
Index("ix_keys_user_id", keys.c.user_id)

# Who and what, never what was said. No foreign keys: a line outlives its user and its run.
audit = Table(
    "audit",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("user_name", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),  # none while it runs, and for ever if the process died
    Column("model", String, nullable=False),
    Column("weights", String),  # the hash of their manifest; none behind an upstream
    Column("mode", String, nullable=False),
    Column("budget", Text, nullable=False),  # JSON
    Column("tools", Text, nullable=False),  # JSON: names
    Column("status", String, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("thought_tokens", Integer, nullable=False),
    Column("answer_tokens", Integer, nullable=False),
    Column("agent_seconds", Float, nullable=False),
    Column("cost", Float),
)
Index("ix_audit_user_id_started", audit.c.user_id, audit.c.started)
