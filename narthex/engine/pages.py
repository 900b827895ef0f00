"""The page pool: where keys and values live, who uses them, and which prefixes can be used again.

A *block* stands for `block_size` consecutive positions of some sequence. It owns one page in each *kind* of layer:

    kind 0  layers that see everything     page kept as long as anyone continues the sequence
    kind 1  layers that see their chunk    page spare once every user has left the chunk

Blocks are shared by reference count. A full block has a name, the hash of everything up to its end (token ids,
pictures, salt), by which a later request finds it: the names form the prefix tree. A block nobody uses stays cached
until its pages are wanted, longest unused first; so does a spare page in a named block, used or not. A block without
its chunked page can still be the past of a longer prefix, whose chunk begins after it.

Nothing here knows tensors: a page is a number.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from narthex.base.errors import NarthexError

GLOBAL, CHUNKED = 0, 1
NO_PAGE = -1
MAX_IDLE = 8  # idle blocks to a page; in models with global layers there is at most one


class OutOfPages(NarthexError):
    """No page is free and none can be evicted: somebody must be preempted."""


class Block:
    """Pages for `block_size` positions. `users` counts sequences; `near` those of them still inside its chunk."""

    __slots__ = ("name", "near", "pages", "users")

    def __init__(self, pages: list[int]) -> None:
        self.pages = pages
        self.users = self.near = 1
        self.name: bytes | None = None


def root_name(salt: str) -> bytes:
    """What the first block of a prefix space continues; as long as a block's name, so that no salt can pass for one."""
    return hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=16, person=b"prefix space").digest()


def block_name(parent: bytes, ids: Sequence[int], pictures: bytes = b"") -> bytes:
    """Name of the block that continues `parent` (16 bytes) by `ids`; `pictures` says which tiles it shows, and where.

    Blocks of one pool hold equally many ids, so no two different blocks feed the hash the same bytes.
    """
    digest = hashlib.blake2b(parent, digest_size=16)
    digest.update(array("i", ids).tobytes())
    digest.update(pictures)
    return digest.digest()


class Hold(NamedTuple):
    """One sequence's use of one block, for the integrity check."""

    block: Block
    is_near: bool


class PagePool:
    """Hands out pages of each kind and keeps the books. Not thread-safe: the engine's loop owns it.

    A kind with 0 pages does not exist in the model, and blocks have no page of it.
    """

    def __init__(self, num_pages: tuple[int, int]) -> None:
        self.num_pages = num_pages
        self._free = [list(range(count - 1, -1, -1)) for count in num_pages]
        self._named: dict[bytes, Block] = {}
        # Named blocks, longest unused first: those without users, and those whose chunked page nobody sees.
        self._idle: OrderedDict[bytes, Block] = OrderedDict()
        self._spare: OrderedDict[bytes, Block] = OrderedDict()

    @property
    def num_free(self) -> tuple[int, int]:
        """Pages of each kind that allocations could get: free ones, idle ones, spare ones. A missing kind has 0."""
        idle_global = len(self._idle) if self.num_pages[GLOBAL] else 0
        return len(self._free[GLOBAL]) + idle_global, len(self._free[CHUNKED]) + len(self._spare)

    def allocate(self) -> Block:
        """A fresh block with a page of every kind. Raises: OutOfPages, leaving the pool as it was but for the cache."""
        pages: list[int] = []
        for kind, count in enumerate(self.num_pages):
            if count and not self._free[kind]:
                self._evict_for(kind)
            if count and not self._free[kind]:
                for other, page in enumerate(pages):
                    self._give_back(other, page)
                raise OutOfPages(f"all {count} pages of kind {kind} are in use")
            pages.append(self._free[kind].pop() if count else NO_PAGE)
        return Block(pages)

    def find(self, name: bytes) -> Block | None:
        return self._named.get(name)

    def take(self, block: Block, *, is_near: bool) -> None:
        """One more user; `is_near` if it is inside the block's chunk, whose page must still be there."""
        if block.name is not None:
            self._idle.pop(block.name, None)
            if is_near:
                self._spare.pop(block.name, None)
        block.users += 1
        block.near += is_near

    def publish(self, block: Block, name: bytes) -> None:
        """Give a full block its name; where another has it already, this one stays nameless."""
        if block.name is None and name not in self._named:
            block.name = name
            self._named[name] = block

    def leave_chunk(self, block: Block) -> None:
        """One user has moved past the block's chunk; the last one to do so makes the chunked page spare, or free."""
        block.near -= 1
        self._rest(block)

    def release(self, block: Block, *, is_near: bool) -> None:
        """One user less. A named block becomes idle, a nameless one gives its pages back."""
        block.users -= 1
        block.near -= is_near
        if block.users == 0 and block.name is None:
            self._free_pages(block)
            return
        self._rest(block)
        if block.users == 0 and block.name is not None:
            self._idle[block.name] = block
            if len(self._idle) > MAX_IDLE * max(self.num_pages):  # only where blocks can outlive all their pages
                self._forget(next(iter(self._idle)))

    def clear_cache(self) -> None:
        """Forget every idle block and free every spare page."""
        while self._idle:
            self._forget(next(iter(self._idle)))
        while self._spare:
            self._drop_chunked(self._spare.popitem()[1])

    def check(self, holds: Iterable[Hold]) -> None:
        """Compare the books with what sequences hold. Raises: NarthexError with the sums."""
        users: Counter[int] = Counter()
        near: Counter[int] = Counter()
        blocks: dict[int, Block] = {id(block): block for block in self._idle.values()}
        for block, is_near in holds:
            blocks[id(block)] = block
            users[id(block)] += 1
            near[id(block)] += is_near
        for key, block in blocks.items():
            self._check_block(block, users[key], near[key])
        for kind, count in enumerate(self.num_pages):
            held = [block.pages[kind] for block in blocks.values() if block.pages[kind] != NO_PAGE]
            everywhere = Counter(held + self._free[kind])
            twice = sorted(page for page, times in everywhere.items() if times > 1)
            if twice:
                raise NarthexError(f"pages of kind {kind} are in two places: {twice}")
            if len(everywhere) != count:
                free = len(self._free[kind])
                raise NarthexError(f"kind {kind}: {len(held)} held + {free} free = {len(held) + free}, not {count}")
        named = sum(block.name is not None for block in blocks.values())
        if named != len(self._named):
            raise NarthexError(f"{len(self._named)} names are kept, and {named} blocks held or idle have one")

    def _check_block(self, block: Block, users: int, near: int) -> None:
        if (block.users, block.near) != (users, near):
            raise NarthexError(
                f"a block counts {block.users} users, {block.near} of them near; {users} hold it, {near} of them near"
            )
        if block.name is not None and self._named.get(block.name) is not block:
            raise NarthexError("a block's name leads to another block")
        if (users == 0) != (block.name is not None and block.name in self._idle):
            raise NarthexError(f"a block with {users} users is {'not ' if users == 0 else ''}among the idle ones")
        has_page = block.pages[CHUNKED] != NO_PAGE
        if near and self.num_pages[CHUNKED] and not has_page:
            raise NarthexError(f"a block has no chunked page for {near} users inside its chunk")
        is_spare = block.name is not None and block.name in self._spare
        if is_spare != (has_page and not near):
            raise NarthexError(
                f"a chunked page with {near} users near is {'' if is_spare else 'not '}among the spare ones"
            )

    def _evict_for(self, kind: int) -> None:
        """Free a page of `kind` at the cost of what was unused longest, if anything idle has one."""
        if kind == GLOBAL:
            if self._idle:
                self._forget(next(iter(self._idle)))
        elif self._spare:
            self._drop_chunked(self._spare.popitem(last=False)[1])

    def _rest(self, block: Block) -> None:
        """Where nobody sees the chunked page any more, keep it for who may come, or free it if nobody can find it."""
        if block.near or block.pages[CHUNKED] == NO_PAGE:
            return
        if block.name is None:
            self._drop_chunked(block)
        else:
            self._spare[block.name] = block

    def _forget(self, name: bytes) -> None:
        block = self._idle.pop(name)
        self._spare.pop(name, None)
        del self._named[name]
        block.name = None
        self._free_pages(block)

    def _free_pages(self, block: Block) -> None:
        for kind, page in enumerate(block.pages):
            self._give_back(kind, page)
        block.pages = [NO_PAGE, NO_PAGE]

    def _drop_chunked(self, block: Block) -> None:
        self._give_back(CHUNKED, block.pages[CHUNKED])
        block.pages[CHUNKED] = NO_PAGE

    def _give_back(self, kind: int, page: int) -> None:
        if page != NO_PAGE:
            self._free[kind].append(page)
