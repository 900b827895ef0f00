"""Feed-forward layers: the dense one, and the mixture in which a router picks an expert for each token.

Legend: N tokens, D hidden, F expert width, E experts, k experts a token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narthex.base.errors import ConfigError
from narthex.model.config import TextConfig


class Routing(NamedTuple):
    """Where each token goes: experts_Nk int64, weights_Nk in (0, 1), and the router's raw logits_NE."""

    experts_Nk: Tensor
    weights_Nk: Tensor
    logits_NE: Tensor


def route_tokens(logits_NE: Tensor, *, num_active: int) -> Routing:
    """Choose `num_active` experts per token and weigh each by the sigmoid of its own logit.

    Raises: ConfigError if num_active is not in 1..experts.
    Source: Llama 4 model card; agrees with transformers (tests/parity/test_model.py).
    """
    if not 1 <= num_active <= logits_NE.shape[-1]:
        raise ConfigError(f"cannot choose {num_active} of {logits_NE.shape[-1]} experts")
    chosen, experts_Nk = logits_NE.topk(num_active, dim=-1)
    return Routing(experts_Nk, chosen.float().sigmoid().to(logits_NE.dtype), logits_NE)


def balance_loss(logits_NE: Tensor, num_active: int) -> Tensor:
    """How unevenly tokens spread over experts: 1 when even, up to E / num_active when all go to the same ones.

    Scalar, differentiable; a little below 1 is possible, where the many are undecided and the few are sure.
    Source: Switch Transformer, equation 4: E * sum(share of tokens * mean router probability).
    """
    num_experts = logits_NE.shape[-1]
    chosen = F.one_hot(logits_NE.topk(num_active, dim=-1).indices, num_experts).sum(1).float()
    shares, beliefs = chosen.mean(0) / num_active, logits_NE.float().softmax(-1).mean(0)
    return num_experts * (shares * beliefs).sum()


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)): the dense layer, and the expert that every token shares."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, width, bias=False)
        self.up_proj = nn.Linear(hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Experts(nn.Module):
    """E gated layers in two packed tensors, laid out as published (input axis before output axis)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        num, hidden, width = config.num_local_experts, config.hidden_size, config.intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(num, hidden, 2 * width))
        self.down_proj = nn.Parameter(torch.empty(num, width, hidden))

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """Only the chosen experts run: N * k rows of work whatever E is. The weight scales an expert's *input*."""
        num_tokens, num_active = routing.experts_Nk.shape
        order = routing.experts_Nk.flatten().argsort(stable=True)
        sources = order // num_active
        rows = x_ND[sources] * routing.weights_Nk.flatten()[order, None]
        counts = routing.experts_Nk.flatten().bincount(minlength=self.gate_up_proj.shape[0]).tolist()
        # unbind, not index: the gradient of each index would be a tensor as large as all experts
        weights = zip(rows.split(counts), self.gate_up_proj.unbind(0), self.down_proj.unbind(0), strict=True)
        out_RD = torch.cat([run_expert(*one) for one in weights if len(one[0])])
        return out_RD.new_zeros(num_tokens, out_RD.shape[-1]).index_add(0, sources, out_RD)


def run_expert(x_RD: Tensor, gate_up_DF: Tensor, down_FD: Tensor) -> Tensor:
    """One expert over the rows routed to it: (R, D) -> (R, D)."""
    gate, up = (x_RD @ gate_up_DF).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ down_FD


class MixtureOfExperts(nn.Module):
    """Routed experts beside one that every token passes through."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.num_active = config.num_experts_per_tok
        self.experts = Experts(config)
        self.router = nn.Linear(config.hidden_size, config.num_local_experts, bias=False)
        self.shared_expert = GatedMLP(config.hidden_size, config.intermediate_size)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Routing]:
        x_ND = x_BTD.flatten(0, 1)
        routing = route_tokens(self.router(x_ND), num_active=self.num_active)
        out_ND = self.shared_expert(x_ND) + self.experts(x_ND, routing)
        return out_ND.view_as(x_BTD), routing
