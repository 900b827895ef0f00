"""The whole model: pictures and words become one stream of vectors, which decoder layers turn into next-token scores.

Legend: B sequences, T tokens, D hidden, V vocabulary, N tiles, L tokens a tile. Modules and parameters carry the names
of the published checkpoints, so a state dict is a checkpoint.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from narthex.base.errors import InputError
from narthex.model.attention import Attention, Fresh, Memory
from narthex.model.config import ModelConfig, TextConfig
from narthex.model.experts import Experts, GatedMLP, MixtureOfExperts, Routing
from narthex.model.norm import RMSNorm
from narthex.model.rope import text_frequencies, text_rotations
from narthex.model.vision import Sight, VisionModel


class Output(NamedTuple):
    """logits_BTV in the model's dtype; one Routing per mixture layer, in layer order."""

    logits_BTV: Tensor
    routings: tuple[Routing, ...]


class DecoderLayer(nn.Module):
    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        is_moe = layer in config.moe_layers
        self.feed_forward: nn.Module = (
            MixtureOfExperts(config) if is_moe else GatedMLP(config.hidden_size, config.intermediate_size_mlp)
        )

    def forward(self, x_BTD: Tensor, memory: Memory, rotations: Tensor) -> tuple[Tensor, Routing | None]:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), memory, rotations)
        out = self.feed_forward(self.post_attention_layernorm(x_BTD))
        mixed, routing = out if isinstance(out, tuple) else (out, None)
        return x_BTD + mixed, routing


class TextModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class LanguageModel(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.model = TextModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight


class Projector(nn.Module):
    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden_size, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_1(features)


class Transformer(nn.Module):
    """A Llama 4 model. Weights are uninitialised until `init_weights` or a checkpoint fills them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.language_model = LanguageModel(config.text)
        if config.vision is not None:
            self.vision_model = VisionModel(config.vision)
            self.multi_modal_projector = Projector(config.vision.vision_output_dim, config.text.hidden_size)
        self._frequencies: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.language_model.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.language_model.model.norm.weight.dtype

    def see(self, pixels_NCHW: Tensor) -> tuple[Tensor, Sight]:
        """Encode tiles and project them to the decoder's width: (N, 3, S, S) -> tokens_NLD, and what they came from.

        Raises: InputError where the model has no eyes or the tile size is not its own.
        """
        vision = self.config.vision
        if vision is None:
            raise InputError("this model reads no pictures", hint="ask without a picture, or open a multimodal folder")
        found, wanted = tuple(pixels_NCHW.shape[1:]), (vision.num_channels, vision.image_size, vision.image_size)
        if found != wanted:
            raise InputError(
                f"a tile has the shape {found}, and the model wants {wanted}",
                hint="preprocessor_config.json and config.json must be of the same model",
            )
        sight = self.vision_model(pixels_NCHW.to(self.device, self.dtype))
        return self.multi_modal_projector(sight.features_NLW), sight

    def embed(self, ids_BT: Tensor, picture_tokens_NLD: Tensor | None = None) -> Tensor:
        """Token vectors with the pictures' put where `image_token_index` stands, in order of appearance.

        Without picture tokens (None) that id is a word like any other, which a model may also write.
        Raises: InputError when places and picture tokens differ in number.
        """
        x_BTD = self.language_model.model.embed_tokens(ids_BT)
        if picture_tokens_NLD is None:
            return x_BTD
        places_BT = ids_BT == self.config.image_token_index
        num_places, num_given = int(places_BT.sum()), picture_tokens_NLD.shape[:2].numel()
        if num_places != num_given:
            raise InputError(
                f"the prompt has room for {num_places} picture tokens, and {num_given} were given",
                hint="the folder's processor files and its config.json must be of the same model",
            )
        return x_BTD.masked_scatter(places_BT[..., None], picture_tokens_NLD.to(x_BTD.dtype))

    def decode(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, tuple[Routing, ...]]:
        """All decoder layers and the last norm: (B, T, D) -> (B, T, D) and the routings."""
        if self._frequencies is None or self._frequencies.device != x_BTD.device:
            with torch.inference_mode(False):  # kept for later passes, which may want gradients
                self._frequencies = text_frequencies(self.config.text, x_BTD.device)
        rotations = text_rotations(memory.positions_BT, self._frequencies)
        routings: list[Routing] = []
        for layer in self.language_model.model.layers:
            x_BTD, routing = layer(x_BTD, memory, rotations)
            if routing is not None:
                routings.append(routing)
        return self.language_model.model.norm(x_BTD), tuple(routings)

    def score(self, x_BTD: Tensor) -> Tensor:
        """Next-token logits: (..., D) -> (..., V)."""
        return self.language_model.lm_head(x_BTD)

    def forward(self, ids_BT: Tensor, pixels_NCHW: Tensor | None = None, memory: Memory | None = None) -> Output:
        """Scores for every position of whole sequences, or of the next tokens after what `memory` holds.

        Shapes: ids (B, T) int64, pixels (N, 3, S, S) -> logits (B, T, V).
        """
        pictures = None if pixels_NCHW is None else self.see(pixels_NCHW)[0]
        memory = memory or Fresh(ids_BT.shape[0], ids_BT.shape[1], ids_BT.device)
        x_BTD, routings = self.decode(self.embed(ids_BT, pictures), memory)
        return Output(self.score(x_BTD), routings)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fill every parameter for training from scratch: normal, std 0.02 or 1 / sqrt(fan in) where that is wider.

        Layers that write to the residual stream start smaller by sqrt(2 * layers), as in GPT-2. The same seed gives the
        same weights on every device.
        """
        generator = torch.Generator().manual_seed(seed)
        depth = len(self.language_model.model.layers)
        for name, module in self.named_modules():
            is_residual = "layers." in name and name.endswith(("o_proj", "down_proj", "fc2"))
            shrink = (2 * depth) ** -0.5 if is_residual else 1.0
            if isinstance(module, nn.Linear):
                std = max(0.02, module.in_features**-0.5) * shrink
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * std)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, RMSNorm | nn.LayerNorm):
                module.weight.fill_(1.0)
                if isinstance(module, nn.LayerNorm):
                    module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                # as wide as the trial that learned to read: picture tokens are compared with these vectors
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.3)
            elif isinstance(module, Experts):
                for weight, factor in ((module.gate_up_proj, 1.0), (module.down_proj, (2 * depth) ** -0.5)):
                    std = weight.shape[1] ** -0.5 * factor
                    weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            elif isinstance(module, VisionModel):
                for weight in (module.class_embedding, module.positional_embedding_vlm):
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
        if self.config.text.tie_word_embeddings:
            self.language_model.lm_head.weight = self.language_model.model.embed_tokens.weight


def count_parameters(model: Transformer) -> tuple[int, int]:
    """(all, active for one text token): routed experts count with the share that a token uses."""
    total = sum(p.numel() for p in model.parameters())
    routed = sum(p.numel() for m in model.modules() if isinstance(m, Experts) for p in m.parameters())
    share = model.config.text.num_experts_per_tok / max(model.config.text.num_local_experts, 1)
    vision = sum(p.numel() for n, p in model.named_parameters() if n.startswith(("vision", "multi")))
    return total, total - vision - round(routed * (1 - share))
