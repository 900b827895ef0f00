"""The same code on CUDA: what holds on a CPU holds there, within what another order of additions changes."""

from __future__ import annotations

import random

import pytest
import torch

from narthex.engine import EngineConfig, EngineCore
from narthex.model import Transformer, generate

from ..unit.engine_helpers import build, drain, ids_of, requests, tiles_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15}


@pytest.fixture(scope="module")
def cpu() -> Transformer:
    return build()


@pytest.fixture(scope="module")
def cuda() -> Transformer:
    return build().to("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_agree_with_the_cpu(cpu, dtype):
    ids, tiles = torch.randint(6, 97, (1, 40)), torch.from_numpy(tiles_of(1, 2))
    ids[0, 3:11] = cpu.config.image_token_index
    there = build().to("cuda", dtype)
    with torch.inference_mode():
        expected = cpu(ids, tiles).logits_BTV
        found = there(ids.to("cuda"), tiles.to("cuda", dtype)).logits_BTV
    assert (found.float().cpu() - expected).abs().max() < TOLERANCE[dtype] * expected.abs().max()


def test_the_engine_is_the_naive_loop(cuda):
    asked = requests(random.Random(5), 24)
    core = EngineCore(cuda, EngineConfig(cache_tokens=640, block_size=8, step_tokens=64))
    for request, found in zip(asked, drain(core, asked), strict=True):
        tiles = None if request.tiles is None else torch.from_numpy(request.tiles)
        wanted = list(generate(cuda, request.ids, tiles, max_new_tokens=request.max_new_tokens))
        same = [ids_of(tokens) == wanted for tokens in found.values()]
        assert all(same) or _nearly_tied(cuda, request, wanted)
    core.check()


def _nearly_tied(model: Transformer, request, wanted: list[int]) -> bool:
    """Whether any step of the naive loop had two best scores closer than float32 additions can tell apart."""
    ids = torch.tensor([[*request.ids, *wanted]], device="cuda")
    tiles = None if request.tiles is None else torch.from_numpy(request.tiles).cuda()
    with torch.inference_mode():
        best = model(ids, tiles).logits_BTV[0, len(request.ids) - 1 : -1].topk(2).values
    return bool((best[:, 0] - best[:, 1]).min() < 1e-3)
