"""When answers are the same, who leads, and how safe a lead is."""

from __future__ import annotations

import random

import pytest

from narthex.chat import ToolCall
from narthex.reason.ballot import Ballot, Candidate
from narthex.reason.collapse import is_looping
from narthex.reason.equality import core, is_exact, same_answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("24.0 bar", "24 bar"),
        ("24", "24 bar"),
        ("1,234 V", "1234 v"),
        ("\u22125 °C", "-5 °C"),
        ("(B)", "b."),
        ("A, B and C", "C, a, b"),
        ("There is no gauge Y here.", "there is no gauge Y here"),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}'),
        ("We add them.\nThe answer is **42**", "42"),
        (r"so \boxed{7} holds", "7"),
    ],
)
def test_the_same(one, other):
    assert same_answer(one, other) and same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("24.0 bar", "24.5 bar"),
        ("5 bar", "5 V"),
        ("B", "D"),
        ("A, B", "A, C"),
        ("yes", "no"),
        ('{"a": 1}', '{"a": 2}'),
        ("There is no gauge Y here.", "There is no gauge V here."),
        ("-5", "5"),
    ],
)
def test_not_the_same(one, other):
    assert not same_answer(one, other) and not same_answer(other, one)


def test_what_counts_of_an_answer():
    assert core("First this.\nFinal answer: 12 V") == "12 V"
    assert core("The answer is short") == "The answer is short", "one line is the answer"
    assert is_exact("24 bar") and is_exact("x" * 200 + "\nAnswer: 4") and not is_exact("so many words " * 20)


def ballot(*answers, confidences=None):
    found = Ballot(same_answer)
    for number, answer in enumerate(answers):
        found.add(Candidate(f"agent-{number}", answer, confidence=confidences[number] if confidences else None))
    return found


def test_votes_are_counted_by_meaning():
    found = ballot("25 bar", "24.0 bar", "24 bar", "24")
    assert found.tally() == {"24.0 bar": 3.0, "25 bar": 1.0} and found.leader.best.answer == "24.0 bar"
    assert found.num_votes == 4


def test_a_sure_vote_weighs_more():
    found = ballot("1", "2", "2", confidences=[0.9, 0.2, 0.2])
    assert found.leader.best.answer == "1" and sum(found.tally().values()) == pytest.approx(3.0)
    assert ballot("1", "2", "2").leader.best.answer == "2"


def test_calls_agree_by_name_and_arguments():
    def asks(number, **arguments):
        return Candidate(f"agent-{number}", "", (ToolCall(id=f"c{number}", name="weather", arguments=arguments),))

    found = Ballot(same_answer)
    for candidate in (asks(0, city="Rome"), asks(1, city="Oslo"), asks(2, city="Rome"), Candidate("agent-3", "")):
        found.add(candidate)
    assert [len(group.members) for group in found.groups] == [2, 1, 1]


def test_the_probability_is_what_drawing_says():
    """The closed form against the thing itself: a share from its posterior, then the votes that are left."""
    rng = random.Random(3)
    for first, second, left in ((3, 0, 5), (3, 1, 12), (2, 2, 6), (5, 1, 2)):
        found = ballot(*["1"] * first, *["2"] * second)
        wins = 0.0
        for _ in range(20_000):
            share = rng.betavariate(first + 1, second + 1)
            gained = sum(rng.random() < share for _ in range(left))
            lead = first + gained - second - (left - gained)
            wins += 1.0 if lead > 0 else 0.5 if lead == 0 else 0.0
        assert found.probability(first + second + left) == pytest.approx(wins / 20_000, abs=0.015)


def test_more_agreement_is_safer_and_nothing_is_not_safe():
    safe = [ballot(*["1"] * votes).probability(16) for votes in range(1, 8)]
    assert safe == sorted(safe) and safe[1] < 0.95 < safe[2]
    assert Ballot(same_answer).probability(16) == 0.0
    assert ballot("1", "2").probability(2) == 0.5 and ballot("1", "1", "2").probability(3) == 1.0


def test_a_loop_is_seen_and_work_is_not():
    assert is_looping("And so on. " * 40) and is_looping("0" * 200)
    assert not is_looping("0" * 40)
    assert not is_looping(" ".join(f"{number} + {number} = {2 * number}," for number in range(100)))
