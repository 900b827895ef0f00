"""Agents side by side in a terminal: a line for each one at work, written over; one that stays for each that is done.

What stays is the same in a terminal and in a pipe; only a terminal sees the lines of those still at work.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from narthex.base.log import wants_colour
from narthex.cli.show import clean, describe_box, describe_call, one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

    from narthex.chat import AgentFinished, AgentStarted, Event, ToolCall

PIPE_COLUMNS = 100  # where nobody says how wide a line may be
REFRESHES_PER_S = 8
_NAME_COLUMNS, _AMOUNT_COLUMNS, _SECONDS_COLUMNS = 9, 15, 8
_SHOWN_ANSWERS = 4  # of a tally


@dataclass
class _Row:
    """One agent at work."""

    name: str
    role: str
    began_t: float
    doing: str = "starting"
    characters: int = 0


class _Above:
    """Where log lines go while agents' lines are drawn: above them, or they would stay between."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def write(self, text: str) -> int:
        from rich.text import Text

        if text.strip():
            self._board._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


class Board:
    """Draws on `err`. Only events are read, and `t` of events is the only clock but for seconds that tick meanwhile."""

    def __init__(self, err: TextIO) -> None:
        from rich.console import Console

        self._rows: dict[str, _Row] = {}
        self._quiet_s = self._told_quiet_s = 0.0
        self._last_t, self._last_seen = 0.0, time.monotonic()
        # rich would guess a terminal from variables such as FORCE_COLOR; what the stream says is what holds.
        self.is_live = err.isatty() and os.environ.get("TERM") != "dumb"
        self._is_dim = wants_colour(err)
        self._console: Console = Console(
            file=err, force_terminal=self.is_live, no_color=not self._is_dim, highlight=False, markup=False,
            emoji=False, width=None if self.is_live else PIPE_COLUMNS,
        )  # fmt: skip
        self._live: Live | None = None
        self._diverted: list[logging.StreamHandler[Any]] = []

    def show(self, event: Event, *, is_drawn: bool = True) -> None:
        """Take one event in; `is_drawn` False: without the lines of those at work. The answer is not for the board."""
        self._last_t, self._last_seen, self._quiet_s = event.t, time.monotonic(), 0.0
        row = self._rows.get(event.agent_id or "")
        match event.type:
            case "agent_started":
                self._begin(event)
            case "thought_delta" | "agent_text_delta" if row is not None:
                row.doing = "thinking" if event.type == "thought_delta" else "answering"
                row.characters += len(event.text)
            case "tool_started" if row is not None:
                row.doing = _doing(event.call)
            case "tool_finished" if row is not None:
                row.doing = "reading the result"
            case "approval_asked" if row is not None:
                row.doing = f"{one_line(event.call.name)}: waits for your word"
            case "agent_finished":
                self._end(event)
            case "round_started":
                self.print(f"round {event.round + 1}: {event.purpose}")
            case "agreement":
                self.print(agreement_line(event.tally, event.probability))
            case "waiting":
                self._wait(event.quiet_s)
        if is_drawn:
            self._draw()

    def stop(self) -> None:
        """Take the lines of those at work away; `show` brings them back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for handler in self._diverted:
            handler.setStream(self._console.file)
        self._diverted.clear()

    def close(self) -> None:
        """The run is over: what was still at work gets its last line."""
        self.stop()
        for row in self._rows.values():
            self._tell(row.name, f"cut while {row.doing}", f"{row.characters:,} chars", self._now() - row.began_t)
        self._rows.clear()

    def print(self, text: str) -> None:
        """A line that stays, above those of the agents at work."""
        from rich.text import Text

        line = Text(clean(text), style="dim" if self._is_dim else "", no_wrap=self.is_live, overflow="ellipsis")
        self._console.print(line, soft_wrap=not self.is_live)

    def _begin(self, event: AgentStarted) -> None:
        self._rows[event.agent_id] = _Row(one_line(event.agent_id), event.role, event.t)

    def _end(self, event: AgentFinished) -> None:
        row = self._rows.pop(event.agent_id, None)
        name = one_line(event.agent_id) if row is None else row.name
        ledger = event.ledger
        tokens = f"{ledger.thought_tokens + ledger.answer_tokens:,} tokens" if ledger is not None else ""
        seconds = ledger.seconds if ledger is not None else event.t - (row.began_t if row else event.t)
        self._tell(name, said(event, role="solo" if row is None else row.role), tokens, seconds)

    def _tell(self, name: str, what: str, amount: str, seconds: float) -> None:
        self.print(self._line(name, what, amount, seconds))

    def _wait(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        # In a pipe, twice as late each time: a log of an hour's waiting is a dozen lines.
        if not self.is_live and quiet_s >= 2 * self._told_quiet_s:
            self._told_quiet_s = quiet_s
            self.print(f"still working ({quiet_s:.0f} s)")

    def _draw(self) -> None:
        """Begin to draw, or stop, as there are agents at work or not; rich refreshes what is drawn by itself."""
        from rich.live import Live

        if not self.is_live or not self._rows:
            self.stop()
        elif self._live is None:
            self._live = Live(
                self, console=self._console, transient=True, refresh_per_second=REFRESHES_PER_S,
                redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop",
            )  # fmt: skip
            self._live.start(refresh=True)
            self._divert_log()

    def _divert_log(self) -> None:
        for handler in logging.getLogger("narthex").handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is self._console.file:
                handler.setStream(_Above(self))
                self._diverted.append(handler)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        now = self._now()
        for row in list(self._rows.values()):
            line = self._line(row.name, row.doing, f"{row.characters:,} chars", now - row.began_t)
            yield Text(line, no_wrap=True, overflow="crop")
        if self._quiet_s:
            yield Text(f"still working ({self._quiet_s + time.monotonic() - self._last_seen:.0f} s)", no_wrap=True)

    def _now(self) -> float:
        return self._last_t + time.monotonic() - self._last_seen

    def _line(self, name: str, what: str, amount: str, seconds: float) -> str:
        """`agent-3  347 bar            85 tokens    3.2 s`, exactly as wide as the terminal allows."""
        from rich.cells import cell_len, set_cell_size

        # The last column stays free: some terminals break the line when it is written.
        free = self._console.width - 1 - _NAME_COLUMNS - _AMOUNT_COLUMNS - _SECONDS_COLUMNS
        room = max(8, free - 1)
        if cell_len(what) > room:
            what = set_cell_size(what, room - 1).rstrip() + "…"
        shown = set_cell_size(what, room)
        name = set_cell_size(name, _NAME_COLUMNS - 1)
        return f"{name} {shown} {amount:>{_AMOUNT_COLUMNS}}{seconds:>{_SECONDS_COLUMNS - 2}.1f} s"


def said(event: AgentFinished, *, role: str) -> str:
    """What an agent came to, in a line."""
    if event.error:
        return f"failed: {one_line(event.error)}"
    if role == "judge":
        return "judged which answers say the same"
    if role == "aggregator":
        return "read them all and answered"
    answer = one_line(event.answer) or ", ".join(f"{one_line(call.name)}()" for call in event.calls) or "no answer"
    marks = {"length": " (cut: no room left)", "cancelled": " (stopped)"}
    return answer + marks.get(event.finish_reason, "")


def agreement_line(tally: dict[str, float], probability: float) -> str:
    """`agreement: 347 bar 3, 35 bar 1 (81 % that the first stays first)`. Agreement, not certainty."""
    shown = [f"{one_line(answer, 40) or 'no answer'} {weight:.3g}" for answer, weight in tally.items()][:_SHOWN_ANSWERS]
    more = f", {len(tally) - _SHOWN_ANSWERS} more" if len(tally) > _SHOWN_ANSWERS else ""
    return f"agreement: {', '.join(shown)}{more} ({probability:.0%} that the first stays first)"


def _doing(call: ToolCall) -> str:
    place = describe_box(call)
    return describe_call(call) if place is None else f"looking at {place}"
