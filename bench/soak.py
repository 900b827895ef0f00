"""Many clients on one engine for a long time: `python bench/soak.py [--seconds 1800]`, or `make soak`.

Clients ask narthex-nano through `Engine`, each in its own rhythm, which now and then becomes a burst of all: prompts of
4 to 2,000 tokens, some with a common beginning, some with pictures; one to 200 new tokens; one to three continuations;
greedy and drawn. Some read a few tokens and close the stream, some are cancelled as tasks, some have a deadline, some
ask for what can never fit. The cache is too small for all of them at once, so sequences are preempted.

It fails, with exit code 1 and the problems named, unless

    errors    every request ends as it should: all its tokens, its deadline, its cancel, or a refusal at once
    waiting   no request waits longer than --wait-bound for its first token, nor for its next one
    memory    resident memory after warm-up (a fifth of the time, at most five minutes) stays: the median of the last
              tenth exceeds the median of the first tenth after warm-up by at most 5 % or 48 MiB, whichever is more
    pages     the books add up during the run and at its end, and every page is free again when all have left

stdout: one JSON line. stderr: a line every half minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
from parts.machine import commit, hardware

from narthex.base.errors import BackendError, NarthexError, UserError
from narthex.base.paths import SHIPPED_NANO
from narthex.engine import Engine, EngineConfig, FinishReason, Request, Sampling
from narthex.model import ModelConfig
from narthex.weights import open_model

CACHE_TOKENS = 24_576  # three contexts of nano: 64 clients want about twice as much in a burst
LONGEST_PROMPT, LONGEST_REPLY = 2_000, 200
NUM_BEGINNINGS, NUM_TILES = 6, 400  # tiles: more than the engine keeps features of
STEPS_BETWEEN_CHECKS = 32
SAMPLE_S, REPORT_S = 0.5, 30.0
GROWTH_SHARE, GROWTH_MIB = 0.05, 48.0
REFUSAL_S = 1.0  # "at once", on a busy event loop
MIB = 2**20


@dataclass
class Record:
    """What happened. Times in seconds; `rss` holds (time since start, MiB)."""

    counts: Counter[str] = field(default_factory=Counter)
    first_token_s: list[float] = field(default_factory=list)
    worst_gap_s: float = 0.0
    rss: list[tuple[float, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, words: str) -> None:
        """Keep the first few; thousands would say no more."""
        self.counts["problems"] += 1
        if len(self.problems) < 20:
            self.problems.append(words)


class Rhythm:
    """How long clients pause between questions; all are woken at once when a burst begins."""

    def __init__(self, dice: random.Random) -> None:
        self._dice, self._mean_s, self._burst = dice, 0.3, asyncio.Event()

    async def pause(self, dice: random.Random) -> None:
        wait_s = dice.expovariate(1 / self._mean_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._burst.wait(), wait_s)

    async def conduct(self) -> None:
        """Calm, then a burst, then another rhythm; for ever."""
        while True:
            await asyncio.sleep(self._dice.uniform(4, 10))
            self._burst.set()
            await asyncio.sleep(0)
            self._burst.clear()
            self._mean_s = self._dice.choice([0.05, 0.3, 3.0])


class Questions:
    """Draws requests for a model."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        self.config = config
        self._tiles: dict[int, np.ndarray] = {}
        dice = random.Random(f"beginnings {seed}")
        self._beginnings = [self._words(dice, dice.randrange(100, 1200)) for _ in range(NUM_BEGINNINGS)]

    def draw(self, dice: random.Random) -> Request:
        """A request that can be served."""
        length = round(math.exp(dice.uniform(math.log(4), math.log(LONGEST_PROMPT))))
        ids = self._words(dice, length)
        if dice.random() < 0.4:
            ids = (dice.choice(self._beginnings) + ids)[:LONGEST_PROMPT]
        tiles = None
        vision = self.config.vision
        if vision is not None and dice.random() < 0.3:
            numbers = [dice.randrange(NUM_TILES) for _ in range(dice.choice([1, 1, 2]))]
            tiles = np.stack([self._tile(number) for number in numbers])
            at = dice.randrange(len(ids))
            ids = ids[:at] + (self.config.image_token_index,) * (vision.tokens_per_tile * len(numbers)) + ids[at:]
        drawn = Sampling(temperature=0.8, top_p=0.9, seed=dice.randrange(2**31))
        return Request(
            ids=ids,
            tiles=tiles,
            max_new_tokens=round(math.exp(dice.uniform(0, math.log(LONGEST_REPLY)))),
            sampling=dice.choice([Sampling(), drawn]),
            n=dice.choice([1, 1, 1, 1, 2, 3]),
            cache_salt=dice.choice(["", "", "another tenant"]),
            deadline_s=dice.uniform(0.05, 2.0) if dice.random() < 0.03 else None,
        )

    def impossible(self, dice: random.Random) -> Request:
        """Longer than the model's context."""
        return Request(ids=self._words(dice, self.config.text.max_position_embeddings + 1), max_new_tokens=1)

    def _words(self, dice: random.Random, count: int) -> tuple[int, ...]:
        # The upper end of a vocabulary holds control tokens.
        return tuple(dice.choices(range(self.config.text.vocab_size // 2), k=count))

    def _tile(self, number: int) -> np.ndarray:
        vision = self.config.vision
        assert vision is not None
        if number not in self._tiles:
            shape = (vision.num_channels, vision.image_size, vision.image_size)
            self._tiles[number] = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
        return self._tiles[number]


class Client:
    """Asks, reads, asks again."""

    def __init__(self, engine: Engine, questions: Questions, record: Record, dice: random.Random) -> None:
        self._engine, self._questions, self._record, self._dice = engine, questions, record, dice

    async def ask_until(self, stop: float, rhythm: Rhythm) -> None:
        while time.monotonic() < stop:
            await rhythm.pause(self._dice)
            try:
                await self._ask()
            except Exception as error:
                self._record.problem(f"{type(error).__name__}: {error}")
                if isinstance(error, BackendError):
                    return  # the engine has ended; asking on would only repeat it

    async def _ask(self) -> None:
        what = self._dice.random()
        self._record.counts["requests"] += 1
        if what < 0.02:
            await self._ask_the_impossible()
            return
        request = self._questions.draw(self._dice)
        self._record.counts["with_pictures"] += request.tiles is not None
        if what < 0.06:
            reading = asyncio.create_task(self._read(request, None))
            await asyncio.wait([reading], timeout=self._dice.uniform(0, 1.0))
            if reading.cancel():
                self._record.counts["cancelled"] += 1
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result()
        else:
            await self._read(request, self._dice.randrange(1, 8) if what < 0.2 else None)

    async def _ask_the_impossible(self) -> None:
        start = time.monotonic()
        try:
            self._engine.submit(self._questions.impossible(self._dice))
        except UserError:
            self._record.counts["refused"] += 1
            if time.monotonic() - start > REFUSAL_S:
                self._record.problem(f"a refusal took {time.monotonic() - start:.1f} s")
        else:
            self._record.problem("a request longer than the context was let in")

    async def _read(self, request: Request, close_after: int | None) -> None:
        """Read the stream to its end, or close it after so many tokens."""
        last, num_read = time.monotonic(), 0
        ends: list[FinishReason] = []
        tokens: Counter[int] = Counter()
        async with aclosing(self._engine.submit(request)) as stream:
            async for token in stream:
                now = time.monotonic()
                if num_read:
                    self._record.worst_gap_s = max(self._record.worst_gap_s, now - last)
                else:
                    self._record.first_token_s.append(now - last)
                last, num_read = now, num_read + 1
                tokens[token.continuation] += token.finish_reason != "deadline"
                if token.finish_reason:
                    ends.append(token.finish_reason)
                self._record.counts["tokens"] += token.finish_reason != "deadline"
                if num_read == close_after:
                    self._record.counts["cancelled"] += 1
                    return
        self._judge(request, ends, tokens)

    def _judge(self, request: Request, ends: list[FinishReason], tokens: Counter[int]) -> None:
        wanted: FinishReason = "length"
        if request.deadline_s is not None and "deadline" in ends:
            wanted = "deadline"
            self._record.counts["past_deadline"] += 1
        elif any(tokens[index] != request.max_new_tokens for index in range(request.n)):
            self._record.problem(f"{dict(tokens)} tokens instead of {request.max_new_tokens} for each of {request.n}")
        if len(ends) != request.n or not set(ends) <= {wanted, "length"}:
            self._record.problem(f"{request.n} continuations ended with {ends}")
        self._record.counts["finished"] += 1


async def soak(seconds: float, num_clients: int, seed: int) -> tuple[Record, Engine]:
    """Run the clients, let everyone leave, close the engine; what happened, and the engine for a look at its pages."""
    opened = open_model(SHIPPED_NANO)
    engine, record = Engine(opened.model, EngineConfig(cache_tokens=CACHE_TOKENS)), Record()
    _check_while_running(engine, record)
    questions, dice = Questions(opened.config, seed), random.Random(seed)
    rhythm, start = Rhythm(random.Random(f"rhythm {seed}")), time.monotonic()
    watchers = [asyncio.create_task(rhythm.conduct()), asyncio.create_task(_watch(record, start))]
    clients = [Client(engine, questions, record, random.Random(dice.random())) for _ in range(num_clients)]
    await asyncio.gather(*(client.ask_until(start + seconds, rhythm) for client in clients))
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    try:
        # Cancels are taken in with the next request at the latest: this one.
        async for _ in engine.submit(Request(ids=(1, 2, 3), max_new_tokens=1)):
            pass
    except BackendError as error:
        record.problem(f"the last request: {error}")
    engine.close()
    return record, engine


def _check_while_running(engine: Engine, record: Record) -> None:
    """Have the engine's thread compare its books between steps: only it may look at them."""
    step = engine.core.step

    def checked_step() -> Any:
        record.counts["steps"] += 1
        if record.counts["steps"] % STEPS_BETWEEN_CHECKS == 0:
            engine.core.check()
            record.counts["checks"] += 1
        return step()

    engine.core.step = checked_step  # type: ignore[method-assign]


async def _watch(record: Record, start: float) -> None:
    """Note the resident memory, and say now and then how it goes."""
    process, told = psutil.Process(), start
    while True:
        now = time.monotonic()
        record.rss.append((now - start, process.memory_info().rss / MIB))
        if now - told >= REPORT_S:
            told = now
            counts = {name: record.counts[name] for name in ("requests", "tokens", "cancelled", "problems")}
            print(f"{now - start:.0f} s: {counts}, {record.rss[-1][1]:.0f} MiB", file=sys.stderr, flush=True)
        await asyncio.sleep(SAMPLE_S)


def judge(record: Record, engine: Engine, wait_bound_s: float) -> dict[str, Any]:
    """The figures; adds to `record.problems` what they show to be wrong."""
    longest = max(record.first_token_s, default=0.0)
    for what, found in (("first token", longest), ("next token", record.worst_gap_s)):
        if found > wait_bound_s:
            record.problem(f"a request waited {found:.1f} s for its {what}; the bound is {wait_bound_s:.0f} s")
    pages = _judge_pages(engine, record)
    waits = sorted(record.first_token_s) or [0.0]
    return {
        **dict(record.counts),
        "first_token_p50_s": waits[len(waits) // 2],
        "first_token_p99_s": waits[int(len(waits) * 0.99)],
        "first_token_worst_s": longest,
        "worst_gap_s": record.worst_gap_s,
        "wait_bound_s": wait_bound_s,
        **_judge_memory(record),
        **pages,
    }


def _judge_memory(record: Record) -> dict[str, float]:
    seconds = record.rss[-1][0]
    warm_s = min(seconds / 5, 300.0)
    tenth = (seconds - warm_s) / 10
    warm = statistics.median(mib for at, mib in record.rss if warm_s <= at <= warm_s + max(tenth, 2 * SAMPLE_S))
    end = statistics.median(mib for at, mib in record.rss if at >= seconds - max(tenth, 2 * SAMPLE_S))
    bound = max(GROWTH_SHARE * warm, GROWTH_MIB)
    if end - warm > bound:
        record.problem(f"resident memory grew by {end - warm:.0f} MiB after warm-up; the bound is {bound:.0f} MiB")
    return {
        "rss_start_mib": record.rss[0][1],
        "rss_warm_mib": warm,
        "rss_end_mib": end,
        "rss_growth_bound_mib": bound,
        "warm_up_s": warm_s,
    }


def _judge_pages(engine: Engine, record: Record) -> dict[str, Any]:
    """Everyone has left: nothing runs or waits, and after forgetting the cache every page is free."""
    core = engine.core
    if not core.is_idle:
        record.problem(f"{core.num_running} sequences still run and {core.num_waiting} wait")
    try:
        core.check()
    except NarthexError as error:
        record.problem(f"the books do not add up: {error}")
    core.pool.clear_cache()
    if core.pool.num_free != core.pool.num_pages:
        record.problem(f"{core.pool.num_free} pages of {core.pool.num_pages} are free again")
    return {"pages": sum(core.pool.num_pages), "pages_back": sum(core.pool.num_free)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long clients go on asking (1800)")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait-bound", type=float, default=60.0, help="seconds; the longest allowed wait (60)")
    options = parser.parse_args()
    record, engine = asyncio.run(soak(options.seconds, options.clients, options.seed))
    figures = judge(record, engine, options.wait_bound)
    settings = {"seconds": options.seconds, "clients": options.clients, "seed": options.seed}
    result = {"soak": "engine", "hardware": hardware(), "commit": commit(), **settings, **figures}
    print(json.dumps({**result, "problems": record.problems}), flush=True)
    return 1 if record.problems else 0


if __name__ == "__main__":
    sys.exit(main())
