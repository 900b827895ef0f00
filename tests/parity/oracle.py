"""transformers' Llama 4 as the judge: random tiny models of it, saved by its own `save_pretrained`.

Every parameter is random, norms and biases too, and wide enough that each feature moves the logits by far more than the
tolerance. Sizes are drawn from the case's seed; what a case is *for* is stated in it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Llama4Config, Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import Llama4ForCausalLM, Llama4ForConditionalGeneration
from transformers.utils import logging

logging.disable_progress_bar()

IMAGE_ID, START_ID, END_ID = 5, 3, 4
FIRST_WORD_ID = 6
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 500_000.0}


@dataclass(frozen=True)
class Case:
    """One random model and prompt. `text` fixes what the case is for; `tiles` says how many each picture has."""

    name: str
    seed: int
    tiles: tuple[int, ...] = ()
    has_vision: bool = True
    text: dict[str, Any] = field(default_factory=dict)
    num_words: int = 40

    def __str__(self) -> str:
        return self.name

    @cached_property
    def text_config(self) -> dict[str, Any]:
        """Every setting of the decoder, as the published config names them."""
        draw = random.Random(self.seed)
        num_kv, ratio, head_dim = draw.choice([1, 2]), draw.choice([1, 2, 4]), draw.choice([8, 16])
        drawn = {
            "vocab_size": draw.randrange(64, 160),
            "hidden_size": 8 * draw.randrange(4, 9),
            "intermediate_size": 8 * draw.randrange(2, 6),
            "intermediate_size_mlp": 8 * draw.randrange(4, 9),
            "num_hidden_layers": draw.choice([4, 5, 6]),
            "num_attention_heads": num_kv * ratio,
            "num_key_value_heads": num_kv,
            "head_dim": head_dim,
            "num_local_experts": draw.choice([4, 6, 8]),
            "attention_chunk_size": draw.choice([8, 11, 16]),
            "floor_scale": draw.choice([4, 8]),
            "attn_scale": 0.5,
            "rms_norm_eps": draw.choice([1e-5, 1e-3]),
            "max_position_embeddings": 256,
            "rope_parameters": DEFAULT_ROPE,
            "bos_token_id": 1,
            "eos_token_id": None,  # so that all 64 tokens are compared
            "pad_token_id": 0,
        }
        return {**drawn, **self.text}

    @cached_property
    def vision_config(self) -> dict[str, Any]:
        draw = random.Random(self.seed + 1)
        heads, width, patch = draw.choice([1, 2, 4]), 8 * draw.randrange(2, 5), draw.choice([2, 4])
        hidden = 4 * heads * draw.choice([1, 2, 3])
        return {
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": draw.choice([1, 2, 3]),
            "num_attention_heads": heads,
            "image_size": patch * draw.choice([4, 6]),
            "patch_size": patch,
            "vision_output_dim": width,
            "projector_input_dim": width,
            "projector_output_dim": width,
            "rope_parameters": {"rope_type": "default", "rope_theta": draw.choice([100.0, 10_000.0])},
        }

    def build(self) -> Llama4ForCausalLM | Llama4ForConditionalGeneration:
        """transformers' model, float32, with the plain attention that its own authors call eager."""
        text = Llama4TextConfig(**self.text_config)
        if self.has_vision:
            whole = {"image_token_index": IMAGE_ID, "boi_token_index": START_ID, "eoi_token_index": END_ID}
            config = Llama4Config(text_config=text, vision_config=self.vision_config, **whole)
            config.tie_word_embeddings = text.tie_word_embeddings
            model = Llama4ForConditionalGeneration._from_config(config, attn_implementation="eager")
        else:
            model = Llama4ForCausalLM._from_config(text, attn_implementation="eager")
        _fill(model, self.seed)
        return model.float().eval()

    def prompt(self) -> tuple[Tensor, Tensor | None]:
        """ids (1, T) and tiles (N, 3, S, S) or None: words, with each picture's tiles at a random place among them."""
        draw, generator = random.Random(self.seed + 2), torch.Generator().manual_seed(self.seed)
        vocabulary, vision = self.text_config["vocab_size"], self.vision_config
        ids = [1, *(draw.randrange(FIRST_WORD_ID, vocabulary) for _ in range(self.num_words))]
        tokens_per_tile = (vision["image_size"] // vision["patch_size"] // 2) ** 2
        for num_tiles in self.tiles:
            picture = [START_ID]
            for _ in range(num_tiles):
                picture += [IMAGE_ID] * tokens_per_tile + [draw.randrange(FIRST_WORD_ID, vocabulary)]
            # only before a word: a picture must not land inside another one's run
            place = draw.choice([i for i, token in enumerate(ids) if token >= FIRST_WORD_ID and ids[i - 1] != IMAGE_ID])
            ids[place:place] = [*picture, END_ID]
        size = (sum(self.tiles), 3, vision["image_size"], vision["image_size"])
        tiles = torch.rand(size, generator=generator) * 2 - 1 if self.tiles else None
        return torch.tensor([ids]), tiles

    def save(self, folder: Path) -> Llama4ForCausalLM | Llama4ForConditionalGeneration:
        """Build, and write as transformers publishes it."""
        model = self.build()
        model.save_pretrained(folder)
        return model


@torch.no_grad()
def _fill(model: torch.nn.Module, seed: int) -> None:
    """Random values in every parameter, scaled so that activations stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.3 * noise)
        elif parameter.ndim == 1:
            parameter.copy_(0.3 * noise)
        elif "embed" in name:
            parameter.copy_(noise)
        else:
            fan_in = parameter.shape[-2] if ".experts." in name else parameter.shape[-1]
            parameter.copy_(1.5 * noise / fan_in**0.5)
    # A zero row scores 0, below the best of many: the picture token is never generated, which no prompt could hold.
    model.get_output_embeddings().weight[IMAGE_ID] = 0


@torch.no_grad()
def oracle_logits(model: Any, ids: Tensor, tiles: Tensor | None) -> Tensor:
    """Scores of the whole sequence without any cache: (1, T, V)."""
    pictures = {} if tiles is None else {"pixel_values": tiles}
    return model(input_ids=ids, use_cache=False, **pictures).logits


@torch.no_grad()
def oracle_greedy(model: Any, ids: Tensor, tiles: Tensor | None, num_tokens: int) -> list[int]:
    """transformers' own cached `generate`, greedy."""
    pictures = {} if tiles is None else {"pixel_values": tiles}
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=num_tokens,
        do_sample=False,
        **pictures,
    )
    return out[0, ids.shape[1] :].tolist()


CASES = (
    Case("scout", 1, tiles=(3,), text={"use_qk_norm": True, "rope_parameters": LLAMA3_ROPE, "num_local_experts": 16}),
    Case(
        "maverick",
        2,
        tiles=(5,),
        text={"interleave_moe_layer_step": 2, "use_qk_norm": False, "num_local_experts": 8, "attention_chunk_size": 16},
    ),
    Case("two-experts-a-token", 3, tiles=(1, 2), text={"num_experts_per_tok": 2, "attention_chunk_size": 8}),
    Case(
        "text-only-tied",
        4,
        has_vision=False,
        text={"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE, "num_local_experts": 4},
        num_words=70,
    ),
    Case(
        "text-only-maverick",
        5,
        has_vision=False,
        text={"interleave_moe_layer_step": 2, "num_experts_per_tok": 2, "num_attention_heads": 8,
              "num_key_value_heads": 2},
    ),
    Case("tied-with-pictures", 6, tiles=(2, 1, 2), text={"tie_word_embeddings": True, "attention_chunk_size": 11}),
    Case(
        "biases-and-own-layer-lists",
        7,
        tiles=(1,),
        text={"attention_bias": True, "num_hidden_layers": 6, "moe_layers": [0, 3, 4], "no_rope_layer_interval": 3},
    ),
    Case(
        "no-temperature-one-kv-head",
        8,
        tiles=(4,),
        text={"attn_temperature_tuning": False, "num_attention_heads": 4, "num_key_value_heads": 1},
    ),
    Case("pictures-unused", 9, text={"use_qk_norm": False, "rope_parameters": LLAMA3_ROPE}),
    Case("all-dense", 10, tiles=(2,), text={"moe_layers": [], "num_key_value_heads": 2, "num_attention_heads": 2}),
    Case("long-prompt", 11, tiles=(6,), text={"num_experts_per_tok": 2, "attention_chunk_size": 16}, num_words=150),
)  # fmt: skip
