"""A conversation as Chat Completions writes it: messages, tools and pictures to JSON.

Tool messages carry text only. The pictures of a turn's results follow in one user message after all of its tool
messages, each under the index that tools know it by. Neighbouring user messages become one: strict templates refuse
two in a row.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from narthex.chat import ImagePart, Message, ToolCall, ToolSpec

# Beyond this, PNG gives way to JPEG: drawings stay exact, photographs do not take ten times the room.
MAX_PNG_BYTES = 2**20
_JPEG_QUALITY = 90
_UNREADABLE = "unreadable"  # the name under which a call that could not be read is sent back


def picture_uri(image: Image.Image, *, max_side: int) -> str:
    """A picture as a data URI: PNG, or JPEG where that would be large; shrunk to `max_side` pixels a side."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    if max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer, kind = io.BytesIO(), "png"
    image.save(buffer, "PNG")
    if buffer.tell() > MAX_PNG_BYTES:
        buffer, kind = io.BytesIO(), "jpeg"
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def write_messages(
    messages: Sequence[Message],
    uri_of: Callable[[ImagePart], str],
    *,
    sends_thought: bool = False,
    names_pictures: bool = False,
) -> list[dict[str, Any]]:
    """The `messages` of a request.

    `sends_thought`: thought since the last user message goes back as `reasoning_content`; older thought never does.
    `names_pictures`: users' pictures, too, are introduced by their index, as tools need it.
    """
    written: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []  # pictures of tools, until the last tool message of the turn
    index = 0
    last_user = max((place for place, message in enumerate(messages) if message.role == "user"), default=-1)
    for place, message in enumerate(messages):
        numbers = range(index, index + len(message.pictures))
        index = numbers.stop
        if message.role == "tool":
            _answer_call(written, message, numbers)
            late += [part for n, picture in zip(numbers, message.pictures, strict=True)
                     for part in (_introduction(n), _picture(uri_of(picture)))]  # fmt: skip
            continue
        _add_user(written, late)
        late = []
        if message.role == "user":
            _add_user(written, _user_parts(message, numbers, uri_of, names_pictures))
        elif message.role == "system":
            written.append({"role": "system", "content": message.text})
        else:
            written.append(_assistant(message, sends_thought=sends_thought and place > last_user))
    _add_user(written, late)
    return [_plain(entry) for entry in written]


def add_note(written: Sequence[dict[str, Any]], note: str) -> list[dict[str, Any]]:
    """The same messages with a note at their end, as the user's."""
    noted = [dict(entry) for entry in written]
    _add_user(noted, [{"type": "text", "text": note}])
    return [_plain(entry) for entry in noted]


def add_instruction(written: Sequence[dict[str, Any]], instruction: str) -> list[dict[str, Any]]:
    """The same messages with an instruction at the end of the system message, which is made where there is none."""
    if written and written[0]["role"] == "system":
        first = {**written[0], "content": f"{written[0]['content']}\n\n{instruction}"}
        return [first, *written[1:]]
    return [{"role": "system", "content": instruction}, *written]


def write_tools(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """The `tools` of a request."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def count_characters(written: Any) -> int:
    """Characters of everything said in a JSON value; data URIs are none."""
    if isinstance(written, str):
        return 0 if written.startswith("data:image/") else len(written)
    if isinstance(written, Mapping):
        return sum(len(key) + count_characters(value) for key, value in written.items())
    return sum(map(count_characters, written)) if isinstance(written, (list, tuple)) else len(str(written))


def _user_parts(
    message: Message, numbers: range, uri_of: Callable[[ImagePart], str], names_pictures: bool
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    waiting = iter(numbers)
    for part in message.parts:
        if isinstance(part, ImagePart):
            number = next(waiting)
            if names_pictures:
                is_after_text = bool(parts) and parts[-1]["type"] == "text"
                parts.append({"type": "text", "text": "\n\n" * is_after_text + _introduction(number)["text"]})
            parts.append(_picture(uri_of(part)))
        elif part.text:
            parts.append({"type": "text", "text": part.text})
    return parts or [{"type": "text", "text": ""}]


def _add_user(written: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """Append parts to the user message that stands last, or as one of their own."""
    if not parts:
        return
    if written and written[-1]["role"] == "user":
        before = written[-1]["content"]
        before = [{"type": "text", "text": before}] if isinstance(before, str) else before
        # what two messages said does not run together
        is_text = before[-1]["type"] == parts[0]["type"] == "text"
        between = [{"type": "text", "text": "\n\n"}] if is_text else []
        written[-1] = {"role": "user", "content": [*before, *between, *parts]}
    else:
        written.append({"role": "user", "content": list(parts)})


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """A user's text parts as few as can be; a string where there are no pictures, as some servers know nothing else."""
    if entry["role"] != "user" or isinstance(entry["content"], str):
        return entry
    joined: list[dict[str, Any]] = []
    for part in entry["content"]:
        if part["type"] == "text" and joined and joined[-1]["type"] == "text":
            joined[-1] = {"type": "text", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    if all(part["type"] == "text" for part in joined):
        return {**entry, "content": "".join(part["text"] for part in joined)}
    return {**entry, "content": joined}


def _assistant(message: Message, *, sends_thought: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.thought and sends_thought:
        entry["reasoning_content"] = message.thought
    if message.calls:
        entry["content"] = message.text or None
        entry["tool_calls"] = [_call(call) for call in message.calls]
    return entry


def _answer_call(written: list[dict[str, Any]], message: Message, numbers: range) -> None:
    """A tool message; the call that it answers is written where the model's own could not be read."""
    asked = next((entry for entry in reversed(written) if entry["role"] != "tool"), None)
    if asked is not None and asked["role"] == "assistant":
        known = asked.setdefault("tool_calls", [])
        if all(call["id"] != message.call_id for call in known):
            known.append(_call(ToolCall(id=message.call_id or "", name=_UNREADABLE)))
            asked["content"] = asked["content"] or None
    below = " ".join(f"[picture {number} is shown below]" for number in numbers)
    content = "\n".join(text for text in (message.text, below) if text)
    written.append({"role": "tool", "tool_call_id": message.call_id, "content": content})


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _introduction(number: int) -> dict[str, Any]:
    return {"type": "text", "text": f"Picture {number}:"}


def _picture(uri: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri}}
