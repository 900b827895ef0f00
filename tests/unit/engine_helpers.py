"""A tiny random model, requests of every kind for it, and a loop that runs them on a core."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from narthex.engine import EngineCore, Request, TokenOut
from narthex.model import ModelConfig, Transformer

VOCABULARY, IMAGE_ID, TOKENS_PER_TILE = 97, 5, 4
FIRST_WORD_ID = 6


def build(*, chunk: int = 16, seed: int = 3, **text: Any) -> Transformer:
    """Five layers: mixtures and dense ones, chunked ones and one that sees all of the 256 tokens."""
    sizes = {
        "hidden_size": 48,
        "intermediate_size": 32,
        "intermediate_size_mlp": 64,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": VOCABULARY,
        "num_local_experts": 4,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": chunk,
        "floor_scale": 8,
        "max_position_embeddings": 256,
    }
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "vision_output_dim": 32,
    }
    config = {"model_type": "llama4", "text_config": sizes | text, "vision_config": vision}
    model = Transformer(ModelConfig.from_dict(config | {"image_token_index": IMAGE_ID})).eval()
    model.init_weights(seed)
    return model


def words(dice: random.Random, count: int) -> tuple[int, ...]:
    return tuple(dice.randrange(FIRST_WORD_ID, VOCABULARY) for _ in range(count))


def tiles_of(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)


def requests(dice: random.Random, count: int, *, longest: int = 110, **fixed: Any) -> list[Request]:
    """Mixed lengths, shared beginnings, a picture or two among four in ten, three continuations of one in four."""
    shared, pictures = words(dice, longest * 2 // 3), tiles_of(dice.randrange(1000), 2)
    made = []
    for _ in range(count):
        ids = (shared[: dice.randrange(len(shared))] if dice.random() < 0.6 else ()) + words(
            dice, dice.randrange(1, longest // 3)
        )
        tiles = None
        if dice.random() < 0.4:
            tiles = pictures[dice.choice([slice(0, 1), slice(1, 2), slice(0, 2)])]
            at = dice.randrange(len(ids))
            ids = ids[:at] + (IMAGE_ID,) * (TOKENS_PER_TILE * len(tiles)) + ids[at:]
        options = {"max_new_tokens": dice.randrange(1, 40), "n": dice.choice([1, 1, 1, 3])} | fixed
        made.append(Request(ids=ids, tiles=tiles, **options))
    return made


def drain(
    core: EngineCore, arriving: list[Request], *, each_step: Callable[[], None] = lambda: None
) -> list[dict[int, list[TokenOut]]]:
    """Add all at once, step to the end; for each request its tokens by continuation."""
    numbers = [core.add(request) for request in arriving]
    found: dict[int, dict[int, list[TokenOut]]] = {number: {} for number in numbers}
    while not core.is_idle:
        for number, token in core.step():
            found[number].setdefault(token.continuation, []).append(token)
        each_step()
    return [found[number] for number in numbers]


def ids_of(tokens: list[TokenOut]) -> list[int]:
    return [token.id for token in tokens]
