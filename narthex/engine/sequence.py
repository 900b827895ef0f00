"""One continuation in the making: its tokens, the blocks that hold them, and where its thought stands.

    0 ......... num_cached ......... num_computed ......... len(tokens)
    found in the cache | computed by this sequence | pending: the next step computes these and draws one more

Preempted, it loses its blocks and keeps the rest: tokens, dice, grammar, and where its thought stands.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter

import numpy as np
import torch

from narthex.engine.grammar import Matcher
from narthex.engine.pages import Block, block_name, root_name
from narthex.engine.request import Request

_VERSIONS = itertools.count()


class Pictures:
    """The tiles of a prompt, and for every position which feature of which tile stands there (-1: none)."""

    def __init__(self, request: Request, image_token: int, tokens_per_tile: int) -> None:
        tiles = request.tiles if request.tiles is not None else np.zeros((0, 0), dtype=np.float32)
        self.tiles = tiles
        # The salt is part of the hash: no tenant learns from the time it takes whether another showed the same picture.
        salt = root_name(request.cache_salt)
        self.hashes = [hashlib.blake2b(tile.tobytes(), digest_size=16, key=salt).digest() for tile in tiles]
        places = np.asarray(request.ids) == image_token if len(tiles) else np.zeros(len(request.ids), dtype=bool)
        self.feature_at = np.where(places, np.cumsum(places) - 1, -1)
        self.tokens_per_tile = tokens_per_tile
        self.end = int(np.flatnonzero(places)[-1]) + 1 if places.any() else 0  # no picture from there on

    def seen_in(self, start: int, stop: int) -> list[int]:
        """Indices of the tiles with features at positions start..stop, in order."""
        features = self.feature_at[start:stop]
        return sorted(set((features[features >= 0] // self.tokens_per_tile).tolist()))

    def key(self, start: int, stop: int) -> bytes:
        """What a block's name must know of pictures: the hashes of the tiles it shows, and which part of them."""
        features = self.feature_at[start:stop]
        shown = features[features >= 0]
        if not len(shown):
            return b""
        offset = int(shown[0]) % self.tokens_per_tile
        return offset.to_bytes(4, "little") + b"".join(self.hashes[tile] for tile in self.seen_in(start, stop))


class Sequence:
    """The state of one continuation. The core changes it; nobody else does."""

    def __init__(
        self, number: int, request: Request, pictures: Pictures, index: int = 0, matcher: Matcher | None = None
    ) -> None:
        self.number, self.request, self.pictures, self.index = number, request, pictures, index
        self.matcher = matcher  # of the answer; None: anything goes
        self.tokens = list(request.ids)
        self.num_prompt = len(self.tokens)
        self.num_computed = self.num_cached = 0
        self.blocks: list[Block] = []
        self.pages = np.empty((2, 0), dtype=np.int64)  # of both kinds, for each block; more than `blocks` may be there
        self.version = next(_VERSIONS)  # another one whenever the blocks change
        self.num_past = 0  # leading blocks whose chunk this sequence has left
        self.num_named = 0  # leading blocks that were offered to the prefix tree
        self.names: list[bytes] = []  # of full blocks, as far as computed
        self.submitted = time.monotonic()
        self.num_thought = self.num_answered = 0  # drawn tokens; forced ones are neither
        self.counts: Counter[int] = Counter()
        self.generator = torch.Generator().manual_seed(hash_seed(request.sampling.seed, index))
        self.is_thinking = request.think is not None

    @property
    def age(self) -> tuple[int, int]:
        """Sorts sequences first come, first served; continuations of one request stay together."""
        return self.number, self.index

    @property
    def num_pending(self) -> int:
        return len(self.tokens) - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """Its prompt is computed; what is pending was drawn, or forced."""
        return self.num_computed >= self.num_prompt

    @property
    def is_fresh(self) -> bool:
        """Nothing has been added to the prompt yet."""
        return len(self.tokens) == self.num_prompt

    @property
    def max_tokens(self) -> int:
        """Tokens this sequence can come to, prompt and forced ids included."""
        think = self.request.think
        num_thought = think.tokens + max(1, len(think.close_ids)) if think else 0
        wanted = self.num_prompt + self.request.max_new_tokens + num_thought
        return wanted if self.request.max_length is None else min(wanted, self.request.max_length)

    def hold(self, blocks: list[Block]) -> None:
        """Let these be all its blocks."""
        self.blocks = []
        for block in blocks:
            self.add_block(block)
        self.version = next(_VERSIONS)

    def add_block(self, block: Block) -> None:
        place = len(self.blocks)
        if place == self.pages.shape[1]:
            self.pages = np.concatenate([self.pages, np.empty((2, place + 8), dtype=np.int64)], axis=1)
        self.blocks.append(block)
        self._set_block(place, block)

    def swap_block(self, place: int, block: Block) -> None:
        self.blocks[place] = block
        self._set_block(place, block)

    def _set_block(self, place: int, block: Block) -> None:
        self.pages[:, place] = block.pages
        self.version = next(_VERSIONS)

    def name_of(self, number: int, block_size: int) -> bytes:
        """The name of full block `number`, computed once."""
        while len(self.names) <= number:
            place = len(self.names)
            start, stop = place * block_size, (place + 1) * block_size
            parent = self.names[-1] if self.names else root_name(self.request.cache_salt)
            self.names.append(block_name(parent, self.tokens[start:stop], self.pictures.key(start, stop)))
        return self.names[number]

    def append(self, token: int) -> None:
        """Add a drawn token, to the thought or to the answer."""
        self.tokens.append(token)
        self.counts[token] += 1
        if self.is_thinking and self.request.think is not None:
            self.num_thought += 1
            self.is_thinking = token != self.request.think.end_id
        else:
            self.num_answered += 1
            if self.matcher is not None and token not in self.request.stop_ids:
                self.matcher.consume(token)

    def close_thought(self) -> tuple[int, ...]:
        """End a thought whose budget is spent; returns the ids that are forced in."""
        self.is_thinking = False
        forced = self.request.think.close_ids if self.request.think else ()
        if self.request.max_length is not None:
            forced = forced[: self.request.max_length - len(self.tokens)]
        self.tokens += forced
        return forced

    @property
    def is_complete(self) -> bool:
        """Its grammar lets nothing follow."""
        return self.matcher is not None and not self.is_thinking and self.matcher.is_complete

    @property
    def is_full(self) -> bool:
        """It has all the tokens that it may have."""
        limit = self.request.max_length
        return self.num_answered >= self.request.max_new_tokens or (limit is not None and len(self.tokens) >= limit)

    def sibling(self, index: int) -> Sequence:
        """A second continuation of what has been computed so far; its blocks are the caller's to share."""
        other = Sequence(self.number, self.request, self.pictures, index, self.matcher and self.matcher.copy())
        other.tokens, other.num_computed = list(self.tokens), self.num_computed
        other.num_cached, other.num_past, other.num_named = self.num_computed, self.num_past, self.num_named
        other.names = list(self.names)
        other.submitted = self.submitted
        return other


def hash_seed(seed: int, index: int) -> int:
    """Dice of their own for every continuation, the same ones every time."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
