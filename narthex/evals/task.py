"""A task: where its items come from, how one is answered, and who says whether the answer is right."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from narthex.backends.base import Backend
from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError
from narthex.chat import Budget, Ledger, Mode
from narthex.evals.worlds import Item, Split, get_world

# Items of an evaluation come from seeds and readings that training never sees.
SPLIT: Split = "test"


class Settings(NamedTuple):
    """How every item of an evaluation is run. `budget`: None for the mode's own; `stops_early`: see `reason.run`."""

    temperature: float = 0.0
    budget: Budget | None = None
    stops_early: bool = True
    ceiling: Budget | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `error` is set where it failed; the ledger may be missing then, and the answer is empty.

    `calls`: arguments of the tool calls, in order.
    """

    answer: str = ""
    thought: str = ""
    calls: tuple[dict[str, object], ...] = ()
    ledger: Ledger | None = None
    finish_reason: str | None = None
    seconds: float = 0.0
    error: str | None = None


class Solver(Protocol):
    """Answers one item. Whatever goes wrong with the item is told in the outcome and not raised."""

    def __call__(
        self, item: Item, mode: Mode, backend: Backend, settings: Settings, *, seed: int
    ) -> Awaitable[Outcome]: ...


@dataclass(frozen=True)
class Task:
    """Data and scorer from worlds, taken in turn: item 0 of the first, item 0 of the second, …

    The solver is separate (`narthex.evals.run.solve`), because the same items can be answered in other ways.
    """

    name: str
    worlds: tuple[str, ...]

    def item(self, seed: int, index: int) -> Item:
        """Draw item `index`; it depends on (task, seed, index) alone."""
        turn, place = divmod(index, len(self.worlds))
        return get_world(self.worlds[place]).item(seed, turn, split=SPLIT)

    def check(self, item: Item, answer: str) -> bool:
        """Say whether an answer to an item of this task is right."""
        return get_world(item.world).check(item, answer)


# "worlds" is the ladder: every world that nano is to master, taken in turn. More worlds join it here.
_TASKS = {
    task.name: task
    for task in (
        Task("worlds", ("panels",)),
        Task("worlds.panels", ("panels",)),
        Task("worlds.panels-unseen", ("panels-unseen",)),
        Task("worlds.charts", ("charts",)),
        Task("worlds.charts-unseen", ("charts-unseen",)),
        Task("worlds.charts-reworded", ("charts-reworded",)),
        Task("worlds.charts-matplotlib", ("charts-matplotlib",)),
        Task("worlds.dials", ("dials",)),
        Task("worlds.dials-unseen", ("dials-unseen",)),
        Task("worlds.dials-reworded", ("dials-reworded",)),
        Task("worlds.shapes", ("shapes",)),
        Task("worlds.shapes-unseen", ("shapes-unseen",)),
        Task("worlds.shapes-reworded", ("shapes-reworded",)),
        Task("worlds.tables", ("tables",)),
        Task("worlds.tables-unseen", ("tables-unseen",)),
        Task("worlds.tables-reworded", ("tables-reworded",)),
        Task("worlds.forms", ("forms",)),
        Task("worlds.forms-unseen", ("forms-unseen",)),
        Task("worlds.forms-reworded", ("forms-reworded",)),
        Task("worlds.words", ("words",)),
        Task("worlds.words-unseen", ("words-unseen",)),
        Task("worlds.words-reworded", ("words-reworded",)),
        Task("worlds.routes", ("routes",)),
        Task("worlds.routes-unseen", ("routes-unseen",)),
        Task("worlds.routes-reworded", ("routes-reworded",)),
        Task("worlds.edge", ("edge",)),
    )
}


def task_names() -> tuple[str, ...]:
    """The names `get_task` knows."""
    return tuple(_TASKS)


def get_task(name: str) -> Task:
    """Find a task by its name.

    Raises: ConfigError if there is none of that name.
    """
    if name not in _TASKS:
        guess = did_you_mean(name, _TASKS)
        hint = f"did you mean '{guess}'?" if guess else f"the tasks are: {', '.join(_TASKS)}"
        raise ConfigError(f"there is no task '{name}'", hint=hint)
    return _TASKS[name]
