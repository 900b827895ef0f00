"""What decoding rows see: spans of pages, parts of a softmax, shared prefixes, and rows that live on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from narthex.engine import EngineConfig, EngineCore, Request
from narthex.engine.rows import Rows, Span, attend_part, merge
from narthex.model import generate

from .engine_helpers import build, drain, ids_of, words

SIZE, HEADS, WIDTH = 4, 2, 8


@pytest.fixture(scope="module")
def model():
    return build(chunk=64)


@pytest.fixture
def cache():
    return torch.randn(10 * SIZE, 2 * HEADS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pages", [[3, 4, 5], [3, 4, 6], [5, 4, 3], [7]])
@pytest.mark.parametrize("offset", [0, 2])
def test_a_span_is_its_positions_in_order(cache, pages, offset):
    length = len(pages) * SIZE - offset - 1
    wanted = torch.cat([cache[page * SIZE : (page + 1) * SIZE] for page in pages])[offset : offset + length]
    found = Span(np.array(pages), offset, length, SIZE, torch.device("cpu")).of(cache)
    assert torch.equal(found, wanted[None])


def test_two_parts_are_the_whole(cache):
    q, kv = torch.randn(1, HEADS, 3, WIDTH), cache[None]
    whole = attend_part(q, kv)
    parts = merge(attend_part(q, kv[:, :9]), attend_part(q, kv[:, 9:]))
    assert (parts - whole.out_BHTK).abs().max() < 1e-6
    k, v = kv.transpose(1, 2).chunk(2, dim=1)
    assert (whole.out_BHTK - F.scaled_dot_product_attention(q, k, v)).abs().max() < 1e-6


def test_the_plain_way_of_other_devices_is_the_same(cache):
    q, mask = torch.randn(1, HEADS, 3, WIDTH), torch.zeros(1, 1, 1, len(cache))
    mask[..., 2] = -np.inf
    wanted = attend_part(q, cache[None], mask)

    class Elsewhere(torch.Tensor):
        device = torch.device("meta")

    found = attend_part(q.as_subclass(Elsewhere), cache[None], mask)
    whole = attend_part(q.as_subclass(Elsewhere), cache[None], mask, is_all=True)
    assert (found.out_BHTK - wanted.out_BHTK).abs().max() < 1e-6
    assert (whole.out_BHTK - wanted.out_BHTK).abs().max() < 1e-6
    assert (found.weight_BHT - wanted.weight_BHT).abs().max() < 1e-6


def agents(count: int, length: int = 100, new: int = 30) -> list[Request]:
    """Agents of one prompt, each with a few words of its own."""
    shared = words(random.Random(0), length)
    own = [words(random.Random(k), 1 + 3 * k) for k in range(1, count + 1)]
    return [Request(ids=(*shared, *one), max_new_tokens=new) for one in own]


def test_agents_attend_their_prompt_together(model):
    core, asked = EngineCore(model, EngineConfig(block_size=4)), agents(8)
    seen = []
    found = drain(core, asked, each_step=lambda: seen.append(_num_shared(core)))
    assert max(seen) >= 1, "no step shared a prefix"
    for request, one in zip(asked, found, strict=True):
        assert ids_of(one[0]) == list(generate(model, request.ids, max_new_tokens=30))


def test_two_prompts_are_two_families_and_a_loner_is_none(model):
    dice, core = random.Random(4), EngineCore(model, EngineConfig(block_size=4))
    others = [Request(ids=(*words(random.Random(99), 90), 7 + k), max_new_tokens=30) for k in range(5)]
    asked = [*agents(5), *others, Request(ids=words(dice, 12), max_new_tokens=30)]
    dice.shuffle(asked)
    seen = []
    found = drain(core, asked, each_step=lambda: seen.append(_num_shared(core)))
    assert max(seen) == 2  # families; in chunked layers they share too little for it to pay
    for request, one in zip(asked, found, strict=True):
        assert ids_of(one[0]) == list(generate(model, request.ids, max_new_tokens=30))


def _num_shared(core: EngineCore) -> int:
    return sum(unit._shared is not None for rows in core.runner._rows.values() for unit in rows._units)


def test_rows_live_on_until_a_block_ends(model, monkeypatch):
    built = []
    init = Rows.__init__
    monkeypatch.setattr(Rows, "__init__", lambda self, *args, **more: built.append(1) or init(self, *args, **more))
    core = EngineCore(model, EngineConfig(block_size=16))
    drain(core, [Request(ids=words(random.Random(1), 8), max_new_tokens=41)])
    # For each kind of layer from 8 on, from 16 and from 32; and for the prompt's last token in the last layer.
    assert len(built) == 2 * 3 + 1


def test_in_the_last_layer_a_prompt_is_its_last_token(model):
    core, sizes = EngineCore(model, EngineConfig(step_tokens=64)), []
    last = core.runner.decoder._layers[-1]
    mlp = last._mlp
    last._mlp = lambda x: sizes.append(len(x)) or mlp(x)
    asked = [Request(ids=words(random.Random(length), length), max_new_tokens=2) for length in (100, 30)]
    found = drain(core, asked)
    assert sum(sizes) == sum(len(one[0]) for one in found) == 4
    for request, one in zip(asked, found, strict=True):
        assert ids_of(one[0]) == list(generate(model, request.ids, max_new_tokens=2))


def test_cancels_and_arrivals_change_the_rows(model):
    dice, core = random.Random(8), EngineCore(model, EngineConfig(block_size=8))
    asked = {core.add(request): request for request in agents(6, new=40)}
    found: dict[int, list[int]] = {number: [] for number in asked}
    cancelled = set()
    for step in range(200):
        if step in (9, 14, 23):
            cancelled.add(min(set(asked) - cancelled))
            core.cancel(min(cancelled, key=lambda number: -number))
        if step in (11, 20):
            request = Request(ids=words(dice, 30), max_new_tokens=20)
            number = core.add(request)
            asked[number], found[number] = request, []
        for number, token in core.step():
            found[number].append(token.id)
        core.check()
    assert core.is_idle
    for number, request in asked.items():
        wanted = list(generate(model, request.ids, max_new_tokens=request.max_new_tokens))
        assert found[number] == wanted[: len(found[number])]
        assert number in cancelled or found[number] == wanted
