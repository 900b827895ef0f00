"""The input of a response becomes messages: thought, text and calls of one reply are one message of the assistant."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from narthex.serve.errors import ApiError
from narthex.serve.response_wire import InputItem, InputPart
from narthex.serve.wire import CalledFunction, ChatMessage, ContentPart, MessageCall
from narthex.store import Blob

_TEXTS = ("input_text", "output_text", "text")
Upload = Callable[[str], tuple[Blob, str]]  # the id of an upload -> its bytes and its name


@dataclass
class _Reply:
    """What an assistant said, item by item."""

    place: str
    thought: list[str] = field(default_factory=list)
    parts: list[ContentPart] = field(default_factory=list)
    calls: list[MessageCall] = field(default_factory=list)

    def message(self) -> ChatMessage:
        return ChatMessage(
            role="assistant", content=self.parts or None, tool_calls=self.calls or None,
            reasoning="\n\n".join(self.thought) or None,
        )  # fmt: skip


class InputReader:
    """Reads the items of one request. `upload` raises ApiError for a file that is not the caller's."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._messages: list[ChatMessage] = []
        self._places: list[str] = []
        self._reply: _Reply | None = None

    def messages(self, given: str | Sequence[InputItem]) -> tuple[list[ChatMessage], list[str]]:
        """The messages, and for each its place in the body. Raises: ApiError that names the item at fault."""
        if isinstance(given, str):
            return [ChatMessage(role="user", content=given)], ["input"]
        for number, item in enumerate(given):
            self._take(item, f"input[{number}]")
        self._close()
        return self._messages, self._places

    def _take(self, item: InputItem, where: str) -> None:
        match item.type:
            case "message" if item.role is not None:
                parts = self._parts(item.content, f"{where}.content")
                if item.role != "assistant":
                    self._add(ChatMessage(role=item.role, content=parts), where)
                    return
                if self._reply is not None and (self._reply.parts or self._reply.calls):
                    self._close()
                self._open(where).parts += parts
            case "reasoning":
                thought = item.content if isinstance(item.content, list) else item.summary
                if self._reply is not None and self._reply.calls:
                    self._close()
                self._open(where).thought += [part.text for part in thought or item.summary or () if part.text]
            case "function_call":
                call = MessageCall(
                    id=_said(item.call_id, f"{where}.call_id"),
                    function=CalledFunction(name=_said(item.name, f"{where}.name"), arguments=item.arguments or "{}"),
                )
                self._open(where).calls.append(call)
            case "function_call_output":
                parts = self._parts(item.output, f"{where}.output")
                call_id = _said(item.call_id, f"{where}.call_id")
                self._add(ChatMessage(role="tool", content=parts, tool_call_id=call_id), where)
            case _:
                raise ApiError(
                    f"'{where}' is an item of type '{item.type[:64]}', which cannot be read", param=where,
                    code="unsupported_content", hint="message, reasoning, function_call, function_call_output can",
                )  # fmt: skip

    def _open(self, where: str) -> _Reply:
        if self._reply is None:
            self._reply = _Reply(where)
        return self._reply

    def _close(self) -> None:
        if self._reply is not None:
            self._messages.append(self._reply.message())
            self._places.append(self._reply.place)
            self._reply = None

    def _add(self, message: ChatMessage, where: str) -> None:
        self._close()
        self._messages.append(message)
        self._places.append(where)

    def _parts(self, said: str | Sequence[InputPart] | None, where: str) -> list[ContentPart]:
        if said is None:
            raise ApiError(f"'{where}' is missing", param=where, code="missing_required_parameter")
        if isinstance(said, str):
            return [ContentPart(type="text", text=said)]
        return [self._part(part, f"{where}[{number}]") for number, part in enumerate(said)]

    def _part(self, part: InputPart, where: str) -> ContentPart:
        if part.type in _TEXTS and part.text is not None:
            return ContentPart(type="text", text=part.text)
        if part.type == "refusal" and part.refusal is not None:
            return ContentPart(type="text", text=part.refusal)
        if part.type == "input_image":
            if (part.image_url is None) == (part.file_id is None):
                raise ApiError(f"'{where}' names one picture: image_url or file_id", param=where, code="invalid_value")
            if part.image_url is not None:
                return ContentPart(type="image_url", image_url=part.image_url)
            (data, media_type), _ = self._upload(_said(part.file_id, where))
            uri = f"data:{media_type};base64," + base64.b64encode(data).decode()
            return ContentPart(type="image_url", image_url=uri)
        if part.type == "input_file":
            return self._file(part, where)
        raise ApiError(
            f"'{where}' is a part of type '{part.type[:64]}', which cannot be read", param=where,
            code="unsupported_content", hint="input_text, input_image and input_file can",
        )  # fmt: skip

    def _file(self, part: InputPart, where: str) -> ContentPart:
        """A text, read whole. Raises: ApiError for anything else."""
        name = part.filename or "file"
        if part.file_id is not None:
            (data, _), name = self._upload(part.file_id)
        else:
            encoded = _said(part.file_data, f"{where}.file_data").partition("base64,")
            try:
                data = base64.b64decode(encoded[2] or encoded[0], validate=True)
            except ValueError:
                raise ApiError(f"'{where}' is no base64", param=where, code="invalid_file") from None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ApiError(
                f"'{where}' is no text", param=where, code="unsupported_content", hint="pictures come as input_image"
            ) from None
        return ContentPart(type="text", text=f"\n[file {name[:255]}]\n{text}\n[end of {name[:255]}]")


def _said(value: str | None, where: str) -> str:
    if not value:
        raise ApiError(f"'{where}' is missing", param=where, code="missing_required_parameter")
    return value
