"""Contemplating: several agents answer the same question side by side, and what they agree on is the answer.

    propose   groups of agents over one shared prompt, until the leader is safe or all have answered
    refine    where they stay split: some try again having read the others, and their votes count
    answer    the leader's own words where it is safe; else an aggregator that has read them all, and streams

Where answers are too long for their words to be compared, a model groups them; where they are essays, nobody votes: the
aggregator writes the synthesis. Sources: Adaptive-Consistency (when to stop), DeepConf (confidence, traces cut),
Recursive Self-Aggregation (refining).
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from narthex.base.errors import BackendError, NarthexError
from narthex.base.log import get_logger
from narthex.chat import (
    AgentFinished,
    AgentRole,
    Agreement,
    AnswerDelta,
    AnswerStarted,
    Budget,
    Conversation,
    Event,
    FinishReason,
    Message,
    RoundStarted,
    ToolCall,
)
from narthex.reason.agent import Agent, Settings
from narthex.reason.ballot import Ballot, Candidate
from narthex.reason.desk import Desk
from narthex.reason.equality import Same, is_exact, same_answer
from narthex.reason.merge import Merge
from narthex.reason.prompts import Proposal, judge, second_look, synthesis

log = get_logger(__name__)

GROUP = 4  # agents started at a time
SAFE = 0.95  # probability that the leader stays the leader, from which on nobody else is asked
READ = 4  # answers that a refiner reads
ESSAY_CHARS = 600  # answers of this length on average are not voted on
MAX_SHOWN_CHARS = 4000  # of one answer, to whoever reads it
PROPOSE_TEMPERATURE = 0.8  # of all agents but the first, who answers as Thinking would
WALL_SHARE = 0.7  # of the run's seconds that proposing and refining may take: somebody has to answer
_SEED_STEP = 1_000_003


@dataclass
class Contemplation:
    """One run's agents. `work` streams their events; afterwards `answer`, `agents` and the rest say how it went."""

    conversation: Conversation
    question: str
    settings: Settings  # of the run; `budget` is for all agents together
    desk: Desk
    same: Same | None = None
    stops_early: bool = True
    answer: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "length"
    agents: list[Agent] = field(default_factory=list)
    _round: int = -1

    def __post_init__(self) -> None:
        self._ballot = Ballot(self.same or same_answer)
        self._rng = random.Random(self.settings.seed)
        self._failed: list[NarthexError] = []
        self._floor = 0.0

    async def work(self) -> AsyncGenerator[Event]:
        """Stream everything up to the end of the answer. Raises: NarthexError if every agent failed."""
        for stage in (self._propose, self._refine, self._answer):
            async with aclosing(stage()) as events:
                async for event in events:
                    yield event

    # Propose.

    async def _propose(self) -> AsyncGenerator[Event]:
        most = self.settings.budget.agents or 1
        while (started := len(self.agents)) < most and not self._is_safe(most) and self._has_time():
            group_size = GROUP if self.stops_early else most  # asking all, there is no agreement to wait for
            size = min(group_size, most - started, max(1, self.desk.backend.max_parallel))
            yield self._next_round("propose")
            group = [self._proposer(started + place) for place in range(size)]
            async with aclosing(self._side_by_side(group, most)) as events:
                async for event in events:
                    yield event
            if started == 0:
                sure = [c.confidence for c in self._ballot.candidates if c.confidence is not None]
                self._floor = min(sure, default=0.0)
            if self._is_essay():
                return
            async with aclosing(self._ask_judge(most)) as events:
                async for event in events:
                    yield event
        if not self._ballot.candidates and self._failed:
            raise self._failed[0]

    def _proposer(self, number: int) -> Agent:
        """Agents differ by their dice; the first throws none unless the caller wished so."""
        temperature = self.settings.temperature or (PROPOSE_TEMPERATURE if number else 0.0)
        return self._agent("proposer", self.conversation, number, temperature)

    # Refine.

    async def _refine(self) -> AsyncGenerator[Event]:
        rounds = self.settings.budget.rounds or 0
        for _ in range(rounds):
            if self._is_settled() or self._ballot.num_votes < 2 or not self._has_time():
                return
            size = min(GROUP, max(1, self.desk.backend.max_parallel))
            yield self._next_round("refine")
            group = [self._refiner(len(self.agents) + place) for place in range(size)]
            async with aclosing(self._side_by_side(group, self._ballot.num_votes + size)) as events:
                async for event in events:
                    yield event
            if self._is_essay():
                return

    def _refiner(self, number: int) -> Agent:
        spoken = [candidate.answer for candidate in self._ballot.candidates if candidate.answer]
        read = Counter(self._rng.sample(spoken, min(READ, len(spoken))))
        told = self._told([Proposal(answer, votes) for answer, votes in read.items()])
        conversation = self.conversation.with_messages(*told)
        return self._agent("refiner", conversation, number, self.settings.temperature or PROPOSE_TEMPERATURE)

    # Answer.

    async def _answer(self) -> AsyncGenerator[Event]:
        leader = self._ballot.leader
        if leader is not None and self._is_settled():
            async with aclosing(self._say(leader.best)) as events:
                async for event in events:
                    yield event
            return
        yield self._next_round("answer")
        proposals = [
            Proposal(group.best.answer, len(group.members)) for group in self._ballot.groups if group.best.answer
        ]
        conversation = self.conversation.with_messages(*self._told(proposals))
        agent = self._agent("aggregator", conversation, len(self.agents), self.settings.temperature)
        agent.settings = replace(agent.settings, budget=self._share(is_last=True))
        self.agents.append(agent)
        async with aclosing(self._guarded(agent)) as events:
            async for event in events:
                yield event
        if agent.error is not None:
            if leader is None:
                raise self._failed[-1]
            # what the others came to is not lost with it
            async with aclosing(self._say(leader.best)) as events:
                async for event in events:
                    yield event
            return
        self.answer, self.calls, self.finish_reason = agent.answer, agent.calls, agent.finish_reason

    async def _say(self, best: Candidate) -> AsyncGenerator[Event]:
        """Make a candidate's answer, or its calls, the run's."""
        self.answer, self.calls = best.answer, best.calls
        self.finish_reason = "tool_calls" if best.calls else "stop"
        if self.answer:
            yield AnswerStarted(**self.desk.clock.stamp(best.agent_id))
            yield AnswerDelta(**self.desk.clock.stamp(best.agent_id), text=self.answer)

    # Agents.

    def _agent(self, role: AgentRole, conversation: Conversation, number: int, temperature: float) -> Agent:
        seed = None if self.settings.seed is None else (self.settings.seed + _SEED_STEP * number) % 2**63
        settings = replace(
            self.settings, temperature=temperature, seed=seed, budget=self._share(), wants_confidence=True
        )
        return Agent(
            f"agent-{number}", conversation, settings, self.desk, role=role, round=self._round, floor=self._floor
        )

    def _share(self, *, is_last: bool = False) -> Budget:
        """An equal part of the run's thought for everyone who may yet be asked; all that is left for the last."""
        budget = self.settings.budget
        think, wall = budget.think_tokens, budget.wall_s
        if think is not None:
            left = max(0, think - sum(agent.ledger.thought_tokens for agent in self.agents))
            num_agents = (budget.agents or 1) + GROUP * (budget.rounds or 0) + 1
            think = left if is_last else min(left, think // num_agents)
        if wall is not None and not is_last:
            wall *= WALL_SHARE
        return budget.model_copy(update={"think_tokens": think, "wall_s": wall})

    async def _side_by_side(self, group: Sequence[Agent], most: int) -> AsyncGenerator[Event]:
        """Let a group work; count each answer as it comes, and stop the rest when the leader is safe."""
        crowd: Merge[Event] = Merge()
        by_id = {agent.agent_id: agent for agent in group}
        self.agents += group
        for agent in group:
            crowd.add(self._guarded(agent))
        async with aclosing(crowd.stream()) as events:
            async for event in events:
                yield event
                if not isinstance(event, AgentFinished) or not self._counts(by_id[event.agent_id]):
                    continue
                agent = by_id[event.agent_id]
                self._ballot.add(Candidate(agent.agent_id, agent.answer, agent.calls, agent.confidence))
                if self._ballot.num_votes > 1 and all(is_exact(c.answer) for c in self._ballot.candidates):
                    yield self._agreement(most)
                    if self._is_safe(most):
                        for other in group:
                            other.stop.set()

    async def _guarded(self, agent: Agent) -> AsyncGenerator[Event]:
        """An agent's events; its failure is its own, and is told in its last one."""
        try:
            async with aclosing(agent.work()) as events:
                async for event in events:
                    yield event
        except NarthexError as error:
            failed = error
        except Exception as bug:
            log.exception("%s failed", agent.agent_id)
            failed = BackendError(f"{agent.agent_id} failed: {type(bug).__name__}: {bug}")
        else:
            return
        self._failed.append(failed)
        agent.answer, agent.calls, agent.finish_reason, agent.error = "", (), "cancelled", failed.message
        yield agent.finished()

    def _counts(self, agent: Agent) -> bool:
        """Whether an agent came to something; one that was stopped on its way did not."""
        if agent.calls:
            return True
        return bool(agent.answer.strip()) and agent.error is None and agent.finish_reason == "stop"

    async def _ask_judge(self, most: int) -> AsyncGenerator[Event]:
        """Group answers that are too long to be compared by their words."""
        candidates = self._ballot.candidates
        if len(candidates) < 2 or all(is_exact(candidate.answer) for candidate in candidates):
            return
        yield self._next_round("judge")
        text = judge(self.question, [candidate.answer[:MAX_SHOWN_CHARS] for candidate in candidates])
        settings = replace(
            self.settings, thinking=False, tools=(), caller_tools=(), answer_schema=None, temperature=0.0
        )
        asked = Conversation(messages=(Message.of("user", text),))
        agent = Agent(f"agent-{len(self.agents)}", asked, settings, self.desk, role="judge", round=self._round)
        self.agents.append(agent)
        async with aclosing(self._guarded(agent)) as events:
            async for event in events:
                yield event
        groups = _read_groups(agent.answer, len(candidates))
        of_text = {candidates[place - 1].answer: number for number, group in enumerate(groups) for place in group}
        self._ballot = Ballot(lambda one, other: of_text.get(one, one) == of_text.get(other, other))
        for candidate in candidates:
            self._ballot.add(candidate)
        yield self._agreement(most)

    # How things stand.

    def _is_safe(self, most: int) -> bool:
        """Whether nobody else need be asked: the leader would very probably still lead after `most` votes."""
        return self.stops_early and self._ballot.num_votes > 1 and self._ballot.probability(most) >= SAFE

    def _is_settled(self) -> bool:
        """Whether those who voted agree: one answer has more than half of all weight."""
        leader = self._ballot.leader
        total = sum(group.weight for group in self._ballot.groups)
        return leader is not None and leader.weight * 2 > total and not self._is_essay()

    def _is_essay(self) -> bool:
        answers = [candidate.answer for candidate in self._ballot.candidates if not candidate.calls]
        long = sum(len(answer) for answer in answers) > ESSAY_CHARS * len(answers)
        return bool(answers) and long and not all(map(is_exact, answers))

    def _has_time(self) -> bool:
        wall = self.settings.budget.wall_s
        return wall is None or self.desk.clock.elapsed() < WALL_SHARE * wall

    def _told(self, proposals: Sequence[Proposal]) -> tuple[Message, ...]:
        """What an agent reads of others' answers, after the question: nothing where there are none."""
        if not proposals:
            return ()
        # A quarter of the context as text goes (four characters a token); all of it where a token is a character.
        room = min(MAX_SHOWN_CHARS, max(1, self.desk.backend.context_tokens // len(proposals)))
        shown = [proposal._replace(answer=proposal.answer[:room]) for proposal in proposals]
        is_short = all(is_exact(proposal.answer) for proposal in shown)
        return (Message.of("user", second_look(shown) if is_short else synthesis(shown)),)

    def _next_round(self, purpose: Any) -> RoundStarted:
        self._round += 1
        return RoundStarted(**self.desk.clock.stamp(), round=self._round, purpose=purpose)

    def _agreement(self, most: int) -> Agreement:
        return Agreement(
            **self.desk.clock.stamp(), tally=self._ballot.tally(), probability=self._ballot.probability(most)
        )


def _read_groups(reply: str, num_answers: int) -> list[list[int]]:
    """Groups of answer numbers, from 1, in a judge's reply; none where it cannot be read: each answer stands alone."""
    found = re.search(r"\[\s*\[.*\]\s*\]", reply, re.DOTALL)
    try:
        groups = json.loads(found[0]) if found else []
    except ValueError:
        return []
    if not isinstance(groups, list):
        return []
    return [
        [number for number in group if isinstance(number, int) and 1 <= number <= num_answers]
        for group in groups
        if isinstance(group, list)
    ]
