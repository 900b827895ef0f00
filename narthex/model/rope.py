"""Rotary positions: neighbours in the last axis are one complex number, turned by an angle that grows with position."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narthex.model.config import RopeScaling, TextConfig, VisionConfig


def text_frequencies(config: TextConfig, device: torch.device | str = "cpu") -> Tensor:
    """Angle per position for each pair of a head, in radians: (head_dim / 2,) float32.

    Source: RoFormer; scaling as in Llama 3.1's model card, which Scout uses.
    """
    steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=device) / config.head_dim
    frequencies = 1.0 / config.rope_theta**steps
    return frequencies if config.rope_scaling is None else _stretch(frequencies, config.rope_scaling)


def _stretch(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Divide the slow frequencies by `factor`, keep the fast ones, blend between the two wavelengths."""
    wavelength = 2 * math.pi / frequencies
    longest = scaling.original_max_position_embeddings / scaling.low_freq_factor
    shortest = scaling.original_max_position_embeddings / scaling.high_freq_factor
    slow = frequencies / scaling.factor
    span = scaling.high_freq_factor - scaling.low_freq_factor
    if span == 0:  # Scout: both factors are 1, there is no ramp to blend on
        return torch.where(wavelength > longest, slow, frequencies)
    share = (scaling.original_max_position_embeddings / wavelength - scaling.low_freq_factor) / span
    blended = (1 - share) * slow + share * frequencies
    middle = torch.where(wavelength < shortest, frequencies, blended)
    return torch.where(wavelength > longest, slow, middle)


def text_rotations(positions_BT: Tensor, frequencies: Tensor) -> Tensor:
    """Unit complex numbers that turn each pair: positions (B, T) int64 -> (B, T, 1, head_dim / 2) complex64."""
    angles = positions_BT[..., None].float() * frequencies
    return torch.polar(torch.ones_like(angles), angles)[:, :, None, :]


def vision_rotations(config: VisionConfig, device: torch.device | str = "cpu") -> Tensor:
    """Two-dimensional rotations of one tile: (1, grid * grid + 1, 1, head_dim / 2) complex64.

    The first half of a head's pairs turns with the column, the second with the row, both counted from 1; the class
    token, which stands last, is not turned.
    Source: agrees with transformers to 1e-6 (tests/parity).
    """
    half = config.hidden_size // config.num_attention_heads // 2
    steps = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half
    frequencies = 1.0 / config.rope_theta**steps
    places = torch.arange(config.grid**2, device=device)
    columns, rows = places % config.grid + 1, places // config.grid + 1
    angles = torch.cat([columns[:, None] * frequencies, rows[:, None] * frequencies], dim=-1)
    angles = torch.cat([angles, torch.zeros_like(angles[:1])])
    return torch.polar(torch.ones_like(angles), angles)[None, :, None, :]


def rotate(x_BTHK: Tensor, rotations: Tensor) -> Tensor:
    """Turn every pair of every head. Shapes: (B, T, heads, head_dim) -> same, in the dtype given."""
    pairs = torch.view_as_complex(x_BTHK.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations).flatten(-2).to(x_BTHK.dtype)
