"""Numbers with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054  # the 97.5 % point of the standard normal distribution


class Share(NamedTuple):
    """A share of right answers with its 95 % interval. Of nothing at all: 0, and anything from 0 to 1."""

    accuracy: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        return {"accuracy": _short(self.accuracy), "low": _short(self.low), "high": _short(self.high), "n": self.n}


def wilson(num_right: int, n: int, z: float = Z_95) -> Share:
    """The score interval of a share. Unlike the normal approximation it stays inside 0..1 and is honest at 0 and at n.

    Raises: ValueError unless 0 <= num_right <= n.
    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    if not 0 <= num_right <= n:
        raise ValueError(f"{num_right} right of {n}")
    if n == 0:
        return Share(0.0, 0.0, 1.0, 0)
    share = num_right / n
    stretch = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / stretch
    half = z / stretch * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bounds are 0 and 1 exactly; in floating point they would miss them by an ulp.
    low = 0.0 if num_right == 0 else centre - half
    high = 1.0 if num_right == n else centre + half
    return Share(share, low, high, n)


class Gap(NamedTuple):
    """How far one share lies above another, in points of a hundred, with its 95 % interval."""

    points: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in self._asdict().items()}


def gap(one: Share, other: Share) -> Gap:
    """The difference `one - other` of two independent shares, from their score intervals.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in
    Medicine 17 (1998) 873-890, method 10.
    """
    apart = one.accuracy - other.accuracy
    below = math.hypot(one.accuracy - one.low, other.high - other.accuracy)
    above = math.hypot(one.high - one.accuracy, other.accuracy - other.low)
    return Gap(100 * apart, 100 * (apart - below), 100 * (apart + above))


def at_least(num_right: int, chances: Sequence[float]) -> float:
    """The probability that someone who is right on item i with chance `chances[i]` has `num_right` right or more."""
    counts = [1.0]  # counts[k]: the probability of k right among the items so far
    for chance in chances:
        pairs = zip([*counts, 0.0], [0.0, *counts], strict=True)
        counts = [(1 - chance) * same + chance * one_less for same, one_less in pairs]
    return min(1.0, math.fsum(counts[num_right:]))


def mean(values: list[float]) -> float:
    """The mean, rounded as reports print it; of nothing: 0."""
    return _short(math.fsum(values) / len(values)) if values else 0.0


def _short(value: float) -> float:
    return round(value, 6)
