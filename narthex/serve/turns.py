"""A turn of a conversation: what the page sends becomes a run that goes on in the server, whoever listens."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from narthex.base.errors import InputError, NarthexError
from narthex.chat import Conversation, FilePart, Message, Mode, Part, TextPart
from narthex.reason.approvals import always
from narthex.serve.asked import MAX_CHARS_PER_TOKEN, Asked, Way, choose_way, own_tools
from narthex.serve.belongings import check_seen, conversation_of, file_of, store_of, turn_of
from narthex.serve.blobs import RunBlobs
from narthex.serve.bodies import Wire, warning_of_unknown
from narthex.serve.callers import Caller
from narthex.serve.errors import CONTEXT_CODE, ApiError
from narthex.serve.messages import MAX_PICTURES
from narthex.serve.runs import launch
from narthex.serve.service import Service
from narthex.serve.thinking import Said
from narthex.serve.wire import ReasoningEntry
from narthex.store import LAST_TURN, Blob, answered, line_of
from narthex.tokens.gallery import Gallery
from narthex.tools import Tool, get_tool

MAX_FILES = MAX_PICTURES
MAX_TOOLS = 64
MAX_FILE_CHARS = 262_144  # of a text that the model reads whole
_SEED = 2**63
_FIELDS = {"reasoning.mode": "mode", "reasoning_effort": "effort"}  # as they are called here
_SHA256 = "sha256:"


class TurnBody(Wire):
    """What is asked, and how. `parent`: the turn it goes on from; null begins anew, left out is the last one."""

    text: str
    files: Annotated[list[str] | None, Field(max_length=MAX_FILES)] = None
    parent: str | None = LAST_TURN
    mode: Literal["instant", "thinking", "contemplating"] | None = None
    effort: str | None = None
    model: Annotated[str | None, Field(max_length=512)] = None
    tools: Annotated[list[str] | None, Field(max_length=MAX_TOOLS)] = None
    seed: Annotated[int | None, Field(ge=-_SEED, lt=_SEED)] = None


class Begun(Wire):
    """What a turn that has begun is called."""

    turn_id: str
    run_id: str


class Turns:
    """Begins turns; `decoding` bounds how many pictures are decoded at once."""

    def __init__(self, service: Service, decoding: asyncio.Semaphore) -> None:
        self._service, self._decoding = service, decoding

    async def begin(self, caller: Caller, conversation_id: str, body: TurnBody) -> tuple[Begun, list[str]]:
        """It is in the store when this returns; beside it, warnings. Raises: ApiError; StoreError."""
        async with self._decoding:
            asked, said, parent = await asyncio.to_thread(self._understand, caller, conversation_id, body)
        store, run_id = store_of(self._service), uuid.uuid4().hex
        settings = {
            "mode": asked.mode, "effort": body.effort, "model": asked.backend.name, "seed": body.seed,
            "tools": None if body.tools is None else [tool.spec.name for tool in asked.tools],
        }  # fmt: skip
        turn_ids: list[str] = []

        def on_begin() -> None:
            try:
                turn_id = store.conversations.begin_turn(
                    conversation_id, said, run_id=run_id, settings=settings, parent=parent, may_create=False
                )
            except InputError as error:  # meanwhile
                raise ApiError(error.message, status=404, code="conversation_not_found", hint=error.hint) from None
            turn_ids.append(turn_id)

        def on_finish(reply: Sequence[Message]) -> None:
            store.conversations.finish_turn(turn_ids[0], reply)

        await launch(self._service, asked, caller, run_id=run_id, on_begin=on_begin, on_finish=on_finish)
        return Begun(turn_id=turn_ids[0], run_id=run_id), list(asked.warnings)

    def _understand(
        self, caller: Caller, conversation_id: str, body: TurnBody
    ) -> tuple[Asked, tuple[Message, ...], str | None]:
        """What the run takes, what was said, and the turn it goes on from. Decodes pictures: for a thread."""
        store = store_of(self._service)
        conversation_of(self._service, caller, conversation_id)
        turns = store.conversations.turns(conversation_id)
        parent = body.parent
        if parent == LAST_TURN:
            parent = turns[-1].id if turns else None
        if parent is not None:
            turn_of(turns, parent)
        way, blobs = self._way(caller, body), RunBlobs(store)
        said = Message(role="user", parts=(*_text(body), *self._attached(caller, body.files or (), Gallery(blobs))))
        conversation = answered(line_of(turns, parent)).with_messages(said)
        _check_length(conversation, way)
        tools = self._tools(caller, body, way.mode, conversation)
        warnings = [*filter(None, [warning_of_unknown(body)]), *way.warnings]
        asked = Asked(
            model=body.model or way.backend.name, backend=way.backend, conversation=conversation, mode=way.mode,
            budget=way.budget, blobs=blobs, tools=tools, seed=body.seed, warnings=tuple(warnings),
            approve=always(), folder=store.folder_of(conversation_id),
        )  # fmt: skip
        return asked, (said,), parent

    def _way(self, caller: Caller, body: TurnBody) -> Way:
        names = list(self._service.backends_for(caller))
        if not names:
            raise ApiError("no model is served to you", status=404, param="model", code="model_not_found")
        reasoning = None if body.mode is None else ReasoningEntry(mode=body.mode)
        said = Said(model=body.model or names[0], reasoning_effort=body.effort, reasoning=reasoning)
        try:
            return choose_way(said, None, self._service, caller)
        except ApiError as error:
            error.param = _FIELDS.get(error.param or "", error.param)
            raise

    def _attached(self, caller: Caller, names: Sequence[str], gallery: Gallery) -> list[Part]:
        """Files of the caller's, by their id or by the hash of something they have seen. Raises: ApiError."""
        parts: list[Part] = []
        for place, name in enumerate(names):
            where = f"files[{place}]"
            try:
                if name.startswith(_SHA256):
                    check_seen(self._service, caller, name.removeprefix(_SHA256))
                    blob, shown = store_of(self._service).blobs.get(name.removeprefix(_SHA256)), name
                else:
                    record = file_of(self._service, caller, name)
                    blob, shown = store_of(self._service).blobs.get(record.sha256), record.name
                parts += _parts_of(blob, shown, gallery)
            except NarthexError as error:
                status = error.http_status if isinstance(error, ApiError) or error.http_status >= 500 else 400
                code = error.code if isinstance(error, ApiError) else "invalid_file"
                raise ApiError(error.message, status=status, param=where, code=code, hint=error.hint) from None
        return parts

    def _tools(self, caller: Caller, body: TurnBody, mode: Mode, conversation: Conversation) -> tuple[Tool, ...]:
        if body.tools is None:
            return self._service.tools_for(caller, own_tools(mode, conversation, ()))
        try:
            wanted = tuple(get_tool(name[:100]) for name in dict.fromkeys(body.tools))
        except InputError as error:
            raise ApiError(error.message, param="tools", code="unknown_tool", hint=error.hint) from None
        named = self._service.settings.role(caller.role).tools
        for tool in wanted:
            name = tool.spec.name
            # Nobody is there to be asked, so what needs somebody's leave needs it from an administrator beforehand.
            if tool.needs_approval and name not in (named or ()):
                raise ApiError(
                    f"'{name}' runs only where an administrator has allowed it", status=403, param="tools",
                    code="needs_approval", hint=f"tools of [serve.roles.{caller.role}] in narthex.toml",
                )  # fmt: skip
            if not self._service.tools_for(caller, (tool,)):
                raise ApiError(f"your role may not use '{name}'", status=403, param="tools", code="not_allowed")
        return wanted


def _text(body: TurnBody) -> tuple[Part, ...]:
    if not body.text.strip():
        raise ApiError("the question is empty", param="text", code="invalid_value", hint="add some text")
    return (TextPart(text=body.text),)


def _parts_of(blob: Blob, name: str, gallery: Gallery) -> list[Part]:
    """A picture is looked at, a text is read whole. Raises: InputError for anything else."""
    data, media_type = blob
    if media_type.startswith("image/"):
        return [gallery.add_bytes(data)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name} is neither a picture nor text, so it cannot be read") from None
    if len(text) > MAX_FILE_CHARS:
        raise InputError(f"{name} has more than {MAX_FILE_CHARS:,} characters", hint="attach a part of it")
    sha256 = gallery.add_file(data, media_type)
    part = FilePart(sha256=sha256, name=name[:255], media_type=media_type, num_bytes=len(data))
    return [part, TextPart(text=f"\n{text}\n[end of {name}]")]


def _check_length(conversation: Conversation, way: Way) -> None:
    num_chars = sum(len(message.text) for message in conversation.messages)
    if num_chars > way.backend.context_tokens * MAX_CHARS_PER_TOKEN:
        raise ApiError(
            f"the conversation has {num_chars:,} characters, more than {way.backend.name} can ever read at once",
            param="text", code=CONTEXT_CODE, hint="begin a new conversation",
        )  # fmt: skip


def shown_turn(turn: Any) -> dict[str, Any]:
    """A turn as the page reads it."""
    return {
        "id": turn.id, "parent": turn.parent, "run_id": turn.run_id, "status": turn.status,
        "asked": [message.model_dump(mode="json") for message in turn.asked],
        "replied": None if turn.replied is None else [message.model_dump(mode="json") for message in turn.replied],
        "mode": turn.settings.get("mode"), "model": turn.settings.get("model"), "started": turn.started,
        "settings": dict(turn.settings),
    }  # fmt: skip
