"""More rows about the engine alone: agents that come later, a long prompt that arrives, and what the cache holds."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from narthex.engine import EngineConfig, EngineCore, Request
from narthex.engine.pages import CHUNKED, GLOBAL
from narthex.model import ModelConfig, Transformer
from narthex.weights import open_model
from parts.checkpoints import checkpoint
from parts.contest import Setting
from parts.ours import Ours
from parts.work import Row, prompts_for

_LONG_PROMPT = 4000
_CACHE_TOKENS = (1_000, 10_000, 100_000)


def more_rows(model: str, setting: Setting, *, quick: bool, runs: int) -> list[dict[str, Any]]:
    """The rows at a setting of the engine. What is only about sizes is asked of narthex-nano alone."""
    ours = Ours(model)
    torch.set_num_threads(setting["threads"])
    core = ours.open(setting["precision"]).core
    agents = Row("agents", 8, 500 if quick else 2000, 16, 8)
    rows = [later_agents(core, agents, runs), long_prompt(core, _LONG_PROMPT // (4 if quick else 1))]
    ours.close()
    if model == "narthex-nano":
        rows += [cache_bytes(tokens) for tokens in _CACHE_TOKENS[: 2 if quick else 3]]
    return [{"model": model, **row} for row in rows]


def later_agents(core: EngineCore, row: Row, runs: int) -> dict[str, Any]:
    """First tokens of agents 2 to 8, asked when the first agent has its own: all together, and one after another.

    Times from submission; the figures are shares of the first agent's time, the worst of the seven.
    """
    shares: dict[str, list[float]] = {"together": [], "one_by_one": []}
    firsts: list[float] = []
    for seed in range(-1, runs):  # the first run warms up
        for way, found in shares.items():
            _empty(core)
            new = 8 if way == "together" else 2
            prompts = prompts_for(row, core.model_config.text, seed)
            requests = [Request(ids=tuple(ids), max_new_tokens=new) for ids in prompts.whole]
            first = _first_tokens(core, requests[:1])[0]
            if way == "together":
                worst = max(_first_tokens(core, requests[1:]))
            else:
                worst = max(_first_tokens(core, [request])[0] for request in requests[1:])
            if seed >= 0:
                found.append(worst / first)
                firsts.append(first)
    return {
        "row": "first_token_of_later_agents",
        "shared_tokens": row.shared,
        "own_tokens": row.own,
        "first_agent_s": statistics.median(firsts),
        "worst_share_together": statistics.median(shares["together"]),
        "worst_share_one_by_one": statistics.median(shares["one_by_one"]),
    }


def _empty(core: EngineCore) -> None:
    """Let what still runs end, and forget what is cached."""
    while not core.is_idle:
        core.step()
    core.pool.clear_cache()


def _first_tokens(core: EngineCore, requests: list[Request]) -> list[float]:
    """Seconds until each request has its first token, all asked now."""
    start = time.perf_counter()
    found: dict[int, float] = {}
    numbers = [core.add(request) for request in requests]
    while len(found) < len(numbers):
        outs = core.step()
        now = time.perf_counter() - start
        for number, _ in outs:
            if number in numbers:
                found.setdefault(number, now)
    return [found[number] for number in numbers]


def long_prompt(core: EngineCore, length: int) -> dict[str, Any]:
    """Eight streams decode, and a long prompt arrives: the worst gap between two tokens of one stream meanwhile."""
    text = core.model_config.text
    streams = Row("gap", 8, 0, 64, 2048)  # more new tokens than it takes; the rest is cancelled
    arriving = Request(ids=prompts_for(Row("long", 1, 0, length, 1), text, 0).own[0], max_new_tokens=1)
    _empty(core)
    alone = _first_tokens(core, [arriving])[0]  # also warms up
    _empty(core)
    prompts = prompts_for(streams, text, 0).whole
    numbers = [core.add(Request(ids=tuple(ids), max_new_tokens=streams.new)) for ids in prompts]
    last: dict[int, float] = {}
    usual: list[float] = []
    during: list[float] = []
    arrived, is_done, steps = -1, False, 0
    while not is_done:
        if steps == 64:
            arrived = core.add(arriving)
        outs = core.step()
        now = time.perf_counter()
        steps += 1
        for number, _ in outs:
            is_done |= number == arrived
            if number in last:
                (during if arrived >= 0 else usual).append(now - last[number])
            last[number] = now
    for number in numbers:
        core.cancel(number)
    return {
        "row": "worst_gap_while_a_long_prompt_arrives",
        "long_prompt_tokens": length,
        "streams": streams.streams,
        "usual_gap_s": statistics.median(usual),
        "worst_gap_s": max(during),
        "worst_usual_gap_s": max(usual),
        "long_prompt_alone_s": alone,
    }


def cache_bytes(tokens: int) -> dict[str, Any]:
    """Bytes of the pages that a prompt of this length holds, by the engine's own books, against the formula.

    The layers, heads and chunk are narthex-nano's, so that the cache is; everything beside the cache is made narrow and
    random, so that 100,000 tokens are computed in a minute. Formula, with keys and values as wide as the engine keeps
    them: layers that see everything keep every token, chunked layers those of the current chunk.
    """
    nano = open_model(checkpoint("narthex-nano")).config.text
    narrow = replace(
        nano,
        vocab_size=256,
        hidden_size=32,
        intermediate_size=32,
        intermediate_size_mlp=32,
        num_attention_heads=nano.num_key_value_heads,
        max_position_embeddings=131_072,
    )
    model = Transformer(ModelConfig(narrow)).to(torch.bfloat16).eval()
    model.init_weights(seed=1)
    config = EngineConfig(cache_tokens=tokens + 64, max_running=1, step_tokens=1024)
    core = EngineCore(model, config)
    dice = random.Random(tokens)
    core.add(Request(ids=tuple(dice.randrange(256) for _ in range(tokens)), max_new_tokens=2))
    while not core.step():
        pass
    kinds, pages = core.runner.pages.kind_of, core.runner.pages
    held = 0
    for kind in (GLOBAL, CHUNKED):
        num_held = core.pool.num_pages[kind] - core.pool.num_free[kind]
        rows = [rows for rows, its_kind in zip(pages.rows, kinds, strict=True) if its_kind == kind]
        held += num_held * config.block_size * sum(row[0].nbytes for row in rows)
    item_bytes = pages.rows[0].element_size()
    position = 2 * nano.num_key_value_heads * nano.head_dim * item_bytes
    chunk = nano.attention_chunk_size or tokens
    num_chunked = sum(kind == CHUNKED for kind in kinds)
    in_chunk = tokens - (tokens - 1) // chunk * chunk
    formula = position * ((len(kinds) - num_chunked) * tokens + num_chunked * in_chunk)
    return {
        "row": f"cache_bytes_at_{tokens}",
        "tokens": tokens,
        "held_bytes": held,
        "formula_bytes": formula,
        "held_bytes_per_token": held / tokens,
        "formula_bytes_per_token": formula / tokens,
        "without_chunks_bytes_per_token": position * len(kinds),
        "item_bytes": item_bytes,
        "block_size": config.block_size,
    }
