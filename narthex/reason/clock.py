"""The clock of a run: numbers its events and says when they happened."""

from __future__ import annotations

import time
from typing import Any


class Clock:
    """One per run. `seq` rises by one with every stamp, whoever asks; `t` is seconds since the clock was made."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._seq = 0
        self._began = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def stamp(self, agent_id: str | None = None) -> dict[str, Any]:
        """The fields that every event begins with."""
        stamp = {"run_id": self.run_id, "agent_id": agent_id, "seq": self._seq, "t": round(self.elapsed(), 6)}
        self._seq += 1
        return stamp
