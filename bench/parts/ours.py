"""Narthex's engine as a contestant: its core, stepped as llama.cpp's is, or the public `Engine` with its streams."""

from __future__ import annotations

import asyncio
from typing import Any

import torch

from narthex.engine import Engine, EngineConfig, EngineCore, Request, Sampling
from narthex.engine.products import Weights
from narthex.weights import open_model
from parts.checkpoints import checkpoint
from parts.contest import CHECK, Setting, thread_counts
from parts.work import Clock, Moment, Prompts, Row, Timing, prompts_for

# How weights are kept -> the type they are opened in, and the engine's `weights`. "half" is what "auto" chooses for
# these models on a CPU: float16, which holds them exactly, multiplied in float32.
_FORMS: dict[str, tuple[torch.dtype, Weights]] = {
    "half": (torch.bfloat16, "half"),
    "float32": (torch.float32, "as_is"),
    "bfloat16": (torch.bfloat16, "as_is"),
    "int8": (torch.bfloat16, "int8"),
}
LONGEST = 3 * 8192  # positions in an engine's cache: room for every row


class Ours:
    """`how`: "core" steps an EngineCore in this thread; "async" reads streams of an Engine in an event loop."""

    def __init__(
        self,
        model: str,
        *,
        how: str = "core",
        deterministic: bool = False,
        precisions: tuple[str, ...] = ("half", "float32", "bfloat16"),
    ) -> None:
        self._folder, self._precisions = checkpoint(model), precisions
        self._how, self._deterministic = how, deterministic
        self._opened: tuple[str, Engine] | None = None
        self.text = open_model(self._folder).config.text

    def axes(self, row: Row) -> dict[str, list[Any]]:
        return {"precision": list(self._precisions), "threads": thread_counts()}

    def run(self, setting: Setting, row: Row, prompts: Prompts) -> Timing:
        torch.set_num_threads(setting["threads"])
        engine = self.open(setting["precision"])
        requests = [Request(ids=tuple(ids), max_new_tokens=row.new) for ids in prompts.whole]
        return asyncio.run(_streamed(engine, requests)) if self._how == "async" else _stepped(engine.core, requests)

    def open(self, precision: str) -> Engine:
        """An engine with weights in that form and an empty cache; one of another form is let go first."""
        if self._opened is None or self._opened[0] != precision:
            self.close()
            dtype, weights = _FORMS[precision]
            config = EngineConfig(cache_tokens=LONGEST, deterministic=self._deterministic, weights=weights)
            self._opened = (precision, Engine(open_model(self._folder, dtype=dtype).model, config))
        engine = self._opened[1]
        engine.core.pool.clear_cache()
        return engine

    def close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


def best_two_apart(core: EngineCore) -> list[list[float]]:
    """For each token of the check, how far its log-probability stands above the next one's: small ones are ties."""
    sampling = Sampling(top_logprobs=2)
    prompts = prompts_for(CHECK, core.model_config.text, 0).whole
    requests = [Request(ids=tuple(ids), max_new_tokens=CHECK.new, sampling=sampling) for ids in prompts]
    streams = {core.add(request): number for number, request in enumerate(requests)}
    apart: list[list[float]] = [[] for _ in requests]
    while not core.is_idle:
        for number, token in core.step():
            (_, best), (_, second) = token.top_logprobs
            apart[streams[number]].append(best - second)
    return apart


def _stepped(core: EngineCore, requests: list[Request]) -> Timing:
    ids: list[list[int]] = [[] for _ in requests]
    moments: list[list[Moment]] = [[] for _ in requests]
    clock = Clock()
    streams = {core.add(request): number for number, request in enumerate(requests)}
    while not core.is_idle:
        outs = core.step()
        now = clock.now()
        for number, token in outs:
            ids[streams[number]].append(token.id)
            moments[streams[number]].append(now)
    return Timing(ids, moments)


async def _streamed(engine: Engine, requests: list[Request]) -> Timing:
    clock = Clock()

    async def read(request: Request) -> tuple[list[int], list[Moment]]:
        ids, moments = [], []
        async for token in engine.submit(request):
            ids.append(token.id)
            moments.append(clock.now())
        return ids, moments

    read_all = await asyncio.gather(*(read(request) for request in requests))
    return Timing([ids for ids, _ in read_all], [moments for _, moments in read_all])
