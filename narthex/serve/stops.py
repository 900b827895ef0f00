"""Stop strings in a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopCutter:
    """Passes text on up to the stop string that is complete first. What might begin one is held until that is known."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.passed = ""
        self.is_cut = False

    def feed(self, text: str) -> str:
        """What of it may be shown now."""
        if self.is_cut:
            return ""
        self._held += text
        # The first to be complete, wherever pieces break; not the one that begins first.
        found = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.is_cut = True
            return self._pass(min(found)[1])
        return self._pass(len(self._held) - self._num_pending())

    def drain(self) -> str:
        """What was held, once no more comes."""
        return "" if self.is_cut else self._pass(len(self._held))

    def _pass(self, length: int) -> str:
        shown, self._held = self._held[:length], self._held[length:]
        self.passed += shown
        return shown

    def _num_pending(self) -> int:
        """Characters at the end that a stop string may have begun with."""
        longest = max(map(len, self._stops))
        for length in range(min(longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
