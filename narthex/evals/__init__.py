"""Evaluation: tasks with exact checkers, worlds that generate them, and reports.

`evaluate("worlds.panels", ["instant", "thinking"], limit=500, seed=7, backend=backend)` returns a `Report`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narthex.evals.record import Record
    from narthex.evals.report import Report
    from narthex.evals.run import evaluate
    from narthex.evals.task import Task, get_task, task_names

__all__ = ["Record", "Report", "Task", "evaluate", "get_task", "task_names"]

_HOMES = {
    "Record": "narthex.evals.record",
    "Report": "narthex.evals.report",
    "Task": "narthex.evals.task",
    "evaluate": "narthex.evals.run",
    "get_task": "narthex.evals.task",
    "task_names": "narthex.evals.task",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: training uses the worlds alone, and should not load a turn loop with them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
