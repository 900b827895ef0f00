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
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narthex.chat.boxes import SIDE
from narthex.evals.worlds.panels import BOX_STEP
from narthex.model import VisionConfig
from narthex.train.examples import IGNORED, View

GLYPHS = string.digits + string.ascii_uppercase + string.ascii_lowercase + ".-/%°:"
ALIGNED = string.digits + string.ascii_uppercase  # glyphs that are one token each, whatever stands beside them
# Ink lower than this share of the encoder's view is not asked for: labels are 0.04 to 0.07, fine print 0.035.
LEGIBLE = 0.04
FINDABLE = 0.03  # a label that the question names may be smaller: what it says is known beforehand
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
            if is_inside and glyph.height >= LEGIBLE * max(view.picture.size) and glyph.char in _CLASS:
                quarter = int(y % 1 * SLOTS) * SLOTS + int(x % 1 * SLOTS)
                targets[row, int(y) * vision.grid + int(x), quarter, _CLASS[glyph.char]] = True
    return targets


def asked_targets(views: Iterable[View], vision: VisionConfig) -> np.ndarray:
    """Of each picture token: does it show a label that the question names, and where would one look for it?

    int64 (pictures, L, 3): 0 or 1; left and top of that look in steps of BOX_STEP, IGNORED where none is to be taken.
    """
    side, width = vision.grid // vision.shuffle, vision.patch_size * vision.shuffle
    views = list(views)
    targets = np.full((len(views), side**2, 3), IGNORED, dtype=np.int64)
    targets[..., 0] = 0
    for row, view in enumerate(views):
        scale = vision.image_size / max(view.picture.size) / width
        for number, corner in view.asked.items():
            glyph = view.glyphs[number]
            x, y = glyph.x * scale, glyph.y * scale
            is_inside = min(x, y) >= 0 and max(x, y) < side
            if is_inside and glyph.height >= FINDABLE * max(view.picture.size):
                steps = [IGNORED, IGNORED] if corner is None else [edge // BOX_STEP for edge in corner]
                targets[row, int(y) * side + int(x)] = [1, *steps]
    return targets


class DenseLosses(NamedTuple):
    """Scalars: glyphs in patches, glyphs in picture tokens, tokens against word vectors."""

    glyph: Tensor
    token: Tensor
    align: Tensor


class DenseHeads(nn.Module):
    """Small heads on patches, on picture tokens, and on picture tokens after the first decoder layers."""

    weights: Tensor
    aligned_ids: Tensor

    def __init__(self, vision: VisionConfig, hidden_size: int, aligned_ids: list[int]) -> None:
        super().__init__()
        self.vision = vision
        num_classes, num_slots = len(GLYPHS) + 1, SLOTS**2
        self.glyph = nn.Linear(vision.hidden_size, num_slots * num_classes)
        self.token = nn.Linear(hidden_size, num_slots * vision.shuffle**2 * num_classes)
        self.asked = nn.Linear(hidden_size, 1 + 2 * (SIDE // BOX_STEP))
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-3.0))
        self.register_buffer("aligned_ids", torch.tensor(aligned_ids), persistent=False)
        weights = torch.ones(num_classes)
        weights[-1] = EMPTY_WEIGHT
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, patches_NPC: Tensor, tokens_NLD: Tensor, words_VD: Tensor, targets_NPQY: Tensor) -> DenseLosses:
        """What encoder and picture tokens know of the glyphs. Targets: bool (N, P, Q, Y), see `glyph_targets`."""
        targets_NLRY = self._by_token(targets_NPQY)
        present_NLA = targets_NLRY[..., : len(ALIGNED)].amax(2).float()
        logits_NLA = (tokens_NLD.float() @ words_VD[self.aligned_ids].float().T) * self.scale + self.bias
        weight = torch.tensor(10.0, device=logits_NLA.device)  # about one glyph in thirty-six is present
        return DenseLosses(
            self._glyph_loss(self.glyph(patches_NPC), targets_NPQY),
            self._glyph_loss(self.token(tokens_NLD), targets_NLRY),
            F.binary_cross_entropy_with_logits(logits_NLA, present_NLA, pos_weight=weight),
        )

    def asked_loss(self, hidden_NLD: Tensor, targets_NL3: Tensor) -> tuple[Tensor, Tensor]:
        """Has a picture token found out, early in the decoder, that it shows what is asked, and where to look?"""
        scores = self.asked(hidden_NLD).float()
        weight = torch.tensor(8.0, device=hidden_NLD.device)  # about one token in sixteen shows it
        shown = F.binary_cross_entropy_with_logits(scores[..., 0], targets_NL3[..., 0].float(), pos_weight=weight)
        corners = scores[..., 1:].unflatten(-1, (2, -1))[targets_NL3[..., 1] != IGNORED]
        if not len(corners):
            return shown, shown.new_zeros(())
        wanted = targets_NL3[targets_NL3[..., 1] != IGNORED][:, 1:]
        return shown, F.cross_entropy(corners.flatten(0, 1), wanted.flatten())

    def _by_token(self, targets_NPQY: Tensor) -> Tensor:
        """Targets of patches gathered by the token they become: (N, P, Q, Y) -> (N, L, factor^2 * Q, Y)."""
        side, factor = self.vision.grid, self.vision.shuffle
        blocks = targets_NPQY.unflatten(1, (side // factor, factor, side // factor, factor))
        return blocks.transpose(2, 3).flatten(3, 5).flatten(1, 2)

    def _glyph_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy over slots, shared where a slot holds several: (…, slots * (Y + 1)), bool (…, slots, Y)."""
        found = targets.float()
        shares = torch.cat([found, (found.sum(-1, keepdim=True) == 0).float()], dim=-1)
        weighted = shares / shares.sum(-1, keepdim=True) * self.weights
        logs = scores.float().unflatten(-1, shares.shape[-2:]).log_softmax(-1)
        return -(weighted * logs).sum() / weighted.sum()
