"""Attention, experts and first weights, piece by piece."""

from __future__ import annotations

import pytest
import torch

from narthex.base.errors import ConfigError
from narthex.model import Transformer, count_parameters
from narthex.model.attention import Fresh, softmax_attention, visible
from narthex.model.experts import balance_loss, route_tokens
from narthex.model.rope import text_frequencies, text_rotations
from narthex.weights import open_model


@pytest.fixture(scope="module")
def model(tiny_folder):
    return open_model(tiny_folder, dtype=torch.float32).model


@pytest.mark.parametrize("num_groups", [1, 2, 4])
@pytest.mark.parametrize("kind", ["causal", "masked", "open"])
def test_attention_with_gradients_is_attention_without(num_groups, kind):
    """Training takes plain matrix products, everything else the fused kernel; grouped heads must agree too."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 9, 8, generator=generator)
    k, v = (torch.randn(2, num_groups, 9, 8, generator=generator) for _ in range(2))
    places = torch.arange(9)
    mask = visible(places, places, 4) if kind == "masked" else None
    fused = softmax_attention(q, k, v, mask=mask, causal=kind == "causal")
    plain = softmax_attention(q.requires_grad_(), k, v, mask=mask, causal=kind == "causal")
    torch.testing.assert_close(plain, fused, atol=1e-6, rtol=1e-5)
    assert plain.requires_grad


def test_the_whole_model_says_the_same_with_gradients(model):
    ids = torch.randint(0, 300, (2, 50), generator=torch.Generator().manual_seed(0))
    tiles = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ids[0, 3:7] = model.config.image_token_index
    learning = model(ids, tiles).logits_BTV
    with torch.no_grad():
        torch.testing.assert_close(learning, model(ids, tiles).logits_BTV, atol=2e-5, rtol=1e-4)


def test_chunks_have_fixed_borders():
    places = torch.arange(7)
    seen = visible(places, places, 3)
    assert seen.sum(-1).tolist() == [1, 2, 3, 1, 2, 3, 1]  # p mod chunk + 1
    assert visible(places, places, None).sum(-1).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert visible(torch.tensor([5]), places, 3).tolist() == [[False, False, False, True, True, True, False]]


def test_what_lies_beyond_a_border_is_not_seen_by_chunked_layers_alone(model):
    """Token 0 reaches a token of the next chunk through the layer without positions, and through nothing else."""
    ids = torch.randint(0, 300, (1, 30), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, 0] += 1
    assert not torch.equal(model(ids).logits_BTV[0, 29], model(other).logits_BTV[0, 29])
    text = model.config.text
    assert [text.chunk_of(layer) for layer in range(4)] == [24, 24, 24, None]
    with torch.no_grad():
        x, y = model.embed(ids), model.embed(other)
        memory = Fresh(1, 30, x.device)
        rotations = text_rotations(memory.positions_BT, text_frequencies(text))
        for layer in list(model.language_model.model.layers)[:3]:
            x, y = layer(x, memory, rotations)[0], layer(y, memory, rotations)[0]
    assert not torch.equal(x[0, 23], y[0, 23])
    torch.testing.assert_close(x[0, 24:], y[0, 24:], atol=1e-6, rtol=0)


def test_routing_takes_the_best_and_weighs_each_by_itself():
    logits = torch.tensor([[0.0, 2.0, 1.0], [-1.0, -3.0, -2.0]])
    routing = route_tokens(logits, num_active=2)
    assert routing.experts_Nk.tolist() == [[1, 2], [0, 2]]
    torch.testing.assert_close(routing.weights_Nk, torch.tensor([[2.0, 1.0], [-1.0, -2.0]]).sigmoid())
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match=f"cannot choose {wrong} of 3"):
            route_tokens(logits, num_active=wrong)


@pytest.mark.parametrize("num_active", [1, 2])
def test_balance_is_one_when_even_and_grows_as_experts_are_left_out(num_active):
    num_experts = 4
    one_hot = torch.eye(num_experts)
    even = sum(one_hot.roll(shift, 1) * 50.0 - shift for shift in range(num_active))
    assert balance_loss(even, num_active).item() == pytest.approx(1.0, abs=0.02)
    alone = torch.zeros(64, num_experts)
    alone[:, :num_active] = 50.0
    most = balance_loss(alone, num_active)
    assert most.item() == pytest.approx(num_experts / num_active)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4096, num_experts, generator=generator)
    assert 0.95 < balance_loss(noise, num_active).item() < 1.1
    tilted = noise + torch.tensor([2.0, 0, 0, 0])
    assert balance_loss(noise, num_active) < balance_loss(tilted, num_active) < most


def test_balance_pulls_towards_the_idle():
    logits = torch.tensor([[1.0, 0.0]]).repeat(8, 1).requires_grad_()
    balance_loss(logits, 1).backward()
    assert (logits.grad[:, 0] > 0).all() and (logits.grad[:, 1] < 0).all()


def test_first_weights_come_from_the_seed_alone(model):
    def first(seed):
        made = Transformer(model.config)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.fill_(float("nan"))  # as memory may hold: every one must be written
        made.init_weights(seed)
        return made.state_dict()

    one, same, other = first(1), first(1), first(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert all(value.isfinite().all() for value in one.values())
    random = [name for name in one if "norm" not in name and not name.endswith("bias")]
    assert random and not any(torch.equal(one[name], other[name]) for name in random)


def test_parameters_are_counted_by_what_a_token_uses(model):
    total, active = count_parameters(model)
    assert total == sum(parameter.numel() for parameter in model.parameters())
    expert = 32 * 2 * 16 + 16 * 32
    seeing = sum(p.numel() for name, p in model.named_parameters() if name.startswith(("vision", "multi")))
    assert active == total - seeing - 2 * 3 * expert  # two mixtures, three of four experts idle
