"""What the agents of one question are told about each other: plain words, the same for every model.

They come after the question and its pictures, so that all agents share the pages of what stands before. narthex-nano is
trained on `second_look` word for word (`train/peers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Proposal(NamedTuple):
    """One answer and how many agents gave it."""

    answer: str
    votes: int


def second_look(proposals: Sequence[Proposal]) -> str:
    """To an agent that answers a question with an exact answer once more, or for all."""
    return f"Answers so far:\n{_listed(proposals)}\nAny of them may be wrong. Look for yourself, then answer."


def synthesis(proposals: Sequence[Proposal]) -> str:
    """To the agent that writes the one answer to an open question."""
    return (
        "Several people answered this independently:\n\n"
        + "\n\n".join(f"[{number}]\n{proposal.answer}" for number, proposal in enumerate(proposals, 1))
        + "\n\nWrite the best answer to the question: keep what is right, correct what is wrong, settle where they "
        "differ, and do not mention them."
    )


def judge(question: str, answers: Sequence[str]) -> str:
    """To a model that says which answers mean the same."""
    listed = "\n".join(f"[{number}] {answer}" for number, answer in enumerate(answers, 1))
    return (
        f"Question: {question}\n\nAnswers:\n{listed}\n\n"
        "Group the answers that say the same thing in substance. Reply with JSON alone: a list of lists of their "
        "numbers, for example [[1, 3], [2]]."
    )


def _listed(proposals: Sequence[Proposal]) -> str:
    return "\n".join(f"- {proposal.answer} ({proposal.votes})" for proposal in proposals)
