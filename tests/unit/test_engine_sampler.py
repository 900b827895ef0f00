"""Drawing: each setting does what it says, for its own row alone."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from narthex.base.errors import InputError
from narthex.engine import Request, Sampling
from narthex.engine.sampler import Candidates, Undrawable, _best, _cut, _fall, draw
from narthex.engine.sequence import Pictures, Sequence

LOGITS = torch.tensor([0.0, 3.0, 2.0, 1.0, -1.0, 3.0])


def sequence(*, ids=(0,), drawn=(), index=0, **settings) -> Sequence:
    request = Request(ids=tuple(ids), sampling=Sampling(**settings))
    made = Sequence(0, request, Pictures(request, 99, 4), index)
    for token in drawn:
        made.append(token)
    return made


def one(logits=LOGITS, **settings):
    return draw(logits[None], [sequence(**settings)])[0]


def spread(count=400, **settings) -> Counter[int]:
    line = sequence(**settings)
    return Counter(draw(LOGITS[None], [line])[0].id for _ in range(count))


def test_greedy_takes_the_lower_of_two_equal_ids():
    assert one().id == 1
    assert one(top_logprobs=0).id == 1


def test_shares_are_those_of_the_softmax():
    found = spread(4000, temperature=1.5)
    wanted = (LOGITS / 1.5).softmax(-1)
    for token, share in enumerate(wanted.tolist()):
        assert abs(found[token] / 4000 - share) < 4 * math.sqrt(share / 4000)


def test_temperatures_of_any_size():
    assert set(spread(100, temperature=1e-30)) <= {1, 5}
    assert len(spread(temperature=10)) == 6


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 5, 2}),
        ({"top_k": 1000}, {0, 1, 2, 3, 4, 5}),
        ({"top_p": 1e-9}, {1}),
        ({"top_p": 0.75}, {1, 5}),
        ({"min_p": 0.3}, {1, 5, 2}),
        ({"min_p": 1.0}, {1, 5}),
        ({"top_k": 3, "top_p": 0.5}, {1, 5}),
        ({"logit_bias": {1: -100, 5: -100}, "top_k": 1}, {2}),
    ],
)
def test_cuts_keep_what_all_of_them_keep(settings, kept):
    temperature = {"temperature": 1.0 if "top_k" not in settings or settings["top_k"] < 1000 else 3.0}
    assert set(spread(600, **temperature, **settings)) == kept


@pytest.mark.parametrize(
    "settings", [{"top_p": 0.5}, {"top_p": 0.99}, {"min_p": 0.01}, {"top_k": 40}, {"top_k": 700, "top_p": 0.95}]
)
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_cuts_of_a_large_vocabulary_keep_the_best_that_reach_the_mass(settings, spread):
    """Against the definition, sorted in full; within and beyond the candidates that are tried first."""
    scores = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 1000))) * spread
    for row_V in scores:
        shares = (row_V - row_V.max()).exp()
        order = sorted(range(1000), key=lambda token: (-float(shares[token]), token))
        wanted, mass = set(), 0.0
        for rank, token in enumerate(order):
            if mass < settings.get("top_p", 1.0) * float(shares.sum()) and shares[token] >= settings.get("min_p", 0):
                wanted |= {token} if rank < settings.get("top_k", 1000) else set()
            mass += float(shares[token])
        found = _cut(shares[None], [Sampling(temperature=1.0, **settings)])
        assert set(found.ids_RC[found.shares_RC > 0].tolist()) == wanted


def test_dice_never_fall_on_a_share_of_nothing():
    shares = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]] * 4, dtype=torch.float64)
    assert _fall([0.0, 0.49, 0.5, 1 - 2**-53], Candidates(shares, None)) == [1, 1, 3, 3]


def test_penalties():
    assert one(repetition_penalty=2.0, ids=(1,)).id == 5  # 3 / 2 of the prompt's
    assert one(repetition_penalty=2.0, ids=(4, 1, 5), drawn=(2,), logit_bias={4: 3.0}).id == 1
    assert one(presence_penalty=1.5, drawn=(1,)).id == 5
    assert one(presence_penalty=1.5, ids=(1,)).id == 1  # of the reply only
    assert one(frequency_penalty=0.6, drawn=(1, 1, 5, 5)).id == 2
    assert one(frequency_penalty=0.6, drawn=(1, 5)).id == 1


def test_log_probabilities_are_those_before_temperature_and_cuts():
    found = one(temperature=0.1, top_k=1, top_logprobs=3)
    wanted = LOGITS.log_softmax(-1)
    assert found.logprob == pytest.approx(wanted[found.id].item())
    assert [token for token, _ in found.top_logprobs] == [1, 5, 2]
    assert len(one(top_logprobs=64).top_logprobs) == len(LOGITS)
    assert one(top_logprobs=0).top_logprobs == ()


def test_dice_belong_to_seed_and_continuation():
    def draws(**settings):
        line = sequence(temperature=2.0, **settings)
        return [draw(LOGITS[None], [line])[0].id for _ in range(40)]

    assert draws(seed=7) == draws(seed=7)
    assert draws(seed=7) != draws(seed=8)
    assert draws(seed=7) != draws(seed=7, index=1)
    assert draws(seed=-(10**30)) == draws(seed=-(10**30))


def test_the_best_is_the_same_by_either_search():
    logits = torch.randn(5, 300).bfloat16()
    logits[1, [7, 200]] = 9.0
    logits[2, [250, 40]], logits[3, 9] = math.nan, math.inf
    (values, ids), (plain_values, plain_ids) = _best(logits.float()), _best(logits)
    assert ids == plain_ids and (ids[1], ids[2], ids[3]) == (7, 40, 9)
    assert np.array_equal(values, plain_values, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"top_logprobs": 1}])
def test_scores_that_are_not_numbers_concern_their_row_only(value, settings):
    bad = torch.full_like(LOGITS, value) if value < 0 else LOGITS.clone().index_fill(0, torch.tensor([3]), value)
    found = draw(torch.stack([LOGITS, bad, LOGITS]), [sequence(), sequence(**settings), sequence(temperature=1.0)])
    assert isinstance(found[1], Undrawable) and "not numbers" in found[1].error
    assert found[0].id == 1 and found[2].id in range(6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": 11},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
        {"frequency_penalty": 3},
        {"presence_penalty": math.nan},
        {"logit_bias": {3: math.nan}},
        {"logit_bias": {3: 101}},
        {"top_logprobs": 65},
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(InputError, match=r"temperature is -1, top_p is 2"):
        Sampling(temperature=-1, top_p=2)


def test_a_batch_draws_each_row_as_alone():
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32))
    kinds = [{}, {"temperature": 1.0}, {"top_logprobs": 2}, {"temperature": 2.0, "top_p": 0.5}, {}, {"min_p": 0.2}]
    together = draw(rows, [sequence(**kind) for kind in kinds])
    assert together == [draw(rows[i : i + 1], [sequence(**kind)])[0] for i, kind in enumerate(kinds)]
