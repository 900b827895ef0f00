"""From logits to the next token of each sequence. Legend: R sequences, V vocabulary."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from narthex.engine.request import Sampling
from narthex.engine.sequence import Sequence

MANY = 128  # candidates among which top-p and its like nearly always end


class Drawn(NamedTuple):
    id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Undrawable(NamedTuple):
    """Instead of a token: why there is none. It concerns this sequence alone."""

    error: str


def draw(logits_RV: Tensor, sequences: list[Sequence]) -> list[Drawn | Undrawable]:
    """One token per row, by each sequence's own sampling, grammar and dice. Never raises for what a row holds.

    Log-probabilities are those before grammar, temperature and cuts.
    """
    best_values, best = _best(logits_RV)
    drawn: list[Drawn | Undrawable] = [Drawn(token) for token in best]
    diced: list[int] = []
    for row, sequence in enumerate(sequences):
        if not math.isfinite(best_values[row]):  # NaN, too, comes out as the maximum
            drawn[row] = Undrawable("the model's scores are not numbers")
        elif not _is_plain(sequence):
            drawn[row] = draw_one(logits_RV[row].float().cpu(), sequence)
        elif sequence.request.sampling.temperature > 0:
            diced.append(row)
    if diced:
        rows_RV = logits_RV if len(diced) == len(drawn) else logits_RV[diced]
        for row, token in zip(diced, throw(rows_RV.cpu(), [sequences[row] for row in diced]), strict=True):
            drawn[row] = Drawn(token)
    return _with_logprobs(drawn, logits_RV, sequences)


def _best(logits_RV: Tensor) -> tuple[list[float], list[int]]:
    """Each row's largest score and the first place where it stands; NaN counts as larger than everything."""
    if logits_RV.device.type != "cpu" or logits_RV.dtype != torch.float32:
        values_R, best_R = logits_RV.max(-1)
        return values_R.tolist(), best_R.tolist()
    scores_RV = logits_RV.numpy()  # whose search looks at many numbers at once: 11 against 112 us for 200,000
    best = scores_RV.argmax(-1)
    return scores_RV[np.arange(len(best)), best].tolist(), best.tolist()


def _is_plain(sequence: Sequence) -> bool:
    """Nothing touches the scores, and nobody asks for others than the drawn one's: such rows are drawn together."""
    sampling = sequence.request.sampling
    is_free = sequence.matcher is None or sequence.is_thinking
    return is_free and not sampling.top_logprobs and not sampling.changes_scores


def _with_logprobs(
    drawn: list[Drawn | Undrawable], logits_RV: Tensor, sequences: list[Sequence]
) -> list[Drawn | Undrawable]:
    """Add the log-probability of what was drawn together, for those who asked."""
    wanted = [
        (row, one.id)
        for row, (one, sequence) in enumerate(zip(drawn, sequences, strict=True))
        if isinstance(one, Drawn) and one.logprob is None and sequence.request.sampling.top_logprobs is not None
    ]
    if not wanted:
        return drawn
    rows, ids = zip(*wanted, strict=True)
    logs_RV = logits_RV[list(rows)].float().log_softmax(-1)
    logs = logs_RV.gather(1, torch.tensor(ids, device=logs_RV.device)[:, None])[:, 0].tolist()
    for row, token, log in zip(rows, ids, logs, strict=True):
        drawn[row] = Drawn(token, log)
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
    chosen = int(scores_V.argmax()) if sampling.temperature == 0 else throw(scores_V[None], [sequence])[0]
    if sampling.top_logprobs is None:
        return Drawn(chosen)
    logprobs = logits_V.log_softmax(-1)
    values, ids = logprobs.topk(min(sampling.top_logprobs, len(logprobs)))
    return Drawn(chosen, float(logprobs[chosen]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def throw(scores_RV: Tensor, sequences: list[Sequence]) -> list[int]:
    """One token per row by its sequence's temperature, cuts and dice; no row's depends on the others."""
    samplings = [sequence.request.sampling for sequence in sequences]
    dice = [float(torch.rand((), dtype=torch.float64, generator=sequence.generator)) for sequence in sequences]
    temperatures_R1 = torch.tensor([[sampling.temperature] for sampling in samplings], dtype=torch.float64)
    # float64 with the best at 0, as in `model.generate`: a temperature of 1e-30 gives something finite there
    wide_RV = scores_RV.double()
    shares_RV = wide_RV.sub_(wide_RV.amax(-1, keepdim=True)).div_(temperatures_R1).exp_()
    chosen = [0] * len(dice)
    for is_cut in (False, True):
        rows = [row for row, sampling in enumerate(samplings) if sampling.is_cut is is_cut]
        if not rows:
            continue
        part_RV = shares_RV if len(rows) == len(dice) else shares_RV[rows]
        candidates = _cut(part_RV, [samplings[row] for row in rows]) if is_cut else Candidates(part_RV, None)
        for row, token in zip(rows, _fall([dice[row] for row in rows], candidates), strict=True):
            chosen[row] = token
    return chosen


class Candidates(NamedTuple):
    """shares_RC of the tokens ids_RC that may be drawn, not normalised; no ids: they are the columns."""

    shares_RC: Tensor
    ids_RC: Tensor | None


def _fall(dice: list[float], candidates: Candidates) -> list[int]:
    """Where each die in [0, 1) falls when the row's shares lie end to end; never on a share of 0."""
    ends_RC = candidates.shares_RC.cumsum(-1)
    last_R1 = ends_RC[:, -1:]
    at_R1 = torch.tensor(dice, dtype=torch.float64)[:, None] * last_R1
    at_R1 = torch.minimum(at_R1, torch.nextafter(last_R1, torch.zeros_like(last_R1)))
    places_R1 = torch.searchsorted(ends_RC, at_R1, right=True)
    return (places_R1 if candidates.ids_RC is None else candidates.ids_RC.gather(1, places_R1)).flatten().tolist()


def _cut(shares_RV: Tensor, samplings: list[Sampling]) -> Candidates:
    """What top-k, top-p and min-p all keep, best first; the best token always stays. Its share is 1."""
    num_all = shares_RV.shape[1]
    masses_R1 = shares_RV.sum(-1, keepdim=True) * torch.tensor([[s.top_p] for s in samplings], dtype=torch.float64)
    least_R1 = torch.tensor([[s.min_p] for s in samplings], dtype=torch.float64)
    most_R1 = torch.tensor([[s.top_k or num_all] for s in samplings])
    for count in (MANY, num_all):
        if count < num_all:  # sorting everything takes five times as long, and is hardly ever needed
            ids_RC = shares_RV.topk(count).indices.sort().values
            ordered_RC, order_RC = shares_RV.gather(1, ids_RC).sort(descending=True, stable=True)
            ids_RC = ids_RC.gather(1, order_RC)
        else:
            ordered_RC, ids_RC = shares_RV.sort(descending=True, stable=True)
        before_RC = ordered_RC.cumsum(-1) - ordered_RC
        keep_RC = (before_RC < masses_R1) & (ordered_RC >= least_R1) & (torch.arange(ids_RC.shape[1]) < most_R1)
        if not keep_RC[:, -1].any():
            break
    keep_RC[:, 0] = True
    return Candidates(ordered_RC * keep_RC, ids_RC)


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
