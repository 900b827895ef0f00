"""A streamed reply, token by token: thought, answer text and tool calls, told apart as they come."""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from narthex.chat import ToolCall
from narthex.tokens.calls import SHAPES, CallError, CallScanner, Found
from narthex.tokens.tokenizer import TextTokenizer


class ReplyDelta(NamedTuple):
    """What one token settled. `call` is set where, and only where, kind is "call"; `text` is then empty."""

    kind: Literal["thought", "text", "call"]
    text: str = ""
    call: ToolCall | None = None


class Reply(NamedTuple):
    """A whole reply. `mistakes` has one line for every call that could not be read, written for the model."""

    thought: str
    text: str
    calls: tuple[ToolCall, ...]
    mistakes: tuple[str, ...]


class ThoughtStyle(NamedTuple):
    """How a family marks thought. `is_exact`: by control tokens alone; all between them is thought, as it stands."""

    start: str
    end: str
    is_exact: bool


class Piece(NamedTuple):
    """A stretch of thought or of text that is settled."""

    kind: Literal["thought", "text"]
    text: str


class TextStream:
    """Ids to text, one id at a time; never half a character (U+FFFD only for bytes that are no UTF-8 at all)."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # For other vocabularies, how an id reads depends on the one before it: the ids already shown (`_old`) are
        # decoded again with the new ones, and what they add is the new text.
        self._old: list[int] = []
        self._new: list[int] = []

    def push(self, token_id: int) -> str:
        """The text that this id completes."""
        if self._tokenizer.is_byte_level:
            return self._bytes.decode(self._tokenizer.decode_bytes([token_id]))
        self._new.append(token_id)
        added = self._added()
        if added.endswith("\ufffd"):
            return ""
        self._old, self._new = self._new, []
        return added

    def flush(self) -> str:
        """What is left of an unfinished character."""
        if self._tokenizer.is_byte_level:
            return self._bytes.decode(b"", final=True)
        added = self._added()
        self._old, self._new = [], []
        return added

    def _added(self) -> str:
        return self._tokenizer.decode(self._old + self._new)[len(self._tokenizer.decode(self._old)) :]


class ThoughtSplitter:
    """Tells thought from text. Marks that are text may arrive in pieces; a thought begins at the start of the reply."""

    def __init__(self, style: ThoughtStyle | None, *, in_thought: bool) -> None:
        self._style = style
        self.in_thought = in_thought and style is not None
        self._is_beginning = True  # of the reply, or of its text after a thought
        self._held = ""

    def mark(self, name: str) -> None:
        """A mark came as a control token."""
        if self._style is not None and name == self._style.end:
            self.in_thought = False
        elif self._is_beginning:
            self.in_thought = True

    def feed(self, text: str) -> list[Piece]:
        """Take some text; return what is settled of it by now."""
        if not text:
            return []
        if self._style is None or self._style.is_exact:
            self._is_beginning = self._is_beginning and self.in_thought
            return [Piece("thought" if self.in_thought else "text", text)]
        self._held += text
        pieces: list[Piece] = []
        while self._held and self._step(self._style, pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back: half a mark is what it looks like, and white space around a mark is dropped."""
        held, self._held = self._held, ""
        held = held.rstrip() if self.in_thought else held
        return [Piece("thought" if self.in_thought else "text", held)] if held else []

    def _step(self, style: ThoughtStyle, pieces: list[Piece]) -> bool:
        """Settle one stretch; False when what is left, if anything, must wait for more."""
        if self._is_beginning:
            self._held = self._held.lstrip()
        if self.in_thought:
            return self._step_in_thought(style.end, pieces)
        if self._is_beginning:
            if self._held.startswith(style.start):
                self._held, self.in_thought = self._held[len(style.start) :], True
                return True
            if style.start.startswith(self._held):
                return False
        pieces.append(Piece("text", self._held))
        self._held, self._is_beginning = "", False
        return False

    def _step_in_thought(self, end: str, pieces: list[Piece]) -> bool:
        thought, mark, rest = self._held.partition(end)
        keep = 0
        if not mark:
            keep = max((size for size in range(1, len(end)) if thought.endswith(end[:size])), default=0)
        settled = thought[: len(thought) - keep].rstrip()
        if settled:
            pieces.append(Piece("thought", settled))
            self._is_beginning = False
        if not mark:
            self._held = thought[len(settled) :]
            return False
        self._held, self.in_thought, self._is_beginning = rest, False, True
        return True


class ReplyParser:
    """Feed it the ids of one reply as they are sampled, then finish it. Not for reuse.

    What `feed` returns, put together, is what `finish` returns; nothing is shown that would have to be taken back.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        style: ThoughtStyle | None,
        in_thought: bool,
        shapes: Sequence[str] = SHAPES,
        stop_ids: Iterable[int] = (),
        new_call_id: Callable[[int], str] | None = None,
    ) -> None:
        """`in_thought`: the prompt ended inside a thought. `shapes`: which shapes of calls to look for."""
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer)
        self._splitter = ThoughtSplitter(style, in_thought=in_thought)
        self._scanner = CallScanner(shapes, new_call_id or (lambda _: f"call_{secrets.token_hex(8)}"))
        self._style = style
        self._stop_ids = frozenset(stop_ids)
        self._thought: list[str] = []
        self._text: list[str] = []
        self._calls: list[ToolCall] = []
        self._mistakes: list[str] = []

    @property
    def in_thought(self) -> bool:
        """Whether the reply is still thinking, as far as the ids fed so far say."""
        return self._splitter.in_thought

    def feed(self, token_id: int) -> list[ReplyDelta]:
        """Take the next id; return what it settles, which may be nothing yet."""
        name = self._tokenizer.name(token_id)
        if name is None:
            return self._take(self._stream.push(token_id))
        deltas = self._take(self._stream.flush())
        if token_id in self._stop_ids:
            return deltas
        if self._style is not None and name in (self._style.start, self._style.end):
            if not self._style.is_exact:
                return deltas + self._take(name)
            self._splitter.mark(name)
        elif token_id not in self._tokenizer.skipped_ids:
            return deltas + self._take(name)
        return deltas

    def finish(self) -> Reply:
        """The whole reply. What was held back to the end is in it; `drain` shows it first where that matters."""
        self.drain()
        return Reply("".join(self._thought), "".join(self._text), tuple(self._calls), tuple(self._mistakes))

    def drain(self) -> list[ReplyDelta]:
        """No more ids come: the deltas of what was held back. `finish` does this too, without showing them."""
        deltas = self._take(self._stream.flush())
        deltas += [delta for piece in self._splitter.finish() for delta in self._sort(piece)]
        return deltas + self._record(self._scanner.finish())

    def _take(self, text: str) -> list[ReplyDelta]:
        return [delta for piece in self._splitter.feed(text) for delta in self._sort(piece)]

    def _sort(self, piece: Piece) -> list[ReplyDelta]:
        if piece.kind == "text":
            return self._record(self._scanner.feed(piece.text))
        self._thought.append(piece.text)
        return [ReplyDelta("thought", piece.text)]

    def _record(self, found: list[Found]) -> list[ReplyDelta]:
        deltas = []
        for item in found:
            if isinstance(item, ToolCall):
                self._calls.append(item)
                deltas.append(ReplyDelta("call", call=item))
            elif isinstance(item, CallError):
                self._mistakes.append(str(item))
            else:
                self._text.append(item)
                deltas.append(ReplyDelta("text", item))
        return deltas
