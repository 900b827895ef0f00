"""A command line run in this process, a model that follows a script, and a stream that says it is a terminal."""

from __future__ import annotations

import io
import re
import struct
import zlib

from narthex.backends.base import TurnRequest
from narthex.backends.fake import Said
from narthex.chat import ToolCall


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def looks_once(answer: str) -> object:
    """A script: zoom into the first picture (where there are tools), then answer."""

    def script(request: TurnRequest) -> Said:
        if request.tools and request.messages[-1].role == "user":
            call = ToolCall(id="1", name="zoom", arguments={"box": [250, 500, 500, 750], "image": 0})
            return Said(thought="Find C.", calls=(call,))
        return Said(thought="C reads it.", text=answer)

    return script


_CODES = re.compile(r"\x1b\[(\??\d*(?:;\d+)*)([A-Za-z])")


def screen_of(written: str, columns: int = 80) -> list[str]:
    """What a terminal that wide shows after all of that: line feeds, returns, erasing, going up, and lines that wrap.

    Colours are left out. Raises: AssertionError for a control code that our output should not have.
    """
    lines, row, column = [""], 0, 0
    place = 0
    while place < len(written):
        code = _CODES.match(written, place)
        place = code.end() if code else place + 1
        if code is None:
            sign = written[place - 1]
            assert sign in "\n\r" or sign.isprintable(), f"control character {sign!r}"
            if sign == "\n":
                row, column = row + 1, 0
            elif sign == "\r":
                column = 0
            else:
                if column == columns:
                    row, column = row + 1, 0
                while len(lines) <= row:
                    lines.append("")
                lines[row] = lines[row][:column].ljust(column) + sign + lines[row][column + 1 :]
                column += 1
            while len(lines) <= row:
                lines.append("")
        elif code[2] == "A":
            row -= int(code[1] or 1)
            assert row >= 0, "went above the first line"
        elif code[2] == "K":
            assert code[1] == "2", "only whole lines are erased"
            lines[row] = ""
        else:
            assert code[2] in "mhl", f"unexpected code {code[0]!r}"
    return [line.rstrip() for line in lines]


def bomb_png(side: int = 50_000) -> bytes:
    """A few bytes that declare a picture of side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def require_refusal(stderr: str, *, error: str, hint: str) -> None:
    """Exactly two lines, `error: …` and `hint: …`, and nothing that a traceback has."""
    lines = stderr.rstrip("\n").split("\n")
    assert len(lines) == 2, stderr
    assert re.fullmatch(f"error: .*{error}.*", lines[0]), stderr
    assert re.fullmatch(f"hint: .*{hint}.*", lines[1]), stderr
    assert "Traceback" not in stderr
