"""The engine against the naive loop: same weights, same prompts, the same greedy tokens, whatever the schedule."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import NamedTuple

import pytest
import torch

from narthex.engine import EngineConfig, EngineCore, Request, Sampling, ThinkBudget, TokenOut
from narthex.model import Transformer, generate

from ..unit.engine_helpers import FIRST_WORD_ID, IMAGE_ID, build, drain, ids_of, requests, tiles_of, words

TIE = 1e-4  # of the two best scores: nearer than this, the order of additions decides
NUM_REQUESTS, NUM_ROUNDS = 200, 8


class Verdict(NamedTuple):
    is_equal: bool
    is_tie: bool


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build()


def naive(model: Transformer, request: Request) -> list[int]:
    tiles = None if request.tiles is None else torch.from_numpy(request.tiles)
    limit = request.max_new_tokens
    return list(generate(model, request.ids, tiles, max_new_tokens=limit, stop_ids=request.stop_ids))


def judge(model: Transformer, request: Request, found: list[int]) -> Verdict:
    """Equal to the naive loop, or different from where its two best scores were a tie."""
    wanted = naive(model, request)
    if found == wanted:
        return Verdict(True, False)
    place = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
    if place is None:
        return Verdict(False, False)
    ids = torch.tensor([[*request.ids, *wanted[:place]]])
    tiles = None if request.tiles is None else torch.from_numpy(request.tiles)
    with torch.inference_mode():
        scores = model(ids, tiles).logits_BTV[0, -1]
    return Verdict(False, bool(scores.max() - scores[found[place]] <= TIE))


def test_engine_is_the_naive_loop(model, record_property):
    """200 requests in eight rounds: arrivals at random times, cancels, pictures, n = 3, a cache that is too small."""
    num_judged = num_equal = num_ties = num_cancelled = num_preempted = num_cached = 0
    for seed in range(NUM_ROUNDS):
        dice = random.Random(seed)
        sizes = {"block_size": dice.choice([4, 8]), "step_tokens": dice.choice([24, 64])}
        sizes["max_running"] = 8 if seed % 2 else 2  # with 2, pages of the chunked kind are the scarce ones
        core = EngineCore(model, EngineConfig(cache_tokens=320, **sizes))
        preempted = _count_preemptions(core)
        queue = requests(dice, NUM_REQUESTS // NUM_ROUNDS, stop_ids=frozenset({FIRST_WORD_ID + seed}))
        asked: dict[int, Request] = {}
        found: dict[tuple[int, int], list[TokenOut]] = {}
        cancelled: set[int] = set()
        while queue or not core.is_idle:
            while queue and dice.random() < 0.5:
                request = queue.pop()
                asked[core.add(request)] = request
            for number, token in core.step():
                found.setdefault((number, token.continuation), []).append(token)
            if dice.random() < 0.02 and asked:
                number = dice.choice(list(asked))
                cancelled.add(number)
                core.cancel(number)
            core.check()
        core.pool.clear_cache()
        assert core.pool.num_free == core.pool.num_pages
        num_cancelled, num_preempted = num_cancelled + len(cancelled), num_preempted + preempted[0]
        for number, request in asked.items():
            for continuation in range(0 if number in cancelled else request.n):
                tokens = found[number, continuation]
                verdict = judge(model, request, ids_of(tokens))
                num_judged += 1
                num_equal, num_ties = num_equal + verdict.is_equal, num_ties + verdict.is_tie
                num_cached += tokens[0].cached_tokens > 0
    record_property(
        "parity",
        f"engine: {num_equal} of {num_judged} continuations of {NUM_REQUESTS} requests equal to the naive loop, "
        f"{num_ties} tied; {num_cancelled} cancelled, {num_preempted} preempted, {num_cached} from a cache",
    )
    assert num_equal + num_ties == num_judged
    assert num_ties <= num_judged // 50
    assert num_judged >= NUM_REQUESTS and num_cancelled and num_preempted > 20 and num_cached > 50


def _count_preemptions(core: EngineCore) -> list[int]:
    """Counts in place of a statistic that nobody else needs: releases of sequences that go back to the queue."""
    count, make_room = [0], core._make_room

    def counting(sequence, tokens):
        before = core.num_waiting
        is_served = make_room(sequence, tokens)
        count[0] += core.num_waiting - before
        return is_served

    core._make_room = counting  # type: ignore[method-assign]
    return count


VARIANTS = (
    {},
    {"use_qk_norm": False, "attention_bias": True},
    {"num_experts_per_tok": 3},
    {"interleave_moe_layer_step": 1, "num_key_value_heads": 4, "tie_word_embeddings": True},
)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("is_fixed", [False, True])
def test_packed_weights_are_the_naive_loop(variant, is_fixed):
    """Weights that came from bfloat16 are packed, and the judge's scores are met as nearly as with plain ones."""
    model, dice = build(**variant).bfloat16().float(), random.Random(3)
    core = EngineCore(model, EngineConfig(cache_tokens=640, block_size=8, step_tokens=64, deterministic=is_fixed))
    assert core.runner.decoder.form == "half"
    asked = requests(dice, 24, n=1)
    verdicts = [
        judge(model, request, ids_of(found[0])) for request, found in zip(asked, drain(core, asked), strict=True)
    ]
    assert all(verdict.is_equal or verdict.is_tie for verdict in verdicts)
    assert sum(verdict.is_tie for verdict in verdicts) <= 1


@pytest.mark.parametrize("block_size", [1, 4, 16, 24])
@pytest.mark.parametrize("chunk", [7, 16, None])
def test_cached_is_fresh(block_size, chunk):
    """A second time, and then with a longer prompt: from the cache, with the same tokens."""
    model = build(chunk=chunk) if chunk else build(no_rope_layers=[0] * 5, attention_chunk_size=64)
    dice = random.Random(block_size)
    core = EngineCore(model, EngineConfig(cache_tokens=512, block_size=block_size, step_tokens=64))
    first = dataclasses.replace(requests(dice, 1, n=1)[0], ids=words(dice, 90), tiles=None, max_new_tokens=12)
    answer = drain(core, [first])[0][0]
    again = drain(core, [first])[0][0]
    longer = dataclasses.replace(first, ids=(*first.ids, *ids_of(answer), *words(dice, 30)))
    on = drain(core, [longer])[0][0]
    assert ids_of(again) == ids_of(answer) == naive(model, first)
    assert ids_of(on) == naive(model, longer)
    assert answer[0].cached_tokens == 0
    # a prefix can be gone on from at block borders: of the last chunk, else where a chunk begins
    unit = math.lcm(block_size, chunk or 1)
    assert again[0].cached_tokens >= 89 // unit * unit
    assert on[0].cached_tokens >= 101 // unit * unit


def test_batched_is_single(model):
    dice = random.Random(5)
    asked = requests(dice, 16, n=1)
    together = drain(EngineCore(model, EngineConfig(block_size=8)), asked)
    for request, found in zip(asked, together, strict=True):
        alone = drain(EngineCore(model, EngineConfig(block_size=8)), [request])[0]
        assert ids_of(found[0]) == ids_of(alone[0])


class TestFixedShapes:
    """With `deterministic=True` a request has the same bits alone and among others."""

    SAMPLINGS = (Sampling(top_logprobs=2), Sampling(temperature=0.8, top_p=0.9, top_logprobs=0, seed=4))

    def run(self, model: Transformer, asked: list[Request], **config) -> list[list[TokenOut]]:
        core = EngineCore(model, EngineConfig(deterministic=True, **config))
        return [_bits(found[0]) for found in drain(core, asked, each_step=core.check)]

    def asked(self) -> list[Request]:
        dice = random.Random(11)
        made = requests(dice, 12, n=1, longest=110)
        made += [dataclasses.replace(made[0], ids=words(dice, 150), tiles=None), *requests(dice, 3, n=1, longest=20)]
        return [dataclasses.replace(one, sampling=self.SAMPLINGS[i % 2]) for i, one in enumerate(made)]

    def test_alone_and_among_fifteen(self, model, record_property):
        asked = self.asked()
        among = self.run(model, asked)
        assert [self.run(model, [one])[0] for one in asked] == among
        # the same comparison without fixed shapes: were it equal too, the test above would show nothing
        free = [_bits(found[0]) for found in drain(EngineCore(model), asked)]
        alone = [_bits(drain(EngineCore(model), [one])[0][0]) for one in asked]
        num_equal = sum(a == b for a, b in zip(free, alone, strict=True))
        assert num_equal < len(asked)
        line = f"bit-equal alone and among 15 others: 16 of 16 requests with fixed shapes, {num_equal} without"
        record_property("parity", f"engine: {line}")

    @pytest.mark.parametrize("variant", [{"num_experts_per_tok": 3}, {"is_packed": True}])
    def test_with_more_experts_and_with_packed_weights(self, variant):
        model = build(num_experts_per_tok=variant.get("num_experts_per_tok", 1))
        model = model.bfloat16().float() if "is_packed" in variant else model
        asked = self.asked()
        assert [self.run(model, [one])[0] for one in asked] == self.run(model, asked)

    def test_under_preemption_and_in_small_batches(self, model):
        asked = self.asked()
        among = self.run(model, asked)
        core = EngineCore(model, EngineConfig(deterministic=True, cache_tokens=272, step_tokens=32))
        preempted = _count_preemptions(core)
        assert [_bits(found[0]) for found in drain(core, asked)] == among
        assert preempted[0] >= 3
        assert self.run(model, asked[::-1], max_running=3)[::-1] == among

    def test_from_the_cache(self, model):
        dice = random.Random(2)
        base = Request(ids=words(dice, 200), max_new_tokens=20, sampling=Sampling(top_logprobs=0))
        other = dataclasses.replace(base, ids=(*base.ids[:140], *words(dice, 40)))
        fresh = self.run(model, [base]) + self.run(model, [other])
        core = EngineCore(model, EngineConfig(deterministic=True))
        one = drain(core, [base])[0][0]
        again, two = (found[0] for found in drain(core, [base, other]))
        assert [_bits(one), _bits(two)] == fresh and _bits(again) == fresh[0]
        assert (one[0].cached_tokens, again[0].cached_tokens, two[0].cached_tokens) == (0, 128, 128)

    def test_an_answer_that_becomes_a_prompt_is_computed_as_a_prompt(self):
        """What was decoded token by token has other last bits: nobody finds it in the cache."""
        model, dice = build(max_position_embeddings=512), random.Random(6)
        core = EngineCore(model, EngineConfig(deterministic=True))
        first = Request(ids=words(dice, 200), max_new_tokens=90)
        answer = drain(core, [first])[0][0]
        asked = Request(ids=(*first.ids, *ids_of(answer)), max_new_tokens=5, sampling=Sampling(top_logprobs=0))
        found = drain(core, [asked])[0][0]
        assert found[0].cached_tokens == 128
        assert [_bits(found)] == self.run(model, [asked])

    def test_tiles_are_looked_at_one_by_one(self, model, monkeypatch):
        sizes, see = [], model.see
        monkeypatch.setattr(model, "see", lambda pixels: sizes.append(len(pixels)) or see(pixels))
        self.run(model, [Request(ids=(IMAGE_ID,) * 12, tiles=tiles_of(1, 3), max_new_tokens=1)])
        assert sizes == [1, 1, 1]

    def test_with_forced_ids(self, model):
        think = ThinkBudget(5, FIRST_WORD_ID, (7, 8, FIRST_WORD_ID))
        asked = [dataclasses.replace(one, think=think, max_new_tokens=8) for one in self.asked()]
        found = self.run(model, asked)
        assert [self.run(model, [one])[0] for one in asked[:6]] == found[:6]
        assert any(token.is_forced for token in found[0])


def _bits(tokens: list[TokenOut]) -> list[TokenOut]:
    """All but where the prompt came from."""
    return [token._replace(cached_tokens=0) for token in tokens]
