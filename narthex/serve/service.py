"""What a server has at hand: models, the store, limits; and who is asking."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from narthex.backends.base import Backend
from narthex.chat import Budget
from narthex.store import Store


class Caller(NamedTuple):
    """Who asks. Work of different `tenant`s is never shared."""

    tenant: str = ""


@dataclass
class Service:
    """One server's. `backends` by the names that clients use; `store` is open while the server is, where runs are kept.

    `ceiling` lowers what every run may spend.
    """

    backends: Mapping[str, Backend]
    ceiling: Budget = field(default_factory=Budget)
    keeps_runs: bool = True
    store: Store | None = None
    is_stopping: bool = False
    num_running: int = 0
    started: int = field(default_factory=lambda: int(time.time()))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A run is under way."""
        self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1
