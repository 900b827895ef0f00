"""What a world hands out: a question about a picture, its exact answer, and what the generator knows anyway.

Coordinates. Glyphs are measured in pixels of the final picture (origin top left, rotation already applied). Boxes are
measured in thousandths of the picture's sides, `(x0, y0, x1, y1)`, as the zoom tool takes them.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from PIL import Image

Split = Literal["train", "test"]
Kind = Literal[
    "read", "compare", "sum", "absent", "edge",  # panels, edge
    "difference", "trend",  # charts
    "lookup", "filter", "aggregate",  # tables
    "arithmetic", "units",  # words
    "zone",  # dials
    "relational", "nonrelational", "count", "point", "box", "detail",  # shapes
    "field", "range", "outlier",  # forms
    "next", "hops", "way", "shortest", "reach",  # routes
]  # fmt: skip


class Glyph(NamedTuple):
    """One character that was drawn: its ink's centre and the ink's height, in picture pixels, after rotation."""

    char: str
    x: float
    y: float
    height: float


class Look(NamedTuple):
    """A step of a demonstration: think, then zoom into `box` (thousandths of the picture)."""

    thought: str
    box: tuple[int, int, int, int]


class Call(NamedTuple):
    """A step of a demonstration: think, then call the tool `name`; `result` is the text that the tool returns."""

    thought: str
    name: str
    arguments: dict[str, str]
    result: str


class Answer(NamedTuple):
    """The last step of a demonstration: think, then say `text`."""

    thought: str
    text: str


Step = Look | Call | Answer


@dataclass(frozen=True)
class Item:
    """One task.

    `legible`: everything asked about can be read without a look (in text alone: one small step is enough). `trace`:
    the shortest sufficient demonstration; `others`: the same in other styles, each at most half as long again.
    `tolerance`: how far off an answer's number or place may be, in the answer's own measure.
    """

    world: str
    kind: Kind
    picture: Image.Image | None
    question: str
    answer: str
    legible: bool
    difficulty: float
    glyphs: tuple[Glyph, ...]
    trace: tuple[Step, ...]
    seed: int
    others: tuple[tuple[Step, ...], ...] = ()
    tolerance: float = 0.0


class Crop(NamedTuple):
    """A close view of one readout, as a zoom returns it. `text`: "label value unit"; `glyphs`: in the crop's pixels."""

    picture: Image.Image
    text: str
    glyphs: tuple[Glyph, ...]


class World(Protocol):
    """A generator of fresh, checkable tasks.

    An item depends on (world, split, seed, index, difficulty) and on nothing else, so a run can be repeated and resumed
    anywhere. No item of the train split is an item of the test split.
    """

    name: str

    def item(self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train") -> Item:
        """Make one item. difficulty: 0 (easy) to 1 (hard), or None to draw it."""
        ...

    def check(self, item: Item, answer: str) -> bool:
        """Say whether an answer's text is right."""
        ...


def stream(world: str, split: str, seed: int, index: int) -> random.Random:
    """A random stream of its own for one item; a stable hash, because Python's own differs from process to process."""
    digest = hashlib.blake2b(f"{world}/{split}/{seed}/{index}".encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))
