"""The scheduler: budgets, limits, deadlines, refusals, order. A core is stepped by hand; no thread, no loop."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from narthex.base.errors import ConfigError, ContextOverflowError, InputError
from narthex.engine import EngineConfig, EngineCore, Request, Sampling, ThinkBudget
from narthex.engine.request import NO_TOKEN, Grammar
from narthex.model import generate

from .engine_helpers import IMAGE_ID, VOCABULARY, build, drain, ids_of, requests, tiles_of, words

END_ID = 50
CLOSE_IDS = (60, 61, END_ID)


@pytest.fixture(scope="module")
def model():
    return build()


def prompt(length: int = 20, seed: int = 0) -> tuple[int, ...]:
    return words(random.Random(seed), length)


def naive(model, ids, count: int) -> list[int]:
    return list(generate(model, ids, max_new_tokens=count))


def reasons(tokens) -> list[str | None]:
    return [token.finish_reason for token in tokens]


class TestThinking:
    def test_the_budget_binds_at_the_token_and_the_answer_keeps_its_room(self, model):
        request = Request(ids=prompt(), max_new_tokens=6, think=ThinkBudget(5, END_ID, CLOSE_IDS))
        found = drain(EngineCore(model), [request])[0][0]
        thought = naive(model, request.ids, 5)
        assert END_ID not in thought
        answer = naive(model, (*request.ids, *thought, *CLOSE_IDS), 6)
        assert ids_of(found) == [*thought, *CLOSE_IDS, *answer]
        assert [token.is_forced for token in found] == [False] * 5 + [True] * 3 + [False] * 6
        assert reasons(found) == [None] * 13 + ["length"]

    def test_no_budget_closes_at_once(self, model):
        request = Request(ids=prompt(), max_new_tokens=2, think=ThinkBudget(0, END_ID, CLOSE_IDS), n=2)
        for found in drain(EngineCore(model), [request])[0].values():
            assert ids_of(found)[:3] == list(CLOSE_IDS) and len(found) == 5

    def test_a_thought_that_ends_by_itself_is_not_forced(self, model):
        end = naive(model, prompt(), 4)[3]
        for budget in (3, 10):
            request = Request(ids=prompt(), max_new_tokens=3, think=ThinkBudget(budget, end, (60, end)))
            found = drain(EngineCore(model), [request])[0][0]
            if end in ids_of(found)[:3]:
                pytest.fail("the model repeats itself: choose another prompt")
            assert not any(token.is_forced for token in found)
            assert ids_of(found) == naive(model, prompt(), 7)

    def test_a_stop_id_ends_even_a_thought(self, model):
        stop = naive(model, prompt(), 3)[2]
        think = ThinkBudget(10, END_ID, CLOSE_IDS)
        found = drain(
            EngineCore(model), [Request(ids=prompt(), max_new_tokens=9, stop_ids=frozenset({stop}), think=think)]
        )[0][0]
        assert ids_of(found)[-1] == stop and found[-1].finish_reason == "stop" and len(found) <= 3

    def test_forced_ids_stop_at_max_length(self, model):
        think = ThinkBudget(2, END_ID, CLOSE_IDS)
        found = drain(EngineCore(model), [Request(ids=prompt(), max_length=24, think=think)])[0][0]
        assert ids_of(found)[2:] == [60, 61] and reasons(found) == [None] * 3 + ["length"]


class TestEnds:
    def test_length_and_stop(self, model):
        wanted = naive(model, prompt(), 8)
        found = drain(EngineCore(model), [Request(ids=prompt(), max_new_tokens=8)])[0][0]
        assert ids_of(found) == wanted and reasons(found) == [None] * 7 + ["length"]
        stop = frozenset({wanted[4]})
        found = drain(EngineCore(model), [Request(ids=prompt(), max_new_tokens=8, stop_ids=stop)])[0][0]
        assert ids_of(found) == wanted[: wanted.index(wanted[4]) + 1] and found[-1].finish_reason == "stop"

    def test_max_length_counts_the_prompt(self, model):
        found = drain(EngineCore(model), [Request(ids=prompt(20), max_new_tokens=50, max_length=27)])[0][0]
        assert len(found) == 7 and found[-1].finish_reason == "length"

    def test_a_deadline_ends_every_continuation_even_in_the_queue(self, model, monkeypatch):
        now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        core = EngineCore(model, EngineConfig(max_running=1))
        running = core.add(Request(ids=prompt(), max_new_tokens=100, deadline_s=5))
        waiting = core.add(Request(ids=prompt(seed=1), max_new_tokens=9, n=3, deadline_s=5))
        for _ in range(4):
            core.step()
        now = 104.9
        assert core.step()[0].token.finish_reason is None
        now = 105.0
        ends = core.step()
        assert sorted((out.number, out.token.continuation) for out in ends) == [
            (running, 0), (waiting, 0), (waiting, 1), (waiting, 2),
        ]  # fmt: skip
        assert {(out.token.id, out.token.finish_reason) for out in ends} == {(NO_TOKEN, "deadline")}
        assert core.is_idle
        core.check()

    def test_cancelling_gives_pages_back_at_once_and_twice_is_fine(self, model):
        core = EngineCore(model)
        number = core.add(Request(ids=prompt(40), n=4, max_new_tokens=50))
        for _ in range(5):
            core.step()
        assert core.num_running == 4
        core.cancel(number)
        core.cancel(number)
        core.cancel(12345)
        assert core.is_idle and core.step() == []
        core.check()
        core.pool.clear_cache()
        assert core.pool.num_free == core.pool.num_pages

    def test_scores_that_are_not_numbers_end_their_request_alone(self, model, monkeypatch):
        core = EngineCore(model, EngineConfig(block_size=4))
        # The bad one comes first: its numbers stay in page 0 after its end, and nobody's padding may look there.
        bad = core.add(Request(ids=(8, 7), max_new_tokens=12))
        good = {core.add(Request(ids=prompt(length, seed=length), max_new_tokens=12)): length for length in (9, 17, 22)}
        embed = model.embed

        def poisoned(ids_BT, *rest):
            first_T = (core._running[0].number == bad) & (torch.arange(ids_BT.shape[1]) < 2)
            return embed(ids_BT, *rest).masked_fill(first_T[None, :, None], float("nan"))

        monkeypatch.setattr(model, "embed", poisoned)
        found = {number: [] for number in (bad, *good)}
        while not core.is_idle:
            for number, token in core.step():
                found[number].append(token)
            core.check()
        monkeypatch.undo()
        for number, length in good.items():
            assert ids_of(found[number]) == naive(model, prompt(length, seed=length), 12)
        assert [(t.id, t.finish_reason) for t in found[bad]] == [(NO_TOKEN, "error")]
        assert "not numbers" in found[bad][0].error


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "words_of_it"),
        [
            ({"ids": (1, VOCABULARY)}, f"the prompt has the id {VOCABULARY}"),
            ({"ids": (1, -1)}, "the prompt has the id -1"),
            ({"ids": (1, 2.5)}, r"no token ids, such as 2\.5"),
            ({"ids": (1, 2**70)}, "the prompt has ids that are no token ids"),
            ({"stop_ids": frozenset({500})}, "stop_ids has the id 500"),
            ({"sampling": Sampling(logit_bias={97: 1.0})}, "logit_bias has the id 97"),
            ({"think": ThinkBudget(3, 5, (4, 99))}, "thinking budget has the id 99"),
            ({"tiles": tiles_of(0, 1)}, "room for 0 picture tokens, its tiles make 4"),
            ({"ids": (IMAGE_ID,) * 5, "tiles": tiles_of(0, 1)}, "room for 5 picture tokens"),
            ({"ids": (IMAGE_ID,) * 4, "tiles": tiles_of(0, 1)[:, :, :8]}, r"\(3, 8, 16\)"),
            ({"ids": (IMAGE_ID,) * 4, "tiles": tiles_of(0, 1).astype(np.float64)}, "float64"),
            ({"ids": (IMAGE_ID,) * 4, "tiles": tiles_of(0, 1) * np.inf}, "not numbers"),
            ({"grammar": Grammar("regex", "a")}, "without a tokenizer"),
        ],
    )
    def test_what_would_break_a_step(self, model, change, words_of_it):
        core = EngineCore(model)
        with pytest.raises(InputError, match=words_of_it):
            core.add(Request(**({"ids": prompt()} | change)))
        assert core.is_idle

    def test_what_does_not_fit_with_the_numbers(self, model):
        with pytest.raises(ContextOverflowError, match=r"20 prompt \+ 240 new tokens exceed the context of 256"):
            EngineCore(model).add(Request(ids=prompt(), max_new_tokens=240))
        think = ThinkBudget(30, END_ID, CLOSE_IDS)
        with pytest.raises(ContextOverflowError, match=r"20 prompt \+ 43 .* 4 blocks of 16 tokens; the cache has 3"):
            EngineCore(model, EngineConfig(cache_tokens=48)).add(Request(ids=prompt(), max_new_tokens=10, think=think))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"ids": ()},
            {"max_new_tokens": 0},
            {"n": 0},
            {"n": 16384},
            {"max_length": 20},
            {"deadline_s": -1},
            {"deadline_s": float("nan")},
        ],
    )
    def test_requests_that_make_no_sense(self, wrong):
        with pytest.raises(InputError):
            Request(**({"ids": prompt()} | wrong))
        with pytest.raises(InputError):
            ThinkBudget(-1, 5, (5,))

    def test_sizes_that_make_no_sense(self):
        with pytest.raises(ConfigError, match="block_size, step_tokens"):
            EngineConfig(block_size=0, step_tokens=-1)
        with pytest.raises(ConfigError, match="cache_tokens"):
            EngineConfig(cache_tokens=0)


class TestSharing:
    def test_salts_keep_pages_and_pictures_apart(self, model):
        core = EngineCore(model, EngineConfig(block_size=4))
        ids = (*prompt(20), *(IMAGE_ID,) * 4)
        request = Request(ids=ids, tiles=tiles_of(0, 1), max_new_tokens=2)
        seen = []
        see = model.see

        def watched(pixels):
            seen.append(len(pixels))
            return see(pixels)

        core.runner.model.see = watched
        try:
            cached = [
                drain(core, [dataclasses.replace(request, cache_salt=salt)])[0][0][0].cached_tokens
                for salt in ("", "a", "", "a", "b")
            ]
        finally:
            del core.runner.model.see
        assert cached == [0, 0, 20, 20, 0]
        assert seen == [1, 1, 1]

    def test_other_pictures_under_the_same_ids_are_not_found(self, model):
        core = EngineCore(model, EngineConfig(block_size=4))
        ids = (*prompt(8), *(IMAGE_ID,) * 4, *prompt(8))
        answers = [
            drain(core, [Request(ids=ids, tiles=tiles_of(seed, 1) * 3, max_new_tokens=6)])[0][0] for seed in (0, 1, 0)
        ]
        assert [found[0].cached_tokens for found in answers] == [0, 8, 16]
        assert ids_of(answers[0]) == ids_of(answers[2])

    def test_continuations_share_every_block_but_the_one_they_part_in(self, model):
        core = EngineCore(model, EngineConfig(block_size=4))
        before = core.pool.num_free[0]
        core.add(Request(ids=prompt(30), n=8, max_new_tokens=20))
        core.step()
        assert before - core.pool.num_free[0] == 8  # 30 tokens in blocks of 4, for all eight
        core.step()
        assert before - core.pool.num_free[0] == 7 + 8  # the last block, half full, is each one's own
        core.check()

    def test_agents_of_one_prompt_wait_for_it_instead_of_computing_it_again(self, model):
        core = EngineCore(model, EngineConfig(block_size=4, step_tokens=16))
        found = drain(core, [Request(ids=(*prompt(100), 7 + k), max_new_tokens=3) for k in range(6)])
        assert [one[0][0].cached_tokens for one in found] == [0, 100, 100, 100, 100, 100]

    def test_who_waits_for_a_prefix_holds_nobody_up(self, model):
        core = EngineCore(model, EngineConfig(block_size=4, step_tokens=16))
        for _ in range(2):
            core.add(Request(ids=prompt(200), max_new_tokens=3))
        short = core.add(Request(ids=(9, 8, 7), max_new_tokens=3))
        outs = [out for _ in range(4) for out in core.step()]
        assert [out.number for out in outs] == [short] * 3


class TestOrder:
    def test_a_long_prompt_stalls_neither_decoding_nor_short_prompts(self, model):
        core = EngineCore(model, EngineConfig(block_size=4, step_tokens=16))
        decoding = core.add(Request(ids=prompt(8), max_new_tokens=40))
        core.step()
        long = core.add(Request(ids=prompt(200, seed=1), max_new_tokens=3))
        short = core.add(Request(ids=prompt(8, seed=2), max_new_tokens=1))
        steps = [[out.number for out in core.step()] for _ in range(10)]
        assert all(decoding in numbers for numbers in steps)
        assert short in steps[0] + steps[1] + steps[2]
        assert not any(long in numbers for numbers in steps)

    def test_the_oldest_is_never_preempted_and_all_are_served_in_turn(self, model):
        core = EngineCore(model, EngineConfig(cache_tokens=128, block_size=4, max_running=8))
        dice = random.Random(3)
        asked = [Request(ids=words(dice, 50), max_new_tokens=60, n=1 + k % 2) for k in range(5)]
        numbers = [core.add(request) for request in asked]
        ends = []
        while not core.is_idle:
            oldest = min(s.age for s in [*core._running, *core._waiting])
            outs = core.step()
            served = {(out.number, out.token.continuation) for out in outs}
            assert oldest in served or any(s.age == oldest and not s.is_decoding for s in core._running)
            ends += [out.number for out in outs if out.token.finish_reason]
            for line in (core._running, core._waiting):
                assert [s.age for s in line] == sorted(s.age for s in line)
            core.check()
        assert sorted(set(ends)) == numbers
        assert ends == sorted(ends)

    def test_the_work_of_a_step_is_bounded(self, model):
        core = EngineCore(model, EngineConfig(block_size=4, step_tokens=32))
        sizes = []
        step = core.runner.step
        core.runner.step = lambda works: sizes.append(sum(work.num_tokens for work in works)) or step(works)
        drain(core, requests(random.Random(1), 20, n=1))
        assert 16 < max(sizes) <= 32


def test_a_long_reply_is_computed_again_in_bounded_steps(model):
    """Preempted with 60 tokens drawn, it comes back a step's worth at a time, within the pages that a step may take."""
    # The continuations part, so that none finds its reply in what another left in the cache.
    asked = Request(ids=prompt(30), n=3, max_new_tokens=100, sampling=Sampling(temperature=1.0, seed=1))
    roomy = drain(EngineCore(model), [asked])[0]
    core = EngineCore(model, EngineConfig(cache_tokens=160, block_size=3, step_tokens=1, max_running=1))
    sizes, step = [], core.runner.step
    core.runner.step = lambda works: sizes.append(max(work.num_tokens for work in works)) or step(works)
    number, found = core.add(asked), {}
    for _ in range(1500):
        for _, token in core.step():
            found.setdefault(token.continuation, []).append(token.id)
        core.check()
    assert core.is_idle, f"request {number} waits for ever"
    assert found == {continuation: ids_of(tokens) for continuation, tokens in roomy.items()}
    assert max(sizes) <= 3


def test_drawn_tokens_do_not_depend_on_preemption(model):
    """Dice and penalties go on where they were."""
    dice = random.Random(9)
    sampling = Sampling(temperature=1.0, frequency_penalty=0.5, seed=4)
    asked = [Request(ids=words(dice, 40), max_new_tokens=60, sampling=sampling) for _ in range(4)]
    roomy = drain(EngineCore(model), asked)
    tight = drain(EngineCore(model, EngineConfig(cache_tokens=112, block_size=4)), asked)
    assert [ids_of(found[0]) for found in tight] == [ids_of(found[0]) for found in roomy]
