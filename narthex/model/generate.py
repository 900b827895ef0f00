"""The plainest way to continue a prompt: one sequence, one token at a time. It judges everything that is faster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from narthex.model.attention import KVCache
from narthex.model.transformer import Transformer


def sample(logits_V: Tensor, *, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """One token id: the best at temperature 0, else drawn from the smallest set that holds `top_p` of the mass.

    Shapes: logits (V,) any float. Ties at temperature 0 go to the lower id.
    """
    if temperature <= 0:
        return int(logits_V.argmax())
    probabilities, ids = (logits_V.float().cpu() / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[before >= top_p] = 0.0
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


@torch.inference_mode()
def generate(
    model: Transformer,
    ids: Sequence[int],
    tiles_NCHW: Tensor | None = None,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield new token ids, the stopping one included, until one of `stop_ids` or the limit.

    Shapes: ids (T,), tiles (N, 3, S, S) float in [-1, 1] or None. The same arguments give the same tokens on the same
    device and number of threads. Raises: InputError when the tiles do not fit the prompt.
    """
    memory = KVCache(model.config.text.num_hidden_layers)
    generator = torch.Generator().manual_seed(seed)
    ids_BT = torch.tensor([list(ids)], device=model.device)
    pixels = None if tiles_NCHW is None else tiles_NCHW.to(model.device, model.dtype)
    for _ in range(max_new_tokens):
        memory.advance(1, ids_BT.shape[1], model.device)
        logits_V = model(ids_BT, pixels, memory).logits_BTV[0, -1]
        token = sample(logits_V, temperature=temperature, top_p=top_p, generator=generator)
        yield token
        if token in stop_ids:
            return
        ids_BT, pixels = torch.tensor([[token]], device=model.device), None
