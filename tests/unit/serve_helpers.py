"""A server's application around a scripted model, asked in this process, and what its streams hold."""

from __future__ import annotations

import base64
import io
import json
from contextlib import asynccontextmanager

import httpx2
from PIL import Image

from narthex.backends.fake import ScriptedBackend
from narthex.chat import Budget
from narthex.serve import Service, create_app
from narthex.store import Store

PATH = "/v1/chat/completions"


def asks(text="What?", *pictures, **fields):
    """The body of a question."""
    shown = [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
    content = [{"type": "text", "text": text}, *shown] if shown else text
    return {"model": "scripted", "messages": [{"role": "user", "content": content}], **fields}


def data_uri(size=(40, 30), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def function(name="look_up", **parameters):
    """A caller's tool."""
    schema = {"type": "object", "properties": parameters}
    return {"type": "function", "function": {"name": name, "description": "Looks it up.", "parameters": schema}}


@asynccontextmanager
async def served(script, *, store=None, ceiling=None, **how):
    """(client, backend, service): `script` is what the model says, or a backend. Kept in `store`, a folder."""
    backend = script if hasattr(script, "turn") else ScriptedBackend(script, **how)
    service = Service({backend.name: backend}, ceiling or Budget(), keeps_runs=store is not None)
    if store is not None:
        service.store = Store.open(store)
    transport = httpx2.ASGITransport(create_app(service), raise_app_exceptions=False)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client, backend, service
    finally:
        if service.store is not None:
            service.store.close()


def chunks_of(text):
    """The documents of a stream, which ends as streams end; comments are left out."""
    events = [event for event in text.split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def joined(chunks, field):
    """All of one field of the deltas."""
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(choice["delta"].get(field) or "" for choice in choices)
