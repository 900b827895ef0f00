"""`narthex logs`: whether runs are kept, where, and the last of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError, InputError
from narthex.base.paths import narthex_home
from narthex.cli.choices import AsJson

if TYPE_CHECKING:
    from narthex.store import ConversationRecord, RunRecord

OFF_FILE = "logs-off"  # in NARTHEX_HOME; that it is there is all it says
SHORT_ID = 8  # characters of an id where people read or type it
DEFAULT_COUNT = 5
MAX_COUNT = 10_000
_QUESTION_COLUMNS = 40


def command(
    action: Annotated[
        str | None, typer.Argument(metavar="on|off|path", help="Without one: how things stand, and the last runs.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many runs to list.")] = DEFAULT_COUNT,
    as_json: AsJson = False,
) -> None:
    """Say whether runs are kept and where, and list the last ones; or switch keeping on or off.

    What is kept stays on this machine, and stays when keeping is switched off. For one run: --save or --no-save.
    """
    if action not in (None, "on", "off", "path"):
        guess = did_you_mean(action, ("on", "off", "path"))
        hint = f"did you mean '{guess}'?" if guess else "use on, off, path, or nothing"
        raise InputError(f"unknown action '{action[:80]}'", hint=hint)
    if not 0 <= count <= MAX_COUNT:
        raise InputError(f"--count is {count}", hint=f"a whole number from 0 to {MAX_COUNT}")
    if action in ("on", "off"):
        keep(action == "on")
    if action == "path":
        print(json.dumps({"path": str(database())}) if as_json else database())
        return
    runs, conversations = ([], []) if action else latest(count)
    if as_json:
        print(json.dumps(_as_json(runs, conversations)))
        return
    print(f"runs are {'kept' if are_kept() else 'not kept'}: {database()}")
    if runs:
        print("\nruns (narthex trace ID shows one)")
        _print_table([_run_row(run) for run in runs])
    if conversations:
        print("\nconversations (narthex chat -c ID goes on with one)")
        _print_table([_conversation_row(record) for record in conversations])


def are_kept() -> bool:
    """Whether runs are kept where nobody says otherwise for one of them."""
    return not (narthex_home() / OFF_FILE).exists()


def keep(is_on: bool) -> None:
    """Switch keeping on or off, for all runs to come. Raises: ConfigError where NARTHEX_HOME cannot be written."""
    path = narthex_home() / OFF_FILE
    try:
        if is_on:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch()
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="make the folder writable, or set NARTHEX_HOME to another"
        ) from None


def database() -> Path:
    """Where runs are, or would be."""
    return narthex_home() / "narthex.db"


def latest(count: int) -> tuple[list[RunRecord], list[ConversationRecord]]:
    """The last runs and conversations, newest first; none, and nothing made, where no store is."""
    if not database().exists():
        return [], []
    from narthex.store import Store

    with Store.open() as store:
        return store.runs(limit=count), store.conversations.latest(limit=count, user="")


def _as_json(runs: list[RunRecord], conversations: list[ConversationRecord]) -> dict[str, Any]:
    return {
        "kept": are_kept(),
        "path": str(database()),
        "runs": [run._asdict() for run in runs],
        "conversations": [record._asdict() for record in conversations],
    }


def _run_row(run: RunRecord) -> list[str]:
    seconds = "" if run.ended is None else f"{run.ended - run.started:.1f} s"
    state = "" if run.status == "done" else f" ({run.status})"
    return [run.id[:SHORT_ID], _when(run.started), run.mode, seconds, _shown(run.question) + state]


def _conversation_row(record: ConversationRecord) -> list[str]:
    turns = f"{record.num_turns} turn{'' if record.num_turns == 1 else 's'}"
    return [record.id[:SHORT_ID], _when(record.changed), turns, _shown(record.title)]


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _shown(text: str) -> str:
    from narthex.cli.show import one_line

    return one_line(text, _QUESTION_COLUMNS)


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip())
