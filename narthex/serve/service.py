"""What a server has at hand: models, the store, limits; and who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
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
    running: set[asyncio.Future[None]] = field(default_factory=set)
    started: int = field(default_factory=lambda: int(time.time()))

    def stop(self) -> None:
        """Take nothing more, and end every run that is under way. Call it in the server's event loop."""
        self.is_stopping = True
        for work in self.running:
            work.cancel()
