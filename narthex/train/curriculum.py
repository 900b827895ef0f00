"""What is learned when: the share of each task as training goes on, and batches of like examples drawn by it.

    samples    0 ........ read_until ........ find_until ................................ end
    read       ######### crops -> text ###### a quarter ####### a tenth
    find                                      a third          # a tenth
    think, instant, edge                      two fifths         equal shares of think and instant

Reading and finding are what every world needs, they come as sudden jumps, and a sample of them costs a half to a
quarter of a whole trace's: they have most of a stage before whole traces are worth their time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from narthex.evals.worlds import World, get_world, stream
from narthex.evals.worlds.edge import carelessly
from narthex.evals.worlds.item import Item, Look, Split
from narthex.evals.worlds.multilingual import TranslatedItem, answer_like
from narthex.model import VisionConfig
from narthex.reason.prompts import Proposal
from narthex.tokens import ChatFormat, special
from narthex.train.dense import asked_targets, glyph_targets
from narthex.train.examples import IGNORED, Example, instant_example, reading_example, thinking_example
from narthex.train.peers import made_up_proposals

TASKS = ("read", "find", "think", "instant", "edge")
# Shares of the worlds in all tasks; in reading, of those that make close views; in finding, of those that need looks.
WORLDS = MappingProxyType({
    "panels": 0.20, "charts": 0.15, "tables": 0.14, "dials": 0.14, "forms": 0.13, "shapes": 0.10, "routes": 0.08,
    "words": 0.06,
})  # fmt: skip
READING = MappingProxyType({"panels": 0.4, "charts": 0.3, "tables": 0.3})
FINDING = MappingProxyType({
    "panels": 0.28, "charts": 0.20, "tables": 0.18, "dials": 0.14, "forms": 0.14, "routes": 0.03, "shapes": 0.03,
})  # fmt: skip
# Shares in training of the kinds of panels: of one readout, two compared, two added and none there. The world's own
# (0.6, 0.25, 0.12, 0.03) are what is measured.
PRACTICE = (0.45, 0.25, 0.27, 0.03)
LEGIBLE_PRACTICE = 0.7  # of what Instant is asked in training: legible without a look; of the worlds, a third to a half
ABROAD_SHARE = 0.12  # of find, think and instant: asked in one of the four other languages
PEERS_SHARE = 0.2  # of think: begun with what other agents answered
LENGTH_STEP = 32  # tokens: of all places of a batch, a fifth were padding where lengths were mixed
OTHERS_SHARE = 0.3  # of think: told in another style than the shortest, where there is one


@dataclass(frozen=True)
class Curriculum:
    """Stage borders in samples, the tasks' weights in each stage in the order of TASKS, and the worlds' shares."""

    read_until: int = 40_000
    find_until: int = 320_000
    read_weights: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 0.0)
    find_weights: tuple[float, ...] = (0.26, 0.34, 0.12, 0.22, 0.06)
    mix_weights: tuple[float, ...] = (0.10, 0.10, 0.38, 0.36, 0.06)
    worlds: tuple[str, ...] = tuple(WORLDS)

    def weights(self, sample: int) -> tuple[float, ...]:
        if sample < self.read_until:
            return self.read_weights
        return self.find_weights if sample < self.find_until else self.mix_weights


class Batch(NamedTuple):
    """B like examples, right-padded. N = pictures of all of them.

    ids, labels (B, T) int64; tiles (N, 3, S, S); targets bool (N, P, Q, Y); asked int64 (N, L, 3);
    known bool (N,): are the picture's glyphs; weights (B,) of their tokens in the loss.
    """

    task: str
    ids: Tensor
    labels: Tensor
    tiles: Tensor
    targets: Tensor
    asked: Tensor
    known: Tensor
    weights: Tensor


def draw_example(
    chat: ChatFormat, task: str, seed: int, index: int, split: Split, worlds: Sequence[str] = tuple(WORLDS)
) -> Example:
    """Make the example numbered `index` of a task; nothing else enters, so any leg can go on where another stopped."""
    if task == "edge":
        item = get_world("edge").item(seed, index, split=split)
        return thinking_example(chat, item) if index % 2 else instant_example(chat, item)
    rng = stream("draw", split, seed, index)
    of_task = {"read": READING, "find": FINDING}.get(task, WORLDS)
    shares = {name: share for name, share in of_task.items() if name in worlds}
    name = rng.choices(list(shares), list(shares.values()))[0]
    if task == "read":
        reader: Any = get_world(name)
        return reading_example(chat, reader.reading_crop(seed, index, split=split))
    is_abroad = split == "train" and rng.random() < ABROAD_SHARE
    world: Any = get_world(f"{name}-multilingual" if is_abroad else name)
    item = world.item(seed, index, split=split, **practice(name, task, seed, index, split))
    if task == "find":
        item = _next_with_look(world, item, seed, index, split)
    if split == "train":  # typed as people type, or careless typing alone would come to mean "out of scope"
        item = replace(item, question=carelessly(item.question, stream("careless", split, seed, index)))
    if task == "find":
        return thinking_example(chat, item, num_looks=1)
    if task == "instant":
        return instant_example(chat, item)
    if split != "train":
        return thinking_example(chat, item)
    proposals = _proposals(item, rng) if rng.random() < PEERS_SHARE else ()
    trace = rng.choice(item.others) if item.others and rng.random() < OTHERS_SHARE else item.trace
    return thinking_example(chat, item, proposals=proposals, trace=trace)


def _proposals(item: Item, rng: random.Random) -> tuple[Proposal, ...]:
    """Others' answers, in the language of the question."""
    if not isinstance(item, TranslatedItem) or item.original is None:
        return made_up_proposals(item, rng)
    return tuple(
        Proposal(answer_like(item, answer), votes) for answer, votes in made_up_proposals(item.original, rng)
    )


def practice(world: str, task: str, seed: int, index: int, split: Split) -> dict[str, Any]:
    """What training asks a world for: more that takes two looks, and for Instant more that it can read at all."""
    if split != "train" or task not in ("think", "instant"):
        return {}
    rng = stream("practice", split, seed, index)
    kind = rng.choices(("read", "compare", "sum", "absent"), PRACTICE)[0]
    wanted: dict[str, Any] = {"kind": kind} if world == "panels" else {}
    return wanted if task == "think" else wanted | {"legible": rng.random() < LEGIBLE_PRACTICE}


def _next_with_look(world: World, item: Item, seed: int, index: int, split: Split) -> Item:
    """The item itself if its trace begins with a look, else one drawn from a seed of its own that does."""
    attempt = 0
    while not isinstance(item.trace[0], Look):
        attempt += 1
        item = world.item(seed + 1_000_003 * attempt, index, split=split)
    return item


def batches(
    chat: ChatFormat,
    curriculum: Curriculum,
    vision: VisionConfig,
    *,
    size: int,
    seed: int,
    start: int,
    split: Split,
    stride: int = 1,
) -> Iterator[Batch]:
    """Endless batches of the samples `start`, `start + stride`, …: what is drawn depends on a sample's number alone.

    Examples wait in a bucket per task, number of pictures and rough length until `size` of a kind are there.
    """
    buckets: dict[tuple[str, int, int], list[Example]] = defaultdict(list)
    index = start
    while True:
        task = stream("curriculum", split, seed, index).choices(TASKS, curriculum.weights(index))[0]
        example = draw_example(chat, task, seed, index, split, curriculum.worlds)
        bucket = buckets[task, len(example.views), len(example.ids) // LENGTH_STEP]
        bucket.append(example)
        index += stride
        if len(bucket) == size:
            yield collate(task, bucket, chat, vision)
            bucket.clear()


def collate(task: str, examples: list[Example], chat: ChatFormat, vision: VisionConfig) -> Batch:
    """Pad to the longest and stack. Padding stands right of everything and is never attended to or learned."""
    length = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), length), chat.tokenizer.special_ids[special.PAD], dtype=np.int64)
    labels = np.full((len(examples), length), IGNORED, dtype=np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)], labels[row, : len(example.ids)] = example.ids, example.labels
    tiles = np.concatenate([example.tiles for example in examples])
    views = [view for example in examples for view in example.views]
    known = np.array([bool(view.glyphs) for view in views], dtype=bool)
    weights = np.array([example.weight for example in examples], dtype=np.float32)
    arrays = (ids, labels, tiles, glyph_targets(views, vision), asked_targets(views, vision), known, weights)
    return Batch(task, *(torch.from_numpy(array) for array in arrays))
