"""One item answered in one way: what was asked, what came back, whether it is right, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from narthex.chat import Ledger

# The kind of an item that could not be drawn.
UNDRAWN = "undrawn"
# Kinds that ask about no print and have no difficulty: what is to be declined, and what could not be drawn.
WITHOUT_PRINT = ("edge", UNDRAWN)


@dataclass(frozen=True)
class Record:
    """One item answered in one mode. Tokens are thought and answer together; seconds are wall time of the run.

    `legible`: needs no look. `chance`: what guessing scores on the item for one who sees large print, where that is
    known; `guess`: for one who sees no picture. `error`: why the run failed, which counts as a wrong answer; what a
    failed run cost is None where no ledger came.
    """

    index: int
    mode: str  # or the name of a baseline
    world: str
    kind: str
    question: str
    expected: str
    answer: str
    right: bool
    declined: bool
    legible: bool
    difficulty: float
    chance: float | None
    seconds: float
    tokens: int | None = None
    thought_tokens: int | None = None
    looks: int | None = None
    tool_calls: int | None = None
    agents: int | None = None
    critical_path_s: float | None = None
    finish_reason: str | None = None
    error: str | None = None
    thought: str = ""
    calls: tuple[dict[str, object], ...] = ()
    guess: float | None = None
    flops: float | None = None

    @property
    def world_kind(self) -> str:
        """The kind with its world: worlds have kinds of the same name."""
        return f"{self.world}.{self.kind}"


def costs(ledger: Ledger | None) -> dict[str, Any]:
    """The fields of a record that a ledger fills."""
    if ledger is None:
        return {}
    return {
        "tokens": ledger.thought_tokens + ledger.answer_tokens,
        "thought_tokens": ledger.thought_tokens,
        "looks": ledger.looks,
        "tool_calls": ledger.tool_calls,
        "agents": ledger.agents,
        "critical_path_s": ledger.critical_path_s,
        "flops": ledger.flops,
    }
