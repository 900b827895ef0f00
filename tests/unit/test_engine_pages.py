"""The pool and the tables under random schedules: after every operation the books add up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import NarthexError
from narthex.engine import EngineConfig, EngineCore
from narthex.engine.pages import CHUNKED, GLOBAL, NO_PAGE, Hold, OutOfPages, PagePool, block_name, root_name

from .engine_helpers import build, requests

MODEL = build(num_hidden_layers=2, no_rope_layers=[1, 0], hidden_size=16, head_dim=4, intermediate_size=8)


class TestPool:
    def test_blocks_have_a_page_of_every_kind_until_there_are_none(self):
        pool = PagePool((2, 2))
        blocks = [pool.allocate(), pool.allocate()]
        assert sorted(block.pages[GLOBAL] for block in blocks) == [0, 1]
        with pytest.raises(OutOfPages, match="all 2 pages"):
            pool.allocate()
        pool.check([Hold(block, True) for block in blocks])

    def test_a_failed_allocation_gives_back_what_it_had_taken(self):
        pool = PagePool((2, 1))
        block = pool.allocate()
        with pytest.raises(OutOfPages, match="kind 1"):
            pool.allocate()
        assert pool.num_free == (1, 0)
        pool.check([Hold(block, True)])

    def test_named_blocks_stay_until_their_pages_are_wanted_longest_unused_first(self):
        pool = PagePool((2, 2))
        for name in (b"a", b"b"):
            block = pool.allocate()
            pool.publish(block, name)
            pool.release(block, is_near=True)
        pool.allocate()
        assert pool.find(b"a") is None and pool.find(b"b") is not None

    def test_a_chunked_page_can_be_taken_from_a_cached_block_alone(self):
        pool = PagePool((3, 1))
        block = pool.allocate()
        pool.publish(block, b"a")
        pool.release(block, is_near=True)
        other = pool.allocate()
        assert pool.find(b"a") is block and block.pages == [block.pages[GLOBAL], NO_PAGE]
        pool.check([Hold(other, True)])

    @pytest.mark.parametrize("name", [None, b"a"])
    def test_the_chunked_page_can_be_had_when_the_last_user_has_left_the_chunk(self, name):
        pool = PagePool((2, 1))
        block = pool.allocate()
        if name:
            pool.publish(block, name)
        pool.take(block, is_near=True)
        pool.leave_chunk(block)
        assert pool.num_free == (1, 0)
        pool.leave_chunk(block)
        assert pool.num_free == (1, 1)
        assert (block.pages[CHUNKED] == NO_PAGE) is (name is None)
        other = pool.allocate()
        assert block.pages[CHUNKED] == NO_PAGE
        pool.check([Hold(block, False), Hold(block, False), Hold(other, True)])

    def test_the_check_says_what_does_not_add_up(self):
        pool = PagePool((2, 2))
        block = pool.allocate()
        with pytest.raises(NarthexError, match=r"kind 0: 0 held \+ 1 free = 1, not 2"):
            pool.check([])
        with pytest.raises(NarthexError, match="1 users, 1 of them near; 2 hold it"):
            pool.check([Hold(block, True), Hold(block, False)])
        pool._free[GLOBAL].append(block.pages[GLOBAL])
        with pytest.raises(NarthexError, match="in two places"):
            pool.check([Hold(block, True)])


class TestNames:
    def test_they_tell_apart_ids_parents_pictures_and_salts(self):
        root = root_name("")
        names = [
            block_name(root, [1, 2]),
            block_name(root, [2, 1]),
            block_name(root, [1, 2], b"tile"),
            block_name(root_name("x"), [1, 2]),
            block_name(block_name(root, [1, 2]), [1, 2]),
        ]
        assert len(set(names)) == len(names)
        assert block_name(root, [1, 2]) == names[0]

    def test_a_salt_cannot_pass_for_a_prefix(self):
        inner = block_name(root_name(""), [1, 2])
        assert block_name(root_name(inner.decode("latin-1")), [3, 4]) != block_name(inner, [3, 4])
        assert root_name("\ud800") != root_name("?")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_uses_of_the_pool_add_up(data):
    counts = data.draw(st.sampled_from([(6, 6), (6, 3), (6, 0), (0, 6)]))
    pool, holds, next_name = PagePool(counts), [], 0
    for _ in range(data.draw(st.integers(1, 60))):
        action = data.draw(st.sampled_from(["allocate", "take", "publish", "leave", "release", "clear"]))
        if action == "allocate":
            try:
                holds.append(Hold(pool.allocate(), True))
            except OutOfPages:
                assert 0 in [free for free, count in zip(pool.num_free, counts, strict=True) if count]
        elif action == "clear":
            pool.clear_cache()
        elif action == "take":
            idle = list(pool._idle.values())
            near = [hold.block for hold in holds if hold.is_near]
            if near or idle:
                block = data.draw(st.sampled_from(near + idle))
                has_page = not counts[CHUNKED] or block.pages[CHUNKED] != NO_PAGE
                is_near = has_page and data.draw(st.booleans())
                pool.take(block, is_near=is_near)
                holds.append(Hold(block, is_near))
        elif holds:
            place = data.draw(st.integers(0, len(holds) - 1))
            block, is_near = holds[place]
            if action == "publish":
                next_name += 1
                pool.publish(block, data.draw(st.sampled_from([b"same", b"%d" % next_name])))
            elif action == "release":
                pool.release(block, is_near=is_near)
                del holds[place]
            elif is_near:
                pool.leave_chunk(block)
                holds[place] = Hold(block, False)
        pool.check(holds)
    for block, is_near in holds:
        pool.release(block, is_near=is_near)
    pool.clear_cache()
    assert pool.num_free == counts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_random_schedules_add_up_and_end(seed, data):
    """Arrivals, cancels and steps in any order, under sizes at which nothing fits for long: everybody is served."""
    dice = random.Random(seed)
    config = EngineConfig(
        cache_tokens=data.draw(st.integers(160, 400)),
        block_size=data.draw(st.sampled_from([1, 3, 4, 8, 16])),
        step_tokens=data.draw(st.sampled_from([1, 7, 32, 200])),
        max_running=data.draw(st.integers(1, 6)),
        deterministic=data.draw(st.booleans()),
    )
    core = EngineCore(MODEL, config)
    queue = requests(dice, 8, longest=80)
    cancelled = set()
    asked, last = {}, {}
    for action in data.draw(
        st.lists(st.sampled_from(["add", "add", "step", "step", "step", "cancel"]), min_size=15, max_size=60)
    ):
        if action == "add" and queue:
            request = queue.pop()
            asked[core.add(request)] = request.n
        elif action == "cancel" and asked:
            number = dice.choice(list(asked))
            core.cancel(number)
            cancelled.add(number)
        for number, token in core.step():
            last[number, token.continuation] = token.finish_reason
        core.check()
    for _ in range(6000):
        if core.is_idle:
            break
        for number, token in core.step():
            last[number, token.continuation] = token.finish_reason
    core.check()
    assert core.is_idle, "somebody is never served"
    for number, count in asked.items():
        if number not in cancelled:
            assert [last[number, continuation] for continuation in range(count)] == ["length"] * count
    core.pool.clear_cache()
    assert core.pool.num_free == core.pool.num_pages


def test_memory_of_past_chunks_comes_back_while_a_sequence_runs():
    """The chunked kind holds a chunk and a step at most, whatever the length; the other kind grows with the text."""
    core = EngineCore(MODEL, EngineConfig(block_size=4, step_tokens=8))
    total = core.pool.num_pages
    core.add(requests(random.Random(1), 1, longest=30, n=1, max_new_tokens=150)[0])
    most_chunked = most_global = 0
    while not core.is_idle:
        core.step()
        core.pool.clear_cache()
        free = core.pool.num_free
        most_global, most_chunked = max(most_global, total[0] - free[0]), max(most_chunked, total[1] - free[1])
    assert most_global >= 150 // 4
    assert most_chunked <= (16 + 8) // 4 + 1
