"""`narthex trace`: what a kept run did, as a tree: rounds, agents, turns and calls, with tokens and seconds.

Everything is read from the run's events; a run that was cut is shown with what it has.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from narthex.base.errors import InputError
from narthex.cli.choices import AsJson
from narthex.cli.logs import SHORT_ID, database

if TYPE_CHECKING:
    from narthex.store import RunRecord, Store


def command(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The beginning of its id is enough. Default: the last run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a kept run did: rounds, agents, turns and calls, with tokens and seconds.

    narthex logs lists the last runs.
    """
    if not database().exists():
        raise InputError("no run is kept yet", hint="ask something first; narthex logs says whether runs are kept")
    from narthex.cli.tree import lines_of, trace_of
    from narthex.store import Store

    with Store.open() as store:
        record = _chosen(store, run)
        events = store.events(record.id)
    found: dict[str, Any] = {**record._asdict(), **trace_of(events)}
    if as_json:
        is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        print(json.dumps(found, ensure_ascii=not is_utf8, allow_nan=False))
        return
    for line in lines_of(found):
        print(line)


def _chosen(store: Store, prefix: str | None) -> RunRecord:
    """Raises: InputError where there is none, or more than one."""
    found = store.runs(limit=1) if prefix is None else store.find_runs(prefix)
    if not found:
        what = "no run is kept yet" if prefix is None else f"there is no run '{prefix[:80]}'"
        raise InputError(what, hint="narthex logs lists the last runs")
    if len(found) > 1:
        ids = ", ".join(record.id[: max(SHORT_ID, len(prefix or "") + 2)] for record in found[:5])
        raise InputError(f"{len(found)} runs begin with '{prefix}'", hint=f"give more of it: {ids}")
    return found[0]
