"""Lines from whoever sits at the terminal, with editing and history where the platform has them; or from a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from types import ModuleType, TracebackType

from narthex.base.errors import InputError
from narthex.base.paths import narthex_home

HISTORY_FILE = "history"  # in NARTHEX_HOME
MAX_HISTORY = 1000  # lines


class Lines:
    """Reads lines. `is_kept` False: what is typed is remembered for this session only."""

    def __init__(self, *, is_kept: bool) -> None:
        self.is_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._is_kept = is_kept
        self._readline: ModuleType | None = None

    def __enter__(self) -> Lines:
        if self.is_terminal:
            try:
                import readline
            except ImportError:  # Windows: its terminal edits lines by itself, without a history of ours
                return self
            self._readline = readline
            readline.set_history_length(MAX_HISTORY)
            with contextlib.suppress(OSError):
                readline.read_history_file(narthex_home() / HISTORY_FILE)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._readline is None or not self._is_kept:
            return
        path = narthex_home() / HISTORY_FILE
        with contextlib.suppress(OSError):  # a history that cannot be written is no reason to fail
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # questions are private
            self._readline.write_history_file(path)

    def read(self, prompt: str) -> str | None:
        """The next line, without its end; None where no more comes. Raises: InputError for what is no text."""
        if sys.stdin is None:
            return None
        try:
            if not self.is_terminal:
                line = sys.stdin.readline()
                return line.removesuffix("\n") if line else None
            if sys.stdout.isatty():
                return input(prompt)
            # The answers go elsewhere, and only answers.
            sys.stderr.write(prompt)
            sys.stderr.flush()
            return input()
        except EOFError:
            sys.stderr.write("\n")
            return None
        except UnicodeDecodeError:
            raise InputError("stdin is not UTF-8 text", hint="check the encoding of your terminal, or file") from None
