"""What is served: each model under its own name, and once more for each mode."""

from __future__ import annotations

from typing import Any

from narthex.backends.base import Backend
from narthex.chat import MODES, Mode
from narthex.serve.callers import Caller
from narthex.serve.service import Service
from narthex.serve.thinking import DEFAULT_MODE, split_model

OWNER = "narthex"


def list_models(service: Service, caller: Caller) -> dict[str, Any]:
    """The body of `GET /v1/models`: those that the caller may use."""
    entries = []
    for name, backend in service.backends_for(caller).items():
        entries.append(_entry(service, name, name, backend, None))
        entries += [_entry(service, f"{name}:{mode}", name, backend, mode) for mode in MODES]
    return {"object": "list", "data": entries}


def get_model(service: Service, name: str, caller: Caller) -> dict[str, Any]:
    """One of them. Raises: ApiError 404."""
    base, mode = split_model(name, tuple(service.backends_for(caller)))
    return _entry(service, name, base, service.backends[base], mode)


def sees_pictures(backend: Backend) -> bool | None:
    """Whether the model takes pictures; None where that cannot be known: behind an upstream."""
    chat = getattr(backend, "chat", None)
    return None if chat is None else chat.geometry is not None


def _entry(service: Service, id_: str, base: str, backend: Backend, mode: Mode | None) -> dict[str, Any]:
    shown: Mode = mode or DEFAULT_MODE
    return {
        "id": id_, "object": "model", "created": service.started, "owned_by": OWNER,
        "root": base, "max_model_len": backend.context_tokens,
        "capabilities": {
            "mode": shown, "is_mode_fixed": mode is not None, "reasoning": shown != "instant",
            "pictures": sees_pictures(backend), "tools": True, "json_schema": True, "streaming": True,
        },
    }  # fmt: skip
