"""The models: what the package ships, and one of about a thousand million parameters with random weights."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from narthex.base.paths import SHIPPED_NANO
from narthex.model import ModelConfig, Transformer
from narthex.weights import save_model

# Like Scout in small: every layer a mixture of 16 experts, one a token, and one shared; queries and keys normalised.
MOE_1B = {
    "model_type": "llama4_text",
    "vocab_size": 32_000,
    "hidden_size": 1024,
    "intermediate_size": 1408,
    "intermediate_size_mlp": 2816,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "max_position_embeddings": 16_384,
    "use_qk_norm": True,
}
_DONE = "complete"  # names what a folder was made from


def work_folder() -> Path:
    """Where generated checkpoints are kept: NARTHEX_BENCH_FOLDER, else `.work` beside the scripts; git ignores it."""
    chosen = os.environ.get("NARTHEX_BENCH_FOLDER")
    folder = Path(chosen).expanduser() if chosen else Path(__file__).resolve().parents[1] / ".work"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder


def checkpoint(model: str) -> Path:
    """The model's folder in the published format, bfloat16; made at the first call."""
    if model == "narthex-nano":
        return SHIPPED_NANO
    folder = work_folder() / model
    made_from = repr(sorted(MOE_1B.items()))
    stamp = folder / _DONE
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_from:
        return folder
    with torch.inference_mode():
        random = Transformer(ModelConfig.from_dict(MOE_1B)).to(torch.bfloat16)
        random.init_weights(seed=1)
        save_model(random, folder, dtype=torch.bfloat16)
    stamp.write_text(made_from, encoding="utf-8")
    return folder
