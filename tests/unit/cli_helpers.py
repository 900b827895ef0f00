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
