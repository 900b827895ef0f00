"""What a response was asked, as items again: the way back of `response_input`."""

from __future__ import annotations

import base64
import json
from typing import Any

from narthex.chat import ImagePart, Message, Part
from narthex.serve.errors import ApiError
from narthex.store import Blobs, ResponseRecord

Item = dict[str, Any]


def items_of(record: ResponseRecord, blobs: Blobs) -> list[Item]:
    """In the order they came; pictures as data URIs. Reads their bytes: for a thread."""
    items: list[Item] = []
    for message in record.asked:
        items += _items(message, blobs)
    return [{"id": f"{record.id}_{number}", **item} for number, item in enumerate(items)]


def page_of(items: list[Item], after: str | None, limit: int) -> dict[str, Any]:
    """Some of them, as OpenAI's lists are. Raises: ApiError 404 where `after` is none of them."""
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise ApiError(f"there is no item '{after[:100]}' in it", status=404, param="after", code="item_not_found")
    left = items[ids.index(after) + 1 :] if after is not None else items
    shown = left[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else ("", "")
    return {"object": "list", "data": shown, "has_more": len(left) > limit, "first_id": first, "last_id": last}


def _items(message: Message, blobs: Blobs) -> list[Item]:
    parts = [_part(part, message.role, blobs) for part in message.parts]
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.call_id, "output": parts, "status": "completed"}]
    items: list[Item] = []
    if message.thought:
        thought = {"type": "reasoning_text", "text": message.thought}
        items.append({"type": "reasoning", "summary": [], "content": [thought], "status": "completed"})
    if parts:
        items.append({"type": "message", "role": message.role, "content": parts, "status": "completed"})
    for call in message.calls:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        items.append({
            "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments,
            "status": "completed",
        })  # fmt: skip
    return items


def _part(part: Part, role: str, blobs: Blobs) -> Item:
    if isinstance(part, ImagePart):
        uri = f"data:{part.media_type};base64," + base64.b64encode(blobs.get(part.sha256).data).decode()
        return {"type": "input_image", "image_url": uri, "detail": "auto"}
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": part.text}
