"""A run in a terminal, from its events alone: thought (dim), looks, the answer, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from narthex.base.log import wants_colour

if TYPE_CHECKING:
    from narthex.chat import Event, ImagePart, Ledger, RunFinished, RunStarted, ToolCall, ToolFinished

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def clean(text: str) -> str:
    """Text of a model or a file, unable to drive a terminal: control characters but line ends and tabs are dropped."""
    # C0 and C1; the rest of what is unprintable (joiners, marks of direction) belongs to many a script.
    return "".join(ch for ch in text if ch in "\n\t" or not (ch < " " or "\x7f" <= ch <= "\x9f"))


class Teller:
    """Shows one run as it happens. `out` gets the answer and nothing else; `err` everything around it.

    To a terminal the answer streams, and what is withdrawn (said before a tool call) stays visible and is marked.
    Elsewhere an answer is written once it is certain: at once where the run has no tools, else at the end.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out, self.err = out, err
        self.has_colour = wants_colour(err)
        self.num_looks = 0
        self._open: TextIO | None = None  # the stream whose line is not ended yet
        self._streams = out.isatty()
        self._has_said = False
        self._calls: dict[str, ToolCall] = {}

    def show(self, event: Event) -> None:
        """Show one event; unknown kinds pass in silence."""
        match event.type:
            case "run_started":
                self._streams = self._streams or not event.tools
            case "thought_delta":
                self._write(self.err, self._dim(clean(event.text)), event.text)
            case "tool_started":
                self._calls[event.call.id] = event.call
            case "tool_finished":
                self._tell_tool(event)
            case "answer_started" if self._has_said and self._streams:
                self.note("(said before a tool call, and withdrawn)")
            case "answer_delta" if self._streams:
                self._has_said = True
                self._write(self.out, self._for_out(event.text), event.text)
            case "run_finished":
                self._finish(event)

    def note(self, text: str) -> None:
        """A line of ours, dim."""
        self.end_line()
        self._write(self.err, self._dim(text) + "\n", "\n")

    def warn(self, text: str) -> None:
        """A line that should be seen."""
        self.end_line()
        self._write(self.err, f"warning: {clean(text)}\n", "\n")

    def end_line(self) -> None:
        """Make the next word begin a line."""
        if self._open is not None:
            self._open.write("\n")
            self._open.flush()
            self._open = None

    def _finish(self, event: RunFinished) -> None:
        if not self._streams:
            self._write(self.out, self._for_out(event.answer), event.answer or "-")
        elif not event.answer and not self._has_said:
            self._open = self.out  # an empty answer is an empty line
        self.end_line()
        if event.finish_reason == "length":
            self.note("(cut: the room for the reply ran out)")
        self.note(ledger_line(event.ledger))

    def _tell_tool(self, event: ToolFinished) -> None:
        self.end_line()
        pictures = [part for part in event.parts if part.type == "image"]
        self.num_looks += len(pictures)
        call = self._calls.get(event.call_id)
        self.note(describe_tool(call, event, self.num_looks))

    def _write(self, stream: TextIO, text: str, raw: str) -> None:
        """`raw` tells whether the line stays open: colour codes stand after the last line end."""
        if not raw:
            return
        if self._open is not None and self._open is not stream:
            self.end_line()
        stream.write(text)
        stream.flush()
        self._open = None if raw.endswith("\n") else stream

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self.has_colour and text else text

    def _for_out(self, text: str) -> str:
        # A file gets every character as the model wrote it; a terminal none that could drive it.
        return clean(text) if self.out.isatty() else text


def describe_tool(call: ToolCall | None, event: ToolFinished, number: int) -> str:
    """One line for a tool's result: `look 1: box 250,500..500,750 of picture 0 (64 x 64 px)`."""
    name = clean(event.name).replace("\n", " ")
    pictures: list[ImagePart] = [part for part in event.parts if part.type == "image"]
    if event.is_error or not pictures:
        said = " ".join(clean("".join(part.text for part in event.parts if part.type == "text")).split())
        return f"{name} refused: {said.removeprefix('error: ')}" if event.is_error else f"{name}: {said}"
    sizes = ", ".join(f"{picture.width} x {picture.height} px" for picture in pictures)
    return f"look {number}: {_place(call, name)} ({sizes})"


def _place(call: ToolCall | None, name: str) -> str:
    box = call.arguments.get("box") if call is not None else None
    if call is None or not (isinstance(box, list) and len(box) == 4):
        return name
    left, top, right, bottom = box
    return f"box {left},{top}..{right},{bottom} of picture {call.arguments.get('image', 0)}"


def ledger_line(ledger: Ledger) -> str:
    """What a run took, in one line: `1 look, 24 thought + 3 answer tokens, prompt 310, 0.9 s`."""
    looks = f"{ledger.looks} look{'' if ledger.looks == 1 else 's'}"
    marks = " (estimated)" if ledger.estimated else ""
    cached = f" ({ledger.cached_tokens} cached)" if ledger.cached_tokens else ""
    return (
        f"{looks}, {ledger.thought_tokens} thought + {ledger.answer_tokens} answer tokens{marks}, "
        f"prompt {ledger.prompt_tokens}{cached}, {ledger.seconds:.1f} s"
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
