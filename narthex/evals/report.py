"""What an evaluation found: a record per run, and everything else computed from the records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from narthex.base.errors import InputError
from narthex.chat import Mode
from narthex.evals.record import Record
from narthex.evals.summary import by_world, guessing, heldout, scope, summary
from narthex.evals.table import table


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
        """The object that `narthex eval --json` prints: plain data, no NaN. Fields may be added, never renamed.

        `guessing`, `heldout` and `scope` are there only where the task has something to say of them.
        """
        arms = (*self.modes, *self.baselines)
        more = {
            "guessing": guessing(self.of(self.modes[0]) if self.modes else []),
            "heldout": heldout(self.items, arms),
            "scope": scope(self.items, arms),
        }
        return {
            "task": self.task,
            "seed": self.seed,
            "n": self.n,
            "model": self.model,
            "modes": {mode: summary(self.of(mode)) for mode in self.modes},
            "baselines": {name: summary(self.of(name)) for name in self.baselines},
            "by_world": by_world(self.items, arms),
            "limit": self.limit,
            "temperature": self.temperature,
            "partial": self.partial,
            "seconds": round(self.seconds, 3),
            **{name: told for name, told in more.items() if told is not None},
        }

    def table(self) -> str:
        """The report for a terminal: plain text, no wider than 100 columns unless a name is very long."""
        return table(self.to_json())

    def page(self) -> str:
        """The report as one self-contained HTML page, with examples whose pictures are drawn again."""
        from narthex.evals.page import report_page
        from narthex.evals.page.examples import examples_of

        return report_page(self.to_json(), examples_of(self))

    def write_items(self, path: Path | str) -> None:
        """Write the records as JSON lines, one per item and mode.

        Raises: InputError if the file cannot be written.
        """
        # A lone surrogate, which a model can write, has no UTF-8; Python's escape for it is JSON's, too.
        lines = (json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n" for record in self.items)
        write_text(path, "".join(lines))


def check_writable(path: Path) -> None:
    """Refuse a path that no file can be written to, before an evaluation of an hour ends there.

    Raises: InputError.
    """
    hint = "name a file in a folder that is there"
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint=hint)
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}", hint=hint)


def write_text(path: Path | str, text: str) -> None:
    """Write a file of a report. What has no UTF-8 is written as an escape.

    Raises: InputError if the file cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        hint = "name a file in a folder that is there"
        raise InputError(f"cannot write {path}: {error.strerror}", hint=hint) from None
