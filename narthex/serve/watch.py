"""What a server keeps an eye on in every run: quotas, the audit line, metrics. One place, whatever route began it.

    begins     too much spent already: 429. The line of the run is written before the run's first event is seen
    goes on    what is spent goes into quotas; where one is used up, the run ends with a `run_failed` of status 429
    ends       however it does, the line gets its sums, in the store and, where an administrator named one, in a file
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from narthex.backends.base import Backend
from narthex.base.errors import ConfigError
from narthex.base.log import get_logger
from narthex.chat import AgentTextDelta, AnswerDelta, Budget, Event, RunFailed, ThoughtDelta
from narthex.serve.callers import Caller
from narthex.serve.metrics import Metrics, Stopwatch
from narthex.serve.quotas import Purse, Quotas
from narthex.serve.settings import ServeSettings
from narthex.store import AuditLine, Store, StoreError

log = get_logger(__name__)

_DELTAS = (ThoughtDelta, AgentTextDelta, AnswerDelta)
_CHARS_PER_TOKEN = 8  # hardly any text has more, so what is guessed is rarely too much


class Watch:
    """Of one server. `registry` tells where lines are kept, None where nothing is.

    Raises: ConfigError where the audit file cannot be written.
    """

    def __init__(
        self, settings: ServeSettings, backends: Callable[[], Mapping[str, Backend]],
        registry: Callable[[], Store | None],
    ) -> None:  # fmt: skip
        self._settings, self._registry = settings, registry
        self.metrics = Metrics(backends)
        self._quotas: Quotas | None = None
        if settings.audit_file:
            try:
                _append(settings.audit_file, b"")
            except OSError as error:
                raise ConfigError(
                    f"the audit file {settings.audit_file} cannot be written: {error.strerror}",
                    hint="[serve] in narthex.toml names it; its folder has to be there",
                ) from None

    @property
    def quotas(self) -> Quotas:
        """Made when first asked for: the store is opened after this."""
        if self._quotas is None:
            registry = self._registry()
            self._quotas = Quotas(self._settings, None if registry is None else registry.audit)
        return self._quotas

    def quota_headers(self, caller: Caller, status: int) -> dict[str, str]:
        """What a reply of that status tells the caller about quotas."""
        return self.quotas.headers(caller, status)

    async def run(
        self, caller: Caller, backend: Backend, ceiling: Budget, start: Callable[[Budget], AsyncGenerator[Event]], *,
        is_kept: bool,
    ) -> AsyncGenerator[Event]:  # fmt: skip
        """The events of a run that `start` begins, given a ceiling; close it, and the run is closed.

        `is_kept`: events are written to the store before they are shown. Where they are not, a line is kept of users
        who have keys alone. Raises, before the first event: ApiError 429; StoreError; what `start` raises.
        """
        purse = await self.quotas.begin(caller)
        sum_ = _Sum()
        watch: Stopwatch | None = None
        book: _Book | None = None
        status = "cut"
        try:
            async with aclosing(start(purse.lowered(ceiling))) as events:
                async for event in events:
                    if event.type == "run_started":
                        watch = Stopwatch(self.metrics, event.model)
                        book = self._book(caller, is_kept)
                        await book.open(event, caller, backend, waits=not is_kept)
                    status = _feed(event, sum_, purse, watch, status)
                    yield event
                    if status == "cut" and (failed := _failed(event, purse)) is not None:
                        status = "quota"
                        yield failed
                        return
        finally:
            purse.close()
            if watch is not None:
                watch.end(status)
            if book is not None:
                book.close(sum_, status)

    def _book(self, caller: Caller, is_kept: bool) -> _Book:
        registry = self._registry() if is_kept or caller.user else None
        return _Book(registry, self._settings.audit_file if registry is not None or caller.user else "")


class _Sum:
    """What a run has spent. Until a turn ends its tokens are not known, and are guessed low from what it has said."""

    def __init__(self) -> None:
        self.prompt = self.thought = self.answer = 0
        self.agent_seconds = 0.0
        self.cost: float | None = None
        self._at_work: set[str] = set()
        self._guessed: dict[str, int] = {}
        self._last_t = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt + self.thought + self.written

    @property
    def written(self) -> int:
        """Tokens of answers, with those of turns that have not ended; of a run that is cut, some never do."""
        return self.answer + sum(self._guessed.values())

    def take(self, event: Event) -> None:
        self.agent_seconds += len(self._at_work) * max(0.0, event.t - self._last_t)
        self._last_t = max(self._last_t, event.t)
        if event.type == "agent_started":
            self._at_work.add(event.agent_id)
        elif event.type == "agent_finished":
            self._at_work.discard(event.agent_id)
        elif isinstance(event, _DELTAS) and event.agent_id is not None:
            guess = max(1, len(event.text) // _CHARS_PER_TOKEN)
            self._guessed[event.agent_id] = self._guessed.get(event.agent_id, 0) + guess
        elif event.type == "turn_finished":
            self._guessed.pop(event.agent_id, None)
            self.prompt += event.prompt_tokens
            self.thought += event.thought_tokens
            self.answer += event.answer_tokens
        elif event.type in ("run_finished", "run_failed"):
            self._guessed.clear()
            self.cost = None if event.ledger is None else event.ledger.cost


class _Book:
    """The line of one run, in the store and in a file."""

    def __init__(self, registry: Store | None, file: str) -> None:
        self._registry, self._file = registry, file
        self._line: AuditLine | None = None

    async def open(self, event: Any, caller: Caller, backend: Backend, *, waits: bool) -> None:
        """Write who and what; with `waits`, be sure that it is on disk. Raises: StoreError."""
        self._line = AuditLine(
            event.run_id, caller.user, caller.name, caller.key_id, time.time(), event.model,
            getattr(backend, "weights_sha256", None), event.mode, event.budget.model_dump(exclude_none=True),
            event.tools,
        )  # fmt: skip
        if self._registry is not None:
            ticket = self._registry.audit.begin(self._line)
            if waits:
                await self._registry.flush_async(ticket)

    def close(self, sum_: _Sum, status: str) -> None:
        """Write how much. What fails here is in the log: the run has happened."""
        if self._line is None:
            return
        line = self._line._replace(
            status=status, ended=time.time(), prompt_tokens=sum_.prompt, thought_tokens=sum_.thought,
            answer_tokens=sum_.written, agent_seconds=round(sum_.agent_seconds, 3), cost=sum_.cost,
        )  # fmt: skip
        try:
            if self._registry is not None:
                self._registry.audit.note(line)
            if self._file:
                _append(self._file, (json.dumps(line._asdict()) + "\n").encode())
        except (OSError, StoreError) as error:
            log.error("run %s: its audit line is not complete: %s", line.run_id, error)


def _append(file: str, line: bytes) -> None:
    """One write for the whole line, so that lines of several processes do not mix. Raises: OSError."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def _feed(event: Event, sum_: _Sum, purse: Purse, watch: Stopwatch | None, status: str) -> str:
    """Take the event into every sum; how the run stands after it."""
    tokens, seconds = sum_.tokens, sum_.agent_seconds
    sum_.take(event)
    purse.spend(sum_.tokens - tokens, sum_.agent_seconds - seconds)
    if watch is not None:
        watch.feed(event)
    if event.type == "run_finished":
        return "cut" if event.finish_reason == "cancelled" else "done"
    return "failed" if event.type == "run_failed" else status


def _failed(event: Event, purse: Purse) -> RunFailed | None:
    """The end of a run whose caller has nothing left."""
    problem = purse.problem()
    if problem is None:
        return None
    return RunFailed(
        run_id=event.run_id, seq=event.seq + 1, t=event.t, message=problem.message, hint=problem.hint,
        code=problem.code, http_status=problem.http_status,
    )  # fmt: skip
