"""Packed products against plain ones, and which form is chosen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from narthex.base.errors import ConfigError
from narthex.engine import EngineConfig, EngineCore, Request
from narthex.engine.decoder import Decoder
from narthex.engine.products import can_pack, fuse, is_lossless, product

from .engine_helpers import build, drain, ids_of

needs_packing = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="this PyTorch has no packed products")


def rounded(**text):
    """A float32 model whose weights came from bfloat16."""
    return build(**text).bfloat16().float()


def weights(outputs: int = 40, inputs: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return (torch.randn(outputs, inputs) * 0.1).bfloat16().float(), torch.randn(outputs)


@needs_packing
class TestPacked:
    def test_half_loses_nothing_that_came_from_two_bytes(self):
        weight, bias = weights()
        x = torch.randn(9, 24)
        for given in (bias, None):
            found, wanted = product(weight, given, "half")(x), F.linear(x, weight, given)
            assert (found - wanted).abs().max() < 2e-6
        transposed = product(weight.t().contiguous().t(), None, "half")(x)
        assert torch.equal(transposed, product(weight, None, "half")(x))

    def test_a_row_has_the_same_bits_in_any_company(self):
        times, x = product(*weights(), "half"), torch.randn(40, 24)
        together = times(x)
        for count in (1, 2, 3, 5, 16, 33):
            assert torch.equal(times(x[:count]), together[:count])
            assert torch.equal(times(x[7 : 7 + count]), together[7 : 7 + count])

    def test_int8_is_near(self):
        weight, bias = weights(64, 256)
        x = torch.randn(5, 256)
        error = (product(weight, bias, "int8")(x) - F.linear(x, weight, bias)).abs().max()
        assert 0 < error < 0.02 * F.linear(x, weight).abs().max()

    def test_auto_packs_only_what_loses_nothing(self):
        assert Decoder(rounded(), "auto").form == "half"
        assert Decoder(build(), "auto").form == "as_is"
        assert Decoder(build(), "half").form == "half"
        assert Decoder(rounded(), "as_is").form == "as_is"

    def test_what_float16_cannot_hold_is_noticed(self):
        weight = weights()[0]
        assert is_lossless([weight])
        for value in (1e5, 1.0003, float("nan")):
            assert not is_lossless([weight, torch.full((2, 2), value)])

    def test_a_two_byte_model_is_computed_in_float32(self):
        model = build().bfloat16()
        decoder = Decoder(model, "auto")
        assert decoder.dtype == torch.float32
        assert EngineCore(model).runner.pages.rows[0].dtype == torch.float32

    @pytest.mark.parametrize("weights", ["half", "int8"])
    def test_every_form_serves(self, weights):
        request = Request(ids=tuple(range(6, 40)), max_new_tokens=5)
        assert len(ids_of(drain(EngineCore(build(), EngineConfig(weights=weights)), [request])[0][0])) == 5


def test_fused_layers_keep_their_parameters_as_views():
    linears = [nn.Linear(8, 3), nn.Linear(8, 5)]
    x, before = torch.randn(4, 8), [linear.weight.clone() for linear in linears]
    weight, bias = fuse(linears)
    assert [torch.equal(linear.weight, was) for linear, was in zip(linears, before, strict=True)] == [True, True]
    with torch.no_grad():
        linears[1].weight.mul_(2)
        linears[0].bias.add_(1)
        assert torch.equal(F.linear(x, weight, bias), torch.cat([linear(x) for linear in linears], dim=1))


def test_as_is_sees_weights_that_change_in_place():
    model, request = build(), Request(ids=tuple(range(6, 40)), max_new_tokens=8)
    core = EngineCore(model, EngineConfig(weights="as_is"))
    before = ids_of(drain(core, [request])[0][0])
    with torch.no_grad():
        for name, parameter in build(seed=9).named_parameters():
            if parameter.dim() > 1:
                model.get_parameter(name).copy_(parameter)
    core.pool.clear_cache()
    after = ids_of(drain(core, [request])[0][0])
    assert after != before
    assert after == ids_of(drain(EngineCore(model), [request])[0][0])


def test_forms_that_cannot_be(monkeypatch):
    monkeypatch.setattr("narthex.engine.decoder.can_pack", lambda device: False)
    assert Decoder(rounded(), "auto").form == "as_is"
    with pytest.raises(ConfigError, match="weights='half' needs a CPU"):
        Decoder(rounded(), "half")
    with pytest.raises(ConfigError, match="weights is 'int4'"):
        EngineConfig(weights="int4")
    with pytest.raises(ConfigError, match="deterministic"):
        EngineConfig(weights="int8", deterministic=True)
