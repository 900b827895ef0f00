"""The decoder layers as the engine runs them: the same numbers as `narthex.model`, from fewer and larger products.

Queries, keys and values come from one product; so do the router and both halves of the shared expert. A step's tokens
are flat. `tests/parity/test_engine.py` compares every token with the model's own layers.

Legend: N tokens, D hidden, H query heads, G key-value heads, K head width, F expert width, E experts, k experts a
token, R rows routed to experts, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from narthex.base.errors import ConfigError
from narthex.engine.products import Form, Product, Weights, can_pack, fuse, is_lossless, product
from narthex.model import Transformer
from narthex.model.attention import Attention
from narthex.model.config import TextConfig
from narthex.model.experts import GatedMLP, MixtureOfExperts
from narthex.model.norm import RMSNorm, rms_normalize
from narthex.model.rope import rotate, text_frequencies, text_rotations
from narthex.model.transformer import DecoderLayer

Attend = Callable[[int, Tensor], Tensor]  # of a StepMemory


class StepMemory(Protocol):
    """What one step attends to; called once per layer, in layer order.

    positions_N are the new tokens' places, and none of them is beyond `last_position`. wanted_R are those whose results
    matter after the last layer (None: all).
    """

    positions_N: Tensor
    last_position: int
    wanted_R: Tensor | None

    def attend(self, layer: int, qkv_NHK: Tensor) -> Tensor:
        """Keep the new keys and values, and attend: H query heads, G keys, G values -> (N, H * K)."""
        ...

    def attend_wanted(self, layer: int, qkv_NHK: Tensor) -> Tensor:
        """The same in the last layer, for those whose results matter: (R, H * K)."""
        ...


class Decoder:
    """The decoder of a model, ready for inference. Later changes of the model's weights may go unseen: build it anew.

    With `group_rows`, every expert that runs gets at least that many rows (see `fixed.py`). `form` says how the
    products are kept and `dtype` is that of the hidden states.

    Raises: ConfigError for packed weights where none can be.
    """

    def __init__(self, model: Transformer, weights: Weights, *, group_rows: int = 0) -> None:
        text, body = model.config.text, model.language_model.model
        self.form = _choose_form(model, weights)
        self.dtype = model.dtype if self.form == "as_is" else torch.float32
        self._config, self._rotations = text, _Rotations(text, model.device)
        self._layers = [_Layer(text, cast(DecoderLayer, layer), self.form, group_rows) for layer in body.layers]
        self._norm = _Norm(body.norm)
        self._score = product(model.language_model.lm_head.weight, None, self.form)

    def run(self, x_ND: Tensor, memory: StepMemory) -> Tensor:
        """All layers and the last norm: (N, D) -> (R, D) of the tokens that are wanted. The input may be overwritten.

        Of a prompt's other tokens the last layer only has keys and values to leave: the rest of its work is saved.
        """
        x_ND = x_ND.to(self.dtype)
        rotations = self._rotations.at(memory.positions_N, memory.last_position)
        for layer in self._layers[:-1]:
            layer.run(x_ND, memory, rotations)
        return self._norm(self._layers[-1].run_last(x_ND, memory, rotations))

    def score(self, x_ND: Tensor) -> Tensor:
        """Next-token logits: (N, D) -> (N, V)."""
        return self._score(x_ND)


def _choose_form(model: Transformer, weights: Weights) -> Form:
    """Raises: ConfigError for packed weights where none can be."""
    is_able = can_pack(model.device)
    if weights == "auto":
        matrices = (p for p in model.language_model.parameters() if p.dim() > 1)
        return "half" if is_able and is_lossless(matrices) else "as_is"
    if weights != "as_is" and not is_able:
        raise ConfigError(
            f"weights={weights!r} needs a CPU on which PyTorch has FBGEMM; this model is on {model.device}",
            hint="weights='auto' takes the best there is",
        )
    return weights


class _Rotations:
    """Rotary angles of every position so far, computed once."""

    def __init__(self, config: TextConfig, device: torch.device) -> None:
        self._frequencies = text_frequencies(config, device)
        self._table: Tensor = torch.empty(0)

    def at(self, positions_N: Tensor, last: int) -> Tensor:
        """Unit complex numbers (N, 1, K / 2)."""
        if last >= len(self._table):
            places = torch.arange(2 ** (last + 1).bit_length(), device=positions_N.device)
            self._table = text_rotations(places[None], self._frequencies)[0]
        return self._table.index_select(0, positions_N)


class _Norm:
    """RMSNorm in four operations: x * gain / hypot(|x| / sqrt(D), sqrt(eps))."""

    def __init__(self, norm: RMSNorm) -> None:
        gain_D = norm.weight.detach()
        self._gain_D, self._eps = gain_D, norm.eps
        self._scaled_D = gain_D.float() * math.sqrt(len(gain_D))
        self._floor = torch.tensor(math.sqrt(norm.eps * len(gain_D)), device=gain_D.device)

    def __call__(self, x_ND: Tensor) -> Tensor:
        if x_ND.dtype != torch.float32:
            return rms_normalize(x_ND, self._eps) * self._gain_D
        length_N1 = torch.hypot(torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True), self._floor)
        return torch.mul(x_ND, self._scaled_D).div_(length_N1)


class _Layer:
    def __init__(self, config: TextConfig, layer: DecoderLayer, form: Form, group_rows: int) -> None:
        self._attention_norm, self._mlp_norm = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._attention = _Attention(config, layer.self_attn, form)
        module = layer.feed_forward
        self._mlp = (
            _Mixture(module, form, group_rows)
            if isinstance(module, MixtureOfExperts)
            else _Gated(cast(GatedMLP, module), form)
        )

    def run(self, x_ND: Tensor, memory: StepMemory, rotations: Tensor) -> None:
        """Add what this layer has to say to `x_ND`, in place."""
        x_ND += self._attention(self._attention_norm(x_ND), memory, rotations, memory.attend)
        x_ND += self._mlp(self._mlp_norm(x_ND))

    def run_last(self, x_ND: Tensor, memory: StepMemory, rotations: Tensor) -> Tensor:
        """As the last of all layers: (N, D) -> (R, D)."""
        out_RD = self._attention(self._attention_norm(x_ND), memory, rotations, memory.attend_wanted)
        x_RD = x_ND if memory.wanted_R is None else x_ND.index_select(0, memory.wanted_R)
        if len(x_RD):
            x_RD += out_RD
            x_RD += self._mlp(self._mlp_norm(x_RD))
        return x_RD


class _Attention:
    def __init__(self, config: TextConfig, module: Attention, form: Form) -> None:
        self._module, self._config, self._layer = module, config, module.layer
        self._qkv = product(*fuse([module.q_proj, module.k_proj, module.v_proj]), form)
        self._out = product(*fuse([module.o_proj]), form)
        self._num_turned = config.num_attention_heads + config.num_key_value_heads
        self._shape = (self._num_turned + config.num_key_value_heads, config.head_dim)
        self._is_tempered = not module.uses_rope and config.attn_temperature_tuning

    def __call__(self, x_ND: Tensor, memory: StepMemory, rotations: Tensor, attend: Attend) -> Tensor:
        qkv_NHK = self._qkv(x_ND).view(-1, *self._shape)
        if self._module.uses_rope:
            self._turn(qkv_NHK.narrow(1, 0, self._num_turned), rotations)
        elif self._is_tempered and memory.last_position + 1 >= self._config.floor_scale:  # before, it is 1
            warmth = self._module._temperature(memory.positions_N[None])[0]
            qkv_NHK[:, : self._config.num_attention_heads] *= warmth.to(qkv_NHK.dtype)
        attended_RA = attend(self._layer, qkv_NHK)
        return self._out(attended_RA) if len(attended_RA) else attended_RA  # nobody's, where a prompt goes on

    def _turn(self, qk_NHK: Tensor, rotations: Tensor) -> None:
        """Rotate queries and keys in place, and normalise them where the model does."""
        if qk_NHK.dtype == torch.float32:
            torch.view_as_complex(qk_NHK.view(len(qk_NHK), self._num_turned, -1, 2)).mul_(rotations)
        else:
            qk_NHK.copy_(rotate(qk_NHK[None], rotations[None])[0])
        if self._config.use_qk_norm:
            qk_NHK.copy_(rms_normalize(qk_NHK, self._config.rms_norm_eps))


def _activate(gate_up_RF: Tensor) -> Tensor:
    """silu(gate) * up of the two halves, side by side."""
    gate, up = gate_up_RF.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


class _Gated:
    """The dense layer: gate and up in one product."""

    def __init__(self, module: GatedMLP, form: Form) -> None:
        self._gate_up = product(*fuse([module.gate_proj, module.up_proj]), form)
        self._down = product(module.down_proj.weight, None, form)

    def __call__(self, x_ND: Tensor) -> Tensor:
        return self._down(_activate(self._gate_up(x_ND)))


class _Mixture:
    """Shared expert and routed ones; the router's product is part of the shared expert's first."""

    def __init__(self, module: MixtureOfExperts, form: Form, group_rows: int) -> None:
        shared, experts = module.shared_expert, module.experts
        self._num_active, self._group_rows = module.num_active, group_rows
        self._width = shared.gate_proj.out_features
        self._first = product(*fuse([shared.gate_proj, shared.up_proj, module.router]), form)
        self._down = product(shared.down_proj.weight, None, form)
        # stored as published, input axis first
        self._expert_first = [product(weight.t(), None, form) for weight in experts.gate_up_proj.unbind(0)]
        self._expert_down = [product(weight.t(), None, form) for weight in experts.down_proj.unbind(0)]

    def __call__(self, x_ND: Tensor) -> Tensor:
        first_NF = self._first(x_ND)
        out_ND = self._down(_activate(first_NF.narrow(1, 0, 2 * self._width)))
        logits_NE = first_NF.narrow(1, 2 * self._width, len(self._expert_down))
        chosen_Nk, experts_Nk = logits_NE.topk(self._num_active, dim=-1)
        # A sigmoid's last bit depends on the place in the tensor; rounded from float64, it does not.
        weights_Nk = (chosen_Nk.double() if self._group_rows else chosen_Nk.float()).sigmoid().to(x_ND.dtype)
        if weights_Nk.shape == (1, 1) and not self._group_rows:
            expert = int(experts_Nk)
            hidden_1F = _activate(self._expert_first[expert](x_ND * weights_Nk))
            return out_ND.add_(self._expert_down[expert](hidden_1F))
        return self._add_routed(x_ND, weights_Nk, experts_Nk, out_ND)

    def _add_routed(self, x_ND: Tensor, weights_Nk: Tensor, experts_Nk: Tensor, out_ND: Tensor) -> Tensor:
        """Tokens in the order of their experts; each group goes through its expert's two products."""
        experts_R = experts_Nk.flatten().cpu().numpy()
        index_R = torch.from_numpy(experts_R.argsort(kind="stable")).to(x_ND.device)
        counts = np.bincount(experts_R).tolist()
        numbers, sizes = [e for e, count in enumerate(counts) if count], [count for count in counts if count]
        weight_R1 = weights_Nk.view(-1, 1).index_select(0, index_R)
        if self._num_active > 1:
            index_R = index_R // self._num_active
        parts = x_ND.index_select(0, index_R).mul_(weight_R1).split(sizes)
        hidden_RF = _activate(torch.cat(self._each(self._expert_first, numbers, parts)))
        out_RD = torch.cat(self._each(self._expert_down, numbers, hidden_RF.split(sizes)))
        return out_ND.index_add_(0, index_R, out_RD)

    def _each(self, products: list[Product], numbers: list[int], parts: Iterable[Tensor]) -> list[Tensor]:
        """Each chosen expert's product of its rows; of `group_rows` with zeros, where there are fewer."""
        size = self._group_rows
        if not size:
            return [products[number](part) for number, part in zip(numbers, parts, strict=True)]
        missing = ((number, part, max(0, size - len(part))) for number, part in zip(numbers, parts, strict=True))
        return [products[number](F.pad(part, (0, 0, 0, count)))[: len(part)] for number, part, count in missing]
