"""Which blocks each sequence holds: growing, sharing, finding a computed prefix again, letting go."""

from __future__ import annotations

from collections.abc import Iterable

from narthex.engine.memory import KVPages
from narthex.engine.pages import CHUNKED, GLOBAL, NO_PAGE, Block, Hold, OutOfPages, PagePool
from narthex.engine.sequence import Sequence


class BlockTables:
    """Keeps sequences' `blocks`, `num_past`, `num_named` and, when a prefix is found, `num_computed` in order.

    `unit` tokens of a prompt at a time are named and found again (1: every full block); `step_tokens` is the most that
    one sequence computes in a step.
    """

    def __init__(self, pool: PagePool, pages: KVPages, chunk: int | None, step_tokens: int, unit: int = 1) -> None:
        self.pool, self._pages, self._chunk, self._unit = pool, pages, chunk, unit
        self._size = pages.block_size
        self._chunk_blocks = chunk_blocks(chunk, step_tokens, self._size) if chunk else 0

    def grow(self, sequence: Sequence, count: int) -> bool:
        """Own every block that the next `count` tokens are written to, copying a shared one before it is written.

        False where pages ran out; what was got until then stays with the sequence.
        """
        place = sequence.num_computed // self._size
        try:
            if place < len(sequence.blocks) and sequence.blocks[place].users > 1:
                self._copy(sequence, place)
            while len(sequence.blocks) * self._size < sequence.num_computed + count:
                sequence.add_block(self.pool.allocate())
        except OutOfPages:
            return False
        last = len(sequence.blocks) - 1
        if last * self._size >= sequence.num_computed and (sequence.num_computed + count) % self._size:
            for kind in (GLOBAL, CHUNKED):  # new, and not filled by this step
                self._pages.clear_page(kind, sequence.blocks[last].pages[kind])
        return True

    def admit(self, sequence: Sequence) -> bool:
        """Share the longest cached prefix, if pages for all the rest of its tokens could be had; else change nothing.

        At least one token stays to be computed: its logits are wanted.
        """
        found, num_past = self._match(sequence)
        needed = -(-len(sequence.tokens) // self._size) - len(found)
        free_global, free_chunked = self.pool.num_free
        free_global -= sum(block.users == 0 for block in found)
        free_chunked -= sum(block.near == 0 for block in found[num_past:])
        if self.pool.num_pages[GLOBAL] and free_global < needed:
            return False
        if self.pool.num_pages[CHUNKED] and free_chunked < min(needed, self._chunk_blocks - (len(found) - num_past)):
            return False
        for place, block in enumerate(found):
            self.pool.take(block, is_near=place >= num_past)
        sequence.hold(found)
        sequence.num_past, sequence.num_named = num_past, len(found)
        sequence.num_computed = sequence.num_cached = len(found) * self._size
        return True

    def is_coming(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Whether a running sequence is just computing the next block of this prompt: it is cheaper to wait for it."""
        for number in range(self._num_findable(sequence)):
            name = sequence.name_of(number, self._size)
            if self.pool.find(name) is None:
                stop = (number + 1) * self._size
                return any(
                    other.num_computed < stop <= self._num_nameable(other) and other.name_of(number, self._size) == name
                    for other in running
                )
        return False

    def share(self, sequence: Sequence, other: Sequence) -> None:
        """Let `other`, a sibling at the same position, hold the same blocks."""
        for place, block in enumerate(sequence.blocks):
            self.pool.take(block, is_near=place >= sequence.num_past)
        other.hold(sequence.blocks)

    def settle(self, sequence: Sequence) -> None:
        """After computing: name the blocks that are full now, and let go of chunks that are behind."""
        full = min(sequence.num_computed, self._num_nameable(sequence)) // self._size
        for place in range(sequence.num_named, full):
            self.pool.publish(sequence.blocks[place], sequence.name_of(place, self._size))
        sequence.num_named = max(sequence.num_named, full)
        past = self._num_past(sequence.num_computed)
        for place in range(sequence.num_past, past):
            self.pool.leave_chunk(sequence.blocks[place])
        sequence.num_past = max(sequence.num_past, past)

    def release(self, sequence: Sequence) -> None:
        """Give everything back. Last blocks first: eviction then takes a prefix's end before its beginning."""
        for place in range(len(sequence.blocks) - 1, -1, -1):
            self.pool.release(sequence.blocks[place], is_near=place >= sequence.num_past)
        sequence.hold([])
        sequence.num_computed = sequence.num_past = sequence.num_named = 0

    def check(self, sequences: Iterable[Sequence]) -> None:
        """Raises: NarthexError where pool and sequences do not add up."""
        holds = [Hold(block, place >= s.num_past) for s in sequences for place, block in enumerate(s.blocks)]
        self.pool.check(holds)

    def _copy(self, sequence: Sequence, place: int) -> None:
        shared, own = sequence.blocks[place], self.pool.allocate()
        for kind in (GLOBAL, CHUNKED):
            if shared.pages[kind] != NO_PAGE:
                self._pages.copy_page(kind, shared.pages[kind], own.pages[kind])
        self.pool.release(shared, is_near=place >= sequence.num_past)
        sequence.swap_block(place, own)

    def _match(self, sequence: Sequence) -> tuple[list[Block], int]:
        """The longest prefix that can be continued, and how many of its blocks no chunked layer will see.

        Where past chunks have lost their pages, it ends where a chunk begins on a block's border: blocks that divide
        the chunk find most.
        """
        found: list[Block] = []
        for number in range(self._num_findable(sequence)):
            block = self.pool.find(sequence.name_of(number, self._size))
            if block is None:
                break
            found.append(block)
        while True:
            del found[len(found) * self._size // self._unit * self._unit // self._size :]
            num_past = self._num_past(len(found) * self._size)
            gaps = [place for place in range(num_past, len(found)) if self._lacks_chunked(found[place])]
            if not gaps:
                return found, num_past
            del found[gaps[0] :]

    def _lacks_chunked(self, block: Block) -> bool:
        return self.pool.num_pages[CHUNKED] > 0 and block.pages[CHUNKED] == NO_PAGE

    def _num_findable(self, sequence: Sequence) -> int:
        """Leading blocks that may be found instead of computed: never the last token's."""
        tokens = len(sequence.tokens) if self._unit == 1 else sequence.num_prompt
        return (tokens - 1) // self._unit * self._unit // self._size

    def _num_nameable(self, sequence: Sequence) -> int:
        """Tokens whose blocks may be found by others: all, or the prompt's whole units where those are fixed."""
        return len(sequence.tokens) if self._unit == 1 else sequence.num_prompt // self._unit * self._unit

    def _num_past(self, position: int) -> int:
        """Leading blocks that no chunked layer sees any more from `position` on."""
        if self._chunk is None or not self.pool.num_pages[CHUNKED]:
            return 0
        return position // self._chunk * self._chunk // self._size


def chunk_blocks(chunk: int, step_tokens: int, block_size: int) -> int:
    """The most blocks that one sequence holds inside its chunk during a step; both ends may lie within a block."""
    return -(-(chunk + step_tokens) // block_size) + 1
