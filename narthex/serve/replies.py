"""A run's events become what a client is shown: thought and progress, the answer, calls, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from narthex.chat import Agreement, Event, Ledger, Mode, RunFinished, ToolCall

MAX_ANSWER_CHARS = 80  # of an agent's answer, in a line of progress
MAX_SHOWN_ANSWERS = 4  # in a line about agreement
# Cancelled is a reply that broke off; to a client that is one that is not complete.
_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "cancelled": "length"}


class Showing(NamedTuple):
    """How a run is shown. `holds_back`: what the model says may turn out to be withdrawn, so nobody is to see it before
    its turn is over. So many calls of the caller's tools come out at most.
    """

    mode: Mode
    holds_back: bool
    most_calls: int | None


class Piece(NamedTuple):
    """More of what is shown."""

    kind: Literal["reasoning", "content"]
    text: str


class Reply:
    """Feed it every event of a run; it says what of it may be shown at once.

    Thought is the model's own, where one agent works; of several, lines say who does what. Where text that has been
    shown is withdrawn all the same, what follows begins after an empty line, and `num_withdrawn` counts the characters
    before it.
    """

    def __init__(self, showing: Showing) -> None:
        self._most_calls = showing.most_calls
        self._is_crowd = showing.mode == "contemplating"
        self._holds_back = showing.holds_back
        self._turn_ended = False  # since thought was last shown
        self._reasoning: list[str] = []
        self._shown = ""  # of the answer, since it last began
        self.num_withdrawn = 0
        self.end: RunFinished | None = None

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The caller's to run."""
        return self.end.calls[: self._most_calls] if self.end else ()

    @property
    def finish_reason(self) -> str:
        return _REASONS[self.end.finish_reason] if self.end else "stop"

    def feed(self, event: Event) -> list[Piece]:
        """What may be shown now."""
        pieces = list(filter(lambda piece: piece.text, self._pieces(event)))
        self._reasoning += [piece.text for piece in pieces if piece.kind == "reasoning"]
        return pieces

    def _pieces(self, event: Event) -> list[Piece]:
        match event.type:
            case "thought_delta" if not self._is_crowd:
                return [Piece("reasoning", self._break() + event.text)]
            case "turn_finished":
                self._turn_ended = True
            case "answer_started":
                return [Piece("content", self._begin_anew())]
            case "answer_delta" if not self._holds_back:
                self._shown += event.text
                return [Piece("content", event.text)]
            case "run_finished":
                return self._finish(event)
            case _ if self._is_crowd:
                line = progress(event)
                return [Piece("reasoning", line + "\n")] if line else []
        return []

    def _break(self) -> str:
        """Between the thoughts of two turns."""
        is_new = self._turn_ended and bool(self._reasoning)
        self._turn_ended = False
        return "\n\n" if is_new else ""

    def _begin_anew(self) -> str:
        if not self._shown:
            return ""
        self.num_withdrawn += len(self._shown) + 2
        self._shown = ""
        return "\n\n"

    def _finish(self, event: RunFinished) -> list[Piece]:
        self.end = event
        rest = event.answer.removeprefix(self._shown) if event.answer.startswith(self._shown) else event.answer
        begun = "" if event.answer.startswith(self._shown) else self._begin_anew()
        self._shown = event.answer
        return [Piece("content", begun + rest)]


def progress(event: Event) -> str:
    """A line about several agents' work; empty for what needs none."""
    match event.type:
        case "round_started":
            return f"Round {event.round + 1}: {event.purpose}."
        case "tool_started":
            return f"{event.agent_id} calls {event.call.name}."
        case "agent_finished" if event.error:
            return f"{event.agent_id} failed: {_short(event.error)}"
        case "agent_finished" if event.calls:
            return f"{event.agent_id} wants to call {', '.join(call.name for call in event.calls)}."
        case "agent_finished" if event.answer:
            return f"{event.agent_id} answers: {_short(event.answer)}"
        case "agent_finished":
            return f"{event.agent_id} has no answer."
        case "agreement":
            return _agreement(event)
    return ""


def _agreement(event: Agreement) -> str:
    total = sum(event.tally.values()) or 1.0
    by_weight = sorted(event.tally.items(), key=lambda entry: -entry[1])[:MAX_SHOWN_ANSWERS]
    shown = "; ".join(f"{_short(answer)} {weight / total:.0%}" for answer, weight in by_weight)
    return f"Agreement: {shown} (the first stays first with a probability of {event.probability:.2f})."


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_ANSWER_CHARS else line[: MAX_ANSWER_CHARS - 1] + "…"


def summed_usage(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """The ledgers' sum, as clients count it: thought is a part of what was written."""
    prompt = sum(ledger.prompt_tokens for ledger in ledgers)
    thought = sum(ledger.thought_tokens for ledger in ledgers)
    written = thought + sum(ledger.answer_tokens for ledger in ledgers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": sum(ledger.cached_tokens for ledger in ledgers)},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def own_field(mode: Mode, reply: Reply, run_id: str, *, is_kept: bool) -> dict[str, Any]:
    """What is ours alone: the field `narthex` of the last object."""
    if reply.end is None:
        raise RuntimeError("a run that has not ended has no ledger")
    told: dict[str, Any] = {
        "run_id": run_id, "mode": mode, "kept": is_kept, "finish_reason": reply.end.finish_reason,
        "ledger": reply.end.ledger.model_dump(mode="json"),
    }  # fmt: skip
    if reply.num_withdrawn:
        told["withdrawn_characters"] = reply.num_withdrawn
    return told


def written_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
