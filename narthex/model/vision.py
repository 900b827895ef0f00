"""The picture encoder: square tiles in, a few features per tile out, in the width of the decoder's projector.

Legend: N tiles, P patches of a tile (+ 1 class token inside), C encoder width, L tokens a tile, W adapter width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narthex.model.attention import softmax_attention
from narthex.model.config import VisionConfig
from narthex.model.rope import rotate, vision_rotations

NORM_EPS = 1e-5  # PyTorch's LayerNorm default, which the published encoder was trained with


class Sight(NamedTuple):
    """What the encoder makes of tiles: features_NLW for the projector, and the patches_NPC they were made of."""

    features_NLW: Tensor
    patches_NPC: Tensor


class PatchEmbedding(nn.Module):
    """A tile cut into patches, each flattened (channel, row, column) and projected."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.linear = nn.Linear(config.num_channels * config.patch_size**2, config.hidden_size, bias=False)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        patches = F.unfold(pixels_NCHW, kernel_size=self.patch_size, stride=self.patch_size)
        return self.linear(patches.transpose(1, 2))


class VisionAttention(nn.Module):
    """Every patch sees every patch of its tile."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.head_dim = config.hidden_size // config.num_attention_heads
        width = config.hidden_size
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_NPC: Tensor, rotations: Tensor) -> Tensor:
        q, k, v = (proj(x_NPC).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, rotations), rotate(k, rotations)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        out = softmax_attention(q, k, v, mask=None, causal=False)
        return self.o_proj(out.transpose(1, 2).flatten(-2))


class VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, NORM_EPS)
        self.self_attn = VisionAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, NORM_EPS)
        self.mlp = VisionMLP(config)

    def forward(self, x_NPC: Tensor, rotations: Tensor) -> Tensor:
        x_NPC = x_NPC + self.self_attn(self.input_layernorm(x_NPC), rotations)
        return x_NPC + self.mlp(self.post_attention_layernorm(x_NPC))


class VisionEncoder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_hidden_layers))


def pixel_shuffle(x_NPC: Tensor, factor: int) -> Tensor:
    """Squares of factor x factor patches become one token: (N, P, C) -> (N, P / factor^2, C * factor^2).

    Inside a token the patches follow each other row by row.
    """
    num_tiles, num_patches, width = x_NPC.shape
    side = int(num_patches**0.5)
    blocks = x_NPC.view(num_tiles, side // factor, factor, side // factor, factor, width)
    return blocks.transpose(2, 3).reshape(num_tiles, num_patches // factor**2, width * factor**2)


class AdapterMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.intermediate_size, config.projector_input_dim, bias=False)
        self.fc2 = nn.Linear(config.projector_output_dim, config.projector_output_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.fc2(F.gelu(self.fc1(x))))


class VisionAdapter(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.shuffle = config.shuffle
        self.mlp = AdapterMLP(config)

    def forward(self, x_NPC: Tensor) -> Tensor:
        return self.mlp(pixel_shuffle(x_NPC, self.shuffle))


class VisionModel(nn.Module):
    """Patches, learned and rotary positions, encoder layers, adapter."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = PatchEmbedding(config)
        self.class_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.positional_embedding_vlm = nn.Parameter(torch.empty(config.grid**2 + 1, config.hidden_size))
        self.layernorm_pre = nn.LayerNorm(config.hidden_size, NORM_EPS)
        self.layernorm_post = nn.LayerNorm(config.hidden_size, NORM_EPS)
        self.model = VisionEncoder(config)
        self.vision_adapter = VisionAdapter(config)
        self._rotations: Tensor | None = None

    def forward(self, pixels_NCHW: Tensor) -> Sight:
        patches = self.patch_embedding(pixels_NCHW)
        whole_tile = self.class_embedding.expand(len(patches), 1, -1).to(patches.dtype)
        x_NPC = torch.cat([patches, whole_tile], dim=1) + self.positional_embedding_vlm
        x_NPC = self.layernorm_pre(x_NPC)
        if self._rotations is None or self._rotations.device != x_NPC.device:
            with torch.inference_mode(False):  # kept for later passes, which may want gradients
                self._rotations = vision_rotations(self.config, x_NPC.device)
        for layer in self.model.layers:
            x_NPC = layer(x_NPC, self._rotations)
        patches_NPC = self.layernorm_post(x_NPC)[:, :-1]
        return Sight(self.vision_adapter(patches_NPC), patches_NPC)
