"""Whether a text has begun to repeat itself, as a collapsing trace does."""

from __future__ import annotations

MAX_PERIOD = 64  # characters of what is repeated
MIN_REPEATS = 8
MIN_CHARS = 128  # that repeat: "0000000000" may be a number


def is_looping(text: str) -> bool:
    """Whether `text` ends in one stretch written at least MIN_REPEATS times over."""
    tail = text[-MAX_PERIOD * MIN_REPEATS :]
    if len(tail) < MIN_CHARS:
        return False
    for period in range(1, MAX_PERIOD + 1):
        length = max(MIN_CHARS, period * MIN_REPEATS)
        end = tail[-length:]
        if len(end) == length and end[period:] == end[:-period]:
            return True
    return False
