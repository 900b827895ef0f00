"""`POST /tokenize`: the ids of a text, or of a whole conversation as the embedded model reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from narthex.backends.base import Backend
from narthex.serve.bodies import Wire
from narthex.serve.errors import ApiError
from narthex.serve.messages import Reader, read_tools
from narthex.serve.thinking import split_model
from narthex.serve.wire import ChatMessage, ToolEntry
from narthex.tokens.gallery import Gallery, MemoryBlobs

if TYPE_CHECKING:
    from narthex.tokens import ChatFormat

MAX_CHARS = 4_000_000  # of a text; seconds of work


class TokenizeBody(Wire):
    """vLLM's shape: `prompt`, or `messages` (with `tools`)."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    tools: list[ToolEntry] | None = None


def count_tokens(body: TokenizeBody, backends: Mapping[str, Backend]) -> dict[str, Any]:
    """For a thread. Raises: ApiError."""
    names = tuple(backends)
    base, mode = (names[0], None) if body.model is None else split_model(body.model, names)
    backend = backends[base]
    chat = cast("ChatFormat | None", getattr(backend, "chat", None))
    if chat is None:
        raise ApiError(
            f"the tokens of {base} are not known here", param="model", code="unsupported_model",
            hint="it runs behind an upstream; ask there",
        )  # fmt: skip
    if (body.prompt is None) == (body.messages is None):
        raise ApiError("give either 'prompt' or 'messages'", param="prompt", code="invalid_value")
    if body.prompt is not None:
        if len(body.prompt) > MAX_CHARS:
            raise ApiError(f"'prompt' has more than {MAX_CHARS:,} characters", status=413, param="prompt")
        ids = chat.tokenizer.encode(body.prompt)
    else:
        gallery = Gallery(MemoryBlobs())
        conversation = Reader(gallery).conversation(body.messages or ())
        tools = read_tools(body.tools or ())
        ids = chat.render(
            conversation.messages, tools=tools, thinking=mode != "instant", load_image=gallery.load
        ).ids
    return {"count": len(ids), "max_model_len": backend.context_tokens, "tokens": ids}
