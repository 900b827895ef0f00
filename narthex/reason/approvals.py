"""Who says whether a call may run: nobody is asked, a rule knows, or a person decides while the agent waits.

A run takes one `Approve` and asks it about every call of a tool that needs approval (`Tool.needs_approval`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from narthex.base.errors import ConfigError
from narthex.chat import ToolCall


class Approval(NamedTuple):
    """A decision. `reason` is told to the model where the call was refused."""

    is_allowed: bool
    by: Literal["rule", "person"] = "rule"
    reason: str = ""


Approve = Callable[[ToolCall], Awaitable[Approval]]


class Rule(NamedTuple):
    """Allows or refuses calls of `tool` ("*": any) whose `argument`, as text, matches `pattern` anywhere.

    Without an argument the rule is about every call of the tool.
    """

    tool: str
    is_allowed: bool
    argument: str | None = None
    pattern: str = ""


def always() -> Approve:
    """Allow everything. For people who know what their tools can do."""
    return _constant(Approval(True))


def never(reason: str = "this run may not use tools that need approval") -> Approve:
    """Refuse everything that needs approval; the default of a run."""
    return _constant(Approval(False, reason=reason))


def by_rules(rules: Sequence[Rule], otherwise: Approve | None = None) -> Approve:
    """The first rule that fits decides, else `otherwise` (default: refuse). Raises: ConfigError for a bad pattern."""
    compiled = [(rule, _compiled(rule)) for rule in rules]
    fallback = otherwise or never("no rule allows this call")

    async def decide(call: ToolCall) -> Approval:
        for rule, pattern in compiled:
            if rule.tool not in ("*", call.name):
                continue
            if rule.argument is None or pattern.search(str(call.arguments.get(rule.argument, ""))):
                return Approval(rule.is_allowed, reason="" if rule.is_allowed else f"a rule for {rule.tool} refuses it")
        return await fallback(call)

    return decide


def _compiled(rule: Rule) -> re.Pattern[str]:
    try:
        return re.compile(rule.pattern)
    except re.error as error:
        raise ConfigError(f"rule for {rule.tool}: {rule.pattern!r} is no pattern: {error}") from None


def _constant(approval: Approval) -> Approve:
    async def decide(call: ToolCall) -> Approval:
        return approval

    return decide
