"""Numbers with their uncertainty."""

from __future__ import annotations

import math
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


def mean(values: list[float]) -> float:
    """The mean, rounded as reports print it; of nothing: 0."""
    return _short(math.fsum(values) / len(values)) if values else 0.0


def _short(value: float) -> float:
    return round(value, 6)
