"""Who says whether a call may run, on the command line: always, never, or the person at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError
from narthex.cli.show import clean, one_line

if TYPE_CHECKING:
    from narthex.chat import ToolCall
    from narthex.cli.stage import Stage
    from narthex.reason.approvals import Approval, Approve
    from narthex.tools import Tool

CHOICES = ("always", "never", "ask")
NOBODY = "nobody has allowed it; answer without it"
REFUSED = "the person asked said no; answer without it"


class Wish(NamedTuple):
    """What a person answered: whether this call may run, whether all of its tool may, and what the model is told."""

    is_allowed: bool
    is_for_all: bool = False
    reason: str = ""


def can_ask() -> bool:
    """Whether there is somebody at both ends: to read the question and to type an answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def parse_approve(choice: str | None) -> str:
    """The choice, or its default: ask on a terminal, elsewhere never.

    Raises: InputError for an unknown one, or to ask where nobody is.
    """
    if choice is None:
        return "ask" if can_ask() else "never"
    if choice not in CHOICES:
        guess = did_you_mean(choice, CHOICES)
        hint = f"did you mean '{guess}'?" if guess else "use always, never or ask"
        raise InputError(f"--approve is '{choice[:80]}'", hint=hint)
    if choice == "ask" and not can_ask():
        raise InputError("--approve ask: nobody can be asked here", hint="use --approve always, or never")
    return choice


def warn_of_refusals(choice: str, was_said: bool, tools: Sequence[Tool], warn: Callable[[str], None]) -> None:
    """Say beforehand which of the tools asked for will be refused because nobody can be asked."""
    names = [tool.spec.name for tool in tools if tool.needs_approval]
    if names and choice == "never" and not was_said:
        warn(f"calls of {', '.join(names)} will be refused: nobody can be asked here (--approve always allows them)")


def approver(choice: str, stage: Stage) -> Approve:
    """What a run asks about every call of a tool that needs approval."""
    from narthex.reason.approvals import always, never

    if choice == "always":
        return always()
    return never(NOBODY) if choice == "never" else Asker(stage)


class Asker:
    """Asks the person at the terminal, one call at a time; "always" holds for the tool as long as this object lives."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._allowed: set[str] = set()
        self._turn = asyncio.Lock()

    async def __call__(self, call: ToolCall) -> Approval:
        from narthex.reason.approvals import Approval

        async with self._turn:
            if call.name in self._allowed:
                return Approval(True, "rule")
            await self.stage.until_asked(call.id)
            self.stage.hold()
            try:
                wish = await self._ask(call)
            finally:
                self.stage.release()
            if wish.is_for_all:
                self._allowed.add(call.name)
            return Approval(wish.is_allowed, "person", wish.reason)

    async def _ask(self, call: ToolCall) -> Wish:
        name = one_line(call.name, 40)
        _forget_typed_ahead()
        self._write(f"\n{name} is about to run:\n{described(call)}\n")
        while True:
            self._write(f"allow it? y yes, n no (a reason may follow), a always for {name}: ")
            try:
                line = await read_line()
            except asyncio.CancelledError:
                self._write("\n")
                raise
            if line is None:
                self._write("\n")
                return Wish(False, reason=REFUSED)
            wish = parse_wish(line)
            if wish is not None:
                return wish

    def _write(self, text: str) -> None:
        self.stage.err.write(text)
        self.stage.err.flush()


def described(call: ToolCall) -> str:
    """All arguments in full, indented: nothing is allowed that was not to be seen."""
    lines = []
    for key, value in call.arguments.items():
        text = clean(value if isinstance(value, str) else repr(value))
        is_short = "\n" not in text and len(text) <= 60
        lines += [f"  {one_line(key)}: {text}"] if is_short else [f"  {one_line(key)}:", *_indented(text)]
    return "\n".join(lines) or "  (no arguments)"


def _indented(text: str) -> list[str]:
    return ["    " + line for line in text.expandtabs(4).splitlines()]


def parse_wish(line: str) -> Wish | None:
    """What a typed line means; None if it means nothing."""
    word, _, reason = line.strip().partition(" ")
    match word.lower():
        case "y" | "yes":
            return Wish(True)
        case "a" | "always":
            return Wish(True, is_for_all=True)
        case "n" | "no":
            return Wish(False, reason=reason.strip() or REFUSED)
    return None


def _forget_typed_ahead() -> None:
    """What was typed before the question was there is no answer to it."""
    try:
        import termios
    except ImportError:  # Windows
        return
    with contextlib.suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


async def read_line() -> str | None:
    """A line from the terminal, without holding up the event loop; None at its end (Ctrl-D)."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bytes] = loop.create_future()
    handle = sys.stdin.fileno()

    def read() -> bytes:
        # Past Python's own buffer, in which nothing of a terminal's is left over: it hands out one line at a time.
        return os.read(handle, 1 << 16)

    def take() -> None:
        if not found.done():
            found.set_result(read())

    try:
        loop.add_reader(handle, take)
    except NotImplementedError:  # Windows: its loop watches sockets only
        data = await asyncio.to_thread(read)
    else:
        try:
            data = await found
        finally:
            loop.remove_reader(handle)
    return data.decode("utf-8", "replace").splitlines()[0] if data else None
