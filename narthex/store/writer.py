"""Group commit: many small appends, one transaction every 50 ms at most.

A quiet stream is committed at once; a busy one waits for its neighbours. Whoever wants to show something first waits
for the ticket that `submit` gave (`written`), so that nothing is seen that a crash could take back.

    submit --> pending --(50 ms after the last commit, or at once if hurried)--> one transaction --> tickets resolved
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from narthex.base.log import get_logger
from narthex.store.errors import StoreError

# From the design: short enough that a reader sees a stream, long enough to share one disk flush among many agents.
GROUP_COMMIT_S = 0.05

# After a failure there is no hurry: a full disk does not empty in 50 ms.
RETRY_S = 1.0

_log = get_logger("store")


class Operation(NamedTuple):
    """One statement and its values."""

    statement: Executable
    values: dict[str, Any]


class _Waiter(NamedTuple):
    ticket: int
    future: Future[None]


class Writer:
    """A thread that owns all writing of events. Every method may be called from any thread."""

    def __init__(self, engine: Engine, *, interval_s: float = GROUP_COMMIT_S) -> None:
        self._engine = engine
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._pending: list[Operation] = []
        self._waiters: list[_Waiter] = []
        self._submitted = 0
        self._written = 0
        self._next_commit = float("-inf")
        self._is_hurried = False
        self._is_closing = False
        self.num_commits = 0
        self._thread = threading.Thread(target=self._work, name="narthex-store", daemon=True)
        self._thread.start()

    def submit(self, *operations: Operation) -> int:
        """Queue operations, which stay together in one transaction. Returns their ticket. Raises: StoreError."""
        with self._changed:
            if self._is_closing:
                raise StoreError("the store is closed")
            self._pending.extend(operations)
            self._submitted += len(operations)
            self._changed.notify_all()
            return self._submitted

    def written(self, ticket: int | None = None, *, is_urgent: bool = False) -> Future[None]:
        """Resolved once everything up to `ticket` (default: up to now) is on disk; StoreError if that failed.

        What failed stays queued and is tried again with the next commit.
        """
        future: Future[None] = Future()
        with self._changed:
            waiter = _Waiter(self._submitted if ticket is None else ticket, future)
            if waiter.ticket <= self._written:
                future.set_result(None)
                return future
            self._waiters.append(waiter)
            self._is_hurried = self._is_hurried or is_urgent
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Write what is left and stop. Raises: StoreError if that fails."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._pending:
            raise StoreError(
                f"{len(self._pending)} events could not be written before closing", hint="is the disk full?"
            )

    def _work(self) -> None:
        while True:
            with self._changed:
                self._wait_for_work()
                batch, self._pending = self._pending, []
                self._is_hurried = False
                is_last = self._is_closing
            problem = self._commit(batch) if batch else None
            with self._changed:
                self._next_commit = time.monotonic() + (self._interval_s if problem is None else RETRY_S)
                if problem is None:
                    self._written += len(batch)
                else:
                    self._pending = batch + self._pending
                self._resolve(problem)
                if is_last and (problem is not None or not self._pending):
                    return

    def _wait_for_work(self) -> None:
        self._changed.wait_for(lambda: self._pending or self._is_closing)
        while not (self._is_hurried or self._is_closing):
            left_s = self._next_commit - time.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(left_s)

    def _commit(self, batch: list[Operation]) -> StoreError | None:
        try:
            with self._engine.begin() as connection:
                _execute(connection, batch)
        except IntegrityError:
            self._commit_one_by_one(batch)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("events were not written and will be tried again: %s", error)
            return StoreError(
                f"could not write to {self._engine.url.database}: {getattr(error, 'orig', None) or error}",
                hint="is the disk full, or the file held by another program?",
            )
        self.num_commits += 1
        return None

    def _commit_one_by_one(self, batch: list[Operation]) -> None:
        """Drop what the tables refuse (our bug, and it would be refused for ever), keep its neighbours."""
        for operation in batch:
            try:
                with self._engine.begin() as connection:
                    connection.execute(operation.statement, operation.values)
            except SQLAlchemyError:
                _log.exception("dropped what the tables refuse")

    def _resolve(self, problem: StoreError | None) -> None:
        still: list[_Waiter] = []
        for waiter in self._waiters:
            if waiter.ticket <= self._written:
                _settle(waiter.future, lambda future: future.set_result(None))
            elif problem is not None:
                _settle(waiter.future, lambda future: future.set_exception(problem))
            else:
                still.append(waiter)
        self._waiters = still


def _settle(future: Future[None], settle: Callable[[Future[None]], None]) -> None:
    # False if whoever waited has been cancelled meanwhile.
    if future.set_running_or_notify_cancel():
        settle(future)


def _execute(connection: Connection, batch: list[Operation]) -> None:
    """Run the batch in order; neighbours with the same statement go in one call."""
    start = 0
    while start < len(batch):
        statement = batch[start].statement
        end = start
        while end < len(batch) and batch[end].statement is statement:
            end += 1
        connection.execute(statement, [operation.values for operation in batch[start:end]])
        start = end
