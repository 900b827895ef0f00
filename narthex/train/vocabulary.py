"""A model moves from one vocabulary to another: what it knows of a token goes with the token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from narthex.tokens import ChatFormat

# The matrices of one row per token, as published.
ROWS = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")


def sources(old: ChatFormat, new: ChatFormat) -> list[list[int]]:
    """For every id of the new vocabulary, the old ids that spell it: one where the token was there before."""
    known = {spelling(old, id_): id_ for id_ in reversed(range(old.tokenizer.vocab_size))}
    found: list[list[int]] = []
    for id_ in range(new.tokenizer.vocab_size):
        spelled = spelling(new, id_)
        if spelled in known or isinstance(spelled, str):
            found.append([known[spelled]])
            continue
        try:
            found.append(old.encode(spelled.decode()))
        except UnicodeDecodeError:  # a part of a letter; the bytes by themselves are in every vocabulary
            found.append([known[bytes([byte])] for byte in spelled])
    return found


def spelling(chat: ChatFormat, id_: int) -> str | bytes:
    """What an id stands for: a control token's name, or the bytes of text."""
    return chat.tokenizer.name(id_) or chat.tokenizer.decode_bytes([id_])


def moved(rows_VD: Tensor, found: Sequence[Sequence[int]]) -> Tensor:
    """Rows for the new vocabulary, (V', D): each the mean of the old rows that spelled its token."""
    return torch.stack([rows_VD[list(ids)].mean(0) for ids in found])
