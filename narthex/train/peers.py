"""Other agents' answers to an item, made up for training: some right, some wrong, now and then all wrong.

A wrong answer is wrong in the ways nano is: a digit misread, another readout's value, the other gauge of two.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from narthex.evals.worlds import Item
from narthex.reason.prompts import Proposal

MAX_AGENTS = 8  # more votes than this say nothing new about how to read them
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ABSENT_SHARE = 0.05  # of wrong answers that deny the gauge


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
    if item.kind == "compare":
        others = [letter for letter in re.findall(r"\b[A-Z]\b", item.question) if letter != item.answer]
        return rng.choice(others or ["A"])
    if item.kind == "absent":
        return f"{rng.randint(1, 999)} {rng.choice(('bar', 'V', '%'))}"
    found = _NUMBER.search(item.answer)
    if found is None or rng.random() < _ABSENT_SHARE:
        letter = (re.findall(r"\b[A-Z]\b", item.question) or ["A"])[0]
        return f"There is no gauge {letter} here."
    digits = [place for place, char in enumerate(found[0]) if char.isdigit()]
    written = list(found[0])
    for place in rng.sample(digits, min(len(digits), rng.choice((1, 1, 2)))):
        written[place] = rng.choice([digit for digit in "0123456789" if digit != written[place]])
    return item.answer.replace(found[0], "".join(written), 1)
