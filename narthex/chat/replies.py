"""What a run leaves in its conversation: the messages that a later turn reads, from the run's events alone.

One agent's calls and their results stay, so that what was found is not looked for again and pictures keep their
numbers; thought is dropped, as are calls that were refused. Of several agents only the answer stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from narthex.chat import Event, Message, Part, TextPart, ToolCall


@dataclass
class _Step:
    """A stretch of one agent's reply: what it said, then what it called and got."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    results: dict[str, tuple[Part, ...]] = field(default_factory=dict)

    def messages(self) -> list[Message]:
        calls = tuple(call for call in self.calls if call.id in self.results)
        if not calls:
            return []
        said = (TextPart(text=self.text),) if self.text else ()
        results = [Message(role="tool", parts=self.results[call.id], call_id=call.id) for call in calls]
        return [Message(role="assistant", parts=said, calls=calls), *results]


def reply_of(events: Iterable[Event]) -> tuple[Message, ...]:
    """The messages that come after the question; the last one is the answer, or the calls that the caller is to run.

    Nothing if the run did not finish.
    """
    steps, is_crowd = [_Step()], False
    for event in events:
        match event.type:
            case "agent_started" if event.role != "solo":
                is_crowd = True
            case "thought_delta" | "answer_started" if steps[-1].calls:
                steps.append(_Step())
            case "answer_started":
                steps[-1].text = ""
            case "answer_delta":
                steps[-1].text += event.text
            case "tool_started":
                steps[-1].calls.append(event.call)
            case "tool_finished" if not event.is_error:
                _step_of(steps, event.call_id).results[event.call_id] = event.parts
            case "run_finished":
                before = [] if is_crowd else [message for step in steps for message in step.messages()]
                said = (TextPart(text=event.answer),) if event.answer else ()
                return (*before, Message(role="assistant", parts=said, calls=event.calls))
    return ()


def _step_of(steps: list[_Step], call_id: str) -> _Step:
    return next((step for step in steps if any(call.id == call_id for call in step.calls)), steps[-1])
