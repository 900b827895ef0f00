"""How sure a reply was, from the log-probabilities of its tokens: the least likely stretch counts, not the mean."""

from __future__ import annotations

import math
from collections import deque

WINDOW_TOKENS = 32


class Confidence:
    """Geometric mean probabilities over the last WINDOW_TOKENS tokens, and the lowest of them so far."""

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW_TOKENS)
        self._lowest_sum: float | None = None

    def push(self, logprob: float) -> None:
        """Take the natural log-probability of the next token. What is no number counts as next to impossible."""
        self._window.append(min(0.0, logprob) if logprob > -100.0 else -100.0)
        if len(self._window) == WINDOW_TOKENS:
            total = math.fsum(self._window)
            self._lowest_sum = total if self._lowest_sum is None else min(self._lowest_sum, total)

    @property
    def last(self) -> float | None:
        """Of the last tokens, in 0..1; None before the first."""
        return math.exp(math.fsum(self._window) / len(self._window)) if self._window else None

    @property
    def lowest(self) -> float | None:
        """Of the least likely window of the whole reply; the mean of a reply that is shorter than one window."""
        return self.last if self._lowest_sum is None else math.exp(self._lowest_sum / WINDOW_TOKENS)
