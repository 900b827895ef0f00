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
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from narthex.base.errors import InputError, WeightsError


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


class ChatTemplate:
    """One compiled template. `source` is a stranger's code as far as we know, and is treated so."""

    def __init__(self, source: str, *, max_source_chars: int = 200_000, max_output_chars: int = 40_000_000) -> None:
        """Raises: WeightsError for a template that is too long or does not parse."""
        if len(source) > max_source_chars:
            raise WeightsError(
                f"the chat template has {len(source):,} characters, the limit is {max_source_chars:,}",
                hint="check where this folder comes from",
            )
        self.source = source
        self._max_output_chars = max_output_chars
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise WeightsError(f"the chat template does not parse: {error}", hint="check chat_template.jinja") from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """Raises: InputError where the template itself refuses the conversation, WeightsError where it breaks."""
        try:
            return self._template.render(**variables)
        except TemplateRefusal as error:
            raise InputError(f"the model's chat template refuses this conversation: {error}") from None
        except jinja2.TemplateError as error:
            raise WeightsError(f"the chat template fails: {error}", hint="check chat_template.jinja") from None


class TemplateRefusal(jinja2.TemplateError):
    """A template called `raise_exception`."""


def _refuse(message: str) -> NoReturn:
    raise TemplateRefusal(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes for HTML; models were trained on plain JSON.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    functions: dict[str, Callable[..., Any]] = {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    environment.globals.update(functions)
    return environment
