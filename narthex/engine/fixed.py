"""Shapes that do not depend on company: how a request gets the same bits alone and among others.

Measured on a CPU (x86, float32, one thread), a row of a matrix product has other last bits in a batch of 1, of 2 or 3,
and of 4 or more rows; attention of one query has others when its keys are padded to another length. Neither depends on
which *place* a row has among equally many, on the number of queries attended together, or on the values of the others.
So every decoding pass has FIXED_ROWS rows, some of them idle, every expert that runs in it gets FIXED_ROWS rows, keys
are padded to multiples (`memory.py`), a prompt is computed in blocks with borders of their own, one block a pass
(`core.py`), and tiles are looked at one by one.

The cost, narthex-nano on one core, tokens a second free and fixed: 700..790 and 340 for one stream, 2,600 and 1,800 for
eight, 3,600 and 2,900 for sixteen; prompts 9,800 and 8,800.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from narthex.base.errors import ConfigError
from narthex.model import Transformer
from narthex.model.experts import Experts, Routing

FIXED_ROWS = 16  # decoding sequences a pass; more of them take several passes
FIXED_PROMPT = 128  # tokens of a prompt a pass; a prompt's prefix is reused up to a multiple of this


class ExpertPadding:
    """Fills up, while `is_on`, the group of every expert that has any tokens to FIXED_ROWS rows with rows of zeros.

    Hooks of the expert layers do it, so that the model needs no code for it; another engine over the same model would
    see its groups padded at worst, never its results changed beyond the last bits.
    """

    def __init__(self, model: Transformer) -> None:
        """Raises: ConfigError where a token has a number of experts that does not divide FIXED_ROWS."""
        num_active = model.config.text.num_experts_per_tok
        if FIXED_ROWS % num_active:
            raise ConfigError(
                f"deterministic=True needs experts a token to divide {FIXED_ROWS}; this model has {num_active}"
            )
        self.is_on = False
        for module in model.modules():
            if isinstance(module, Experts):
                module.register_forward_pre_hook(self._pad)
                module.register_forward_hook(self._cut)

    def _pad(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor, Routing] | None:
        if not self.is_on:
            return None
        x_ND, routing = arguments
        num_active = routing.experts_Nk.shape[1]
        counts = routing.experts_Nk.flatten().bincount()
        missing = torch.where(counts > 0, FIXED_ROWS - counts, 0)
        # A row goes to `num_active` places, idle ones to any; that it comes out even, the constructor has seen to.
        experts_Mk = torch.arange(len(counts), device=x_ND.device).repeat_interleave(missing).view(-1, num_active)
        weights_Mk = routing.weights_Nk.new_zeros(experts_Mk.shape)
        padded = Routing(
            torch.cat([routing.experts_Nk, experts_Mk]), torch.cat([routing.weights_Nk, weights_Mk]), routing.logits_NE
        )
        return torch.cat([x_ND, x_ND.new_zeros(len(experts_Mk), x_ND.shape[1])]), padded

    def _cut(self, module: nn.Module, arguments: tuple[Any, ...], out_ND: Tensor) -> Tensor:
        return out_ND[:FIXED_ROWS] if self.is_on else out_ND
