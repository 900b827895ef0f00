"""Keys and values in pages, behind the model's `Memory` protocol: many sequences in one flat pass.

The step's new tokens stand one after another in a batch of one:

    | row 0 | row 1 | … | row D-1 |  segment 0 …  |  segment 1 …  |
      one token each: decoding       several tokens each: prompts in chunks, forced ids

Legend: N new tokens of the step, D rows, S positions seen, H query heads, G key-value heads, K head width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from narthex.engine.pages import CHUNKED, GLOBAL
from narthex.engine.sequence import Sequence
from narthex.model.attention import softmax_attention, visible
from narthex.model.config import TextConfig

FIXED_KEYS = 64  # a step of one page of keys costs nothing measurable, and leaves few different lengths


class Work(NamedTuple):
    """A sequence's share of one step: its next pending tokens, this many."""

    sequence: Sequence
    num_tokens: int


class KVPages:
    """The tensors behind a pool: keys and values of every layer, a row for every position of every page."""

    def __init__(
        self, config: TextConfig, num_pages: tuple[int, int], block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.block_size = block_size
        self.kind_of = [CHUNKED if config.chunk_of(layer) else GLOBAL for layer in range(config.num_hidden_layers)]
        shape = (config.num_key_value_heads, config.head_dim)
        self.keys = [self._rows(num_pages[kind], shape, dtype, device) for kind in self.kind_of]
        self.values = [self._rows(num_pages[kind], shape, dtype, device) for kind in self.kind_of]

    def _rows(self, pages: int, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.zeros(pages * self.block_size, *shape, dtype=dtype, device=device)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in [*self.keys, *self.values])

    def copy_page(self, kind: int, source: int, target: int) -> None:
        """Copy one page in every layer of a kind."""
        size = self.block_size
        for layer, layer_kind in enumerate(self.kind_of):
            if layer_kind == kind:
                for rows in (self.keys[layer], self.values[layer]):
                    rows[target * size : (target + 1) * size] = rows[source * size : (source + 1) * size]


class _Rows(NamedTuple):
    """Decoding sequences that are attended together."""

    numbers_D: Tensor  # where they stand among the step's tokens
    seen_DS: Tensor  # rows that each of them sees; shorter ones are padded with a row of their own
    mask_DS: Tensor  # which of these are real


class _Segment(NamedTuple):
    """Several new tokens of one sequence: start..stop among the step's."""

    start: int
    stop: int
    seen_S: Tensor
    mask_TS: Tensor | None  # None: causal


class _View(NamedTuple):
    """Where one kind of layer finds things this step."""

    new_N: Tensor  # rows in which the new tokens are written
    rows: list[_Rows]
    segments: list[_Segment]


class PagedMemory:
    """What one step attends to. Valid for one forward pass over exactly the tokens of `works`, in that order.

    Works of one token stand before those of several. After them the pass may hold up to `num_idle` tokens that belong
    to nobody: they see nothing and are not kept. With `is_fixed`, what is attended together does not depend on who
    else is there: the keys of a decoding row are padded to a multiple of FIXED_KEYS, and rows of equal length are
    taken together, since PyTorch's kernel gives each of them the same bits whatever their number.
    """

    def __init__(
        self,
        pages: KVPages,
        works: list[Work],
        chunk: int | None,
        device: torch.device,
        *,
        num_idle: int = 0,
        is_fixed: bool = False,
    ) -> None:
        self._pages, self._chunk, self._device = pages, chunk, device
        self._works, self._is_fixed = works, is_fixed
        positions = [np.arange(w.sequence.num_computed, w.sequence.num_computed + w.num_tokens) for w in works]
        positions.append(np.zeros(num_idle, dtype=np.int64))
        self.positions_BT = torch.from_numpy(np.concatenate(positions)).to(device)[None]
        self._num_rows = sum(work.num_tokens == 1 for work in works)
        self._views = {kind: self._view(kind) for kind in sorted(set(pages.kind_of))}

    def attend(self, layer: int, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, chunk: int | None) -> Tensor:
        view = self._views[self._pages.kind_of[layer]]
        keys, values = self._pages.keys[layer], self._pages.values[layer]
        num_new = len(view.new_N)
        keys[view.new_N], values[view.new_N] = k_BTGK[0, :num_new].to(keys.dtype), v_BTGK[0, :num_new].to(values.dtype)
        out_BTHK = torch.zeros_like(q_BTHK)
        for numbers_D, seen_DS, mask_DS in view.rows:
            q_DH1K = q_BTHK[0, numbers_D, :, None]
            k_DGSK, v_DGSK = keys[seen_DS].transpose(1, 2), values[seen_DS].transpose(1, 2)
            mask = mask_DS[:, None, None]
            out_BTHK[0, numbers_D] = softmax_attention(q_DH1K, k_DGSK, v_DGSK, mask=mask, causal=False)[:, :, 0]
        for start, stop, seen_S, mask_TS in view.segments:
            q = q_BTHK[:, start:stop].transpose(1, 2)
            k, v = keys[seen_S].transpose(0, 1)[None], values[seen_S].transpose(0, 1)[None]
            out = softmax_attention(q, k, v, mask=mask_TS, causal=mask_TS is None)
            out_BTHK[0, start:stop] = out[0].transpose(0, 1)
        return out_BTHK

    def _view(self, kind: int) -> _View:
        chunk = self._chunk if kind == CHUNKED else None
        size = self._pages.block_size
        tables, firsts, new = [], [], []
        for sequence, count in self._works:
            stop = sequence.num_computed + count
            # Every new token of one work lies in one chunk or later; what the first of them sees, begins its chunk.
            first = 0 if chunk is None else sequence.num_computed // chunk * chunk
            pages = np.array([block.pages[kind] for block in sequence.blocks[first // size : -(-stop // size)]])
            rows = (pages[:, None] * size + np.arange(size)).reshape(-1)
            offset = first - first // size * size
            tables.append(rows[offset : offset + stop - first])
            firsts.append(first)
            new.append(tables[-1][sequence.num_computed - first :])
        segments, start = [], self._num_rows
        for number in range(self._num_rows, len(self._works)):
            sequence, count = self._works[number]
            mask = self._mask(sequence, count, firsts[number], chunk)
            segments.append(_Segment(start, start + count, self._tensor(tables[number]), mask))
            start += count
        return _View(self._tensor(np.concatenate(new)), self._rows(tables[: self._num_rows]), segments)

    def _rows(self, tables: list[np.ndarray]) -> list[_Rows]:
        """Decoding rows: all together, or those of equal padded length where the shapes are fixed."""
        if not tables:
            return []
        if not self._is_fixed:
            return [self._pad(list(range(len(tables))), tables, max(map(len, tables)))]
        of_length: dict[int, list[int]] = {}
        for number, table in enumerate(tables):
            of_length.setdefault(-(-len(table) // FIXED_KEYS) * FIXED_KEYS, []).append(number)
        return [self._pad(numbers, tables, length) for length, numbers in of_length.items()]

    def _pad(self, numbers: list[int], tables: list[np.ndarray], length: int) -> _Rows:
        seen = np.empty((len(numbers), length), dtype=np.int64)
        mask = np.zeros((len(numbers), length), dtype=bool)
        for row, number in enumerate(numbers):
            table = tables[number]
            # Padded with a row of its own: a weight of 0 times another's NaN would still be NaN.
            seen[row, : len(table)], seen[row, len(table) :], mask[row, : len(table)] = table, table[0], True
        return _Rows(self._tensor(np.array(numbers)), self._tensor(seen), self._tensor(mask))

    def _mask(self, sequence: Sequence, count: int, first: int, chunk: int | None) -> Tensor | None:
        """None where plain causal order over the same keys says it all."""
        stop = sequence.num_computed + count
        if first == sequence.num_computed and (chunk is None or stop - first <= chunk):
            return None
        queries = torch.arange(sequence.num_computed, stop, device=self._device)
        return visible(queries, torch.arange(first, stop, device=self._device), chunk)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
