"""The plainest way to continue a prompt: one sequence, one token at a time. It judges everything that is faster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from narthex.base.errors import InputError
from narthex.model.attention import KVCache
from narthex.model.transformer import Transformer

BLOCK_TOKENS = 512  # of a prompt at a time: whoever waits can change their mind between blocks


def sample(logits_V: Tensor, *, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """One token id: the best at temperature 0, else drawn from the smallest set that holds `top_p` of the mass.

    Shapes: logits (V,) any float. Ties at temperature 0 go to the lower id. The best token can always be drawn.
    """
    if temperature <= 0:
        return int(logits_V.argmax())
    # float64, and the best at 0: even a temperature of 1e-30 divides into something finite there
    scores = logits_V.double().cpu()
    probabilities, ids = ((scores - scores.max()) / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[1:][before[1:] >= top_p] = 0.0
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


class Continuation:
    """One sequence in the making: `step` draws its next token, `force` dictates some. Not for reuse."""

    def __init__(
        self,
        model: Transformer,
        ids: Sequence[int],
        tiles_NCHW: Tensor | None = None,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Shapes: ids (T,), tiles (N, 3, S, S) float in [-1, 1] or None. Raises: InputError for an empty prompt."""
        if not len(ids):
            raise InputError("the prompt is empty", hint="a model continues at least one token")
        self._model, self._temperature, self._top_p = model, temperature, top_p
        self._prompt, self._tiles_NCHW = list(ids), tiles_NCHW
        self._unseen_BTD: Tensor | None = None  # what the decoder has not taken in yet; None: the prompt
        self._memory = KVCache(model.config.text.num_hidden_layers)
        self._generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def step(self) -> int | None:
        """Take in the next block of what is unseen. Where that was all of it, draw a token; else None: step again.

        Raises: InputError when the tiles do not fit the prompt.
        """
        model, unseen_BTD = self._model, self._embed_prompt() if self._unseen_BTD is None else self._unseen_BTD
        block_BTD, self._unseen_BTD = unseen_BTD[:, :BLOCK_TOKENS], unseen_BTD[:, BLOCK_TOKENS:]
        self._memory.advance(1, block_BTD.shape[1], model.device)
        hidden_BTD, _ = model.decode(block_BTD, self._memory)
        if self._unseen_BTD.shape[1]:
            return None
        logits_V = model.score(hidden_BTD[0, -1])
        token = sample(logits_V, temperature=self._temperature, top_p=self._top_p, generator=self._generator)
        self._unseen_BTD = self._embed([token])
        return token

    @torch.inference_mode()
    def force(self, ids: Sequence[int]) -> None:
        """Let the sequence go on with these ids, as if they had been drawn."""
        unseen_BTD = self._embed_prompt() if self._unseen_BTD is None else self._unseen_BTD
        self._unseen_BTD = torch.cat([unseen_BTD, self._embed(ids)], dim=1)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self._model.embed(torch.tensor([list(ids)], device=self._model.device))

    def _embed_prompt(self) -> Tensor:
        model = self._model
        ids_BT = torch.tensor([self._prompt], device=model.device)
        return model.embed(ids_BT, None if self._tiles_NCHW is None else model.see(self._tiles_NCHW)[0])


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
    device and number of threads. Raises: InputError when the tiles do not fit the prompt, or there is no prompt.
    """
    line = Continuation(model, ids, tiles_NCHW, temperature=temperature, top_p=top_p, seed=seed)
    num_drawn = 0
    while num_drawn < max_new_tokens:
        token = line.step()
        if token is None:
            continue
        num_drawn += 1
        yield token
        if token in stop_ids:
            return
