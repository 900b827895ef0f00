"""What is refused at submission: requests that could never be served, or would break the step they are served in."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from narthex.base.errors import ContextOverflowError, InputError
from narthex.engine.request import Request
from narthex.engine.sequence import Pictures, Sequence
from narthex.model.config import ModelConfig


def check_ids(request: Request, vocab_size: int) -> None:
    """Raises: InputError for any id that is no whole number of the vocabulary."""
    think = request.think
    groups: dict[str, Collection[int]] = {
        "the prompt": request.ids,
        "stop_ids": request.stop_ids,
        "logit_bias": request.sampling.logit_bias,
        "the thinking budget": (think.end_id, *think.close_ids) if think else (),
    }
    for place, ids in groups.items():
        if not ids:
            continue
        numbers = np.array(list(ids))
        if numbers.dtype.kind != "i":
            raise InputError(f"{place} has ids that are no token ids, such as {max(ids)!r}")
        wrong = numbers[(numbers < 0) | (numbers >= vocab_size)]
        if len(wrong):
            raise InputError(
                f"{place} has the id {wrong[0]}, and the vocabulary ends at {vocab_size - 1}",
                hint="tokenizer and model must be of the same folder",
            )


def check_pictures(request: Request, config: ModelConfig, pictures: Pictures) -> None:
    """Raises: InputError where tiles are not what the model reads, or the prompt has other room for them."""
    tiles, vision = pictures.tiles, config.vision
    if not len(tiles):
        return
    if vision is None:
        raise InputError("this model reads no pictures", hint="ask without a picture, or open a multimodal folder")
    wanted = (vision.num_channels, vision.image_size, vision.image_size)
    if tiles.shape[1:] != wanted or tiles.dtype != np.float32:
        raise InputError(f"tiles are {tiles.dtype} of the shape {tiles.shape[1:]}; the model wants float32 of {wanted}")
    if not np.isfinite(tiles).all():
        raise InputError("a picture tile holds values that are not numbers")
    num_places = int((pictures.feature_at >= 0).sum())
    num_features = len(tiles) * vision.tokens_per_tile
    if num_features != num_places:
        raise InputError(
            f"the prompt has room for {num_places} picture tokens, its tiles make {num_features}",
            hint="the folder's processor files and its config.json must be of the same model",
        )


def check_room(sequence: Sequence, context_tokens: int, block_size: int, num_blocks: int) -> None:
    """Raises: ContextOverflowError, with the numbers, for what fits into neither the context nor the cache."""
    parts = f"{sequence.num_prompt} prompt + {sequence.max_tokens - sequence.num_prompt} new tokens"
    if sequence.max_tokens > context_tokens:
        raise ContextOverflowError(
            f"{parts} exceed the context of {context_tokens}", hint="ask for fewer new tokens, or shorten the prompt"
        )
    needed = -(-sequence.max_tokens // block_size)
    if needed > num_blocks:
        raise ContextOverflowError(
            f"{parts} may need {needed} blocks of {block_size} tokens; the cache has {num_blocks}",
            hint="raise cache_tokens, or ask for fewer tokens",
        )
