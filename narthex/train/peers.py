"""Other agents' answers to an item, made up for training: some right, some wrong, now and then all wrong.

A wrong answer is wrong in the ways nano is: a digit misread, the other gauge of two, the next choice.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from narthex.evals.worlds import Item
from narthex.evals.worlds.dial_scene import ZONES
from narthex.evals.worlds.labels import FAMILIES
from narthex.evals.worlds.shape_scene import FORMS
from narthex.reason.prompts import Proposal

MAX_AGENTS = 8  # more votes than this say nothing new about how to read them
_DIGIT = re.compile(r"\d")
_NONE_THERE = re.compile(r"There is no \w+ ?[A-Z] here\.|none")
_ABSENT_SHARE = 0.05  # of wrong answers to questions about a gauge that deny it
# Answers that are one of a few words, or one name of a family.
_CHOICES: tuple[tuple[str, ...], ...] = (
    ("rising", "falling", "flat"), ("low", "high", "in range"), ("yes", "no"), ("left", "right"), ("top", "bottom"),
    ZONES, FORMS, *FAMILIES.values(),
)  # fmt: skip


def made_up_proposals(item: Item, rng: random.Random) -> tuple[Proposal, ...]:
    """Distinct answers with their votes, in any order."""
    share_right = rng.random()
    # Agents err alike: a few wrong answers share all the wrong votes.
    wrong = [_wrong_answer(item, rng) for _ in range(rng.randint(1, 3))]
    votes = [
        item.answer if rng.random() < share_right else rng.choice(wrong) for _ in range(rng.randint(2, MAX_AGENTS))
    ]
    counted = list(Counter(votes).items())
    rng.shuffle(counted)
    return tuple(Proposal(answer, count) for answer, count in counted)


def _wrong_answer(item: Item, rng: random.Random) -> str:
    """Another of those asked about, of its few choices or of its family; else with one or two digits misread."""
    answer, named = item.answer, re.findall(r"\b[A-Z]\b", item.question)
    if _NONE_THERE.fullmatch(answer):
        return f"{rng.randint(1, 999)} {rng.choice(('bar', 'V', '%'))}"
    if others := [letter for letter in named if letter != answer and answer in named]:
        return rng.choice(others)
    for choices in _CHOICES:
        if answer in choices:
            return rng.choice([choice for choice in choices if choice != answer])
    digits = [found.start() for found in _DIGIT.finditer(answer)]
    is_denied = item.kind == "read" and len(named) == 1 and rng.random() < _ABSENT_SHARE
    if is_denied or not digits:
        letter = (named or ["A"])[0]
        return f"There is no gauge {letter} here."
    written = list(answer)
    for place in rng.sample(digits, min(len(digits), rng.choice((1, 1, 2)))):
        written[place] = rng.choice([digit for digit in "0123456789" if digit != written[place]])
    return "".join(written)
