"""Decoding rows: one new token each, and what it sees. Worked out once, and kept while the same sequences go on.

    agents of one prompt      shared pages   attended once, one matrix product for all of them
                              own pages      attended each by itself, merged with the shared part
    rows without relatives    all pages      gathered side by side, padded to the longest
    a row without company     all pages      a slice of the cache, where they follow each other

What was gathered stays, and grows by a position a step. Two parts of one softmax are merged by their log-sum-exp,
which is exact up to the last bits.

Legend: D rows of a unit, P pages, S positions seen, H query heads, G key-value heads, h = H / G, K head width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from narthex.engine.sequence import Sequence

FIXED_KEYS = 64  # a step of a few pages of keys costs nothing measurable, and leaves few different lengths
SHARING_PAYS = 256  # positions saved: below, the second call and the merging cost more
GROWTH = 64  # positions that gathered rows can grow by; then they are gathered anew
MAX_GATHERED_BYTES = 2**28  # of rows that are attended together; more are gathered in every step and not kept


class Span:
    """Consecutive positions in some sequence's pages: a slice of the cache where these follow each other."""

    def __init__(self, pages_P: np.ndarray, offset: int, length: int, size: int, device: torch.device) -> None:
        self.length = length
        self._size, self._offset = size, offset
        self._start = int(pages_P[0]) * size + offset
        self._pages_P = None if is_run(pages_P) else torch.from_numpy(pages_P.copy()).to(device)

    def of(self, cache: Tensor) -> Tensor:
        """Keys and values (1, S, 2 G, K)."""
        if self._pages_P is None:
            stride = cache.stride()  # one call instead of three: there are some hundred calls in a whole step
            return cache.as_strided((1, self.length, *cache.shape[1:]), (0, *stride), self._start * stride[0])
        found = gather(cache, self._pages_P, self._size)
        return found.flatten(0, 1)[None, self._offset : self._offset + self.length]


def is_run(pages_P: np.ndarray) -> bool:
    """Whether each page follows the one before it."""
    return len(pages_P) == 1 or bool((np.diff(pages_P) == 1).all())


def gather(cache: Tensor, pages_P: Tensor, size: int) -> Tensor:
    """Whole pages: (P, size, 2 G, K)."""
    return cache.view(-1, size, *cache.shape[1:]).index_select(0, pages_P)


class Attended(NamedTuple):
    """A part of a softmax: its own result (B, H, T, K), and the logarithm of its denominator (B, H, T)."""

    out_BHTK: Tensor
    weight_BHT: Tensor


def attend_part(
    q_BHTK: Tensor, kv_BSGK: Tensor, mask: Tensor | None = None, *, is_causal: bool = False
) -> Attended:
    """Attention over some of the keys; `kv` holds G keys and then G values, the mask is added to the scores.

    Away from a CPU, H must be G and nothing be causal.
    """
    k_BGSK, v_BGSK = kv_BSGK.transpose(1, 2).chunk(2, dim=1)
    if q_BHTK.device.type == "cpu":
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return Attended(*flash(q_BHTK, k_BGSK, v_BGSK, is_causal=is_causal, attn_mask=mask))
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


class CacheFacts(NamedTuple):
    """Of one kind of layer: its number, the chunk its layers see, and the bytes of a position in all of them."""

    kind: int
    chunk: int | None
    block_size: int
    position_bytes: int
    device: torch.device
    dtype: torch.dtype


class _Unit(ABC):
    """Rows that are attended in one call, two where they share a prefix."""

    def __init__(self, rows: dict[int, _Row], cache: CacheFacts, shared: Span | None) -> None:
        """`rows` are what each one sees beside `shared`, by their number in the step."""
        self._cache, self._shared, self._numbers = cache, shared, list(rows)
        self.numbers_D = torch.tensor(self._numbers, device=cache.device)

    @abstractmethod
    def can_advance(self, sequences: list[Sequence]) -> bool:
        """Whether the next position of each of the step's sequences is within what was prepared."""

    @abstractmethod
    def advance(self) -> None:
        """Each row sees one position more."""

    @abstractmethod
    def own(self, layer: int, q_DGhK: Tensor, new_DGK: Tensor, cache: Tensor) -> Attended:
        """Each row's own part."""

    def attend(self, layer: int, q_DGhK: Tensor, new_DGK: Tensor, cache: Tensor) -> Tensor:
        """(D, G, h, K) -> (D, G, h, K); the cache holds the new keys and values already."""
        own = self.own(layer, q_DGhK, new_DGK, cache)
        if self._shared is None:
            return own.out_BHTK
        q_1GTK = q_DGhK.transpose(0, 1).flatten(1, 2)[None]
        out_1GTK, weight_1GT = attend_part(q_1GTK, self._shared.of(cache))
        by_row = (len(q_DGhK), -1)
        out_DGhK = out_1GTK[0].unflatten(1, by_row).transpose(0, 1)
        return merge(own, Attended(out_DGhK, weight_1GT[0].unflatten(1, by_row).transpose(0, 1)))


class _Lone(_Unit):
    """One row whose pages follow each other."""

    def __init__(self, rows: dict[int, _Row], cache: CacheFacts, shared: Span | None) -> None:
        super().__init__(rows, cache, shared)
        (row,) = rows.values()
        self._span = Span(*row, cache.block_size, cache.device)

    def can_advance(self, sequences: list[Sequence]) -> bool:
        sequence = sequences[self._numbers[0]]
        place, within = divmod(sequence.num_computed, self._cache.block_size)
        before, now = sequence.pages[self._cache.kind, place - 1 : place + 1] if within == 0 else (0, 1)
        return bool(now == before + 1)

    def advance(self) -> None:
        self._span.length += 1

    def own(self, layer: int, q_DGhK: Tensor, new_DGK: Tensor, cache: Tensor) -> Attended:
        return attend_part(q_DGhK, self._span.of(cache))


class _Gathered(_Unit):
    """Rows side by side, each padded with pages of its own."""

    def __init__(
        self, rows: dict[int, _Row], num_pages: int, room: int, cache: CacheFacts, shared: Span | None = None
    ) -> None:
        """Each row has `num_pages`, and can grow by `room` positions."""
        super().__init__(rows, cache, shared)
        self._num_padded = num_pages * cache.block_size
        num_kept = self._num_padded + room
        self._is_kept = len(rows) * num_kept * cache.position_bytes <= MAX_GATHERED_BYTES
        self._num_kept = num_kept if self._is_kept else self._num_padded
        self._kept: dict[int, Tensor] = {}  # layer -> (D, S, 2 G, K)
        pages_DP = np.empty((len(rows), num_pages), dtype=np.int64)
        mask_DS = np.full((len(rows), self._num_kept), -np.inf, dtype=np.float32)
        for place, (pages_P, offset, length) in enumerate(rows.values()):
            pages_DP[place, : len(pages_P)], pages_DP[place, len(pages_P) :] = pages_P, pages_P[0]
            mask_DS[place, offset : offset + length] = 0.0
        self._pages_Q = torch.from_numpy(pages_DP.reshape(-1)).to(cache.device)
        self._mask_D11S = torch.from_numpy(mask_DS).to(cache.device, cache.dtype)[:, None, None]
        ends = [place * self._num_kept + row.offset + row.length for place, row in enumerate(rows.values())]
        self._ends_D = self._newest_D = torch.tensor(ends, device=cache.device)
        # with room to grow, no more is looked at than the longest row has; without it, as much as there is
        self._length = max(row.offset + row.length for row in rows.values()) if room else self._num_padded
        self._room = room

    def can_advance(self, sequences: list[Sequence]) -> bool:
        if not self._is_kept:
            return all(sequences[number].num_computed % self._cache.block_size for number in self._numbers)
        return not self._room or self._length < self._num_kept

    def advance(self) -> None:
        self._newest_D = self._ends_D
        self._mask_D11S.view(-1).index_fill_(0, self._newest_D, 0.0)
        self._ends_D = self._newest_D + 1
        self._length += 1 if self._room and self._is_kept else 0

    def own(self, layer: int, q_DGhK: Tensor, new_DGK: Tensor, cache: Tensor) -> Attended:
        kv_DSGK = self._kept.get(layer)
        if kv_DSGK is None:
            kv_DSGK = gather(cache, self._pages_Q, self._cache.block_size).view(len(q_DGhK), -1, *cache.shape[1:])
            if self._is_kept:
                more = self._num_kept - self._num_padded
                kv_DSGK = self._kept[layer] = F.pad(kv_DSGK, (0, 0, 0, 0, 0, more))
        else:
            kv_DSGK.flatten(0, 1).index_copy_(0, self._newest_D, new_DGK)
        if self._is_kept:
            return attend_part(q_DGhK, kv_DSGK[:, : self._length], self._mask_D11S[..., : self._length])
        return attend_part(q_DGhK, kv_DSGK, self._mask_D11S)


class Rows:
    """The decoding rows of a step in one kind of layer; `advance` makes them those of the next step.

    With `is_fixed`, what is attended together does not depend on who else is there: the keys of a row are padded to a
    multiple of FIXED_KEYS, and rows of equal length are taken together, since PyTorch's kernel gives each of them the
    same bits whatever their number. Nothing is shared then.
    """

    def __init__(self, sequences: list[Sequence], cache: CacheFacts, *, is_fixed: bool) -> None:
        self._cache = cache
        self._versions = [sequence.version for sequence in sequences]
        self._positions = [sequence.num_computed for sequence in sequences]
        rows = [_row_of(sequence, cache) for sequence in sequences]
        # No chunk begins and no padding grows for so many steps.
        borders = [border for border in (cache.chunk, FIXED_KEYS if is_fixed else None) if border]
        places = self._positions + [row.offset + row.length - 1 for row in rows if is_fixed]
        self._num_left = min((border - 1 - place % border for place in places for border in borders), default=1)
        self._is_endless = not borders
        self._units = list(_fixed_units(rows, cache) if is_fixed else _units(rows, cache))
        self._place(sequences)

    def can_serve(self, sequences: list[Sequence]) -> bool:
        """Whether these rows, advanced, are what the sequences need now."""
        return (
            self._num_left > 0
            and [sequence.version for sequence in sequences] == self._versions
            and all(s.num_computed == p + 1 for s, p in zip(sequences, self._positions, strict=True))
            and all(unit.can_advance(sequences) for unit in self._units)
        )

    def advance(self, sequences: list[Sequence]) -> None:
        """One token on."""
        self._num_left -= 0 if self._is_endless else 1
        self._positions = [position + 1 for position in self._positions]
        if all(position % self._cache.block_size for position in self._positions):
            self.slots_D += 1
        else:
            self._place(sequences)
        for unit in self._units:
            unit.advance()

    def _place(self, sequences: list[Sequence]) -> None:
        """Find the row of the cache in which each new token is written."""
        size, kind = self._cache.block_size, self._cache.kind
        slots = [int(s.pages[kind, s.num_computed // size]) * size + s.num_computed % size for s in sequences]
        self.slots_D = torch.tensor(slots, device=self._cache.device)

    def attend(self, layer: int, q_DHK: Tensor, new_DGK: Tensor, cache: Tensor) -> Tensor:
        """Softmax attention of every row over what it sees: (D, H, K) -> (D, H * K)."""
        q_DGhK = q_DHK.view(len(q_DHK), cache.shape[1] // 2, -1, q_DHK.shape[-1])
        if len(self._units) == 1:  # numbers are in order within a unit
            return self._units[0].attend(layer, q_DGhK, new_DGK, cache).flatten(1)
        out_DGhK = torch.empty_like(q_DGhK, memory_format=torch.contiguous_format)
        for unit in self._units:
            numbers_D = unit.numbers_D
            q, new = q_DGhK.index_select(0, numbers_D), new_DGK.index_select(0, numbers_D)
            out_DGhK.index_copy_(0, numbers_D, unit.attend(layer, q, new, cache))
        return out_DGhK.flatten(1)


def _row_of(sequence: Sequence, cache: CacheFacts) -> _Row:
    position, size = sequence.num_computed, cache.block_size
    first = 0 if cache.chunk is None else position // cache.chunk * cache.chunk
    pages_P = sequence.pages[cache.kind, first // size : position // size + 1]
    return _Row(pages_P, first % size, position + 1 - first)


def _fixed_units(rows: list[_Row], cache: CacheFacts) -> Iterable[_Unit]:
    of_length: dict[int, dict[int, _Row]] = {}
    for number, row in enumerate(rows):
        padded = -(-(row.offset + row.length) // FIXED_KEYS) * FIXED_KEYS
        of_length.setdefault(-(-padded // cache.block_size), {})[number] = row
    for num_pages, group in of_length.items():
        yield _Gathered(group, num_pages, 0, cache)


def _units(rows: list[_Row], cache: CacheFacts) -> Iterable[_Unit]:
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


def _unit(rows: dict[int, _Row], cache: CacheFacts, shared: Span | None = None) -> _Unit:
    (first, *others) = rows.values()
    if not others and is_run(first.pages_P):
        return _Lone(rows, cache, shared)
    return _Gathered(rows, max(len(row.pages_P) for row in rows.values()), GROWTH, cache, shared)
