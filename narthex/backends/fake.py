"""A backend without a model, for tests: a function says what the model would."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.chat import ToolCall


@dataclass(frozen=True)
class Said:
    """What the model says in one turn."""

    text: str = ""
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    mistakes: tuple[str, ...] = ()
    finish_reason: Literal["stop", "length"] = "stop"
    confidence: float | None = None


class ScriptedBackend:
    """Answers each turn with what `script` makes of its request, streamed word by word; what it raises is raised.

    `requests` keeps every request, in order. Tokens are words, and a picture is none.
    """

    def __init__(
        self, script: Callable[[TurnRequest], Said], *, name: str = "scripted", context_tokens: int = 4096,
        max_parallel: int = 16,
    ) -> None:  # fmt: skip
        self.name, self.context_tokens, self.max_parallel = name, context_tokens, max_parallel
        self.requests: list[TurnRequest] = []
        self._script = script

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        self.requests.append(request)
        said = self._script(request)
        thought = said.thought if request.thinking else ""
        for word in _words(thought):
            yield TurnDelta("thought", word)
        for word in _words(said.text):
            yield TurnDelta("text", word)
        prompt_tokens = sum(len(_words(message.text)) for message in request.messages)
        usage = TurnUsage(prompt_tokens, 0, len(_words(thought)), len(_words(said.text)))
        yield TurnEnd(
            thought, said.text, said.calls, said.mistakes, said.finish_reason, usage, confidence=said.confidence
        )


def _words(text: str) -> list[str]:
    """Words with the space behind them: joined again they are the text."""
    return re.findall(r"\s*\S+\s*|\s+", text)
