"""Messages of the API become a conversation; pictures arrive inside them, and nowhere else from."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from narthex.base.errors import InputError
from narthex.chat import Conversation, ImagePart, Message, Part, Role, TextPart, ToolCall, ToolSpec
from narthex.serve.errors import ApiError
from narthex.serve.wire import ChatMessage, ContentPart, MessageCall, ToolEntry
from narthex.tokens.gallery import Gallery

MAX_PICTURES = 64
MAX_PICTURE_PIXELS = 128_000_000  # of all pictures together: two of the largest that are taken
MAX_SCHEMA_CHARS = 256 * 1024  # of all tools' schemas together
_DATA_URI = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;[\w=.-]+)*;base64,", re.IGNORECASE)
_ROLES: dict[str, Role] = {"developer": "system"}


class Reader:
    """Reads the messages of one request; pictures go into its gallery. It decodes them: not for an event loop."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._num_pictures = self._num_pixels = 0

    def conversation(
        self, messages: Sequence[ChatMessage], *, places: Sequence[str] | None = None, calls_before: Iterable[str] = ()
    ) -> Conversation:
        """What they say. `calls_before`: ids of calls that were made before the first of them, and may be answered.

        Raises: ApiError that names the message at fault, by its place in the body.
        """
        read: list[Message] = []
        known_calls = set(calls_before)
        last_user = max((place for place, each in enumerate(messages) if each.role == "user"), default=-1)
        for place, message in enumerate(messages):
            where = places[place] if places is not None else f"messages[{place}]"
            # Thought is kept within a run: what stands before the last question was thought in others.
            read.append(self._message(message, where, known_calls, keeps_thought=place > last_user))
            known_calls |= {call.id for call in read[-1].calls}
        _check_question(read, "messages" if places is None else "input")
        return Conversation(messages=tuple(read))

    def _message(self, said: ChatMessage, where: str, known_calls: set[str], *, keeps_thought: bool) -> Message:
        role = _ROLES.get(said.role, said.role)
        parts = self._parts(said, where)
        if said.tool_calls and role != "assistant":
            raise ApiError("only an assistant calls tools", param=f"{where}.tool_calls", code="invalid_value")
        if role == "tool":
            if said.tool_call_id not in known_calls:
                raise ApiError(
                    f"'{where}' answers no call before it", param=f"{where}.tool_call_id", code="invalid_value",
                    hint="an assistant's message with tool_calls comes first",
                )  # fmt: skip
            return Message(role="tool", parts=parts, call_id=said.tool_call_id)
        if role != "assistant":
            return Message(role=role, parts=parts)
        calls = tuple(
            _call(call, f"{where}.tool_calls[{number}]") for number, call in enumerate(said.tool_calls or ())
        )
        thought = (said.reasoning or said.reasoning_content or "") if keeps_thought else ""
        return Message(role="assistant", parts=parts, thought=thought, calls=calls)

    def _parts(self, said: ChatMessage, where: str) -> tuple[Part, ...]:
        if isinstance(said.content, str):
            return (TextPart(text=said.content),) if said.content else ()
        if said.content is None:
            if said.role != "assistant":
                raise ApiError(f"'{where}.content' is missing", param=f"{where}.content", code="invalid_value")
            return (TextPart(text=said.refusal),) if said.refusal else ()
        parts = [self._part(part, f"{where}.content[{number}]") for number, part in enumerate(said.content)]
        return tuple(part for part in parts if part is not None)

    def _part(self, part: ContentPart, where: str) -> Part | None:
        text = part.refusal if part.type == "refusal" else part.text
        if part.type in ("text", "refusal", "input_text") and text is not None:
            return TextPart(text=text) if text else None
        if part.type == "image_url" and part.image_url is not None:
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            return self._picture(url, f"{where}.image_url")
        raise ApiError(
            f"'{where}' is a part of type '{part.type[:64]}', which cannot be read", param=where,
            code="unsupported_content", hint="text and image_url can",
        )  # fmt: skip

    def _picture(self, url: str, where: str) -> ImagePart:
        head = _DATA_URI.match(url)
        if head is None:
            raise ApiError(
                f"'{where}' is no picture in a data URI", param=where, code="remote_picture",
                hint="pictures are not fetched from elsewhere; send data:image/png;base64,…",
            )  # fmt: skip
        if self._num_pictures >= MAX_PICTURES:
            raise ApiError(f"more than {MAX_PICTURES} pictures", param=where, code="too_many_pictures")
        try:
            picture = self._gallery.add_bytes(base64.b64decode(url[head.end() :], validate=True))
        except (binascii.Error, ValueError):
            raise ApiError(f"'{where}' is no base64", param=where, code="invalid_picture") from None
        except InputError as error:
            raise ApiError(error.message, param=where, code="invalid_picture", hint=error.hint) from None
        self._num_pictures += 1
        self._num_pixels += picture.width * picture.height
        if self._num_pixels > MAX_PICTURE_PIXELS:
            raise ApiError(
                f"the pictures have more than {MAX_PICTURE_PIXELS:,} pixels together", param=where,
                code="invalid_picture", hint="scale them down",
            )  # fmt: skip
        return picture


def read_tools(tools: Sequence[ToolEntry]) -> tuple[ToolSpec, ...]:
    """The caller's functions. Raises: ApiError for odd names, names that are there twice, schemas beyond measure."""
    specs: list[ToolSpec] = []
    num_chars = 0
    for place, entry in enumerate(tools):
        where, function = f"tools[{place}].function", entry.function
        schema: dict[str, Any] = function.parameters or {"type": "object", "properties": {}}
        num_chars += len(json.dumps(schema)) + len(function.description or "")
        if num_chars > MAX_SCHEMA_CHARS:
            raise ApiError(f"the tools take more than {MAX_SCHEMA_CHARS:,} characters", param="tools")
        if any(spec.name == function.name for spec in specs):
            raise ApiError(f"two tools are called '{function.name}'", param=f"{where}.name", code="invalid_value")
        try:
            specs.append(ToolSpec(name=function.name, description=function.description or "", parameters=schema))
        except ValidationError:
            raise ApiError(
                f"'{function.name[:80]}' is no name of a function", param=f"{where}.name", code="invalid_value",
                hint="1 to 64 letters, digits, _ and -",
            ) from None  # fmt: skip
    return tuple(specs)


def _call(call: MessageCall, where: str) -> ToolCall:
    try:
        arguments = json.loads(call.function.arguments or "{}")
        return ToolCall(id=call.id, name=call.function.name, arguments=arguments)
    except (ValueError, RecursionError):  # pydantic's is a ValueError too
        param = f"{where}.function.arguments"
        raise ApiError(f"'{param}' is no JSON object", param=param, code="invalid_value") from None


def _check_question(messages: Sequence[Message], param: str) -> None:
    """Raises: ApiError where nobody asks anything."""
    last = messages[-1]
    if last.role not in ("user", "tool"):
        raise ApiError(
            f"the last message is of the role '{last.role}', so there is no question to answer", param=param,
            code="invalid_value", hint="end with a user's message, or with a tool's result",
        )  # fmt: skip
    if last.role == "user" and not last.text.strip():
        raise ApiError("the last message asks nothing", param=param, code="invalid_value", hint="add some text")
