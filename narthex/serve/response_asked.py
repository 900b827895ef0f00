"""The body of a response becomes everything that a run needs, and what is remembered of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from narthex.chat import Conversation, Message
from narthex.chat.replies import reply_of
from narthex.serve.asked import (
    MAX_CHARS_PER_TOKEN,
    Asked,
    answer_schema_of,
    check_fates,
    choose_way,
    own_tools,
    read_choice,
)
from narthex.serve.belongings import file_of, response_of, store_of
from narthex.serve.blobs import RunBlobs
from narthex.serve.bodies import warning_of_unknown
from narthex.serve.callers import Caller
from narthex.serve.errors import CONTEXT_CODE, ApiError
from narthex.serve.line import Extras
from narthex.serve.messages import Reader, read_tools
from narthex.serve.replies import Showing
from narthex.serve.response_input import InputReader
from narthex.serve.response_wire import ResponseBody, ResponseTool
from narthex.serve.service import Service
from narthex.serve.telling import Told
from narthex.serve.thinking import Said
from narthex.serve.wire import MAX_MESSAGES, FunctionSpec, ResponseFormat, SchemaEntry, ToolEntry
from narthex.store import Blob, ResponseRecord
from narthex.tokens.gallery import Gallery


class Question(NamedTuple):
    """One response to be made. `said` is what it adds to what went before."""

    asked: Asked
    said: tuple[Message, ...]
    told: Told
    previous: str | None

    def request(self) -> dict[str, Any]:
        """What is kept of it, for `told_of`."""
        return {
            "echo": dict(self.told.echo), "showing": list(self.told.showing), "has_summary": self.told.has_summary,
            "is_background": self.told.is_background,
        }  # fmt: skip


def told_of(record: ResponseRecord) -> Told:
    """What was known of a response before it was answered."""
    kept = record.request
    mode, holds_back, most_calls = kept["showing"]
    return Told(
        record.id, record.run_id, record.created, kept["echo"], Showing(mode, holds_back, most_calls),
        has_summary=kept["has_summary"], is_background=kept["is_background"],
    )  # fmt: skip


def understand_response(body: ResponseBody, service: Service, caller: Caller) -> Question:
    """Decodes pictures and reads what went before: for a thread. Raises: ApiError that names the field at fault."""
    warnings = [*filter(None, [warning_of_unknown(body)]), *check_fates(body)]
    said = Said(model=body.model, reasoning=body.reasoning)
    way = choose_way(said, body.max_output_tokens, service, caller)
    budget = way.budget
    if body.max_tool_calls is not None:
        budget = budget.model_copy(update={"tool_calls": body.max_tool_calls})
    is_kept = service.keeps_runs and body.store is not False
    _check_keeping(body, service, is_kept)
    caller_tools = read_tools([_tool(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or ())])
    must_call = read_choice(body.tool_choice, caller_tools, way.mode)
    if must_call is None:
        caller_tools = ()
    blobs = RunBlobs(service.store)
    before = _before(body, service, caller) if body.previous_response_id else ()
    new = _new_messages(body, service, caller, Gallery(blobs), before)
    conversation = _whole(body.instructions, before, new)
    _check_length(conversation, way.backend.context_tokens, way.backend.name)
    tools = service.tools_for(caller, own_tools(way.mode, conversation, caller_tools))
    verbosity = ["ignored: 'text.verbosity'"] if body.text is not None and body.text.verbosity else []
    asked = Asked(
        model=body.model, backend=way.backend, conversation=conversation, mode=way.mode, budget=budget, blobs=blobs,
        tools=tools, caller_tools=caller_tools, answer_schema=answer_schema_of(_format(body)),
        temperature=body.temperature or 0.0, top_p=1.0 if body.top_p is None else body.top_p,
        is_streamed=bool(body.stream), is_kept=is_kept,
        most_calls=1 if body.parallel_tool_calls is False else None,
        warnings=(*warnings, *way.warnings, *verbosity), extras=Extras(must_call or ()),
    )  # fmt: skip
    told = Told(
        f"resp_{uuid.uuid4().hex}", uuid.uuid4().hex, round(time.time(), 3), _echo(body), asked.showing,
        has_summary=body.reasoning is not None and bool(body.reasoning.summary), is_kept=is_kept,
        is_background=bool(body.background),
    )  # fmt: skip
    return Question(asked, new, told, body.previous_response_id)


def _check_keeping(body: ResponseBody, service: Service, is_kept: bool) -> None:
    for name in ("background", "previous_response_id"):
        if getattr(body, name):
            store_of(service)
    if body.background and not is_kept:
        raise ApiError(
            "what goes on in the background is kept, so 'store' cannot be false", param="store", code="contradiction"
        )


def _before(body: ResponseBody, service: Service, caller: Caller) -> tuple[Message, ...]:
    """What was said up to the response that this one goes on from. Raises: ApiError."""
    param, store = "previous_response_id", store_of(service)
    turns: list[tuple[Message, ...]] = []
    next_id = body.previous_response_id
    while next_id is not None:
        try:
            record = response_of(service, caller, next_id)
        except ApiError as error:
            status = 404 if not turns else 400
            raise ApiError(error.message, status=status, param=param, code="previous_response_not_found") from None
        events = store.events(record.run_id)
        reply = reply_of(events)
        if not reply:
            run = store.run(record.run_id)
            state = "still being answered" if run is not None and run.status == "running" else "without an answer"
            raise ApiError(f"'{record.id}' is {state}, so nothing can follow it", param=param, code="invalid_value")
        if reply[-1].calls:  # the exchange goes on: what was thought on the way to the calls is still of use
            thought = "".join(event.text for event in events if event.type == "thought_delta")
            calls = reply[-1].calls[: told_of(record).showing.most_calls]
            reply = (*reply[:-1], reply[-1].model_copy(update={"thought": thought, "calls": calls}))
        turns.append((*record.asked, *reply))
        if sum(map(len, turns)) > MAX_MESSAGES:
            raise ApiError(f"more than {MAX_MESSAGES} messages went before", param=param, code=CONTEXT_CODE)
        next_id = record.previous
    return tuple(message for turn in reversed(turns) for message in turn)


def _new_messages(
    body: ResponseBody, service: Service, caller: Caller, gallery: Gallery, before: Sequence[Message]
) -> tuple[Message, ...]:
    def upload(file_id: str) -> tuple[Blob, str]:
        record = file_of(service, caller, file_id)
        return store_of(service).blobs.get(record.sha256), record.name

    messages, places = InputReader(upload).messages(body.input)
    open_calls = {call.id for call in before[-1].calls} if before else set()
    answered = {message.tool_call_id for message in messages}
    if missing := sorted(open_calls - answered):
        raise ApiError(
            f"the call '{missing[0]}' has not been answered", param="input", code="invalid_value",
            hint="with an item of type function_call_output",
        )  # fmt: skip
    return Reader(gallery).conversation(messages, places=places, calls_before=open_calls).messages


def _whole(instructions: str | None, before: Sequence[Message], new: Sequence[Message]) -> Conversation:
    system = (Message.of("system", instructions),) if instructions else ()
    if any(message.role == "user" for message in new):  # a new question: what was thought before it is of no use
        before = [message.model_copy(update={"thought": ""}) if message.thought else message for message in before]
    return Conversation(messages=(*system, *before, *new))


def _check_length(conversation: Conversation, context_tokens: int, name: str) -> None:
    num_chars = sum(len(message.text) + len(message.thought) for message in conversation.messages)
    if num_chars > context_tokens * MAX_CHARS_PER_TOKEN:
        raise ApiError(
            f"the conversation has {num_chars:,} characters, more than {name} can ever read at once", param="input",
            code=CONTEXT_CODE, hint="ask less at once, or choose a model with a longer context",
        )  # fmt: skip


def _tool(tool: ResponseTool, where: str) -> ToolEntry:
    if tool.type != "function" or tool.name is None:
        raise ApiError(
            f"'{where}' is no function", param=f"{where}.type" if tool.type != "function" else f"{where}.name",
            code="unsupported_value", hint="functions of your own are possible",
        )  # fmt: skip
    spec = FunctionSpec(name=tool.name, description=tool.description, parameters=tool.parameters)
    return ToolEntry(type="function", function=spec)


def _format(body: ResponseBody) -> ResponseFormat | None:
    wanted = body.text.format if body.text is not None else None
    if wanted is None:
        return None
    if wanted.type == "json_schema" and wanted.schema_ is None:
        raise ApiError("'text.format.schema' is missing", param="text.format.schema", code="invalid_value")
    entry = SchemaEntry(name=wanted.name or "answer", schema=wanted.schema_) if wanted.schema_ is not None else None
    return ResponseFormat(type=wanted.type, json_schema=entry)


def _echo(body: ResponseBody) -> dict[str, Any]:
    """What it was asked with, as it is given back."""
    reasoning = body.reasoning
    wanted = body.text.format if body.text is not None else None
    return {
        "model": body.model, "instructions": body.instructions, "previous_response_id": body.previous_response_id,
        "max_output_tokens": body.max_output_tokens, "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {}, "parallel_tool_calls": body.parallel_tool_calls is not False,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None, "mode": reasoning.mode if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        "store": body.store is not False, "temperature": body.temperature or 0.0,
        "text": {"format": wanted.model_dump(by_alias=True, exclude_none=True) if wanted else {"type": "text"}},
        "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters,
             "strict": bool(tool.strict)}
            for tool in body.tools or ()
        ],
        "top_p": 1.0 if body.top_p is None else body.top_p, "truncation": "disabled", "service_tier": "default",
        "top_logprobs": 0, "user": None,
    }  # fmt: skip
