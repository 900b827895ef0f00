"""Log-probabilities of an answer's tokens, as OpenAI writes them, matched with the text that goes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from narthex.backends.base import TokenChance
from narthex.chat import Event
from narthex.serve.line import Line


class Chances:
    """Of one run. Each `answer_delta` is one piece of text of the turn under way, in order; what is held back until a
    turn is over goes out with all of that turn's.
    """

    def __init__(self, line: Line, *, holds_back: bool) -> None:
        self._line, self._holds_back = line, holds_back
        self._turn = self._piece = 0

    def take(self, event: Event) -> list[TokenChance]:
        """Those of the text that this event lets out."""
        turns = self._line.chances
        found: list[TokenChance] = []
        if event.type == "answer_delta" and not self._holds_back:
            pieces = turns[self._turn] if self._turn < len(turns) else []
            found += pieces[self._piece] if self._piece < len(pieces) else ()
            self._piece += 1
        elif event.type == "turn_finished":
            self._turn, self._piece = self._turn + 1, 0
        elif event.type == "run_finished" and self._holds_back and turns:
            found += [chance for piece in turns[-1] for chance in piece]
        return found


def written_chances(chances: Iterable[TokenChance]) -> dict[str, Any]:
    """The field `logprobs` of a choice."""
    content = [
        {
            "token": chance.text, "logprob": chance.logprob, "bytes": list(chance.data),
            "top_logprobs": [
                {"token": text, "logprob": logprob, "bytes": list(data)} for text, data, logprob in chance.top
            ],
        }
        for chance in chances
    ]  # fmt: skip
    return {"content": content, "refusal": None}
