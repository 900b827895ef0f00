"""Pictures that belong to no world, in sizes and with grain and light as the worlds' pictures have them."""

from __future__ import annotations

import random

from PIL import Image

from narthex.evals.worlds.drawing import add_light, add_noise
from narthex.evals.worlds.edge_photos import PHOTOS, PHOTOS_UNSEEN
from narthex.evals.worlds.edge_scenes import TRAIN_FAMILIES, Family
from narthex.evals.worlds.edge_scenes_unseen import TEST_FAMILIES
from narthex.evals.worlds.item import Split

FAMILIES: dict[Split, dict[str, Family]] = {
    "train": {**TRAIN_FAMILIES, **PHOTOS}, "test": {**TEST_FAMILIES, **PHOTOS_UNSEEN},
}  # fmt: skip
# Too like a world's pictures: its questions may have an answer there, so that none of them is asked.
LOOKALIKES = frozenset((
    "shapes", "page", "bars", "checkers", "map", "letter grid", "menu", "clock", "buttons", "plate",
    "pie", "curves", "rings", "house", "bricks", "scoreboard", "night",
))  # fmt: skip

_SMALLEST, _LARGEST = 256, 512
# Worlds' pictures are square: most others must be, too, or their shape alone would tell them apart.
_SQUARE_SHARE, _SQUARE_SIDES = 0.75, (256, 256, 256, 320, 384, 448, 512)


def _draw_size(rng: random.Random) -> tuple[int, int]:
    if rng.random() < _SQUARE_SHARE:
        side = rng.choice(_SQUARE_SIDES)
        return side, side
    width = rng.randint(_SMALLEST, _LARGEST)
    return width, min(_LARGEST, max(_SMALLEST, round(width * rng.choice((0.67, 0.75, 1.33, 1.5)))))


def other_picture(
    rng: random.Random, split: Split, family: str | None = None, *, lookalikes: bool = False
) -> Image.Image:
    """Draw a picture of no world, RGB, 256 to 512 pixels a side.

    family: one of FAMILIES[split], or None: any; then of LOOKALIKES only where `lookalikes` allows them.
    """
    picture = Image.new("RGB", _draw_size(rng))
    families = FAMILIES[split]
    allowed = [name for name in families if lookalikes or name not in LOOKALIKES]
    families[family or rng.choice(allowed)](rng, picture)
    # Grain and uneven light as on panels: neither may tell the two apart.
    if rng.random() < 0.4:
        offset = rng.randrange(128), rng.randrange(128)
        picture = add_noise(picture, rng.uniform(0.02, 0.15), coloured=rng.random() < 0.5, offset=offset)
    if rng.random() < 0.3:
        window = (0.0, 0.0, 1.0, 1.0)
        picture = add_light(picture, rng.uniform(0.05, 0.3), turns=rng.randrange(4), window=window)
    return picture
