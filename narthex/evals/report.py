"""What an evaluation found: a record per run, and everything else computed from the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from narthex.base.errors import InputError
from narthex.chat import Ledger, Mode
from narthex.evals.chance import CHANCE_HOW
from narthex.evals.stats import mean, wilson
from narthex.evals.text import columns, percent

_MAX_ERRORS = 5  # different messages told per mode
_ERROR_CHARS = 200
# Kinds of items that ask about no print: what is to be declined, and what could not be drawn.
UNDRAWN = "undrawn"
_WITHOUT_PRINT = ("edge", UNDRAWN)


@dataclass(frozen=True)
class Record:
    """One item answered in one mode. Tokens are thought and answer together; seconds are wall time of the run.

    `legible`: needs no look. `chance`: what guessing scores on the item, where that is known. `error`: why the run
    failed, which counts as a wrong answer; what a failed run cost is None where no ledger came.
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
    }


@dataclass
class Report:
    """The result of an evaluation. `limit`: items asked for; with `partial` set, fewer were answered.

    `items` come in the order of index, then mode. `seconds`: wall time of the whole.
    """

    task: str
    seed: int
    model: str
    modes: tuple[Mode, ...]
    limit: int
    temperature: float = 0.0
    baselines: tuple[str, ...] = ()
    items: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    partial: bool = False

    @property
    def n(self) -> int:
        """Items that every mode has answered."""
        return min((len(self.of(mode)) for mode in self.modes), default=0)

    def of(self, mode: str) -> list[Record]:
        """The records of one mode, in order."""
        return [record for record in self.items if record.mode == mode]

    def to_json(self) -> dict[str, Any]:
        """The object that `narthex eval --json` prints: plain data, no NaN. Fields may be added, never renamed."""
        worlds = _values(self.items, lambda record: record.world)
        arms = (*self.modes, *self.baselines)
        return {
            "task": self.task,
            "seed": self.seed,
            "n": self.n,
            "model": self.model,
            "modes": {mode: _summary(self.of(mode)) for mode in self.modes},
            "baselines": {name: _summary(self.of(name)) for name in self.baselines},
            "by_world": {
                world: {arm: _share([r for r in self.of(arm) if r.world == world]) for arm in arms}
                for world in worlds
            },
            "limit": self.limit,
            "temperature": self.temperature,
            "partial": self.partial,
            "seconds": round(self.seconds, 3),
        }

    def table(self) -> str:
        """The report for a terminal: plain text, no wider than 100 columns unless a name is very long."""
        found = self.to_json()
        head = f"{self.task}   model {self.model}   seed {self.seed}   {self.n} items   {self.seconds:.0f} s"
        if self.partial:
            head += f"\nPARTIAL: stopped after {self.n} of {self.limit} items"
        parts = [head, _accuracy_table(found), _cost_table(found), _kind_table(found)]
        parts += _notes(found)
        return "\n\n".join(part for part in parts if part) + "\n"

    def write_items(self, path: Path | str) -> None:
        """Write the records as JSON lines, one per item and mode.

        Raises: InputError if the file cannot be written.
        """
        try:
            # A lone surrogate, which a model can write, has no UTF-8; Python's escape for it is JSON's, too.
            with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                for record in self.items:
                    file.write(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}", hint="name a file in a folder that is there"
            ) from None


def _summary(records: Sequence[Record]) -> dict[str, Any]:
    """Everything that is said of one mode."""
    errors = Counter(record.error[:_ERROR_CHARS] for record in records if record.error is not None)
    kinds = _values(records, lambda record: record.kind)
    return {
        **_share(records),
        "tokens_mean": _mean_of(records, lambda r: r.tokens),
        "looks_mean": _mean_of(records, lambda r: r.looks),
        "tool_calls_mean": _mean_of(records, lambda r: r.tool_calls),
        "agents_mean": _mean_of(records, lambda r: r.agents),
        "seconds_mean": _mean_of(records, lambda r: r.seconds),
        "critical_path_s_mean": _mean_of(records, lambda r: r.critical_path_s),
        "declined": mean([float(record.declined) for record in records]),
        "failed": sum(record.error is not None for record in records),
        "errors": dict(errors.most_common(_MAX_ERRORS)),
        "by_kind": {kind: _share([r for r in records if r.kind == kind]) for kind in kinds},
        "by_print": _by_print(records),
    }


def _by_print(records: Sequence[Record]) -> dict[str, Any]:
    """Legible and fine print apart; what guessing scores beside the latter."""
    prints: dict[str, Any] = {}
    asked = [record for record in records if record.kind not in _WITHOUT_PRINT]
    for name, legible in (("legible", True), ("fine", False)):
        chosen = [record for record in asked if record.legible == legible]
        if not chosen:
            continue
        prints[name] = _share(chosen)
        chances = [record.chance for record in chosen if record.chance is not None]
        if not legible and len(chances) == len(chosen):
            prints[name] |= {"chance": mean(chances), "chance_how": CHANCE_HOW}
    return prints


def _share(records: Sequence[Record]) -> dict[str, float | int]:
    return wilson(sum(record.right for record in records), len(records)).to_json()


def _mean_of(records: Iterable[Record], value: Callable[[Record], float | None]) -> float:
    """The mean over the runs that told what they cost."""
    return mean([float(known) for record in records if (known := value(record)) is not None])


def _values(records: Iterable[Record], value: Callable[[Record], str]) -> list[str]:
    return sorted({value(record) for record in records})


def _accuracy_table(found: dict[str, Any]) -> str:
    rows = [["mode", "right", "95 % interval", "legible", "fine print", "guessing", "declined", "failed"]]
    for mode, told in _arms(found).items():
        prints = told["by_print"]
        fine = prints.get("fine", {})
        rows.append([
            mode, percent(told["accuracy"]), f"{percent(told['low'])} to {percent(told['high'])}",
            percent(prints.get("legible", {}).get("accuracy")), percent(fine.get("accuracy")),
            percent(fine.get("chance")), percent(told["declined"]), str(told["failed"]),
        ])  # fmt: skip
    return columns(rows)


def _cost_table(found: dict[str, Any]) -> str:
    rows = [["mean per question", "tokens", "looks", "tool calls", "agents", "seconds", "critical path s"]]
    rows += [
        [
            mode, f"{told['tokens_mean']:.1f}", f"{told['looks_mean']:.2f}", f"{told['tool_calls_mean']:.2f}",
            f"{told['agents_mean']:.1f}", f"{told['seconds_mean']:.2f}", f"{told['critical_path_s_mean']:.2f}",
        ]
        for mode, told in _arms(found).items()
    ]  # fmt: skip
    return columns(rows)


def _arms(found: dict[str, Any]) -> dict[str, Any]:
    """Modes, then baselines: rows of every table."""
    return {**found["modes"], **found["baselines"]}


def _kind_table(found: dict[str, Any]) -> str:
    """Kinds as rows, modes as columns; left out where there is one kind only."""
    arms = _arms(found)
    kinds = sorted({kind for told in arms.values() for kind in told["by_kind"]})
    if len(kinds) < 2:
        return ""
    rows = [["kind", "n", *arms]]
    for kind in kinds:
        told = [arm["by_kind"].get(kind, {}) for arm in arms.values()]
        count = max(entry.get("n", 0) for entry in told)
        rows.append([kind, str(count), *(percent(entry.get("accuracy")) for entry in told)])
    return columns(rows)


def _notes(found: dict[str, Any]) -> list[str]:
    notes = [
        f"{mode}: {count} x {message}"
        for mode, told in _arms(found).items()
        for message, count in told["errors"].items()
    ]
    return ["failed runs count as wrong:\n  " + "\n  ".join(notes)] if notes else []
