"""A backend without a model, for tests: a function says what the model would."""

from __future__ import annotations

import asyncio
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
    """Answers each turn with what `script` makes of its request; what it raises is raised.

    It streams word by word, each after `word_s` seconds. `requests` keeps every request, in order. Tokens are words,
    and a picture is none.
    """

    def __init__(
        self, script: Callable[[TurnRequest], Said], *, name: str = "scripted", context_tokens: int = 4096,
        max_parallel: int = 16, word_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.name, self.context_tokens, self.max_parallel = name, context_tokens, max_parallel
        self.requests: list[TurnRequest] = []
        self.num_open = 0  # turns under way
        self._word_s = word_s
        self._script = script

    async def turn(self, request: TurnRequest) -> AsyncGenerator[TurnDelta | TurnEnd]:
        """See `Backend.turn`."""
        self.requests.append(request)
        self.num_open += 1
        try:
            said = self._script(request)
            prompt_tokens = sum(len(_words(message.text)) for message in request.messages)
            kinds: tuple[Literal["thought", "text"], ...] = ("thought", "text")
            spoken = {"thought": said.thought if request.thinking else "", "text": said.text}
            told = dict.fromkeys(kinds, "")
            for kind in kinds:
                for word in _words(spoken[kind]):
                    await asyncio.sleep(self._word_s)
                    if request.stop is not None and request.stop.is_set():
                        usage = _usage(prompt_tokens, told)
                        yield TurnEnd(told["thought"], told["text"], (), (), "cancelled", usage)
                        return
                    told[kind] += word
                    yield TurnDelta(kind, word, said.confidence if request.wants_confidence else None)
            usage = _usage(prompt_tokens, told)
            yield TurnEnd(
                told["thought"], told["text"], said.calls, said.mistakes, said.finish_reason, usage,
                confidence=said.confidence if request.wants_confidence else None,
            )  # fmt: skip
        finally:
            self.num_open -= 1


def _usage(prompt_tokens: int, told: dict[Literal["thought", "text"], str]) -> TurnUsage:
    return TurnUsage(prompt_tokens, 0, len(_words(told["thought"])), len(_words(told["text"])))


def _words(text: str) -> list[str]:
    """Words with the space behind them: joined again they are the text."""
    return re.findall(r"\s*\S+\s*|\s+", text)
