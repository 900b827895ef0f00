"""Dense labels: what the generator knows about every patch of every picture, and the small heads that are asked for it.

On answers alone nothing is learned in the time two cores have (32,000 crops, two settings). Two things the generator
knows anyway make the encoder read: which glyph stands in each quarter of each patch, and which glyphs' word vectors a
picture token should resemble. The heads are dropped at export.
Legend: N tiles, P patches of a tile, Q quarters of a patch, L tokens of a tile, C encoder width, D decoder width,
Y glyph classes.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narthex.model import VisionConfig
from narthex.train.examples import View

GLYPHS = string.digits + string.ascii_uppercase + string.ascii_lowercase + ".-/%°:"
ALIGNED = string.digits + string.ascii_uppercase  # glyphs that are one token each, whatever stands beside them
LEGIBLE_PX = 3.2  # ink lower than this in the encoder's view is not asked for (labels are about 4.5, fine print 2)
EMPTY_WEIGHT = 0.05  # most quarters are empty
SLOTS = 2  # a digit is about 6 pixels wide and a patch 8: halves tell which of two digits in a patch comes first

_CLASS = {char: index for index, char in enumerate(GLYPHS)}


def glyph_targets(views: Iterable[View], vision: VisionConfig) -> np.ndarray:
    """Which glyphs have their centre in each quarter of each patch, row by row: bool (pictures, P, Q, Y)."""
    views = list(views)
    targets = np.zeros((len(views), vision.grid**2, SLOTS**2, len(GLYPHS)), dtype=bool)
    for row, view in enumerate(views):
        scale = vision.image_size / max(view.picture.size)  # one tile: the longer side fills it
        for glyph in view.glyphs:
            x, y = glyph.x * scale / vision.patch_size, glyph.y * scale / vision.patch_size
            is_inside = 0 <= x < vision.grid and 0 <= y < vision.grid
            if is_inside and glyph.height * scale >= LEGIBLE_PX and glyph.char in _CLASS:
                quarter = int(y % 1 * SLOTS) * SLOTS + int(x % 1 * SLOTS)
                targets[row, int(y) * vision.grid + int(x), quarter, _CLASS[glyph.char]] = True
    return targets


class DenseHeads(nn.Module):
    """The glyph head over patches, and the scale and bias of the alignment between picture tokens and word vectors."""

    weights: Tensor
    aligned_ids: Tensor

    def __init__(self, vision: VisionConfig, aligned_ids: list[int]) -> None:
        super().__init__()
        self.vision = vision
        self.glyph = nn.Linear(vision.hidden_size, SLOTS**2 * (len(GLYPHS) + 1))
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-3.0))
        self.register_buffer("aligned_ids", torch.tensor(aligned_ids), persistent=False)
        weights = torch.ones(len(GLYPHS) + 1)
        weights[-1] = EMPTY_WEIGHT
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, patches_NPC: Tensor, tokens_NLD: Tensor, words_VD: Tensor, targets_NPQY: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(glyph loss, alignment loss), scalars. Targets: bool (N, P, Q, Y) as `glyph_targets` makes them."""
        targets = targets_NPQY.float()
        is_empty = (targets.sum(-1, keepdim=True) == 0).float()
        shares = torch.cat([targets, is_empty], dim=-1)
        shares = shares / shares.sum(-1, keepdim=True)
        scores = self.glyph(patches_NPC).float().unflatten(-1, shares.shape[-2:]).log_softmax(-1)
        glyph_loss = -(shares * self.weights * scores).sum() / (shares * self.weights).sum()

        tokens, factor = self.vision.grid // self.vision.shuffle, self.vision.shuffle  # along one side
        blocks = targets_NPQY[..., : len(ALIGNED)].amax(2).unflatten(1, (tokens, factor, tokens, factor))
        present_NLA = blocks.transpose(2, 3).flatten(3, 4).amax(3).flatten(1, 2).float()
        logits_NLA = (tokens_NLD.float() @ words_VD[self.aligned_ids].float().T) * self.scale + self.bias
        weight = torch.tensor(10.0, device=logits_NLA.device)  # about one glyph in thirty-six is present
        return glyph_loss, F.binary_cross_entropy_with_logits(logits_NLA, present_NLA, pos_weight=weight)
