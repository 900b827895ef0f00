"""Where a run is shown: one agent as it thinks, several on a board; held still while a person is asked something."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from narthex.cli.show import Teller

if TYPE_CHECKING:
    from narthex.chat import Event
    from narthex.cli.board import Board

# An event is on disk before it is shown, at most 50 ms later; a person is asked once it has been.
_SHOWN_WITHIN_S = 1.0
_ON_BOARD = frozenset({
    "agent_started", "thought_delta", "agent_text_delta", "tool_started", "tool_finished", "approval_asked",
    "agent_finished", "round_started", "agreement", "waiting",
})  # fmt: skip


class Stage:
    """Shows runs, one after another, on `out` (the answer) and `err` (everything around it).

    `is_quiet`: nothing is shown of a run, only warnings, as --json wants it.
    """

    def __init__(self, out: TextIO, err: TextIO, *, folder: Path | None = None, is_quiet: bool = False) -> None:
        self.out, self.err, self.folder, self.is_quiet = out, err, folder, is_quiet
        self.teller = Teller(out, err, folder=folder)
        self.run_id: str | None = None
        self._board: Board | None = None
        self._is_answering = False
        self._held: deque[Event] | None = None
        self._asked: set[str] = set()
        self._asked_one_more = asyncio.Event()

    def show(self, event: Event) -> None:
        """Show one event, or keep it while the stage is held."""
        if self._held is not None:
            self._held.append(event)
            return
        if event.type == "run_started":
            self._begin(event.run_id, is_crowd=event.mode == "contemplating")
        if not self.is_quiet:
            self._pass_on(event)
        if event.type == "approval_asked":
            self._asked.add(event.call.id)
            self._asked_one_more.set()

    def warn(self, text: str) -> None:
        """A line that should be seen."""
        if self._board is not None:
            self._board.stop()
        self.teller.warn(text)

    def note(self, text: str) -> None:
        """A line of ours."""
        if self._board is not None:
            self._board.stop()
        self.teller.note(text)

    async def until_asked(self, call_id: str) -> None:
        """Wait until it has been shown that this call waits for a person; not for long, in case it never is."""
        try:
            async with asyncio.timeout(_SHOWN_WITHIN_S):
                while call_id not in self._asked:
                    self._asked_one_more.clear()
                    await self._asked_one_more.wait()
        except TimeoutError:
            return

    def hold(self) -> None:
        """Stand still, on a line of its own: somebody else writes to the terminal now."""
        if self._board is not None:
            self._board.stop()
        self.teller.end_line()
        self._held = deque()

    def release(self) -> None:
        """Show what happened meanwhile, and go on."""
        held, self._held = self._held or (), None
        for event in held:
            self.show(event)

    def close(self) -> None:
        """The run is over, or was cut: leave the terminal at the beginning of a line."""
        self.release()
        if self._board is not None:
            self._board.close()
            self._board = None
        self.teller.end_line()

    def _begin(self, run_id: str, *, is_crowd: bool) -> None:
        from narthex.cli.board import Board

        self.run_id = run_id
        self.teller = Teller(self.out, self.err, folder=self.folder)
        self._board = Board(self.err) if is_crowd and not self.is_quiet else None
        self._is_answering = False
        self._asked.clear()

    def _pass_on(self, event: Event) -> None:
        if self._board is None:
            self.teller.show(event)
        elif event.type in _ON_BOARD:
            # An answer that streams is not to be broken by lines of the board, unless it was said before a call.
            self._is_answering = self._is_answering and event.type != "tool_started"
            if self._is_answering and event.type == "waiting":
                return
            self.teller.end_line()
            self._board.show(event, is_drawn=not self._is_answering)
        else:
            self._is_answering = self._is_answering or event.type in ("answer_started", "answer_delta")
            self._board.stop()
            if event.type in ("run_finished", "run_failed"):
                self._board.close()
            self.teller.show(event)
