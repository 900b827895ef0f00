"""What a server has at hand: models, the store, limits; and who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from narthex.backends.base import Backend
from narthex.chat import Budget
from narthex.serve.settings import ServeSettings
from narthex.store import Role, Store
from narthex.tools import Tool


class Caller(NamedTuple):
    """Who asks. `user` is the id of a user in the store; on a server without keys it is empty, and there is one.

    What is kept belongs to `user`; others get a 404 for it, administrators too.
    """

    user: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()
    role: Role = "admin"
    key_id: str = ""

    @property
    def tenant(self) -> str:
        """Work of different ones is never shared, cached prompts neither: their timing would tell."""
        return self.user


@dataclass
class Service:
    """One server's. `backends` by the names that clients use; `store` is open while the server is, where runs are kept.

    `ceiling` lowers what every run may spend; `settings` are the table [serve] of narthex.toml.
    """

    backends: Mapping[str, Backend]
    ceiling: Budget = field(default_factory=Budget)
    settings: ServeSettings = field(default_factory=ServeSettings)
    keeps_runs: bool = True
    store: Store | None = None
    is_stopping: bool = False
    running: set[asyncio.Future[None]] = field(default_factory=set)
    started: int = field(default_factory=lambda: int(time.time()))

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
