"""A model folder that everything opens and that knows nothing: random weights, a tokenizer of a few sentences."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

# How long an example takes is the machine's, which may do other things.
hypothesis.settings.register_profile("narthex", deadline=None)
hypothesis.settings.load_profile("narthex")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what runs in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_TEXTS = [
    "What does gauge C read?",
    '{"name": "zoom", "parameters": {"box": [1, 2, 3, 4], "image": 0}}',
    "The pressure of the pump is 12.5 bar.",
] * 20


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Context 192 tokens, chunks of 24, four layers of which two are mixtures; a tile of 16 pixels is 4 tokens.

    Shared by all tests of a session: do not write into it.
    """
    import torch

    from narthex.model import ModelConfig, Transformer
    from narthex.tokens import ChatFormat, special, train_tokenizer, write_nano_folder
    from narthex.weights import open_model, save_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_nano_folder(folder, train_tokenizer(TINY_TEXTS, vocab_size=420), tile_size=16, patch_size=4)
    tokenizer = ChatFormat.open(folder).tokenizer
    config = ModelConfig.from_dict(
        {
            "model_type": "llama4",
            "image_token_index": tokenizer.special_ids[special.PATCH],
            "boi_token_index": tokenizer.special_ids[special.IMAGE_START],
            "eoi_token_index": tokenizer.special_ids[special.IMAGE_END],
            "text_config": {
                "vocab_size": tokenizer.vocab_size,
                "hidden_size": 32,
                "intermediate_size": 16,
                "intermediate_size_mlp": 48,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "num_local_experts": 4,
                "interleave_moe_layer_step": 2,
                "attention_chunk_size": 24,
                "max_position_embeddings": 192,
            },
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 4,
                "projector_input_dim": 16,
                "projector_output_dim": 16,
                "vision_output_dim": 16,
            },
        }
    )
    model = Transformer(config)
    model.init_weights(seed=3)
    save_model(model, folder, dtype=torch.float32)
    open_model(folder)  # writes the manifest, so that later openings only read
    return folder
