"""Server-sent events, as servers really send them: cut anywhere, with comments, any line ending, or no blank lines."""

from __future__ import annotations

import json

MAX_EVENT_BYTES = 16 * 2**20  # one event; a whole reply with long tool calls fits many times
DONE = "[DONE]"


class SseParser:
    """Feed it bytes as they come; it gives the `data` of every event that they complete.

    Raises: ValueError for an event beyond MAX_EVENT_BYTES.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # of a line without its end; joined once, however many pieces it comes in
        self._num_partial = 0
        self._skips_newline = False  # the last line ended in \r, which may have been half of \r\n
        self._is_beginning = True
        self._data: list[str] = []
        self._num_bytes = 0

    def feed(self, data: bytes) -> list[str]:
        """Take some bytes; return the data of the events that are whole by now."""
        if self._skips_newline and data:
            data, self._skips_newline = data.removeprefix(b"\n"), False
        if self._is_beginning and data:
            # A byte order mark may come in pieces, too; nothing that matters begins with its bytes.
            data = data.lstrip(b"\xef\xbb\xbf")
            self._is_beginning = not data
        self._skips_newline = data.endswith(b"\r")
        first, *others = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._partial.append(first)
        self._num_partial += len(first)
        events: list[str] = []
        for start in others:
            events += self._take(b"".join(self._partial))
            self._partial, self._num_partial = [start], len(start)
        if self._num_bytes + self._num_partial > MAX_EVENT_BYTES:
            raise ValueError(f"an event is longer than {MAX_EVENT_BYTES:,} bytes")
        return events

    def finish(self) -> list[str]:
        """The stream has ended: an event without its blank line counts all the same."""
        line, self._partial, self._num_partial = b"".join(self._partial), [], 0
        events = self._take(line) if line else []
        return events + self._flush()

    def _take(self, line: bytes) -> list[str]:
        if not line:
            return self._flush()
        # Whole lines only are decoded, so no character is ever cut.
        name, _, value = line.decode("utf-8", errors="replace").partition(":")
        if name != "data":  # comments keep a silence alive; ids and names say nothing here
            return []
        # Some servers send no blank line between events: what is a whole document already stands for itself.
        events = self._flush() if self._data and _is_whole("\n".join(self._data)) else []
        self._data.append(value.removeprefix(" "))
        self._num_bytes += len(line)
        return events

    def _flush(self) -> list[str]:
        data, self._data, self._num_bytes = "\n".join(self._data), [], 0
        return [data] if data.strip() else []


def _is_whole(data: str) -> bool:
    if data.strip() == DONE:
        return True
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
