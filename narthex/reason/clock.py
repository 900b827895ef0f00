"""The clock of a run: says when things happened, and numbers its events as they leave."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from narthex.chat import EventBase

E = TypeVar("E", bound=EventBase)


class Clock:
    """One per run. `t` is seconds since the clock was made.

    Agents work side by side, so an event gets its place (`seq`, `t`) not when it is made but when the run hands it out.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._seq = 0
        self._began = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def stamp(self, agent_id: str | None = None) -> dict[str, Any]:
        """The fields that every event begins with; `numbered` gives it its place."""
        return {"run_id": self.run_id, "agent_id": agent_id, "seq": 0, "t": 0.0}

    def numbered(self, event: E) -> E:
        """The event in its place, the next one of the run."""
        placed = event.model_copy(update={"seq": self._seq, "t": round(self.elapsed(), 6)})
        self._seq += 1
        return placed
