"""What the worlds say beyond their English: texts for a vocabulary, so few that English keeps its own.

A small vocabulary learned from as much text in other languages as in English is spent on them for the most part. The
English of all worlds is used up after some 1,450 of 2,048 entries; at these rates the others take the rest, share it
about evenly, and lengthen English questions by 4 in 100 (dev/LOG.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator

from narthex.evals.worlds import get_world
from narthex.evals.worlds.multilingual_parse import WORLDS


def other_texts(seed: int, num_items: int) -> Iterator[str]:
    """Questions and answers beside `num_items` English items of each world: half as many in the other languages.

    For every two items of each world, one in one of the other languages, and one that must be declined, in any.
    """
    for index in range(0, num_items, 2):
        for place, world in enumerate(WORLDS):
            item = get_world(f"{world}-multilingual").item(seed, index + place % 2)
            yield from (item.question, item.answer)
        declined = get_world("edge").item(seed, index)
        yield from (declined.question, declined.trace[-1].thought, declined.answer)
