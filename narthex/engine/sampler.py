"""From logits to the next token of each sequence. Legend: R sequences, V vocabulary."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from narthex.engine.request import Sampling
from narthex.engine.sequence import Sequence


class Drawn(NamedTuple):
    id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Undrawable(NamedTuple):
    """Instead of a token: why there is none. It concerns this sequence alone."""

    error: str


def is_plain(sequence: Sequence) -> bool:
    """Greedy, and nothing that touches the logits: all such rows need is one maximum together."""
    sampling = sequence.request.sampling
    return (
        sampling.temperature == 0
        and sampling.repetition_penalty == 1
        and not (sampling.frequency_penalty or sampling.presence_penalty or sampling.logit_bias)
        and sampling.top_logprobs is None
        and (sequence.matcher is None or sequence.is_thinking)
    )


def draw(logits_RV: Tensor, sequences: list[Sequence]) -> list[Drawn | Undrawable]:
    """One token per row, by each sequence's own sampling, grammar and dice. Never raises for what a row holds."""
    best_values, best = (x.tolist() for x in logits_RV.max(-1))
    drawn: list[Drawn | Undrawable] = []
    for row, sequence in enumerate(sequences):
        if not math.isfinite(best_values[row]):  # NaN, too, comes out as the maximum
            drawn.append(Undrawable("the model's scores are not numbers"))
        elif is_plain(sequence):
            drawn.append(Drawn(best[row]))
        else:
            drawn.append(draw_one(logits_RV[row].float().cpu(), sequence))
    return drawn


def draw_one(logits_V: Tensor, sequence: Sequence) -> Drawn | Undrawable:
    """Penalise, bias, hold to the grammar, scale, cut and draw.

    Log-probabilities are those before grammar, temperature and cuts.
    """
    sampling = sequence.request.sampling
    logits_V = _adjust(logits_V.clone(), sequence)
    scores_V = logits_V
    if sequence.matcher is not None and not sequence.is_thinking:
        allowed_V = sequence.matcher.allowed()
        if sequence.matcher.is_accepting:
            allowed_V[list(sequence.request.stop_ids)] = True
        if not allowed_V.any():
            return Undrawable(f"the grammar leads nowhere: {sequence.matcher.error or 'no token fits'}")
        scores_V = logits_V.masked_fill(~allowed_V, float("-inf"))
    if sampling.temperature == 0:
        chosen = int(scores_V.argmax())
    else:
        # float64 with the best at 0, as in `model.generate`: a temperature of 1e-30 gives something finite there
        scores_V = scores_V.double()
        probabilities = _cut(((scores_V - scores_V.max()) / sampling.temperature).softmax(-1), sampling)
        chosen = int(torch.multinomial(probabilities, 1, generator=sequence.generator))
    if sampling.top_logprobs is None:
        return Drawn(chosen)
    logprobs = logits_V.log_softmax(-1)
    values, ids = logprobs.topk(min(sampling.top_logprobs, len(logprobs)))
    return Drawn(chosen, float(logprobs[chosen]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def _adjust(logits_V: Tensor, sequence: Sequence) -> Tensor:
    """Repetition (over prompt and reply; CTRL), frequency and presence (over the reply; OpenAI), then the bias."""
    sampling = sequence.request.sampling
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(sequence.tokens)))
        values = logits_V[seen]
        penalty = sampling.repetition_penalty
        logits_V[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if (sampling.frequency_penalty or sampling.presence_penalty) and sequence.counts:
        ids = torch.tensor(list(sequence.counts))
        counts = torch.tensor(list(sequence.counts.values()), dtype=logits_V.dtype)
        logits_V[ids] -= sampling.frequency_penalty * counts + sampling.presence_penalty
    for token, bias in sampling.logit_bias.items():
        logits_V[token] += bias
    return logits_V


def _cut(probabilities_V: Tensor, sampling: Sampling) -> Tensor:
    """Keep what top-k, top-p and min-p all keep; the best token always stays."""
    if sampling.top_k is None and sampling.top_p == 1 and sampling.min_p == 0:
        return probabilities_V
    ordered, ids = probabilities_V.sort(descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    keep = (before < sampling.top_p) & (ordered >= sampling.min_p * ordered[0])
    if sampling.top_k is not None:
        keep[sampling.top_k :] = False
    keep[0] = True
    return torch.zeros_like(probabilities_V).scatter(0, ids[keep], ordered[keep])
