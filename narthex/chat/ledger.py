"""What a run cost, agent by agent and in sum. Tokens are counted, seconds measured; FLOPs and cost where known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from narthex.chat.messages import Frozen

# How the think budget was kept: by the engine itself, by continuing a cut reply, by asking again, or not at all.
BudgetEnforced = Literal["native", "continued", "reasked", "none"]

_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0)]


class AgentLedger(Frozen):
    """One agent's share. `cached_tokens` are part of `prompt_tokens`; a look is a tool call that returned a picture."""

    agent_id: str
    round: _Count = 0
    turns: _Count = 0
    prompt_tokens: _Count = 0
    cached_tokens: _Count = 0
    thought_tokens: _Count = 0
    answer_tokens: _Count = 0
    tool_calls: _Count = 0
    looks: _Count = 0
    seconds: _Amount = 0.0
    flops: _Amount | None = None
    cost: _Amount | None = None


class Ledger(Frozen):
    """The sum over all agents. `seconds` is the wall time of the run, `critical_path_s` its longest dependent chain.

    `estimated` says that some counts are ours and not the upstream's.
    """

    prompt_tokens: _Count = 0
    cached_tokens: _Count = 0
    thought_tokens: _Count = 0
    answer_tokens: _Count = 0
    tool_calls: _Count = 0
    looks: _Count = 0
    agents: _Count = 0
    rounds: _Count = 0
    seconds: _Amount = 0.0
    critical_path_s: _Amount = 0.0
    flops: _Amount | None = None
    cost: _Amount | None = None
    budget_enforced: BudgetEnforced = "native"
    estimated: bool = False
    by_agent: tuple[AgentLedger, ...] = ()

    @classmethod
    def total(
        cls,
        by_agent: Sequence[AgentLedger],
        *,
        seconds: float,
        critical_path_s: float | None = None,
        budget_enforced: BudgetEnforced = "native",
        estimated: bool = False,
    ) -> Ledger:
        """Sum the agents' ledgers.

        Agents of one round run side by side and rounds follow each other, so without a measured `critical_path_s`
        it is the sum over rounds of the slowest agent. `flops` and `cost` are summed only if every agent has them.
        """
        slowest: dict[int, float] = {}
        for entry in by_agent:
            slowest[entry.round] = max(slowest.get(entry.round, 0.0), entry.seconds)
        return cls(
            prompt_tokens=sum(entry.prompt_tokens for entry in by_agent),
            cached_tokens=sum(entry.cached_tokens for entry in by_agent),
            thought_tokens=sum(entry.thought_tokens for entry in by_agent),
            answer_tokens=sum(entry.answer_tokens for entry in by_agent),
            tool_calls=sum(entry.tool_calls for entry in by_agent),
            looks=sum(entry.looks for entry in by_agent),
            agents=len({entry.agent_id for entry in by_agent}),
            rounds=len(slowest),
            seconds=seconds,
            critical_path_s=sum(slowest.values()) if critical_path_s is None else critical_path_s,
            flops=_sum_if_known([entry.flops for entry in by_agent]),
            cost=_sum_if_known([entry.cost for entry in by_agent]),
            budget_enforced=budget_enforced,
            estimated=estimated,
            by_agent=tuple(by_agent),
        )


def _sum_if_known(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if amounts and len(known) == len(amounts) else None
