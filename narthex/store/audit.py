"""One line for each run over HTTP: who, what and how much; never what was said."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, bindparam, func, insert, select, update

from narthex.store.errors import told_as_store_error
from narthex.store.people_schema import audit, user_groups
from narthex.store.writer import Operation, Writer

_HINT = "is the disk all right?"
_BEGIN = insert(audit)
_SPENT = ("prompt_tokens", "thought_tokens", "answer_tokens", "agent_seconds", "cost")
_NOTE = (
    update(audit)
    .where(audit.c.run_id == bindparam("run"))
    .values({name: bindparam(f"new_{name}") for name in ("status", "ended", *_SPENT)})
)


class AuditLine(NamedTuple):
    """Times are seconds since 1970, UTC; `agent_seconds` is each agent's time at work, added up.

    `weights` is the hash of the model's manifest, None behind an upstream. `status`: running, done, failed, cut or
    quota. `ended` stays None where the process died.
    """

    run_id: str
    user_id: str
    user_name: str
    key_id: str
    started: float
    model: str
    weights: str | None
    mode: str
    budget: Mapping[str, Any]
    tools: tuple[str, ...]
    status: str = "running"
    ended: float | None = None
    prompt_tokens: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0
    agent_seconds: float = 0.0
    cost: float | None = None


class Spent(NamedTuple):
    """A sum over runs: tokens are those of prompts, thought and answers."""

    tokens: int = 0
    agent_seconds: float = 0.0


class DayUsage(NamedTuple):
    """A day (UTC) of one user; `cost` is None where no price is known."""

    day: str
    runs: int
    prompt_tokens: int
    thought_tokens: int
    answer_tokens: int
    agent_seconds: float
    cost: float | None


class Audit:
    """In the store's database; lines are written with its group commits. Every method may be called from any thread."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine, self._writer = engine, writer

    def begin(self, line: AuditLine) -> int:
        """Queue the line of a run that begins; the ticket is for `Store.flush`. Raises: StoreError if it is closed."""
        row = line._asdict() | {"budget": json.dumps(dict(line.budget)), "tools": json.dumps(line.tools)}
        return self._writer.submit(Operation(_BEGIN, row))

    def note(self, line: AuditLine) -> int:
        """Queue what a run that began has spent by now, and how it stands. Raises: as `begin`."""
        values = {f"new_{name}": getattr(line, name) for name in ("status", "ended", *_SPENT)}
        return self._writer.submit(Operation(_NOTE, {"run": line.run_id, **values}))

    def spent(self, since: float, *, user_id: str | None = None, group: str | None = None) -> Spent:
        """By a user, or by all who are in a group now, in runs that began at `since` or later. Raises: StoreError."""
        tokens = func.sum(audit.c.prompt_tokens + audit.c.thought_tokens + audit.c.answer_tokens)
        query = select(tokens, func.sum(audit.c.agent_seconds)).where(audit.c.started >= since)
        if user_id is not None:
            query = query.where(audit.c.user_id == user_id)
        if group is not None:
            members = select(user_groups.c.user_id).where(user_groups.c.name == group)
            query = query.where(audit.c.user_id.in_(members))
        with told_as_store_error("read what was spent", hint=_HINT), self._engine.connect() as connection:
            found = connection.execute(query).one()
        return Spent(int(found[0] or 0), float(found[1] or 0.0))

    def days(self, user_id: str, num_days: int) -> list[DayUsage]:
        """What a user spent on each of the last days on which there was something, oldest first. Raises: StoreError."""
        day = func.strftime("%Y-%m-%d", audit.c.started, "unixepoch")
        sums = [func.sum(audit.c[name]) for name in _SPENT]
        since = (time.time() // 86_400 - num_days + 1) * 86_400
        query = select(day, func.count(), *sums).where(audit.c.user_id == user_id, audit.c.started >= since)
        with told_as_store_error("read what was spent", hint=_HINT), self._engine.connect() as connection:
            return [DayUsage(*row) for row in connection.execute(query.group_by(day).order_by(day))]

    def lines(self, *, limit: int = 50, user_id: str | None = None) -> list[AuditLine]:
        """The last ones, newest first. Raises: StoreError."""
        query: Select[Any] = select(*(audit.c[name] for name in AuditLine._fields))
        if user_id is not None:
            query = query.where(audit.c.user_id == user_id)
        query = query.order_by(audit.c.started.desc()).limit(limit)
        with told_as_store_error("read the audit lines", hint=_HINT), self._engine.connect() as connection:
            lines = [AuditLine(*row) for row in connection.execute(query)]
        return [
            line._replace(budget=json.loads(str(line.budget)), tools=tuple(json.loads(str(line.tools))))
            for line in lines
        ]
