"""What a group of rollouts teaches: rewards, advantages, and the loss over everything learned in one step.

The variant is Dr. GRPO's. An advantage is a rollout's reward less its group's mean, not divided by the group's standard
deviation: among answers that are all right, rewards differ by a few tokens of thought alone, and dividing would make
those differences count as much as right and wrong do. Every drawn token weighs the same, so that nobody gains by being
long where wrong. There is no penalty for leaving the first policy (KL): a world's checker can't be talked round, the
share of demonstrations keeps what rollouts do not practise, and a second model would cost a third of the time.

Legend: B sequences, T tokens, N tiles, K pictures, M learned places, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from narthex.model import Transformer
from narthex.model.attention import Fresh
from narthex.model.experts import balance_loss
from narthex.train.examples import IGNORED, Example
from narthex.train.rollouts import Piece, Rollout

BALANCE_WEIGHT = 0.02  # as in supervised training (loop.py)


def effort(rollout: Rollout, picture_tokens: int) -> int:
    """What a rollout added to its context before the answer: tokens said, and those of the pictures it looked at."""
    return max(1, rollout.tokens + picture_tokens * rollout.looks)


def rewards(group: Sequence[Rollout], picture_tokens: int, compression: float) -> list[float]:
    """1 for a right answer, less `compression` times the share of its effort that the group's cheapest did without.

    What is wrong, unanswered or over budget gets 0, however short: length counts among right answers only, and the
    longest of them still gets more than 1 - `compression`.
    """
    efforts = [effort(rollout, picture_tokens) for rollout in group]
    cheapest = min((e for e, rollout in zip(efforts, group, strict=True) if rollout.is_right), default=1)
    return [
        1.0 - compression * (1.0 - cheapest / e) if rollout.is_right else 0.0
        for e, rollout in zip(efforts, group, strict=True)
    ]


def advantages(values: Sequence[float]) -> list[float]:
    """Rewards relative to their group's mean; all 0 where all are equal, and nothing is to be learned."""
    mean = sum(values) / len(values)
    return [value - mean for value in values] if max(values) > min(values) else [0.0] * len(values)


@dataclass(frozen=True)
class Lesson:
    """A sequence with what each token weighs. weights, old: (T,) float32; a token with weight 0 is not learned.

    `is_policy`: drawn by the model, with log-probability `old` and its advantage as weight; else a demonstration.
    """

    ids: np.ndarray
    weights: np.ndarray
    old: np.ndarray
    tiles: np.ndarray
    is_policy: bool


def lesson_of(piece: Piece, advantage: float) -> Lesson:
    weights = np.where(piece.drawn, np.float32(advantage), np.float32(0))
    return Lesson(piece.ids, weights, piece.logprobs, piece.tiles, is_policy=True)


def demonstration(example: Example) -> Lesson:
    labels = np.array(example.labels)
    weights = np.where(labels != IGNORED, np.float32(example.weight), np.float32(0))
    return Lesson(np.array(example.ids), weights, np.zeros(len(labels), np.float32), example.tiles, is_policy=False)


class Packed(NamedTuple):
    """Lessons side by side, right-padded: ids (B, T) int64, weights and old (B, T), is_policy (B,) bool.

    Equal tiles are encoded once: tiles (N, 3, S, S), and for every picture in order which of them it is: (K,).
    """

    ids: Tensor
    weights: Tensor
    old: Tensor
    is_policy: Tensor
    tiles: Tensor
    picture_K: Tensor


def pack(lessons: Sequence[Lesson], pad: int) -> Packed:
    """Padding stands right of everything and is never attended to or learned."""
    shape = (len(lessons), max(len(lesson.ids) for lesson in lessons))
    ids, weights, old = np.full(shape, pad), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    numbers: dict[bytes, int] = {}
    tiles: list[np.ndarray] = []
    pictures: list[int] = []
    for row, lesson in enumerate(lessons):
        length = len(lesson.ids)
        ids[row, :length], weights[row, :length], old[row, :length] = lesson.ids, lesson.weights, lesson.old
        for tile in lesson.tiles:
            number = numbers.setdefault(tile.tobytes(), len(tiles))
            if number == len(tiles):
                tiles.append(tile)
            pictures.append(number)
    stacked = np.stack(tiles) if tiles else np.zeros((0,), np.float32)
    arrays = (ids, weights, old, np.array([lesson.is_policy for lesson in lessons]), stacked, np.array(pictures))
    return Packed(*map(torch.from_numpy, arrays))


class Loss(NamedTuple):
    """Scalars. `total` is to go down; the rest tells how the step went, as sums over tokens.

    drift: |log-probability now - when drawn|, of drawn tokens; clipped: how many of them no longer push.
    """

    total: Tensor
    demonstrated: Tensor
    drift: Tensor
    clipped: Tensor


class Clip(NamedTuple):
    """How far a drawn token's probability may go from where it was drawn before it stops to count: down and up.

    Up is wider, as in DAPO: an unlikely token that was right has to become several times likelier.
    """

    low: float
    high: float


class Totals(NamedTuple):
    """Of a whole step: lessons, drawn tokens that count, and weight of demonstrated ones."""

    lessons: int
    drawn: int
    shown: float

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> Totals:
        drawn = sum(int((lesson.weights != 0).sum()) for lesson in lessons if lesson.is_policy)
        return cls(len(lessons), drawn, float(sum(lesson.weights.sum() for lesson in lessons if not lesson.is_policy)))


def lesson_loss(model: Transformer, packed: Packed, totals: Totals, clip: Clip, shown_weight: float) -> Loss:
    """The loss of a part of a step's lessons; summed over the parts it is the step's.

    Each kind's mean over its tokens counts once, demonstrations with `shown_weight`, however many there are of either.
    """
    device = model.device
    ids, weights = packed.ids.to(device), packed.weights.to(device)
    x_BTD = model.language_model.model.embed_tokens(ids)
    if len(packed.picture_K):
        pictures = model.see(packed.tiles.to(device))[0][packed.picture_K.to(device)]
        # where the model itself drew the id that stands for pictures, it is a word, as it was when it was drawn
        places = (ids == model.config.image_token_index) & (weights == 0)
        x_BTD = x_BTD.masked_scatter(places[..., None], pictures.to(x_BTD.dtype))
    hidden, routings = model.decode(x_BTD, Fresh(ids.shape[0], ids.shape[1], device))
    # the vector at place t predicts the id at t + 1; only those that count reach the product with the vocabulary
    learned = weights[:, 1:] != 0
    logits_MV = model.score(hidden[:, :-1][learned]).float()
    now_M = logits_MV.log_softmax(-1).gather(1, ids[:, 1:][learned][:, None])[:, 0]
    weights_M, old_M = weights[:, 1:][learned], packed.old.to(device)[:, 1:][learned]
    is_policy_M = packed.is_policy.to(device)[:, None].expand_as(learned)[learned]
    change_M = torch.where(is_policy_M, now_M - old_M, torch.zeros_like(now_M))
    ratio_M = change_M.exp()
    bound_M = ratio_M.clamp(1 - clip.low, 1 + clip.high)
    gain_M = torch.minimum(ratio_M * weights_M, bound_M * weights_M)
    gain = gain_M[is_policy_M].sum() / max(1, totals.drawn)
    shown = -(now_M * weights_M)[~is_policy_M].sum() / max(1e-6, totals.shown)
    active = model.config.text.num_experts_per_tok
    balance = torch.stack([balance_loss(routing.logits_NE, active) for routing in routings]).mean()
    balance = BALANCE_WEIGHT * len(ids) / totals.lessons * balance
    with torch.no_grad():
        clipped = (gain_M < ratio_M * weights_M)[is_policy_M].sum()
        drift = change_M.abs().sum()
    return Loss(shown_weight * shown - gain + balance, shown.detach(), drift, clipped)
