"""The table `[serve]` of narthex.toml: what each role may use, quotas, the audit file, metrics, remote pictures."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from narthex.base.config import did_you_mean, read_dataclass
from narthex.base.errors import ConfigError
from narthex.store import ROLES, Role

Period = Literal["minute", "hour", "day", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)
MetricsFor = Literal["admin", "this_machine", "nobody"]
_DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)


@dataclass(frozen=True)
class RoleSettings:
    """What a role may use, by name. None: everything that is served."""

    models: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Quota:
    """What may be spent in a calendar period (UTC). `tokens` counts prompt, thought and answer of every turn;
    `agent_seconds` the time of each agent at work, so four side by side spend four a second.

    It is for one `user`, for all of a `group` together, or, where neither is named, for each user.
    """

    per: Period = "day"
    tokens: int | None = None
    agent_seconds: float | None = None
    user: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.user and self.group:
            raise ConfigError("a quota is for a user or for a group, not for both")
        if self.tokens is None and self.agent_seconds is None:
            raise ConfigError("a quota names 'tokens' or 'agent_seconds'")
        if any(limit is not None and limit < 0 for limit in (self.tokens, self.agent_seconds)):
            raise ConfigError("a quota should be 0 or more")


@dataclass(frozen=True)
class ServeSettings:
    """`runs_at_once`: of one user; None is as many as come. `audit_file`: a line per run is appended there, too.

    `metrics`: who may read /metrics; without keys all of this machine may. `picture_domains`: the hosts that pictures
    may be fetched from; "*.example.org" is every name below example.org.
    """

    roles: dict[str, RoleSettings] = field(default_factory=dict)
    quotas: tuple[Quota, ...] = ()
    runs_at_once: int | None = None
    audit_file: str = ""
    metrics: MetricsFor = "admin"
    picture_domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.roles if name not in ROLES]
        if unknown:
            raise ConfigError(f"there is no role '{unknown[0]}' (there are {', '.join(ROLES)})")
        if self.runs_at_once is not None and self.runs_at_once < 1:
            raise ConfigError("'runs_at_once' should be more than 0")
        for domain in self.picture_domains:
            if not _DOMAIN.fullmatch(domain):
                raise ConfigError(f"'{domain[:100]}' in 'picture_domains' is no name of a host")

    def role(self, role: Role) -> RoleSettings:
        """What that role may use; everything where nothing is said."""
        return self.roles.get(role, RoleSettings())


def unmatched(settings: ServeSettings, known: Mapping[str, Collection[str]]) -> list[str]:
    """One line for each name in the settings that nothing here has: `known` holds users, groups, models and tools."""
    named = [("user", quota.user, "quotas") for quota in settings.quotas if quota.user]
    named += [("group", quota.group, "quotas") for quota in settings.quotas if quota.group]
    for role, may_use in settings.roles.items():
        named += [("model", name, f"roles.{role}") for name in may_use.models or ()]
        named += [("tool", name, f"roles.{role}") for name in may_use.tools or ()]
    lines = []
    for kind, name, where in named:
        if name not in known[kind]:
            guess = did_you_mean(name, known[kind])
            meant = f"; did you mean '{guess}'?" if guess else ""
            lines.append(f"[serve.{where}] names the {kind} '{name}', and there is none{meant}")
    return lines


def read_serve_settings(table: Mapping[str, Any]) -> ServeSettings:
    """The table `serve` of narthex.toml. Raises: ConfigError that names every problem at once."""
    return read_dataclass(ServeSettings, table, where="narthex.toml, [serve]")
