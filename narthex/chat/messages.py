"""What is said: messages made of typed parts, tool calls, and the conversation they form.

Everything here is plain, frozen data that survives a round trip through JSON. A picture is named by the hash of its
bytes; the bytes live in blobs. Tools name a picture by its index in order of appearance (`Conversation.pictures`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Role = Literal["system", "user", "assistant", "tool"]


class Frozen(BaseModel):
    """Base of everything in this room: immutable, no unknown fields, no NaN or infinity (JSON has neither)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """A private copy, exactly as it would come back from JSON (tuples become lists; NaN is refused)."""
    try:
        # Encoding finds lone surrogates, which a model can write as an escape and no file or socket can carry.
        written = json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
        copy: dict[str, Any] = json.loads(written)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not representable as JSON: {error}") from error
    return copy


JsonObject = Annotated[dict[str, Any], AfterValidator(_as_json)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TextPart(Frozen):
    """A stretch of text."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(Frozen):
    """A picture by reference. `width` and `height` are in pixels, of the picture itself, after EXIF rotation."""

    type: Literal["image"] = "image"
    sha256: Sha256
    media_type: Annotated[str, Field(pattern=r"^image/[a-z0-9.+-]+$")]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


class FilePart(Frozen):
    """A file by reference, as a tool leaves it. The model reads of it what `text` says."""

    type: Literal["file"] = "file"
    sha256: Sha256
    name: Annotated[str, Field(min_length=1, max_length=255)]
    media_type: str = "application/octet-stream"
    num_bytes: Annotated[int, Field(ge=0)]

    @property
    def text(self) -> str:
        """The line that stands for it in a prompt."""
        return f"\n[file {self.name}, {self.num_bytes} bytes]"


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class ToolCall(Frozen):
    """The model's wish to call a tool. The name is as the model wrote it and may be of no tool at all."""

    id: str
    name: str
    arguments: JsonObject = Field(default_factory=dict)


class ToolSpec(Frozen):
    """A tool as the model is told of it. `parameters` is a JSON schema of type "object"."""

    # The pattern is the one of OpenAI's function names, so that any tool can be offered to any upstream.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str = ""
    parameters: JsonObject = Field(default_factory=lambda: {"type": "object", "properties": {}})


class Message(Frozen):
    """One message. Only an assistant thinks and calls; only a tool answers a call, and it must say which."""

    role: Role
    parts: tuple[Part, ...] = ()
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None

    @model_validator(mode="after")
    def _check_role(self) -> Message:
        if self.role != "assistant" and (self.thought or self.calls):
            raise ValueError(f"a message of role '{self.role}' has neither thought nor calls")
        if (self.role == "tool") != (self.call_id is not None):
            raise ValueError("a message has a call_id if, and only if, its role is 'tool'")
        return self

    @classmethod
    def of(cls, role: Literal["system", "user", "assistant"], text: str, *pictures: ImagePart) -> Message:
        """The common case: some text, then pictures. An empty text makes no part."""
        said: tuple[TextPart, ...] = (TextPart(text=text),) if text else ()
        return cls(role=role, parts=said + pictures)

    @property
    def text(self) -> str:
        """All text parts, joined as they stand, and a line for each file."""
        return "".join(part.text for part in self.parts if not isinstance(part, ImagePart))

    @property
    def pictures(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ImagePart))


class Conversation(Frozen):
    """Messages in order. Adding makes a new conversation; the old one stays as it was."""

    messages: tuple[Message, ...] = ()

    @property
    def pictures(self) -> tuple[ImagePart, ...]:
        """Every picture in order of appearance: the index in this tuple is the index tools use."""
        return tuple(picture for message in self.messages for picture in message.pictures)

    def with_messages(self, *messages: Message) -> Conversation:
        return Conversation(messages=self.messages + messages)
