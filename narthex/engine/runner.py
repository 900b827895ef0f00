"""One forward pass over what the scheduler chose: flat tokens in, logits of the sequences that are up to date out."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from narthex.engine.decoder import Decoder
from narthex.engine.fixed import FIXED_ROWS
from narthex.engine.memory import KeptRows, KVPages, PagedMemory, Work
from narthex.engine.sequence import Pictures
from narthex.model import Transformer

MAX_KEPT_TILES = 256  # features of recent tiles, so that a picture shown to many agents is looked at once


class Runner:
    """The model and its pages."""

    def __init__(self, model: Transformer, decoder: Decoder, pages: KVPages, *, is_fixed: bool = False) -> None:
        self.model, self.decoder, self.pages = model, decoder, pages
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()  # tile hash -> (tokens a tile, D)
        self._is_fixed = is_fixed
        self._rows: KeptRows = {}  # of the last step

    def take(self, decoder: Decoder) -> None:
        """Go on with another decoder, of the same model with other weights: what is kept of pictures goes, too."""
        self.decoder, self._rows = decoder, {}
        self._features.clear()

    @torch.inference_mode()
    def step(self, works: list[Work]) -> Tensor:
        """Compute the works' pending tokens and keep their keys and values. Works of one token come first.

        Returns logits (R, V) of the works that become up to date, in order; the others have more pending.
        """
        kept, self._rows = self._rows, {}
        if not self._is_fixed:
            return self._pass(works, kept)
        rows = [work for work in works if work.sequence.is_decoding]
        prompts = [work for work in works if not work.sequence.is_decoding]
        passes = [rows[first : first + FIXED_ROWS] for first in range(0, len(rows), FIXED_ROWS)]
        logits = [self._pass(group, kept, num_idle=FIXED_ROWS - len(group)) for group in passes]
        return torch.cat(logits + [self._pass([work], kept) for work in prompts])

    def _pass(self, works: list[Work], kept: KeptRows, *, num_idle: int = 0) -> Tensor:
        ids = [w.sequence.tokens[w.sequence.num_computed : w.sequence.num_computed + w.num_tokens] for w in works]
        ids_BT = torch.tensor([[token for part in ids for token in part] + [0] * num_idle], device=self.pages.device)
        x_ND = self.model.embed(ids_BT)[0]
        start = 0
        for work in works:
            if work.sequence.num_computed < work.sequence.pictures.end:
                self._show(work, x_ND[start : start + work.num_tokens])
            start += work.num_tokens
        memory = PagedMemory(self.pages, works, kept, num_idle=num_idle, is_fixed=self._is_fixed)
        self._rows |= memory.rows
        hidden_RD = self.decoder.run(x_ND, memory)
        if memory.wanted_R is not None:
            return self.decoder.score(hidden_RD)
        is_ready = [work.num_tokens == work.sequence.num_pending for work in works]
        logits_RV = self.decoder.score(hidden_RD)  # a decoding pass: all its rows, idle ones too
        return logits_RV if len(hidden_RD) == sum(is_ready) else logits_RV[: len(works)][is_ready]

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
            size = 1 if self._is_fixed else len(missing)
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
