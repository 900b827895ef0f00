"""A tiny model folder, ways to spoil it, and how a refusal looks."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from narthex.base.errors import WeightsError, format_error
from narthex.model import ModelConfig, Transformer
from narthex.weights import open_model, save_model

TINY: dict[str, Any] = {
    "model_type": "llama4",
    "image_token_index": 5,
    "boi_token_index": 3,
    "eoi_token_index": 4,
    "text_config": {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 8,
        "intermediate_size_mlp": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "num_local_experts": 4,
        "interleave_moe_layer_step": 2,
    },
    "vision_config": {
        "hidden_size": 8,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 2,
        "projector_input_dim": 12,
        "projector_output_dim": 12,
        "vision_output_dim": 12,
    },
}
TINY_TEXT: dict[str, Any] = {"model_type": "llama4_text", **TINY["text_config"]}


def build(config: dict[str, Any] = TINY, seed: int = 0) -> Transformer:
    """A model in which every parameter is random, norms and biases too."""
    model = Transformer(ModelConfig.from_dict(config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def save(folder: Path, config: dict[str, Any] = TINY, **how: Any) -> Path:
    return save_model(build(config), folder, **how)


def refused(folder: Path, *words: str) -> None:
    """Opening must fail with one clear line that holds the words, and a hint."""
    with pytest.raises(WeightsError) as caught:
        open_model(folder)
    shown = format_error(caught.value)
    assert [line.split(": ")[0] for line in shown.splitlines()] == ["error", "hint"], shown
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
    for word in words:
        assert word in str(caught.value)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pack(header: object, data: bytes = b"") -> bytes:
    """The bytes of a safetensors file with this header, whatever it says; bytes are taken as they are."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def unpack(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]
