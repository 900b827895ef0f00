"""Runs, events, conversations and blobs on SQLite, in one folder.

What is stored of a run follows from its events alone: `run_started` opens it, `run_finished` or `run_failed` closes it,
in the same transaction as the event itself. A run whose process died in between is found when the store is next
opened, and marked `cut`, with every event that had been shown.

    store = Store.open(folder)
    async for event in store.recorded(reason.run(...)):     # written first, then seen
        show(event)
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from narthex.base.log import get_logger
from narthex.base.paths import narthex_home
from narthex.chat.events import Event, RunFailed, RunFinished, RunStarted, ToolFinished, parse_event
from narthex.chat.messages import TextPart
from narthex.store import schema
from narthex.store.audit import Audit
from narthex.store.blobs import Blobs
from narthex.store.conversations import Conversations
from narthex.store.database import connect, prepare
from narthex.store.erasing import erase_conversation, erase_response
from narthex.store.errors import told_as_store_error
from narthex.store.files import Files
from narthex.store.owners import Owner, exclusive
from narthex.store.people import People
from narthex.store.responses import Responses
from narthex.store.writer import Operation, Writer

RunStatus = Literal["running", "done", "failed", "cut"]

# A list of runs shows a line of the question, not all of it; the events have it whole.
QUESTION_CHARACTERS = 200

# Events a reader may lag behind before the run has to wait for it.
_MAX_LAG = 1024

_log = get_logger("store")

_INSERT_RUN = insert(schema.runs)
_INSERT_EVENT = insert(schema.events)
_INSERT_HELD = sqlite_insert(schema.run_blobs).on_conflict_do_nothing()
_END_RUN = (
    update(schema.runs)
    .where(schema.runs.c.id == bindparam("run"), schema.runs.c.status == "running")
    .values(status=bindparam("new_status"), ended=bindparam("now"))
)


class RunRecord(NamedTuple):
    """A run as listed. `started` and `ended` are seconds since 1970, UTC; `ended` is None while it runs."""

    id: str
    started: float
    ended: float | None
    mode: str
    model: str
    status: RunStatus
    question: str
    user: str = ""


class Store:
    """One open store. All methods may be called from any thread, and from asyncio (none waits long but `flush`).

    Several processes may have the same folder open. A run is appended to only by the store that saw it start.
    """

    def __init__(self, engine: Engine, owner: Owner, folder: Path) -> None:
        self._engine = engine
        self._owner = owner
        self._writer = Writer(engine)
        self._last_seq: dict[str, int] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        self.folder = folder
        self.blobs = Blobs(engine, folder / "blobs")
        self.conversations = Conversations(engine)
        self.files = Files(engine, self.blobs)
        self.responses = Responses(engine)
        self.people = People(engine)
        self.audit = Audit(engine, self._writer)
        self.cut_on_open: tuple[str, ...] = ()
        atexit.register(self.close)

    @classmethod
    def open(cls, folder: Path | None = None) -> Store:
        """Open the store in `folder` (default: the folder of everything Narthex keeps), making it if need be.

        Runs that a dead process left behind are marked `cut`; `cut_on_open` has their ids.
        Raises: UserError if a newer Narthex wrote it; StoreError if it cannot be read or written.
        """
        folder = narthex_home() if folder is None else folder
        database = folder / "narthex.db"
        hint = "check that the folder is writable, or set NARTHEX_HOME to another"
        with told_as_store_error(f"open the store {database}", hint=hint):
            # Only its owner may look: questions and pictures are private.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            engine = connect(database)
            with exclusive(folder / "store.lock"):
                try:
                    prepare(engine, database)
                    owner = Owner(folder / "owners")
                    cut = _cut_orphans(engine, owner)
                    owner.sweep()
                except BaseException:
                    engine.dispose()
                    raise
        store = cls(engine, owner, folder)
        store.cut_on_open = cut
        for run_id in cut:
            _log.info("run %s was cut short: its process ended before it did", run_id)
        return store

    def append(self, item: Event, *, user: str = "") -> int:
        """Queue an event for the next group commit and return its ticket for `flush`. `user`: whose run starts.

        The caller keeps order: `run_started` first, `seq` rising. Breaking it is a bug, and a ValueError.
        Raises: StoreError if the store is closed.
        """
        with self._lock:
            last = self._last_seq.get(item.run_id)
            if last is None and not isinstance(item, RunStarted):
                raise ValueError(f"run {item.run_id}: {item.type} in a run that is not going on here")
            if last is not None and isinstance(item, RunStarted):
                raise ValueError(f"run {item.run_id}: started twice")
            if last is not None and item.seq <= last:
                raise ValueError(f"run {item.run_id}: event {item.seq} after event {last}")
            ticket = self._writer.submit(*self._operations(item, user))
            if isinstance(item, (RunFinished, RunFailed)):
                del self._last_seq[item.run_id]
            else:
                self._last_seq[item.run_id] = item.seq
            return ticket

    def cut(self, run_id: str) -> None:
        """Mark a run that ended without a last event: cancelled, or its reader went away. Nothing if it has ended."""
        with self._lock:
            if self._last_seq.pop(run_id, None) is not None:
                self._writer.submit(Operation(_END_RUN, {"run": run_id, "new_status": "cut", "now": time.time()}))

    def flush(self, ticket: int | None = None) -> None:
        """Write now, and return when everything up to `ticket` (default: all) is on disk. Raises: StoreError."""
        self._writer.written(ticket, is_urgent=True).result()

    async def flush_async(self, ticket: int | None = None) -> None:
        """As `flush`, without blocking the loop, and with the next group commit instead of one of its own."""
        await asyncio.wrap_future(self._writer.written(ticket))

    async def recorded(self, source: AsyncIterator[Event], *, user: str = "") -> AsyncGenerator[Event, None]:
        """Pass events on, each only after it is on disk. One commit serves all that came within its 50 ms.

        Close it (`aclosing`) when leaving early: the source is closed and its run marked `cut`. What the source
        raises comes out after the events before it, and cuts the run as well.
        """
        queue: asyncio.Queue[tuple[Event, int] | None] = asyncio.Queue(_MAX_LAG)
        run_ids: set[str] = set()

        async def pump() -> None:
            try:
                async for item in source:
                    ticket = self.append(item, user=user)
                    run_ids.add(item.run_id)
                    await queue.put((item, ticket))
            finally:
                if isinstance(source, AsyncGenerator):
                    await source.aclose()
                if not (task := asyncio.current_task()) or not task.cancelling():
                    await queue.put(None)

        pumping = asyncio.create_task(pump())
        try:
            is_over = False
            while not is_over:
                batch = [await queue.get()]
                while not queue.empty():
                    batch.append(queue.get_nowait())
                is_over = batch[-1] is None
                shown = [entry for entry in batch if entry is not None]
                if shown:
                    await self.flush_async(shown[-1][1])
                for item, _ in shown:
                    yield item
            await pumping
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
            for run_id in run_ids:
                self.cut(run_id)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, or None if there is none of that id."""
        with self._reading() as connection:
            row = connection.execute(_select_runs().where(schema.runs.c.id == run_id)).one_or_none()
        return None if row is None else RunRecord(*row)

    def runs(
        self, *, limit: int = 50, status: RunStatus | None = None, user: str | None = None
    ) -> list[RunRecord]:
        """The latest runs, newest first: of one user, or (None) of all."""
        query = _select_runs().order_by(schema.runs.c.started.desc(), schema.runs.c.id).limit(limit)
        if status is not None:
            query = query.where(schema.runs.c.status == status)
        if user is not None:
            query = query.where(schema.runs.c.user == user)
        with self._reading() as connection:
            return [RunRecord(*row) for row in connection.execute(query)]

    def find_runs(self, prefix: str) -> list[RunRecord]:
        """The runs whose id begins so, newest first; one of exactly that id alone."""
        query = _select_runs().where(schema.runs.c.id.startswith(prefix, autoescape=True))
        with self._reading() as connection:
            found = [RunRecord(*row) for row in connection.execute(query.order_by(schema.runs.c.started.desc()))]
        return [record for record in found if record.id == prefix] or found

    def events(self, run_id: str, *, after: int = -1) -> list[Event]:
        """The stored events of a run in order, those with `seq` > `after` only. Raises: InputError as parse_event."""
        table = schema.events
        query = select(table.c.json).where(table.c.run_id == run_id, table.c.seq > after).order_by(table.c.seq)
        with self._reading() as connection:
            return [parse_event(text) for text in connection.scalars(query)]

    def erase_conversation(self, conversation_id: str) -> None:
        """Delete it for good: turns, runs, events, files of its tools, and bytes that nothing else shows.

        Its runs have ended before. Raises: StoreError, and then it is still there.
        """
        self.flush()
        erase_conversation(self._engine, self.blobs, conversation_id)
        shutil.rmtree(self.folder_of(conversation_id), ignore_errors=True)

    def erase_response(self, response_id: str, run_id: str) -> None:
        """Delete it for good, with its run, which has ended before. Raises: StoreError, and then it is still there."""
        self.flush()
        erase_response(self._engine, self.blobs, response_id, run_id)

    def folder_of(self, conversation_id: str) -> Path:
        """Where the tools of a conversation keep their files."""
        return self.folder / "folders" / conversation_id

    def close(self) -> None:
        """Write what is left, mark this store's unfinished runs as cut, and let go. Raises: StoreError."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        atexit.unregister(self.close)
        for run_id in list(self._last_seq):
            self.cut(run_id)
        try:
            self._writer.close()
        finally:
            self._engine.dispose()
            self._owner.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with (
            told_as_store_error(f"read {self._engine.url.database}", hint="is the disk all right?"),
            self._engine.connect() as connection,
        ):
            yield connection

    def _operations(self, item: Event, user: str) -> list[Operation]:
        row = {"run_id": item.run_id, "seq": item.seq, "json": item.model_dump_json()}
        operations = [Operation(_INSERT_EVENT, row)]
        if isinstance(item, RunStarted):
            operations.insert(0, Operation(_INSERT_RUN, self._run_row(item, user)))
        elif isinstance(item, ToolFinished):
            shown = [part.sha256 for part in item.parts if not isinstance(part, TextPart)]
            operations += [Operation(_INSERT_HELD, {"run_id": item.run_id, "sha256": sha256}) for sha256 in shown]
        elif isinstance(item, (RunFinished, RunFailed)):
            status = "failed" if isinstance(item, RunFailed) else "cut" if item.finish_reason == "cancelled" else "done"
            operations.append(Operation(_END_RUN, {"run": item.run_id, "new_status": status, "now": time.time()}))
        return operations

    def _run_row(self, item: RunStarted, user: str) -> dict[str, Any]:
        question = " ".join(item.question.split())
        if len(question) > QUESTION_CHARACTERS:
            question = question[: QUESTION_CHARACTERS - 1] + "…"
        return {
            "id": item.run_id,
            "started": time.time(),
            "ended": None,
            "mode": item.mode,
            "model": item.model,
            "status": "running",
            "question": question,
            "owner": self._owner.id,
            "user": user,
        }


def _select_runs() -> Any:
    return select(*(schema.runs.c[name] for name in RunRecord._fields))


def _cut_orphans(engine: Engine, owner: Owner) -> tuple[str, ...]:
    """Mark as cut the running runs whose owner is dead; returns their ids."""
    table = schema.runs
    with engine.connect() as connection:
        running = connection.execute(select(table.c.id, table.c.owner).where(table.c.status == "running")).all()
    dead = {name for name in {row.owner for row in running} if not owner.is_alive(name)}
    cut = tuple(row.id for row in running if row.owner in dead)
    if cut:
        with engine.begin() as connection:
            values = [{"run": run_id, "new_status": "cut", "now": time.time()} for run_id in cut]
            connection.execute(_END_RUN, values)
    return cut
