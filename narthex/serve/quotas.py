"""What users may spend: counted as it is spent, in memory, from what the audit lines say of the period so far.

    begin a run     too many at once, or nothing left: 429
    while it runs   every token and second goes into each quota that is the caller's; one that is spent ends the run
    a new period    begins at nothing, at a full minute, hour, day or month (UTC)

One server counts for a store; a second one on the same store would see the other's runs when it is started.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from narthex.chat import Budget
from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError
from narthex.serve.settings import Period, Quota, ServeSettings
from narthex.store import Audit

SOON_S = 2  # when a caller with too many runs may try again: one of them may have ended


def begins(per: Period, now: float) -> float:
    """When the period began that `now` lies in; both are seconds since 1970."""
    at = datetime.fromtimestamp(now, UTC).replace(second=0, microsecond=0)
    if per != "minute":
        at = at.replace(minute=0)
    if per in ("day", "month"):
        at = at.replace(hour=0)
    return (at.replace(day=1) if per == "month" else at).timestamp()


def ends(per: Period, now: float) -> float:
    """When that period ends."""
    began = begins(per, now)
    if per == "month":
        within_next = datetime.fromtimestamp(began, UTC) + timedelta(days=31)
        return begins("month", within_next.timestamp())
    return began + {"minute": 60, "hour": 3600, "day": 86_400}[per]


@dataclass
class Tally:
    """What has gone into one quota in its present period."""

    quota: Quota
    began: float
    tokens: int = 0
    agent_seconds: float = 0.0

    @property
    def left_tokens(self) -> int | None:
        """None: as many as you like."""
        return None if self.quota.tokens is None else max(0, self.quota.tokens - self.tokens)

    @property
    def left_seconds(self) -> float | None:
        limit = self.quota.agent_seconds
        return None if limit is None else max(0.0, limit - self.agent_seconds)

    @property
    def is_spent(self) -> bool:
        return self.left_tokens == 0 or self.left_seconds == 0

    def told(self, now: float) -> dict[str, Any]:
        """For /api/me and /api/usage."""
        quota = self.quota
        return {
            "per": quota.per, "for": f"group {quota.group}" if quota.group else "you",
            "tokens": quota.tokens, "tokens_left": self.left_tokens,
            "agent_seconds": quota.agent_seconds, "agent_seconds_left": self.left_seconds,
            "resets": ends(quota.per, now),
        }  # fmt: skip


class Quotas:
    """Of one server, for its event loop. `audit` None: nothing is known of what was spent before."""

    def __init__(self, settings: ServeSettings, audit: Audit | None, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._audit, self._clock = settings, audit, clock
        self._tallies: dict[tuple[int, str], Tally] = {}
        self._running: Counter[str] = Counter()

    async def begin(self, caller: Caller) -> Purse:
        """Let a run of the caller begin; close what comes back when it has ended. Raises: ApiError 429; StoreError."""
        await self.load(caller)
        most = self._settings.runs_at_once
        if most is not None and self._running[caller.user] >= most:
            raise ApiError(
                f"{most} of your runs are under way, and there may be no more", status=429, code="too_many_runs",
                hint="wait until one has ended",
            )  # fmt: skip
        purse = Purse(self, caller)
        if (spent := purse.problem()) is not None:
            raise spent
        self._running[caller.user] += 1
        return purse

    def end(self, caller: Caller) -> None:
        """A run of the caller has ended."""
        self._running[caller.user] -= 1
        if not self._running[caller.user]:
            del self._running[caller.user]

    async def load(self, caller: Caller) -> None:
        """Read what was spent before this server was started, where that is not known yet. Raises: StoreError."""
        for number, quota in self._quotas_of(caller):
            if (number, _subject(quota, caller)) in self._tallies:
                continue
            began = begins(quota.per, self._clock())
            tally = Tally(quota, began)
            if self._audit is not None:
                whose = {"group": quota.group} if quota.group else {"user_id": caller.user}
                tally.tokens, tally.agent_seconds = await asyncio.to_thread(self._audit.spent, began, **whose)
            # Another run of the same caller may have been as quick.
            self._tallies.setdefault((number, _subject(quota, caller)), tally)

    def tallies(self, caller: Caller) -> list[Tally]:
        """Those that the caller's runs go into, as far as they are loaded; a period that is over begins anew."""
        now, found = self._clock(), []
        for number, quota in self._quotas_of(caller):
            tally = self._tallies.get((number, _subject(quota, caller)))
            if tally is None:
                continue
            if (began := begins(quota.per, now)) != tally.began:
                tally.began, tally.tokens, tally.agent_seconds = began, 0, 0.0
            found.append(tally)
        return found

    def told(self, caller: Caller) -> list[dict[str, Any]] | None:
        """How the caller's quotas stand; None where there are none."""
        return [tally.told(self._clock()) for tally in self.tallies(caller)] or None

    def headers(self, caller: Caller, status: int) -> dict[str, str]:
        """OpenAI's headers of the quota that is nearest its end, and when to ask again after a 429."""
        now, tallies = self._clock(), self.tallies(caller)
        headers: dict[str, str] = {}
        counted = [tally for tally in tallies if tally.left_tokens is not None]
        if counted:
            least = min(counted, key=lambda tally: tally.left_tokens or 0)
            headers["x-ratelimit-limit-tokens"] = str(least.quota.tokens)
            headers["x-ratelimit-remaining-tokens"] = str(least.left_tokens)
            headers["x-ratelimit-reset-tokens"] = f"{max(0.0, ends(least.quota.per, now) - now):.0f}s"
        if self._settings.runs_at_once is not None:
            most = self._settings.runs_at_once
            headers["x-ratelimit-limit-requests"] = str(most)
            headers["x-ratelimit-remaining-requests"] = str(max(0, most - self._running[caller.user]))
        if status == 429:
            waits = [ends(tally.quota.per, now) - now for tally in tallies if tally.is_spent]
            headers["retry-after"] = str(math.ceil(max(waits, default=SOON_S)))
        return headers

    def _quotas_of(self, caller: Caller) -> list[tuple[int, Quota]]:
        return [
            (number, quota)
            for number, quota in enumerate(self._settings.quotas)
            if quota.user in ("", caller.name) and quota.group in ("", *caller.groups)
        ]


class Purse:
    """What one run may still spend."""

    def __init__(self, quotas: Quotas, caller: Caller) -> None:
        self._quotas, self._caller = quotas, caller
        self._is_open = True

    def lowered(self, ceiling: Budget) -> Budget:
        """`ceiling`, lowered to what is left: no single limit of the run lets it spend more."""
        tallies = self._quotas.tallies(self._caller)
        tokens = min((tally.left_tokens for tally in tallies if tally.left_tokens is not None), default=None)
        seconds = min((tally.left_seconds for tally in tallies if tally.left_seconds is not None), default=None)
        return ceiling.lowered_to(Budget(think_tokens=tokens, answer_tokens=tokens, wall_s=seconds or None))

    def spend(self, tokens: int, agent_seconds: float) -> None:
        for tally in self._quotas.tallies(self._caller):
            tally.tokens += tokens
            tally.agent_seconds += agent_seconds

    def problem(self) -> ApiError | None:
        """What to tell where nothing is left."""
        for tally in self._quotas.tallies(self._caller):
            if tally.is_spent:
                what = "tokens" if tally.left_tokens == 0 else "agent-seconds"
                whose = f"group {tally.quota.group}" if tally.quota.group else "your user"
                return ApiError(
                    f"the {what} of {whose} for this {tally.quota.per} are spent", status=429, code="quota_exceeded",
                    hint="ask again when the next one begins, or ask an administrator for more",
                )  # fmt: skip
        return None

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._quotas.end(self._caller)


def _subject(quota: Quota, caller: Caller) -> str:
    """Whose tally it is: a quota that names nobody is one for each user."""
    return f"group {quota.group}" if quota.group else f"user {caller.user}"
