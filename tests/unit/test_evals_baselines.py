"""Contemplating is reported beside the same tokens spent in simpler ways."""

from __future__ import annotations

import random

import pytest

from narthex.backends.base import TurnRequest
from narthex.backends.fake import Said, ScriptedBackend
from narthex.evals import evaluate
from narthex.evals.baselines import BASELINES, num_votes
from narthex.evals.task import get_task

SEED, LIMIT = 4, 12


def noisy(request: TurnRequest) -> Said:
    """Right three times in five, by the request's own dice; a wrong answer is wrong in a way of its own."""
    answers = {item.question: item.answer for item in ITEMS}
    rng = random.Random(f"{request.seed} {request.messages[0].text} {len(request.messages)}")
    text = answers[request.messages[0].text] if rng.random() < 0.6 else f"{rng.randint(10**6, 10**7)} bar"
    return Said(thought="one two three four", text=text)


ITEMS = [get_task("worlds.panels").item(SEED, index) for index in range(LIMIT)]


@pytest.fixture(scope="module")
def report():
    backend = ScriptedBackend(noisy)
    return evaluate("worlds.panels", ["thinking", "contemplating"], limit=LIMIT, seed=SEED, backend=backend)


def test_baselines_are_measured_on_the_same_items(report):
    found = report.to_json()
    assert tuple(found["baselines"]) == BASELINES
    for name, told in found["baselines"].items():
        assert told["n"] == LIMIT and told["failed"] == 0, name
        assert {"accuracy", "low", "high", "tokens_mean", "seconds_mean", "critical_path_s_mean"} <= set(told)
    assert set(found["by_world"]["panels"]) == {"thinking", "contemplating", *BASELINES}
    assert "vote_equal_tokens" in report.table()


def test_voting_spends_what_contemplating_did(report):
    found = report.to_json()
    spent = found["modes"]["contemplating"]["tokens_mean"]
    voted = found["baselines"]["vote_equal_tokens"]["tokens_mean"]
    assert voted == pytest.approx(spent, rel=0.1)
    assert found["baselines"]["all_agents"]["tokens_mean"] > spent
    assert found["baselines"]["all_agents"]["agents_mean"] >= 16


def test_ways_of_answering_share_nothing_that_is_kept():
    backend = ScriptedBackend(noisy)
    evaluate("worlds.panels", ["instant", "thinking", "contemplating"], limit=1, seed=SEED, backend=backend)
    tenants = [request.tenant for request in backend.requests]
    assert list(dict.fromkeys(tenants)) == ["instant", "thinking", "contemplating", *BASELINES]


def test_votes_add_up_to_the_tokens():
    assert sum(num_votes(index, 43.0, 10.0) for index in range(100)) == 430
    assert {num_votes(index, 43.0, 10.0) for index in range(100)} == {4, 5}
    assert num_votes(0, 1.0, 10.0) == 1 == num_votes(3, 5.0, 0.0)


def test_without_contemplating_there_is_nothing_to_compare():
    backend = ScriptedBackend(noisy)
    assert evaluate("worlds.panels", ["thinking"], limit=2, seed=SEED, backend=backend).to_json()["baselines"] == {}
