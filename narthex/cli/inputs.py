"""What comes in by command line and pipe, checked before anything is opened or kept."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError

if TYPE_CHECKING:
    from narthex.chat import Budget, ImagePart
    from narthex.tokens.gallery import Gallery

MAX_TEXT_BYTES = 16 * 2**20  # far beyond any context; keeps a wrong pipe from filling memory
MAX_SEED = 2**63 - 1
PATIENCE_S = 2.0  # after so long without an end of stdin, say what is waited for
STDIN = "-"


@dataclass(frozen=True)
class Options:
    """What -o can set, by the names it takes; None: the mode's own."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    think_tokens: int | None = None
    answer_tokens: int | None = None
    agents: int | None = None
    rounds: int | None = None
    tool_calls: int | None = None
    wall_s: float | None = None

    def budget(self) -> Budget:
        from narthex.chat import Budget

        return Budget(
            think_tokens=self.think_tokens,
            answer_tokens=self.answer_tokens,
            agents=self.agents,
            rounds=self.rounds,
            tool_calls=self.tool_calls,
            wall_s=self.wall_s,
        )


# name -> (type, least, most, whether the least itself is allowed)
_LIMITS: dict[str, tuple[type, float, float, bool]] = {
    "temperature": (float, 0.0, 2.0, True),
    "top_p": (float, 0.0, 1.0, False),
    "seed": (int, 0, MAX_SEED, True),
    "think_tokens": (int, 0, 10**9, True),
    "answer_tokens": (int, 1, 10**9, True),
    "agents": (int, 1, 1000, True),
    "rounds": (int, 1, 1000, True),
    "tool_calls": (int, 0, 10**6, True),
    "wall_s": (float, 0.0, 10**7, False),
}


def parse_options(pairs: Sequence[str], *, seed: str | None = None, max_think: str | None = None) -> Options:
    """Options from `KEY=VALUE` pairs and from the flags that have a key of their own.

    Raises: InputError for an unknown key, a value that does not fit, or two different values for one key.
    """
    values: dict[str, Any] = {}
    flags = [("seed", seed, "--seed"), ("think_tokens", max_think, "--max-think")]
    given = [(*pair.partition("=")[::2], f"-o {pair.partition('=')[0]}") for pair in pairs]
    for key, text, shown in [*given, *((key, text, shown) for key, text, shown in flags if text is not None)]:
        if key not in _LIMITS:
            guess = did_you_mean(key, _LIMITS)
            hint = f"did you mean '{guess}'?" if guess else "the options are: " + ", ".join(_LIMITS)
            raise InputError(f"unknown option '{key}'", hint=hint)
        value = _number(text or "", key, shown)
        if values.setdefault(key, value) != value:
            raise InputError(f"{key} is given twice: {values[key]} and {value}", hint="leave one of them out")
    return replace(Options(), **values)


def _number(text: str, key: str, shown: str) -> float | int:
    kind, least, most, is_least_allowed = _LIMITS[key]
    what = "a whole number" if kind is int else "a number"
    hint = f"{what} {'from' if is_least_allowed else 'above'} {least:g}" + (f" to {most:g}" if most < 10**9 else "")
    try:
        value = kind(text)
    except ValueError:
        raise InputError(f"{shown} should be {what}, not '{text[:80]}'", hint=hint) from None
    if not math.isfinite(value) or not least <= value <= most or (value == least and not is_least_allowed):
        raise InputError(f"{shown} is {text[:80]}, which is out of range", hint=hint)
    return value


def read_question(question: str | None, *, is_stdin_taken: bool = False) -> str:
    """The question: as given, with what is piped in after it; or what is piped in alone.

    Raises: InputError where there is none, and for a pipe that is no text.
    """
    piped = "" if is_stdin_taken or sys.stdin is None or sys.stdin.isatty() else _read_text(sys.stdin.buffer)
    asked = "\n\n".join(part for part in (question or "", piped.strip("\n")) if part.strip())
    if not asked:
        raise InputError("the question is empty", hint='for example: narthex ask "What does gauge C read?"')
    return require_text(asked, "the question")


def require_text(text: str, what: str) -> str:
    """`text`, if it can be written as UTF-8. Raises: InputError for what a shell passed on as broken bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{what} is not UTF-8 text", hint="check the encoding of your terminal") from None
    return text


def _read_text(stream: BinaryIO) -> str:
    data = _read_limited(stream)
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(f"stdin holds more than {MAX_TEXT_BYTES:,} bytes of text", hint="ask about a part of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = "to pass a picture through a pipe: narthex ask … --image -"
        raise InputError("stdin is not UTF-8 text", hint=hint) from None


def _read_limited(stream: BinaryIO) -> bytes:
    """Read to the end, or one byte more than any limit allows. Says on stderr if the end does not come."""
    waiting = threading.Timer(PATIENCE_S, lambda: print("reading stdin to its end …", file=sys.stderr, flush=True))
    waiting.daemon = True
    waiting.start()
    try:
        return stream.read(2 * MAX_TEXT_BYTES + 1)
    finally:
        waiting.cancel()


def add_pictures(gallery: Gallery, paths: Sequence[str]) -> tuple[ImagePart, ...]:
    """Read, check and keep the pictures of a question; `-` is stdin. Raises: InputError naming the file."""
    if list(paths).count(STDIN) > 1:
        raise InputError("stdin can hold one picture only", hint="name the others as files")
    pictures = []
    for path in paths:
        data = _read_limited(sys.stdin.buffer) if path == STDIN else _read_file(path)
        try:
            pictures.append(gallery.add_bytes(data))
        except InputError as error:
            where = "stdin" if path == STDIN else path
            raise InputError(f"{where}: {error.message}", hint=error.hint) from None
    return tuple(pictures)


def _read_file(path: str) -> bytes:
    from narthex.tokens.pictures import MAX_BYTES

    try:
        with Path(path).open("rb") as file:
            # One byte too many is enough for the refusal to come from where the limit is.
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"there is no file '{path}'", hint=_near(path)) from None
    except IsADirectoryError:
        raise InputError(f"'{path}' is a folder, not a picture", hint="name a file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read '{path}': {reason}", hint="check the name and the permissions") from None


def _near(path: str) -> str:
    try:
        names = [entry.name for entry in Path(path).parent.iterdir()]
    except OSError:
        return "check the path"
    guess = did_you_mean(Path(path).name, names)
    return f"did you mean '{Path(path).parent / guess}'?" if guess else "check the path"
