"""Keys and values in pages: many sequences in one flat pass.

The step's new tokens stand one after another:

    | row 0 | row 1 | … | row D-1 |  segment 0 …  |  segment 1 …  | idle |
      one token each: decoding       several tokens each: prompts in chunks, forced ids

Legend: N new tokens of the step, D rows, T tokens of a segment, S positions seen, H query heads, G key-value heads, K
head width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from narthex.engine.pages import CHUNKED, GLOBAL
from narthex.engine.rows import Rows, Span, attend_part, merge
from narthex.engine.sequence import Sequence
from narthex.model.attention import softmax_attention, visible
from narthex.model.config import TextConfig


class Work(NamedTuple):
    """A sequence's share of one step: its next pending tokens, this many."""

    sequence: Sequence
    num_tokens: int


class KVPages:
    """The tensors behind a pool: for every layer (pages * block_size, 2 G, K), a row for every position of every page.

    A row holds the keys of all heads and then the values: they are written, copied and gathered together.
    """

    def __init__(
        self, config: TextConfig, num_pages: tuple[int, int], block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.block_size, self.device, self.num_heads = block_size, device, config.num_attention_heads
        self.kind_of = [CHUNKED if config.chunk_of(layer) else GLOBAL for layer in range(config.num_hidden_layers)]
        self.chunks = (None, config.attention_chunk_size)
        shape = (2 * config.num_key_value_heads, config.head_dim)
        self.rows = [
            torch.zeros(num_pages[kind] * block_size, *shape, dtype=dtype, device=device) for kind in self.kind_of
        ]

    @property
    def num_bytes(self) -> int:
        return sum(rows.numel() * rows.element_size() for rows in self.rows)

    def copy_page(self, kind: int, source: int, target: int) -> None:
        """Copy one page in every layer of a kind."""
        size = self.block_size
        for rows in self._layers(kind):
            rows[target * size : (target + 1) * size] = rows[source * size : (source + 1) * size]

    def clear_page(self, kind: int, page: int) -> None:
        """Zeros in every layer of a kind: what is padded with has weight 0, but 0 times another's NaN would be NaN."""
        for rows in self._layers(kind):
            rows[page * self.block_size : (page + 1) * self.block_size].zero_()

    def _layers(self, kind: int) -> list[Tensor]:
        return [rows for rows, layer_kind in zip(self.rows, self.kind_of, strict=True) if layer_kind == kind]


class _Segment(NamedTuple):
    """Several new tokens of one sequence: start..stop among the step's."""

    start: int
    stop: int
    seen: Span | None  # what came before; with a mask, the new tokens too
    mask_TS: Tensor | None


class _View(NamedTuple):
    """Where one kind of layer finds things this step."""

    slots_N: Tensor  # rows in which the new tokens are written
    rows: Rows | None
    segments: list[_Segment]


KeptRows = dict[tuple[int, int], Rows]  # by kind, and the version of the first row's blocks


class PagedMemory:
    """What one step attends to. Valid for one forward pass over exactly the tokens of `works`, in that order.

    Works of one token stand before those of several. After them the pass may hold up to `num_idle` tokens that belong
    to nobody: they see nothing and are not kept. `kept` holds the rows of the last step, to go on from.

    wanted_R are the places of the tokens whose results are wanted after the last layer: the last ones of works that
    become up to date. None: those of all tokens.
    """

    def __init__(
        self, pages: KVPages, works: list[Work], kept: KeptRows, *, num_idle: int = 0, is_fixed: bool = False
    ) -> None:
        self._pages, self._works, self._is_fixed = pages, works, is_fixed
        self._num_rows = sum(work.num_tokens == 1 for work in works)
        positions = [position for w in works for position in range(w.sequence.num_computed, _stop(w))]
        self.last_position = max(positions)
        self.positions_N = torch.tensor(positions + [0] * num_idle, device=pages.device)
        self._num_idle, self._num_new = num_idle, len(positions)
        self.rows: KeptRows = {}
        self._views = {kind: self._view(kind, kept) for kind in sorted(set(pages.kind_of))}
        self.wanted_R: Tensor | None = None
        self._wanted_rows: Rows | None = None  # they see what decoding rows at these places would
        if self._num_rows < len(works):
            self._want()

    def attend(self, layer: int, qkv_NHK: Tensor) -> Tensor:
        """Keep the new keys and values, and attend: H query heads, G keys, G values -> (N, H * K)."""
        view, num_heads = self._views[self._pages.kind_of[layer]], self._pages.num_heads
        cache, q_NHK = self._keep(layer, qkv_NHK), qkv_NHK.narrow(1, 0, num_heads)
        if view.rows is not None and self._num_rows == len(q_NHK):
            return view.rows.attend(q_NHK, cache)
        out_NHK = torch.zeros_like(q_NHK, memory_format=torch.contiguous_format)
        if view.rows is not None:
            out_NHK.flatten(1)[: self._num_rows] = view.rows.attend(q_NHK[: self._num_rows], cache)
        new_NGK = qkv_NHK.narrow(1, num_heads, cache.shape[1])
        for segment in view.segments:
            part = slice(segment.start, segment.stop)
            out_1HTK = self._attend_segment(segment, q_NHK[None, part].transpose(1, 2), new_NGK[None, part], cache)
            out_NHK[part] = out_1HTK[0].transpose(0, 1)
        return out_NHK.flatten(1)

    def _keep(self, layer: int, qkv_NHK: Tensor) -> Tensor:
        """Write the new keys and values into the layer's cache, and return that."""
        pages, num_new = self._pages, self._num_new
        slots_N, cache = self._views[pages.kind_of[layer]].slots_N, pages.rows[layer]
        new_NGK = qkv_NHK.narrow(1, pages.num_heads, cache.shape[1])
        return cache.index_copy_(0, slots_N, new_NGK if num_new == len(new_NGK) else new_NGK[:num_new])

    def attend_wanted(self, layer: int, qkv_NHK: Tensor) -> Tensor:
        """In the last layer: keep all new keys and values, and attend for who is wanted -> (R, H * K)."""
        if self.wanted_R is None:
            return self.attend(layer, qkv_NHK)
        cache = self._keep(layer, qkv_NHK)
        q_RHK = qkv_NHK.narrow(1, 0, self._pages.num_heads).index_select(0, self.wanted_R)
        return q_RHK.flatten(1) if self._wanted_rows is None else self._wanted_rows.attend(q_RHK, cache)

    def _want(self) -> None:
        ends = np.cumsum([work.num_tokens for work in self._works]) - 1
        is_ready = [work.num_tokens == work.sequence.num_pending for work in self._works]
        self.wanted_R = torch.from_numpy(ends[is_ready]).to(self._pages.device)
        ready = [work for work, is_up_to_date in zip(self._works, is_ready, strict=True) if is_up_to_date]
        if ready:
            kind = self._pages.kind_of[-1]
            self._wanted_rows = self._rows_at(kind, [w.sequence for w in ready], [_stop(w) - 1 for w in ready])

    def _attend_segment(self, segment: _Segment, q_1HTK: Tensor, new_1TGK: Tensor, cache: Tensor) -> Tensor:
        """(1, H, T, K) -> the same. Past and new tokens are two parts of one softmax: neither needs a mask."""
        if segment.mask_TS is None:
            own = attend_part(q_1HTK, new_1TGK, is_causal=True)
            return own.out_BHTK if segment.seen is None else merge(own, attend_part(q_1HTK, segment.seen.of(cache)))
        assert segment.seen is not None
        k_1GSK, v_1GSK = segment.seen.of(cache).transpose(1, 2).chunk(2, dim=1)
        return softmax_attention(q_1HTK, k_1GSK, v_1GSK, mask=segment.mask_TS, causal=False)

    def _view(self, kind: int, kept: KeptRows) -> _View:
        rows = self._kept_rows(kind, kept) if self._num_rows else None
        slots, segments, start = [rows.slots_D] if rows else [], [], self._num_rows
        chunk, size, device = self._pages.chunks[kind], self._pages.block_size, self._pages.device
        for work in self._works[self._num_rows :]:
            sequence, stop = work.sequence, _stop(work)
            # Every new token of one work lies in one chunk or later; what the first of them sees, begins its chunk.
            first = 0 if chunk is None else sequence.num_computed // chunk * chunk
            pages_P, offset = sequence.pages[kind, first // size : -(-stop // size)], first % size
            mask = self._mask(sequence.num_computed, stop, first, chunk)
            length = (stop if mask is not None else sequence.num_computed) - first
            last = -(-(offset + length) // size)
            seen = Span(pages_P[:last], offset, length, size, device) if length else None
            segments.append(_Segment(start, start + work.num_tokens, seen, mask))
            new = np.arange(sequence.num_computed - first, stop - first) + offset
            slots.append(torch.from_numpy(pages_P[new // size] * size + new % size).to(device))
            start += work.num_tokens
        return _View(torch.cat(slots) if len(slots) > 1 else slots[0], rows, segments)

    def _kept_rows(self, kind: int, kept: KeptRows) -> Rows:
        sequences = [work.sequence for work in self._works[: self._num_rows]]
        key = kind, sequences[0].version
        rows = kept.get(key)
        if rows is not None and rows.can_serve(sequences):
            rows.advance()
        else:
            rows = self._rows_at(kind, sequences, [sequence.num_computed for sequence in sequences])
        self.rows[key] = rows
        return rows

    def _rows_at(self, kind: int, sequences: list[Sequence], positions: list[int]) -> Rows:
        pages = self._pages
        cache = pages.rows[pages.kind_of.index(kind)]
        return Rows(sequences, positions, kind, pages.chunks[kind], cache, pages.block_size, is_fixed=self._is_fixed)

    def _mask(self, start: int, stop: int, first: int, chunk: int | None) -> Tensor | None:
        """Which of first..stop the new tokens see; None where that is all of the past, and of themselves in order."""
        device = self._pages.device
        if device.type == "cpu" and (chunk is None or stop - first <= chunk):
            return None
        return visible(torch.arange(start, stop, device=device), torch.arange(first, stop, device=device), chunk)


def _stop(work: Work) -> int:
    return work.sequence.num_computed + work.num_tokens
