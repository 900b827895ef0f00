"""Decoder attention. The layer makes queries, keys and values; a *memory* says what they may see.

Legend: B sequences, T new tokens, S tokens seen in all, D hidden, H query heads, G key-value heads, K head width.

The model code never knows how keys and values are kept. `Fresh` keeps nothing (training, judging), `KVCache` keeps one
growing tensor a layer (the naive loop); a paged memory for many requests at once implements the same protocol.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narthex.model.config import TextConfig
from narthex.model.norm import rms_normalize
from narthex.model.rope import rotate


class Memory(Protocol):
    """What a forward pass attends to.

    `positions_BT` are the places of the new tokens, int64, valid for one forward pass. `attend` is called once per
    layer and pass, in layer order; it may keep the keys and values it is given and must not change them.
    """

    positions_BT: Tensor

    def attend(self, layer: int, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, chunk: int | None) -> Tensor:
        """Softmax attention of the new tokens over what they may see -> (B, T, H, K)."""
        ...


def visible(queries: Tensor, keys: Tensor, chunk: int | None) -> Tensor:
    """Which keys a query sees: those not after it and, where a chunk is given, in its own chunk.

    Shapes: query positions (..., T), key positions (..., S) -> bool (..., T, S). Chunks have fixed borders: position p
    sees p mod chunk + 1 keys.
    """
    seen = keys[..., None, :] <= queries[..., :, None]
    if chunk is not None:
        seen &= keys[..., None, :] // chunk == queries[..., :, None] // chunk
    return seen


def softmax_attention(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, *, mask: Tensor | None, causal: bool) -> Tensor:
    """softmax(q k / sqrt(K)) v with H / G query heads to each key-value head: (B, H, T, K).

    The mask is bool and broadcasts to (B, H, T, S); `causal` needs T = S and no mask. Where gradients are wanted on a
    CPU, plain matrix products stand in for PyTorch's fused kernel: its backward pass took 38 % of a training step of
    nano, and steps are 1.5 times as fast without it (dev/LOG.md).
    """
    if not (q_BHTK.requires_grad and q_BHTK.device.type == "cpu"):
        return F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSK, attn_mask=mask, is_causal=causal, enable_gqa=True)
    groups = q_BHTK.shape[1] // k_BGSK.shape[1]
    if groups > 1:
        k_BGSK, v_BGSK = k_BGSK.repeat_interleave(groups, 1), v_BGSK.repeat_interleave(groups, 1)
    scores = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BGSK.transpose(-1, -2)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).to(v_BGSK.dtype) @ v_BGSK


def _attend(q_BTHK: Tensor, k_BSGK: Tensor, v_BSGK: Tensor, mask: Tensor | None = None) -> Tensor:
    """Decoder attention in the layer's own layout; no mask means causal."""
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BSGK, v_BSGK))
    return softmax_attention(q, k, v, mask=mask, causal=mask is None).transpose(1, 2)


class Fresh:
    """Nothing before, nothing kept: whole sequences from position 0, right-padded if of unequal length."""

    def __init__(self, batch: int, length: int, device: torch.device) -> None:
        self.positions_BT = torch.arange(length, device=device).expand(batch, length)

    def attend(self, layer: int, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, chunk: int | None) -> Tensor:
        length = q_BTHK.shape[1]
        if chunk is None or length <= chunk:
            return _attend(q_BTHK, k_BTGK, v_BTGK)
        places = self.positions_BT[0]
        return _attend(q_BTHK, k_BTGK, v_BTGK, visible(places, places, chunk))


class KVCache:
    """Keys and values of everything so far, one pair of growing tensors a layer. Call `advance` before each pass."""

    def __init__(self, num_layers: int) -> None:
        self.length = 0
        self.positions_BT = torch.empty(0)
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers

    def advance(self, batch: int, length: int, device: torch.device) -> None:
        """Announce the next `length` tokens of every sequence."""
        self.positions_BT = torch.arange(self.length, self.length + length, device=device).expand(batch, length)
        self.length += length

    def attend(self, layer: int, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, chunk: int | None) -> Tensor:
        keys, values = self._keys[layer], self._values[layer]
        if keys is not None and values is not None:
            k_BTGK, v_BTGK = torch.cat([keys, k_BTGK], dim=1), torch.cat([values, v_BTGK], dim=1)
        self._keys[layer], self._values[layer] = k_BTGK, v_BTGK
        everything = torch.arange(k_BTGK.shape[1], device=k_BTGK.device)
        return _attend(q_BTHK, k_BTGK, v_BTGK, visible(self.positions_BT[0], everything, chunk))


class Attention(nn.Module):
    """Grouped-query attention of one layer: rotary inside chunks, or position-free over everything."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.uses_rope, self.chunk = config.uses_rope(layer), config.chunk_of(layer)
        width, bias = config.head_dim, config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * width, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=bias)
        self.o_proj = nn.Linear(config.num_attention_heads * width, config.hidden_size, bias=bias)

    def forward(self, x_BTD: Tensor, memory: Memory, rotations: Tensor) -> Tensor:
        width = self.config.head_dim
        q_BTHK = self.q_proj(x_BTD).unflatten(-1, (-1, width))
        k_BTGK = self.k_proj(x_BTD).unflatten(-1, (-1, width))
        v_BTGK = self.v_proj(x_BTD).unflatten(-1, (-1, width))
        if self.uses_rope:
            q_BTHK, k_BTGK = rotate(q_BTHK, rotations), rotate(k_BTGK, rotations)
            if self.config.use_qk_norm:
                eps = self.config.rms_norm_eps
                q_BTHK, k_BTGK = rms_normalize(q_BTHK, eps), rms_normalize(k_BTGK, eps)
        elif self.config.attn_temperature_tuning:
            q_BTHK = (q_BTHK * self._temperature(memory.positions_BT)).to(q_BTHK.dtype)
        out_BTHK = memory.attend(self.layer, q_BTHK, k_BTGK, v_BTGK, self.chunk)
        return self.o_proj(out_BTHK.flatten(-2))

    def _temperature(self, positions_BT: Tensor) -> Tensor:
        """Sharpen far queries: 1 + attn_scale * ln(1 + floor((p + 1) / floor_scale)), shaped (B, T, 1, 1).

        Source: Llama 4; keeps a position-free softmax from flattening over long contexts.
        """
        octaves = torch.floor((positions_BT.float() + 1) / self.config.floor_scale)
        return (1 + self.config.attn_scale * torch.log1p(octaves))[..., None, None]
