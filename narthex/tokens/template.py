"""Chat templates: rendered in a sandbox, with what people wrote kept apart from what the template wrote.

A template joins messages and control tokens into one string. Whoever writes `<|eot|>` into a question must not end the
turn with it, so every string that is not the template's own is *marked* first: a private sentinel goes inside each name
of a control token. The rendered text is then split at the names that are still whole (the template's), and the sentinel
removed.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from narthex.base.errors import InputError, WeightsError
from narthex.tokens.sandbox import LimitedEnvironment, Meter, TemplateLimit, TemplateRefusal, render


class Marker:
    """Marks strings against a set of control-token names, and splits rendered text at the names left whole."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted((name for name in names if name), key=lambda name: (-len(name), name))
        # Drawn at random from a private-use plane: nobody can write it beforehand, nor does it survive into the ids.
        self._sentinel = "".join(chr(0xF0000 + secrets.randbelow(0xFFFD)) for _ in range(3))
        # A template may write JSON in ASCII; the sentinel must be found there too.
        self._escaped = json.dumps(self._sentinel)[1:-1]
        self._pattern = re.compile("|".join(re.escape(name) for name in self._names) or r"(?!)")
        self._splitter = re.compile(f"({self._pattern.pattern})")
        self._starts = {name[:length] for name in self._names for length in range(1, len(name))}
        self._ends = {name[length:] for name in self._names for length in range(1, len(name))}
        self._longest = max(map(len, self._names), default=0)
        self._all = "\0".join(self._names)

    def mark(self, value: Any) -> Any:
        """A copy of JSON-like `value` in which no string can name a control token, alone or with its neighbours."""
        if isinstance(value, str):
            return self._mark_text(value)
        if isinstance(value, Mapping):
            return {self.mark(key): self.mark(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mark(item) for item in value]
        return value

    def split(self, rendered: str) -> list[str]:
        """Text and names in turn: even places plain text (sentinels removed), odd places names of control tokens."""
        pieces = self._splitter.split(rendered)
        if self._sentinel in rendered or self._escaped in rendered:
            pieces[::2] = [p.replace(self._sentinel, "").replace(self._escaped, "") for p in pieces[::2]]
        return pieces

    def _mark_text(self, text: str) -> str:
        bare = text.strip()  # templates trim, so the border that counts is the one without white space
        if not bare or not self._names:
            return text
        marked = self._break_names(bare)
        reach = range(1, min(self._longest, len(bare) + 1))
        if any(bare[-length:] in self._starts for length in reach):
            marked += self._sentinel
        if any(bare[:length] in self._ends for length in reach) or (len(bare) < self._longest and bare in self._all):
            marked = self._sentinel + marked
        if marked is bare:
            return text
        return text[: len(text) - len(text.lstrip())] + marked + text[len(text.rstrip()) :]

    def _break_names(self, text: str) -> str:
        pieces, done = [], 0
        # From the character after each find, because names may overlap: breaking one can leave another whole.
        while match := self._pattern.search(text, done):
            pieces += [text[done : match.start() + 1], self._sentinel]
            done = match.start() + 1
        return "".join(pieces) + text[done:] if pieces else text


# Ten times what any published template takes for the longest conversation.
_SECONDS = 5.0
# Templates trim, split and join what they are given: so many copies of it, and of what they add, are theirs to make.
_COPIES = 64
_OWN_CHARS = 1_000_000
_MAX_SOURCE_CHARS = 200_000


class ChatTemplate:
    """One compiled template. `source` is a stranger's code as far as we know, and runs with limits (see sandbox.py)."""

    def __init__(self, source: str) -> None:
        """Raises: WeightsError for a template that is too long or does not compile."""
        if len(source) > _MAX_SOURCE_CHARS:
            raise WeightsError(
                f"the chat template has {len(source):,} characters, the limit is {_MAX_SOURCE_CHARS:,}",
                hint="check where this folder comes from",
            )
        self.source = source
        try:
            self._template = _ENVIRONMENT.compile_template(source)
        except Exception as error:  # jinja2's errors, and Python's own on absurd nesting: all mean the same here
            raise WeightsError(f"the chat template does not compile: {error}", hint=_HINT) from None

    def render(self, variables: Mapping[str, Any], *, seconds: float = _SECONDS) -> str:
        """The conversation as one string.

        Raises: InputError where the template itself refuses the conversation, WeightsError where it breaks or exceeds
        its limits of time and size.
        """
        meter = Meter(seconds=seconds, size=_OWN_CHARS + _COPIES * _num_chars(variables))
        try:
            return render(self._template, variables, meter)
        except TemplateRefusal as error:
            raise InputError(f"the model's chat template refuses this conversation: {error}") from None
        except TemplateLimit as error:
            raise WeightsError(f"the chat template is stopped: {error}", hint=_HINT) from None
        except Exception as error:  # a stranger's code raises what it likes
            raise WeightsError(f"the chat template fails: {error}", hint=_HINT) from None


_ENVIRONMENT = LimitedEnvironment()
_HINT = "check the folder's chat_template.jinja"


def _num_chars(value: Any) -> int:
    """Characters of all strings in `value`."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + _num_chars(item) for key, item in value.items())
    return sum(map(_num_chars, value)) if isinstance(value, list) else 0
