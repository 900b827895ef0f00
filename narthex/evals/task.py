"""A task: where its items come from, how one is answered, and who says whether the answer is right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from narthex.backends.base import Backend
from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError
from narthex.chat import Budget, Ledger, Mode
from narthex.evals.worlds import Item, Kind, Split, get_world, world_names

# Items of an evaluation come from seeds and readings that training never sees.
SPLIT: Split = "test"


class Settings(NamedTuple):
    """How every item of an evaluation is run. `budget`: None for the mode's own; the others: see `reason.run`."""

    temperature: float = 0.0
    budget: Budget | None = None
    stops_early: bool = True
    ceiling: Budget | None = None
    tenant: str = ""


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


class Source(NamedTuple):
    """Where items come from: a world, and the one kind asked of it where that is not its own mixture."""

    world: str
    kind: Kind | None = None


@dataclass(frozen=True)
class Task:
    """Data and scorer from worlds, taken in turn: item 0 of the first, item 0 of the second, …

    A world that stands in `sources` several times gives a new item at each place. The solver is separate
    (`narthex.evals.run.solve`), because the same items can be answered in other ways.
    """

    name: str
    sources: tuple[Source, ...]

    @property
    def worlds(self) -> tuple[str, ...]:
        """The names of its worlds, each once."""
        return tuple(dict.fromkeys(source.world for source in self.sources))

    def world_of(self, index: int) -> str:
        """The name of the world that item `index` comes from."""
        return self.sources[index % len(self.sources)].world

    def item(self, seed: int, index: int) -> Item:
        """Draw item `index`; it depends on (task, seed, index) alone."""
        turn, place = divmod(index, len(self.sources))
        world, kind = self.sources[place]
        same = [other for other, source in enumerate(self.sources) if source.world == world]
        draw: Callable[..., Item] = get_world(world).item
        number = turn * len(same) + same.index(place)
        return draw(seed, number, split=SPLIT) if kind is None else draw(seed, number, split=SPLIT, kind=kind)

    def check(self, item: Item, answer: str) -> bool:
        """Say whether an answer to an item of this task is right."""
        return get_world(item.world).check(item, answer)


# The worlds that nano is to master; "worlds" is the ladder: all of them, taken in turn.
MAIN_WORLDS = ("panels", "charts", "tables", "dials", "shapes", "forms", "words", "routes")
# What a world's held-out drawings and wordings are called, and the drawings of another program.
VARIANTS = ("unseen", "reworded", "matplotlib")


def _variants(world: str) -> tuple[str, ...]:
    return tuple(f"{world}-{variant}" for variant in VARIANTS if f"{world}-{variant}" in world_names())


def _from(*worlds: str) -> tuple[Source, ...]:
    return tuple(Source(world) for world in worlds)


_TASKS = {
    task.name: task
    for task in (
        Task("worlds", _from(*MAIN_WORLDS)),
        *(Task(f"worlds.{name}", _from(name)) for name in world_names()),
        # Every world beside its held-out drawings and wordings: what those cost is told in points.
        Task("worlds.heldout", _from(*(each for world in MAIN_WORLDS for each in (world, *_variants(world))))),
        # Half of it is to be declined and half to be answered: both shares of refusals are told.
        Task("worlds.scope", _from(*(each for world in MAIN_WORLDS for each in ("edge", world)))),
        # The same worlds asked in other languages, in the words of training or in others; and in one language each.
        *(
            Task(f"worlds.{ending}", _from(*(f"{world}-{ending}" for world in MAIN_WORLDS)))
            for ending in ("multilingual", "multilingual-reworded", "ru", "uk", "pt", "zh")
        ),
        # The questions of Sort-of-CLEVR alone, half and half.
        Task("worlds.clevr", (Source("shapes", "relational"), Source("shapes", "nonrelational"))),
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
