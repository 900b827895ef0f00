"""Counting answers: who leads, and how likely the leader is to lead still when everybody has answered.

Source: Adaptive-Consistency (stop when the leader is safe), with votes weighed by confidence as in DeepConf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, lgamma

from narthex.chat import ToolCall
from narthex.reason.equality import Same


@dataclass(frozen=True)
class Candidate:
    """What one agent came to: an answer, or calls of the caller's own tools."""

    agent_id: str
    answer: str
    calls: tuple[ToolCall, ...] = ()
    confidence: float | None = None

    def agrees(self, other: Candidate, same: Same) -> bool:
        if self.calls or other.calls:
            return [(c.name, c.arguments) for c in self.calls] == [(c.name, c.arguments) for c in other.calls]
        return same(self.answer, other.answer)

    @property
    def label(self) -> str:
        """The answer in a line, for tallies."""
        said = ", ".join(f"{call.name}()" for call in self.calls) if self.calls else self.answer
        return " ".join(said.split())[:200]


@dataclass
class Group:
    """Candidates that agree. `best` is the most confident of them, the first where none is known."""

    members: list[Candidate]
    weight: float = 0.0

    @property
    def best(self) -> Candidate:
        return max(self.members, key=lambda member: member.confidence or 0.0)


@dataclass
class Ballot:
    """Votes of a run, heaviest group first after each `add`."""

    same: Same
    groups: list[Group] = field(default_factory=list)

    @property
    def num_votes(self) -> int:
        return sum(len(group.members) for group in self.groups)

    @property
    def candidates(self) -> list[Candidate]:
        return [member for group in self.groups for member in group.members]

    @property
    def leader(self) -> Group | None:
        return self.groups[0] if self.groups else None

    def add(self, candidate: Candidate) -> None:
        """Count a vote with the group it agrees with, or in one of its own."""
        for group in self.groups:
            if candidate.agrees(group.members[0], self.same):
                group.members.append(candidate)
                break
        else:
            self.groups.append(Group([candidate]))
        self._weigh()

    def tally(self) -> dict[str, float]:
        """Weight of each answer, heaviest first."""
        return {group.members[0].label: round(group.weight, 4) for group in self.groups}

    def probability(self, num_agents: int) -> float:
        """Probability that the leader leads after `num_agents` votes in all, by the votes so far.

        All votes to come are taken to go to the leader or the runner-up, whose share has a uniform prior: with one
        rival the leader is least safe. Ties count half.
        """
        if not self.groups:
            return 0.0
        first = self.groups[0].weight
        second = self.groups[1].weight if len(self.groups) > 1 else 0.0
        left = max(0, num_agents - self.num_votes)
        if not left:
            return 1.0 if first > second else 0.5
        total = 0.0
        for gained in range(left + 1):
            lead = first + gained - second - (left - gained)
            share = 1.0 if lead > 1e-9 else 0.5 if lead > -1e-9 else 0.0
            total += share * _beta_binomial(gained, left, first + 1, second + 1)
        return min(1.0, total)

    def _weigh(self) -> None:
        """A vote counts as much as its confidence says beside the others'; all weights sum to their number."""
        known = [c.confidence for c in self.candidates if c.confidence is not None]
        mean = sum(known) / len(known) if known else 1.0
        for group in self.groups:
            group.weight = sum(
                1.0 if member.confidence is None or mean <= 0 else member.confidence / mean for member in group.members
            )
        self.groups.sort(key=lambda group: -group.weight)


def _beta_binomial(k: int, n: int, a: float, b: float) -> float:
    """Probability of k successes of n where the chance of one is drawn from Beta(a, b)."""
    choose = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(choose + lgamma(k + a) + lgamma(n - k + b) - lgamma(n + a + b) - lgamma(a) - lgamma(b) + lgamma(a + b))
