"""Weights that were changed in place: after a refresh the engine speaks by the new ones, and by nothing it kept."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest
import torch

from narthex.base.errors import BackendError, InputError
from narthex.engine import Engine, EngineConfig, Request
from narthex.engine.products import can_pack
from narthex.model import generate

from .engine_helpers import build, words

PROMPT = words(random.Random(3), 40)
ASKED = Request(ids=PROMPT, max_new_tokens=12)
FORMS = ["as_is", pytest.param("half", marks=pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="no FBGEMM"))]


def collect(engine, request=ASKED):
    async def all_of():
        return [token async for token in engine.submit(request)]

    return asyncio.run(all_of())


def change(model):
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(noise * 0.2).copy_(parameter.half().float())  # so that two bytes hold it


@pytest.mark.parametrize("form", FORMS)
def test_the_new_weights_speak_after_a_refresh(form):
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    engine = Engine(model, EngineConfig(block_size=4, weights=form))
    try:
        before = [token.id for token in collect(engine)]
        assert collect(engine)[0].cached_tokens > 0
        change(model)
        wanted = list(generate(model, PROMPT, max_new_tokens=12))
        assert wanted != before
        engine.refresh()
        after = collect(engine)
        assert [token.id for token in after] == wanted
        assert after[0].cached_tokens == 0
        engine.core.check()
    finally:
        engine.close()


def test_a_refresh_in_the_middle_of_a_reply_is_refused():
    engine = Engine(build(), EngineConfig(block_size=4))

    async def in_the_middle():
        async with aclosing(engine.submit(Request(ids=PROMPT, max_new_tokens=200))) as tokens:
            await anext(tokens)
            with pytest.raises(InputError, match="1 requests are under way"):
                await asyncio.to_thread(engine.refresh)

    try:
        asyncio.run(in_the_middle())
    finally:
        engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine.refresh()
