"""What Contemplating must be compared with: the same tokens spent in simpler ways.

    vote_equal_tokens   independent Thinking runs, the most frequent answer; as many runs as cost what Contemplating did
    long_thinking       one Thinking run that may think as long as all of Contemplating's agents together
    all_agents          Contemplating that asks all its agents, whether they agree or not
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from narthex.backends.base import Backend
from narthex.chat import Budget, Ledger
from narthex.evals.record import Record
from narthex.evals.task import Outcome, Settings, Solver
from narthex.evals.worlds import Item
from narthex.reason.ballot import Ballot, Candidate
from narthex.reason.contemplating import PROPOSE_TEMPERATURE
from narthex.reason.equality import same_answer

BASELINES = ("vote_equal_tokens", "long_thinking", "all_agents")
_SEED_STEP = 1_000_003


def mean_tokens(records: Sequence[Record]) -> float:
    """Tokens of a run, thought and answer together, over the runs that told; 0 where none did."""
    known = [record.tokens for record in records if record.tokens is not None]
    return sum(known) / len(known) if known else 0.0


def num_votes(index: int, contemplating: float, thinking: float) -> int:
    """Runs that item `index` gets, so that over all items they cost what Contemplating did: 4.3 is 4 or 5."""
    wanted = contemplating / thinking if thinking else 1.0
    return max(1, int(wanted * (index + 1) + 0.5) - int(wanted * index + 0.5))


async def vote(
    item: Item, backend: Backend, settings: Settings, solve: Solver, *, seed: int, votes: int
) -> Outcome:
    """Majority of independent runs, drawn as Contemplating's proposers are; ties go to the earliest answer."""
    outcomes = await asyncio.gather(*(
        solve(
            item, "thinking", backend,
            settings._replace(temperature=settings.temperature or (PROPOSE_TEMPERATURE if number else 0.0)),
            seed=(seed + _SEED_STEP * number) % 2**63,
        )
        for number in range(votes)
    ))  # fmt: skip
    ballot = Ballot(same_answer)
    for number, outcome in enumerate(outcomes):
        if outcome.answer.strip() and outcome.finish_reason == "stop":
            ballot.add(Candidate(str(number), outcome.answer))
    leader = ballot.leader
    ledgers = [outcome.ledger for outcome in outcomes if outcome.ledger is not None]
    agents = [
        entry.model_copy(update={"agent_id": f"agent-{number}"})
        for number, ledger in enumerate(ledgers)
        for entry in ledger.by_agent
    ]
    seconds = max((outcome.seconds for outcome in outcomes), default=0.0)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    return Outcome(
        answer=leader.best.answer if leader else "",
        ledger=Ledger.total(agents, seconds=seconds) if agents else None,
        finish_reason="stop",
        seconds=seconds,
        error=errors[0] if errors and leader is None else None,
    )


async def long_thinking(
    item: Item, backend: Backend, settings: Settings, solve: Solver, *, seed: int, tokens: float
) -> Outcome:
    """One Thinking run with room for `tokens` of thought."""
    budget = (settings.budget or Budget()).model_copy(update={"think_tokens": max(1, round(tokens))})
    return await solve(item, "thinking", backend, settings._replace(budget=budget), seed=seed)


async def all_agents(item: Item, backend: Backend, settings: Settings, solve: Solver, *, seed: int) -> Outcome:
    """Contemplating without its early stop."""
    return await solve(item, "contemplating", backend, settings._replace(stops_early=False), seed=seed)

