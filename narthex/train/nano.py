"""narthex-nano and narthex-mini: their sizes, and the folder that every other program opens."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import torch

from narthex.base.errors import ConfigError
from narthex.model import ModelConfig, Transformer
from narthex.tokens import ChatFormat, special
from narthex.weights import save_model

VOCABULARY = 2048
TILE_SIZE, PATCH_SIZE = 96, 8  # pixels; a folder's own preprocessor_config.json says what its tile is

# Active parameters first: this is what two cores can train in two hours. Chunk 8192, floor scale 8192, scale 0.1 and a
# position-free layer every fourth are Llama 4's own, which other programs for the family take for granted.
TEXT = {
    "hidden_size": 192,
    "intermediate_size": 384,
    "intermediate_size_mlp": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "num_local_experts": 8,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    # off, as in Maverick: normalised queries and keys of 32 numbers reach a logit of 5.7 at most, too blunt to point
    "use_qk_norm": False,
    "rope_theta": 10_000.0,  # contexts here are hundreds of tokens, not millions
    "max_position_embeddings": 8192,
}
VISION = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "patch_size": PATCH_SIZE,
    "pixel_shuffle_ratio": 0.5,
    "projector_input_dim": 256,
    "projector_output_dim": 256,
    "vision_output_dim": 256,
}
# narthex-mini: what one GPU can train in half an hour on the same samples. Per token eleven times nano's work, per tile
# fifteen times; twice as many experts, because memory is what a GPU has left over. Not trained yet.
MINI_TEXT = {
    **TEXT,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "intermediate_size_mlp": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_local_experts": 16,
}
MINI_VISION = {
    **VISION,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "projector_input_dim": 512,
    "projector_output_dim": 512,
    "vision_output_dim": 512,
}
SIZES = MappingProxyType({"nano": (TEXT, VISION), "mini": (MINI_TEXT, MINI_VISION)})


def nano_config(chat: ChatFormat, size: str = "nano") -> ModelConfig:
    """The configuration for a folder's text half: its vocabulary, the ids of its picture tokens, its tile.

    Raises: ConfigError for a size that is none of SIZES, or a folder without pictures.
    """
    if size not in SIZES:
        raise ConfigError(f"there is no size {size!r}", hint=f"the sizes are: {', '.join(SIZES)}")
    if chat.geometry is None:
        raise ConfigError("the folder says nothing about pictures", hint="make it with `narthex.train tokenizer`")
    known = chat.tokenizer.special_ids
    ids = {"image_token_index": known[special.PATCH], "boi_token_index": known[special.IMAGE_START]}
    ids["eoi_token_index"] = known[special.IMAGE_END]
    text, vision = SIZES[size]
    vision = {**vision, "image_size": chat.geometry.tile_size}
    text = {**text, "vocab_size": chat.tokenizer.vocab_size}
    return ModelConfig.from_dict({"model_type": "llama4", "text_config": text, "vision_config": vision, **ids})


def export(model: Transformer, chat_folder: Path, folder: Path) -> None:
    """Write the model as people get it: bfloat16 weights, config, and the text half copied from `chat_folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(chat_folder.iterdir()):
        if source.suffix in (".json", ".jinja") and source.is_file():
            (folder / source.name).write_bytes(source.read_bytes())
    save_model(model, folder, dtype=torch.bfloat16)
    ids = ChatFormat.open(folder).tokenizer.special_ids
    stops = {"bos_token_id": ids[special.BEGIN_OF_TEXT], "eos_token_id": ids[special.END_OF_TURN]}
    stops["pad_token_id"] = ids[special.PAD]
    (folder / "generation_config.json").write_text(json.dumps(stops, indent=2) + "\n", encoding="utf-8")
