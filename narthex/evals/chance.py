"""What guessing scores on a question, for a guesser who sees as much of the panel as the small view can show.

That guesser knows the question, every value in large print, how many digits each fine value has and where its point is
(its smear in the small view is as wide as that), and how the generator draws values; it answers what is likeliest.
Who never looks can do no better on fine print, so Instant's score there is measured against this, not against 0.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from fractions import Fraction
from typing import NamedTuple

from narthex.evals.worlds import Item, Look

CHANCE_HOW = (
    "mean over the questions of the likeliest answer's probability, given the question, all large print, and the "
    "number of digits and place of the point of every fine value; read: 1 / (values of that shape); sum: 1 / (values "
    "of the longer value's shape); compare: the likelier of the two orders"
)

_WORLDS = ("panels", "panels-unseen")
_READS = re.compile(r"\b([A-Z]) reads (\d+(?:\.\d+)?)")
_FINDS = re.compile(r"\bFind ([A-Z])\.")


class Reading(NamedTuple):
    """A value asked about, as the panel shows it. Fine print hides which value it is, but not its shape."""

    label: str
    value: str
    is_fine: bool


def readings(item: Item) -> tuple[Reading, ...]:
    """The values a panel question asks about, in its order. The demonstration says them; the item has no other list."""
    thoughts = " ".join(step.thought for step in item.trace)
    fine = {label for step in item.trace if isinstance(step, Look) for label in _FINDS.findall(step.thought)}
    return tuple(Reading(label, value, label in fine) for label, value in _READS.findall(thoughts))


def chance(item: Item) -> float | None:
    """The probability that the best guess is right; None where everything is legible or nothing is known of guessing.

    Of other worlds nothing is known: their values are drawn in other ways, and lengths and places tell something, too.
    Values of one shape are drawn evenly (panel_scene.draw_value), which makes the sums below exact: two such values
    of N1 >= N2 possibilities have a likeliest sum of probability 1 / N1.
    """
    asked = readings(item)
    if item.world not in _WORLDS or item.legible or item.picture is None or not asked:
        return None
    possible = [_possible(reading) for reading in asked]
    if item.kind in ("read", "sum"):
        return 1 / max(len(values) for values in possible)
    if item.kind == "compare" and len(possible) == 2:
        higher = _share_higher(*possible)
        return max(higher, 1 - higher)
    return None


def _possible(reading: Reading) -> list[Fraction]:
    """All values a reading can have for the guesser, in order: itself in large print, all of its shape in fine."""
    if not reading.is_fine:
        return [Fraction(reading.value)]
    digits = reading.value.replace(".", "")
    scale = 10 ** (len(digits) - reading.value.index(".")) if "." in reading.value else 1
    return [Fraction(n, scale) for n in range(10 ** (len(digits) - 1), 10 ** len(digits))]


def _share_higher(one: list[Fraction], two: list[Fraction]) -> float:
    """P(a > b) for a, b drawn evenly from two sorted lists, given that they differ (the world never asks equals)."""
    if one[0] > two[-1] or two[0] > one[-1]:
        return float(one[0] > two[-1])
    higher = sum(bisect_left(two, value) for value in one)
    lower = sum(len(two) - bisect_right(two, value) for value in one)
    return higher / (higher + lower)
