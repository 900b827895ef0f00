"""One forward pass over what the scheduler chose: flat tokens in, logits of the sequences that are up to date out."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from narthex.engine.fixed import FIXED_ROWS, ExpertPadding
from narthex.engine.memory import KVPages, PagedMemory, Work
from narthex.engine.sequence import Pictures
from narthex.model import Transformer

MAX_KEPT_TILES = 256  # features of recent tiles, so that a picture shown to many agents is looked at once


class Runner:
    """The model and its pages."""

    def __init__(self, model: Transformer, pages: KVPages, *, is_fixed: bool = False) -> None:
        self.model, self.pages = model, pages
        self.chunk = model.config.text.attention_chunk_size
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()  # tile hash -> (tokens a tile, D)
        self._padding = ExpertPadding(model) if is_fixed else None

    @torch.inference_mode()
    def step(self, works: list[Work]) -> Tensor:
        """Compute the works' pending tokens and keep their keys and values. Works of one token come first.

        Returns logits (R, V) of the works that become up to date, in order; the others have more pending.
        """
        if self._padding is None:
            return self._pass(works)
        rows = [work for work in works if work.sequence.is_decoding]
        prompts = [work for work in works if not work.sequence.is_decoding]
        passes = [rows[first : first + FIXED_ROWS] for first in range(0, len(rows), FIXED_ROWS)]
        logits = [self._fixed_pass(group, self._padding) for group in passes]
        return torch.cat(logits + [self._pass([work], is_fixed=True) for work in prompts])

    def _fixed_pass(self, works: list[Work], padding: ExpertPadding) -> Tensor:
        padding.is_on = True
        try:
            return self._pass(works, num_idle=FIXED_ROWS - len(works), is_fixed=True)
        finally:
            padding.is_on = False

    def _pass(self, works: list[Work], *, num_idle: int = 0, is_fixed: bool = False) -> Tensor:
        device = self.model.device
        ids = [w.sequence.tokens[w.sequence.num_computed : w.sequence.num_computed + w.num_tokens] for w in works]
        ids_BT = torch.tensor([[token for part in ids for token in part] + [0] * num_idle], device=device)
        x_BTD = self.model.embed(ids_BT)
        start = 0
        for work in works:
            self._show(work, x_BTD[0, start : start + work.num_tokens])
            start += work.num_tokens
        memory = PagedMemory(self.pages, works, self.chunk, device, num_idle=num_idle, is_fixed=is_fixed)
        hidden_BTD, _ = self.model.decode(x_BTD, memory)
        ends = np.cumsum([work.num_tokens for work in works]) - 1
        is_ready = [work.num_tokens == work.sequence.num_pending for work in works]
        if num_idle or (is_fixed and len(works) > 1):  # a decoding pass: score all its rows, as many as ever
            return self.model.score(hidden_BTD[0])[ends[is_ready]]
        return self.model.score(hidden_BTD[0, ends[is_ready]])

    def _show(self, work: Work, x_ND: Tensor) -> None:
        """Put the features of the pictures seen in this stretch where they belong."""
        pictures, first = work.sequence.pictures, work.sequence.num_computed
        places = pictures.feature_at[first : first + work.num_tokens]
        rows = np.flatnonzero(places >= 0)
        if not len(rows):
            return
        tiles = pictures.seen_in(first, first + work.num_tokens)
        features = self._encode(pictures, tiles)
        of_tile = {tile: number for number, tile in enumerate(tiles)}
        tile, inside = np.divmod(places[rows], pictures.tokens_per_tile)
        numbers = torch.tensor([of_tile[int(t)] for t in tile], device=x_ND.device)
        x_ND[torch.from_numpy(rows).to(x_ND.device)] = features[numbers, torch.from_numpy(inside).to(x_ND.device)]

    def _encode(self, pictures: Pictures, tiles: list[int]) -> Tensor:
        """Features (tiles, L, D), computed for those not seen lately."""
        missing = [tile for tile in dict.fromkeys(tiles) if pictures.hashes[tile] not in self._features]
        if missing:
            size = len(missing) if self._padding is None else 1
            for first in range(0, len(missing), size):
                part = missing[first : first + size]
                pixels = torch.from_numpy(pictures.tiles[part]).to(self.model.device, self.model.dtype)
                for tile, features in zip(part, self.model.see(pixels)[0], strict=True):
                    self._features[pictures.hashes[tile]] = features
        for tile in tiles:
            self._features.move_to_end(pictures.hashes[tile])
        chosen = torch.stack([self._features[pictures.hashes[tile]] for tile in tiles])
        while len(self._features) > MAX_KEPT_TILES:
            self._features.popitem(last=False)
        return chosen
