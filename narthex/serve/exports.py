"""A conversation as a page of Markdown that people read."""

from __future__ import annotations

import time
from collections.abc import Sequence

from narthex.chat import ImagePart, Message
from narthex.store import ConversationRecord, Turn, line_of

_SPEAKERS = {"user": "You", "assistant": "Narthex", "system": "Instructions"}


def as_markdown(record: ConversationRecord, turns: Sequence[Turn]) -> str:
    """The line of turns that leads to the last one: questions, answers, and a word for each picture and call."""
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.started))
    lines = [f"# {record.title or 'A conversation'}", "", began]
    num_pictures = 0
    for turn in line_of(turns):
        for message in (*turn.asked, *(turn.replied or ())):
            heading = _SPEAKERS.get(message.role, "Tool")
            lines += ["", f"## {heading}", ""] if message.role != "tool" else [""]
            text, num_pictures = _text(message, num_pictures)
            lines.append(text)
        if turn.replied is None:
            lines += ["", f"*(no answer: {turn.status})*"]
    return "\n".join(lines).rstrip() + "\n"


def _text(message: Message, num_pictures: int) -> tuple[str, int]:
    """What it says, and how many pictures there are by then; they are numbered as the model counts them."""
    parts = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            parts.append(f"\n*(picture {num_pictures}: {part.width} × {part.height}, sha256 {part.sha256})*\n")
            num_pictures += 1
        else:
            parts.append(part.text)
    parts += [f"\n*(calls {call.name})*\n" for call in message.calls]
    return "".join(parts).strip(), num_pictures
