"""The error tree, sorted by who can do something about it.

UserError      the person asking can mend it: one line, a `hint:`, exit code 2, HTTP 400
ModelMistake   the model can mend it: goes back to the model as a tool result, never shown as a crash
BackendError   the machine or server that runs the model failed: exit code 3, HTTP 502
Anything else  is our bug and keeps its traceback.
"""

from __future__ import annotations


class NarthexError(Exception):
    """What every error raised on purpose derives from. `hint` says what to do next, in one line."""

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # The default rebuilds from `args` alone and would lose the hint on its way between processes.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[NarthexError], message: str, hint: str | None) -> NarthexError:
    return cls(message, hint=hint)


class UserError(NarthexError):
    """The request is wrong, and whoever made it can mend it."""

    exit_code = 2
    http_status = 400


class ConfigError(UserError):
    """A setting is unknown, missing, of the wrong type, or does not fit the others."""


class InputError(UserError):
    """What was asked or attached cannot be used: no picture, an empty question, an unknown mode."""


class WeightsError(UserError):
    """A model folder is refused: not a model, unsafe, damaged, or of another shape than its config says."""


class ContextOverflowError(UserError):
    """The conversation does not fit the model's context."""


class ModelMistake(NarthexError):
    """The model called a tool wrongly. The message is written for the model, which may try again."""


class BackendError(NarthexError):
    """What runs the model failed or cannot be reached."""

    exit_code = 3
    http_status = 502


def format_error(error: NarthexError) -> str:
    """Two lines for a terminal: `error: …` and, where there is one, `hint: …`.

    Control characters are spelled out: a file name in a message must not be able to drive the terminal.
    """
    lines = ["error: " + _one_line(error.message)]
    if error.hint:
        lines.append("hint: " + _one_line(error.hint))
    return "\n".join(lines)


def _one_line(text: str) -> str:
    shown = "".join(ch if ch.isprintable() or ch in "\n\t" else ascii(ch)[1:-1] for ch in text)
    return " ".join(shown.split())
