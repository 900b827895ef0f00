"""What a server has at hand: models, the store, limits; and who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from narthex.backends.base import Backend
from narthex.chat import Budget
from narthex.serve.callers import Caller
from narthex.serve.live import Live
from narthex.serve.remote import RemotePictures
from narthex.serve.settings import ServeSettings
from narthex.serve.watch import Watch
from narthex.store import Store
from narthex.tools import Tool


@dataclass
class Service:
    """One server's. `backends` by the names that clients use; `store` is open while the server is, where runs are kept.

    `ceiling` lowers what every run may spend; `settings` are the table [serve] of narthex.toml. `keys_only` is a store
    that is open for its users and their lines alone, where runs are not kept. `is_open_wide`: others than this machine
    reach the server, so it asks for keys even if there is none.
    """

    backends: Mapping[str, Backend]
    ceiling: Budget = field(default_factory=Budget)
    settings: ServeSettings = field(default_factory=ServeSettings)
    keeps_runs: bool = True
    store: Store | None = None
    keys_only: Store | None = None
    is_open_wide: bool = False
    is_stopping: bool = False
    running: set[asyncio.Future[None]] = field(default_factory=set)
    live: Live = field(default_factory=Live)
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.remote = RemotePictures(self.settings.picture_domains)
        self.watch = Watch(self.settings, lambda: self.backends, lambda: self.registry)

    @property
    def registry(self) -> Store | None:
        """Where users, keys and audit lines are; None where nothing is kept, and there is no user."""
        return self.store if self.store is not None else self.keys_only

    def backends_for(self, caller: Caller) -> dict[str, Backend]:
        """The models that the caller's role may use; to anybody else the others are not there."""
        allowed = self.settings.role(caller.role).models
        return {name: backend for name, backend in self.backends.items() if allowed is None or name in allowed}

    def tools_for(self, caller: Caller, tools: Iterable[Tool]) -> tuple[Tool, ...]:
        """Those of the tools that the caller's role may use."""
        allowed = self.settings.role(caller.role).tools
        return tuple(tool for tool in tools if allowed is None or tool.spec.name in allowed)

    def stop(self) -> None:
        """Take nothing more, and end every run that is under way. Call it in the server's event loop."""
        self.is_stopping = True
        for work in self.running:
            work.cancel()
