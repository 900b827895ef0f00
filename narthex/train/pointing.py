"""Which characters on a picture a question is about, and where one would look: the generator knows, nano is taught it.

A demonstration names what it seeks ("Find Jute.") and what it states ("Jute reads 90."); the names are on the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from narthex.evals.worlds import Glyph, Item, Look

Corner = tuple[int, int]  # left and top of a look's box, in thousandths

_WORD = re.compile(r"[A-Za-z0-9°%/']+")
_SOUGHT = re.compile(r"(?:Find|Look at) ([^.]*)\.")
_APART = 1.25  # centres of two characters of one word are less than this many heights apart


def asked_glyphs(item: Item) -> dict[int, Corner | None]:
    """The characters of labels that the question is about, by their number, with the corner of the look to take.

    The corner is None where no look is taken for the label.
    """
    asked: dict[int, Corner | None] = {}
    spoken = set(_WORD.findall(item.question))
    for step in item.trace:
        sought = {word for names in _SOUGHT.findall(step.thought) for word in _WORD.findall(names)}
        stated = set(_WORD.findall(step.thought)) & spoken
        for name in sought | stated:
            for number in _printed(name, item.glyphs):
                if isinstance(step, Look) and name in sought:
                    asked[number] = (step.box[0], step.box[1])
                else:
                    asked.setdefault(number, None)
    return asked


def _printed(word: str, glyphs: Sequence[Glyph]) -> Iterator[int]:
    """The numbers of all characters that spell `word`, with no letter close before or behind it."""
    chars = "".join(glyph.char[:1] or " " for glyph in glyphs)
    at = chars.find(word)
    while at >= 0:
        end = at + len(word)
        is_whole = all(_follows(one, two) for one, two in pairwise(glyphs[at:end]))
        begins = at == 0 or not chars[at - 1].isalpha() or not _follows(glyphs[at - 1], glyphs[at])
        ends = end == len(glyphs) or not chars[end].isalpha() or not _follows(glyphs[end - 1], glyphs[end])
        if is_whole and begins and ends:
            yield from range(at, end)
        at = chars.find(word, at + 1)


def _follows(one: Glyph, two: Glyph) -> bool:
    """Whether a character stands close behind the one drawn before it; a panel may be turned a little."""
    height = max(one.height, two.height)
    return 0 < two.x - one.x < _APART * height and abs(two.y - one.y) < 0.6 * height


def within(asked: Mapping[int, Corner | None]) -> dict[int, Corner | None]:
    """The same labels on a close view, from which no further look is taken."""
    return dict.fromkeys(asked)
