"""Thought inside the content: `<think> … </think>`, in pieces, and replies that begin inside a thought.

Where a chat template opens the thought itself, the reply holds only the closing mark, and until it comes nothing tells
thought from text. So text is held back while that is open; what one reply shows is remembered for those that follow.
"""

from __future__ import annotations

from typing import Literal

from narthex.tokens.reply import Piece, ThoughtSplitter, ThoughtStyle

# field: in a field of its own; tags: between both marks; opened: up to the closing mark; none: there is no thought.
ThoughtPlace = Literal["field", "tags", "opened", "none"]

TAGS = ThoughtStyle("<think>", "</think>", is_exact=False)
# A reply that has gone on for so long without the mark is text: an answer would otherwise stay hidden to its end.
MAX_HELD_CHARS = 64 * 1024


class ThinkTags:
    """Splits the content of one reply. `place` is what is known; None: nothing, so the reply itself must show it."""

    def __init__(self, place: ThoughtPlace | None) -> None:
        self.found: ThoughtPlace | None = place  # what this reply has shown, or was known before
        self._splitter = ThoughtSplitter(TAGS, in_thought=place == "opened")
        self._held: str | None = "" if place is None else None

    @property
    def in_thought(self) -> bool:
        """Whether what comes next is known to be thought."""
        return self._held is None and self._splitter.in_thought

    @property
    def num_held(self) -> int:
        """Characters that are held back."""
        return len(self._held or "")

    @property
    def is_undecided(self) -> bool:
        """Whether text is held back because it may be thought."""
        return self._held is not None

    def has_field(self) -> list[Piece]:
        """Thought came in a field of its own, so what the content holds is text."""
        return self._decide("field") if self.is_undecided else []

    def assume_thought(self) -> list[Piece]:
        """What is held back is too long for the answer that was asked for, so it is thought. Nothing is learnt."""
        pieces = self._decide("opened") if self.is_undecided else []
        self.found = None
        return pieces

    def feed(self, text: str) -> list[Piece]:
        """Take some content; return what is settled."""
        if self._held is None:
            return self._splitter.feed(text)
        self._held += text
        begins = self._held.lstrip()
        if begins.startswith(TAGS.start):
            return self._decide("tags")
        if TAGS.end in self._held:
            return self._decide("opened")
        return self._decide("none") if len(self._held) > MAX_HELD_CHARS else []

    def finish(self, *, is_whole: bool) -> list[Piece]:
        """The reply has ended, by itself where it `is_whole`: one that was cut shows nothing about the next."""
        pieces: list[Piece] = []
        if self._held is not None:
            has_shown = is_whole and bool(self._held)
            pieces = self._decide("none")
            self.found = "none" if has_shown else None
        return pieces + self._splitter.finish()

    def _decide(self, place: ThoughtPlace) -> list[Piece]:
        held, self._held, self.found = self._held or "", None, place
        if place == "opened":
            self._splitter = ThoughtSplitter(TAGS, in_thought=True)
        return self._splitter.feed(held)
