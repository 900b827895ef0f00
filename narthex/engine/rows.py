"""Decoding rows: one new token each, and what it sees. Worked out once, and kept while the sequences keep their blocks.

    agents of one prompt      shared pages   attended once, one matrix product for all of them
                              own pages      attended each by itself, padded to the longest; merged with the shared part
    a row without company     all its pages  a slice of the cache, where they follow each other

Two parts of one softmax are merged by their log-sum-exp, which is exact up to the last bits.

Legend: D rows of a unit, P pages, S positions seen, H query heads, G key-value heads, h = H / G, K head width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from narthex.engine.sequence import Sequence

FIXED_KEYS = 64  # a step of a few pages of keys costs nothing measurable, and leaves few different lengths
SHARING_PAYS = 256  # positions saved: below, the second call and the merging cost more


class Span:
    """Consecutive positions in some sequence's pages: a slice of the cache where these follow each other."""

    def __init__(self, pages_P: np.ndarray, offset: int, length: int, size: int, device: torch.device) -> None:
        self.length = length
        self._size, self._offset = size, offset
        is_run = len(pages_P) == 1 or bool((np.diff(pages_P) == 1).all())
        self._start = int(pages_P[0]) * size + offset
        self._pages_P = None if is_run else torch.from_numpy(pages_P.copy()).to(device)

    def of(self, cache: Tensor) -> Tensor:
        """Keys and values (1, S, 2 G, K)."""
        if self._pages_P is None:
            stride = cache.stride()  # one call instead of three: there are some hundred calls in a whole step
            return cache.as_strided((1, self.length, *cache.shape[1:]), (0, *stride), self._start * stride[0])
        found = gather(cache, self._pages_P, self._size)
        return found.flatten(0, 1)[None, self._offset : self._offset + self.length]


def gather(cache: Tensor, pages_P: Tensor, size: int) -> Tensor:
    """Whole pages: (P, size, 2 G, K)."""
    return cache.view(-1, size, *cache.shape[1:]).index_select(0, pages_P)


class Attended(NamedTuple):
    """A part of a softmax: its own result (B, H, T, K), and the logarithm of its denominator (B, H, T)."""

    out_BHTK: Tensor
    weight_BHT: Tensor


def attend_part(
    q_BHTK: Tensor, kv_BSGK: Tensor, mask: Tensor | None = None, *, is_causal: bool = False, is_all: bool = False
) -> Attended:
    """Attention over some of the keys; `kv` holds G keys and then G values, the mask is added to the scores.

    With `is_all` nothing is merged with it, and its weight may be empty. Away from a CPU, H must be G and nothing be
    causal.
    """
    k_BGSK, v_BGSK = kv_BSGK.transpose(1, 2).chunk(2, dim=1)
    if q_BHTK.device.type == "cpu":
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return Attended(*flash(q_BHTK, k_BGSK, v_BGSK, is_causal=is_causal, attn_mask=mask))
    if is_all:
        out_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSK, attn_mask=mask)
        return Attended(out_BHTK, q_BHTK.new_empty(0))
    scores = (q_BHTK * q_BHTK.shape[-1] ** -0.5).float() @ k_BGSK.float().transpose(-1, -2)
    scores = scores if mask is None else scores + mask
    weight_BHT = scores.logsumexp(-1)
    return Attended(((scores - weight_BHT[..., None]).exp() @ v_BGSK.float()).to(q_BHTK.dtype), weight_BHT)


def merge(one: Attended, other: Attended) -> Tensor:
    """The softmax over both parts' keys."""
    share_BHT1 = (other.weight_BHT - one.weight_BHT).sigmoid()[..., None]
    return torch.lerp(one.out_BHTK, other.out_BHTK, share_BHT1.to(one.out_BHTK.dtype))


class _Row(NamedTuple):
    """What one row sees: `length` positions from `offset` on in its pages."""

    pages_P: np.ndarray
    offset: int
    length: int


class _CacheFacts(NamedTuple):
    block_size: int
    device: torch.device
    dtype: torch.dtype


class _Unit:
    """Rows that are attended in one call, two where they share a prefix."""

    def __init__(
        self, rows: dict[int, _Row], num_pages: int, cache: _CacheFacts, shared: Span | None = None
    ) -> None:
        """`rows` by their number in the step, each padded to `num_pages` with pages of its own; 0: a lone row."""
        self._size, self._shared = cache.block_size, shared
        self.numbers_D = torch.tensor(list(rows), device=cache.device)
        self._lone = None if num_pages else Span(*next(iter(rows.values())), cache.block_size, cache.device)
        if self._lone is not None:
            return
        total = num_pages * cache.block_size
        pages_DP = np.empty((len(rows), num_pages), dtype=np.int64)
        mask_DS = np.full((len(rows), total), -np.inf, dtype=np.float32)
        for place, (pages_P, offset, length) in enumerate(rows.values()):
            pages_DP[place, : len(pages_P)], pages_DP[place, len(pages_P) :] = pages_P, pages_P[0]
            mask_DS[place, offset : offset + length] = 0.0
        self._pages_Q = torch.from_numpy(pages_DP.reshape(-1)).to(cache.device)
        self._mask_D11S = torch.from_numpy(mask_DS).to(cache.device, cache.dtype)[:, None, None]
        ends = [place * total + row.offset + row.length for place, row in enumerate(rows.values())]
        self._ends_D = torch.tensor(ends, device=cache.device)

    def advance(self) -> None:
        """Each row sees one position more."""
        if self._lone is not None:
            self._lone.length += 1
            return
        self._mask_D11S.view(-1).index_fill_(0, self._ends_D, 0.0)
        self._ends_D += 1

    def attend(self, q_DGhK: Tensor, cache: Tensor) -> Tensor:
        """(D, G, h, K) -> (D, G, h, K)."""
        is_all = self._shared is None
        if self._lone is not None:
            own = attend_part(q_DGhK, self._lone.of(cache), is_all=is_all)
        else:
            found = gather(cache, self._pages_Q, self._size)
            found = found.view(len(q_DGhK), -1, *cache.shape[1:])
            own = attend_part(q_DGhK, found, self._mask_D11S, is_all=is_all)
        if self._shared is None:
            return own.out_BHTK
        q_1GTK = q_DGhK.transpose(0, 1).flatten(1, 2)[None]
        out_1GTK, weight_1GT = attend_part(q_1GTK, self._shared.of(cache))
        by_row = (len(q_DGhK), -1)
        out_DGhK = out_1GTK[0].unflatten(1, by_row).transpose(0, 1)
        return merge(own, Attended(out_DGhK, weight_1GT[0].unflatten(1, by_row).transpose(0, 1)))


class Rows:
    """Rows at these positions of their sequences in one kind of layer; `advance` makes them those of the next step.

    With `is_fixed`, what is attended together does not depend on who else is there: the keys of a row are padded to a
    multiple of FIXED_KEYS, and rows of equal length are taken together, since PyTorch's kernel gives each of them the
    same bits whatever their number. Nothing is shared then.
    """

    def __init__(
        self,
        sequences: list[Sequence],
        positions: list[int],
        kind: int,
        chunk: int | None,
        cache: Tensor,
        block_size: int,
        *,
        is_fixed: bool,
    ) -> None:
        self._facts = _CacheFacts(block_size, cache.device, cache.dtype)
        self._versions = [sequence.version for sequence in sequences]
        self._positions = positions
        rows = [
            _row_of(sequence.pages[kind], position, chunk, block_size)
            for sequence, position in zip(sequences, positions, strict=True)
        ]
        slots = [
            int(row.pages_P[-1]) * block_size + position % block_size
            for row, position in zip(rows, self._positions, strict=True)
        ]
        self.slots_D = torch.tensor(slots, device=cache.device)
        # No block ends, no chunk begins and no padding grows for so many steps.
        borders = [block_size, *([chunk] if chunk else []), *([FIXED_KEYS] if is_fixed else [])]
        starts = [row.length - 1 + row.offset for row in rows]
        self._num_left = min(
            border - 1 - place % border
            for places in (self._positions, starts if is_fixed else [])
            for place in places
            for border in borders
        )
        self._units = list(_fixed_units(rows, self._facts) if is_fixed else _units(rows, self._facts))

    def can_serve(self, sequences: list[Sequence]) -> bool:
        """Whether these rows, advanced, are what the sequences need now."""
        return (
            self._num_left > 0
            and [sequence.version for sequence in sequences] == self._versions
            and all(s.num_computed == p + 1 for s, p in zip(sequences, self._positions, strict=True))
        )

    def advance(self) -> None:
        """One token on."""
        self._num_left -= 1
        self._positions = [position + 1 for position in self._positions]
        self.slots_D += 1
        for unit in self._units:
            unit.advance()

    def attend(self, q_DHK: Tensor, cache: Tensor) -> Tensor:
        """Softmax attention of every row over what it sees: (D, H, K) -> (D, H * K)."""
        q_DGhK = q_DHK.view(len(q_DHK), cache.shape[1] // 2, -1, q_DHK.shape[-1])
        if len(self._units) == 1:  # numbers are in order within a unit
            return self._units[0].attend(q_DGhK, cache).flatten(1)
        out_DGhK = torch.empty_like(q_DGhK, memory_format=torch.contiguous_format)
        for unit in self._units:
            own_DGhK = unit.attend(q_DGhK.index_select(0, unit.numbers_D), cache)
            out_DGhK.index_copy_(0, unit.numbers_D, own_DGhK)
        return out_DGhK.flatten(1)


def _row_of(pages_P: np.ndarray, position: int, chunk: int | None, size: int) -> _Row:
    first = 0 if chunk is None else position // chunk * chunk
    return _Row(pages_P[first // size : position // size + 1], first % size, position + 1 - first)


def _fixed_units(rows: list[_Row], cache: _CacheFacts) -> Iterable[_Unit]:
    of_length: dict[int, dict[int, _Row]] = {}
    for number, row in enumerate(rows):
        padded = -(-(row.offset + row.length) // FIXED_KEYS) * FIXED_KEYS
        of_length.setdefault(-(-padded // cache.block_size), {})[number] = row
    for num_pages, group in of_length.items():
        yield _Unit(group, num_pages, cache)


def _units(rows: list[_Row], cache: _CacheFacts) -> Iterable[_Unit]:
    """Rows that begin with the same page are a family; those of about the same length are attended together."""
    families: dict[tuple[int, int], dict[int, _Row]] = {}
    for number, row in enumerate(rows):
        families.setdefault((int(row.pages_P[0]), row.offset), {})[number] = row
    loners: dict[int, _Row] = {}
    for (_, offset), family in families.items():
        num_shared = _num_shared([row.pages_P for row in family.values()])
        length = num_shared * cache.block_size - offset
        if length * (len(family) - 1) < SHARING_PAYS:
            loners |= family
            continue
        pages_P = next(iter(family.values())).pages_P[:num_shared]
        shared = Span(pages_P, offset, length, cache.block_size, cache.device)
        tails = {number: _Row(row.pages_P[num_shared:], 0, row.length - length) for number, row in family.items()}
        for batch in _batches(tails):
            yield _unit(batch, cache, shared)
    for batch in _batches(loners):
        yield _unit(batch, cache)


def _num_shared(tables: list[np.ndarray]) -> int:
    """Leading pages that all hold; never the last one of any, which is being written."""
    shortest = min(map(len, tables)) - 1
    if len(tables) == 1 or shortest <= 0:
        return 0
    same_P = (np.stack([table[:shortest] for table in tables]) == tables[0][:shortest]).all(0)
    return shortest if same_P.all() else int(same_P.argmin())


def _batches(rows: dict[int, _Row]) -> Iterable[dict[int, _Row]]:
    """Rows to be attended together: none is padded to more than about twice its length."""
    batch: dict[int, _Row] = {}
    shortest = 0
    for number, row in sorted(rows.items(), key=lambda item: len(item[1].pages_P)):
        if batch and len(row.pages_P) > 2 * shortest + 4:
            yield dict(sorted(batch.items()))
            batch = {}
        shortest = shortest if batch else len(row.pages_P)
        batch[number] = row
    if batch:
        yield dict(sorted(batch.items()))


def _unit(rows: dict[int, _Row], cache: _CacheFacts, shared: Span | None = None) -> _Unit:
    num_pages = max(len(row.pages_P) for row in rows.values()) if len(rows) > 1 else 0
    return _Unit(rows, num_pages, cache, shared)
