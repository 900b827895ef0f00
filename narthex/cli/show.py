"""A run in a terminal, from its events alone: thought (dim), looks, the answer, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from narthex.base.log import wants_colour

if TYPE_CHECKING:
    from narthex.chat import Event, ImagePart, Ledger, RunFinished, RunStarted, ToolCall, ToolFinished

RESULT_CHARACTERS = 200  # of what a tool said; the trace has more
ARGUMENT_CHARACTERS = 60
FIRST_WAIT_S = 5.0  # a silence worth a word; then one twice as long, and so on
UNREADABLE = "unreadable"  # the name that a call gets which could not be read (reason/agent.py)
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def clean(text: str) -> str:
    """Text of a model or a file, unable to drive a terminal: control characters but line ends and tabs are dropped."""
    # C0 and C1; the rest of what is unprintable (joiners, marks of direction) belongs to many a script.
    return "".join(ch for ch in text if ch in "\n\t" or not (ch < " " or "\x7f" <= ch <= "\x9f"))


def one_line(text: str, most: int | None = None) -> str:
    """The same in one line, at most `most` characters of it."""
    line = " ".join(clean(text).split())
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


class Teller:
    """Shows one run as it happens. `out` gets the answer and nothing else; `err` everything around it.

    To a terminal the answer streams, and what is withdrawn (said before a tool call) stays visible and is marked.
    Elsewhere an answer is written once it is certain: at once where the run has no tools, else at the end.
    """

    def __init__(self, out: TextIO, err: TextIO, *, folder: Path | None = None) -> None:
        """`folder` is the conversation's, to say where the files of its tools lie."""
        self.out, self.err, self.folder = out, err, folder
        self._next_wait_s = FIRST_WAIT_S
        self.has_colour = wants_colour(err)
        self.num_looks = 0
        self._is_out_seen = out.isatty() or out is err
        self._streams = self._is_out_seen
        self._has_said = self._out_open = self._err_open = False
        self._calls: dict[str, ToolCall] = {}

    def show(self, event: Event) -> None:
        """Show one event; unknown kinds pass in silence."""
        match event.type:
            case "run_started":
                self._streams = self._streams or not event.tools
            case "thought_delta":
                self._write_err(self._dim(clean(event.text)), is_line=False)
            case "tool_started":
                self._calls[event.call.id] = event.call
            case "tool_finished":
                self._tell_tool(event)
            case "waiting" if event.quiet_s >= self._next_wait_s:
                self._next_wait_s = 2 * event.quiet_s
                self.note(f"still working ({event.quiet_s:.0f} s)")
            case "answer_started" if self._has_said and self._streams:
                self.note("(said before a tool call, and withdrawn)")
            case "answer_delta" if self._streams:
                self._write_out(event.text)
            case "run_finished":
                self._finish(event)
            case "run_failed":
                self.end_line()

    def note(self, text: str) -> None:
        """A line of ours, dim."""
        self._write_err(self._dim(text) + "\n", is_line=True)

    def warn(self, text: str) -> None:
        """A line that should be seen."""
        self._write_err(f"warning: {clean(text)}\n", is_line=True)

    def end_line(self) -> None:
        """Make the next word begin a line, where lines of `out` and `err` are seen together."""
        if self._err_open:
            self._end(self.err)
        if self._out_open and self._is_out_seen:
            self._end(self.out)

    def _finish(self, event: RunFinished) -> None:
        if not self._streams:
            self._write_out(event.answer)
        if self._err_open:
            self._end(self.err)
        if self._out_open or not self._has_said:
            self._end(self.out)  # an empty answer is an empty line
        if event.finish_reason == "length":
            self.note("(cut: the room for the reply ran out)")
        if event.finish_reason == "cancelled":
            self.note("(cut: the reply broke off on its way)")
        self.note(ledger_line(event.ledger))

    def _tell_tool(self, event: ToolFinished) -> None:
        self.num_looks += sum(part.type == "image" for part in event.parts)
        self.note(describe_tool(self._calls.get(event.call_id), event, self.num_looks))
        for part in event.parts:
            if part.type == "file":
                where = "" if self.folder is None else f" in {self.folder}"
                self.note(f"file {one_line(part.name)}, {part.num_bytes:,} bytes{where}")

    def _write_err(self, text: str, *, is_line: bool) -> None:
        """A line of its own, or more of the thought, which leaves its line open."""
        if not text:
            return
        if is_line or (self._out_open and self._is_out_seen):
            self.end_line()
        self.err.write(text)
        self.err.flush()
        self._err_open = not is_line

    def _write_out(self, text: str) -> None:
        if not text:
            return
        if self._err_open and self._is_out_seen:
            self._end(self.err)
        # A file gets every character as the model wrote it; a terminal none that could drive it.
        self.out.write(clean(text) if self._is_out_seen else text)
        self.out.flush()
        self._has_said = self._out_open = True

    def _end(self, stream: TextIO) -> None:
        stream.write("\n")
        stream.flush()
        if stream is self.out:
            self._out_open = False
        if stream is self.err:
            self._err_open = False

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self.has_colour and text else text


def describe_tool(call: ToolCall | None, event: ToolFinished, number: int) -> str:
    """One line for a tool's result: `look 1: box 250,500..500,750 of picture 0 (64 x 64 px)`."""
    name = one_line(event.name)
    pictures: list[ImagePart] = [part for part in event.parts if part.type == "image"]
    said = one_line("".join(part.text for part in event.parts if part.type == "text"), RESULT_CHARACTERS)
    if event.is_error:
        why = said.removeprefix("error: ").removeprefix(f"{name}: ")
        return f"{'call' if name == UNREADABLE else name} refused: {why}"
    if not pictures:
        return f"{name}: {said}"
    sizes = ", ".join(f"{picture.width} x {picture.height} px" for picture in pictures)
    place = describe_box(call) if call is not None else None
    shown = place or (describe_call(call) if call is not None else name)
    return f"look {number}: {shown} ({sizes})" + (f": {said}" if said and place is None else "")


def describe_box(call: ToolCall) -> str | None:
    """`box 250,500..500,750 of picture 0`, where the call is about such a place."""
    box = call.arguments.get("box")
    if not (isinstance(box, list) and len(box) == 4):
        return None
    left, top, right, bottom = (one_line(str(edge), ARGUMENT_CHARACTERS) for edge in box)
    return f"box {left},{top}..{right},{bottom} of picture {one_line(str(call.arguments.get('image', 0)), 9)}"


def describe_call(call: ToolCall) -> str:
    """`zoom: box …`, or `python: code=print(1) …`: a call in a line."""
    place = describe_box(call)
    if place is None:
        given = call.arguments.items()
        place = ", ".join(f"{one_line(key)}={one_line(str(value), ARGUMENT_CHARACTERS)}" for key, value in given)
    return f"{one_line(call.name)}: {place}" if place else one_line(call.name)


def ledger_line(ledger: Ledger) -> str:
    """What a run took, in one line: `1 look, 24 thought + 3 answer tokens, prompt 310, 0.9 s`."""
    looks = f"{ledger.looks} look{'' if ledger.looks == 1 else 's'}"
    if ledger.agents > 1:
        rounds = f" in {ledger.rounds} rounds" if ledger.rounds > 1 else ""
        looks = f"{ledger.agents} agents{rounds}, {looks}"
    marks = " (estimated)" if ledger.estimated else ""
    # An upstream may be unable to keep a budget as it was meant; then the reader should know which way it took.
    enforced = "" if ledger.budget_enforced == "native" else f", budget: {ledger.budget_enforced}"
    cached = f" ({ledger.cached_tokens} cached)" if ledger.cached_tokens else ""
    return (
        f"{looks}, {ledger.thought_tokens} thought + {ledger.answer_tokens} answer tokens{marks}, "
        f"prompt {ledger.prompt_tokens}{cached}, {ledger.seconds:.1f} s{enforced}"
    )


def result_json(start: RunStarted, end: RunFinished, events: Sequence[Event] | None) -> dict[str, Any]:
    """The object of `narthex ask --json`. Fields may be added, never renamed."""
    found: dict[str, Any] = {
        "answer": end.answer,
        "mode": start.mode,
        "model": start.model,
        "finish_reason": end.finish_reason,
        "ledger": end.ledger.model_dump(mode="json"),
        "run_id": end.run_id,
        "seed": start.seed,
    }
    if events is not None:
        found["events"] = [event.model_dump(mode="json") for event in events]
    return found
