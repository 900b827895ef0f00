"""A checked body becomes everything that a run needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from narthex.backends.base import Backend
from narthex.chat import Budget, Conversation, Mode, ToolSpec
from narthex.reason import default_tools
from narthex.reason.approvals import Approve
from narthex.serve.blobs import RunBlobs
from narthex.serve.bodies import Wire, warning_of_unknown
from narthex.serve.callers import Caller
from narthex.serve.errors import CONTEXT_CODE, ApiError
from narthex.serve.line import Extras
from narthex.serve.messages import Reader, read_tools
from narthex.serve.replies import Showing
from narthex.serve.service import Service
from narthex.serve.thinking import How, choose, split_model
from narthex.serve.wire import ChatBody, ContentPart, ResponseFormat, says
from narthex.tokens.gallery import Gallery
from narthex.tools import Tool

# No vocabulary comes near so many characters a token on average; what is longer need not be encoded to be refused.
MAX_CHARS_PER_TOKEN = 32


@dataclass(frozen=True)
class Asked:
    """One question as a run takes it. `model` is the name it was asked under; `warnings` are for a header.

    `tools` are the run's own.
    """

    model: str
    backend: Backend
    conversation: Conversation
    mode: Mode
    budget: Budget
    blobs: RunBlobs
    tools: tuple[Tool, ...] = ()
    caller_tools: tuple[ToolSpec, ...] = ()
    answer_schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    is_streamed: bool = False
    wants_usage: bool = False
    is_kept: bool = True
    most_calls: int | None = None
    warnings: tuple[str, ...] = ()
    approve: Approve | None = None
    folder: Path | None = None
    extras: Extras = field(default_factory=Extras)
    num_choices: int = 1

    @property
    def showing(self) -> Showing:
        has_form = self.answer_schema is not None and bool(self.caller_tools)
        return Showing(self.mode, bool(self.tools) or has_form, self.most_calls)


class Way(NamedTuple):
    """Which model answers, how, and what it may spend."""

    backend: Backend
    mode: Mode
    budget: Budget
    warnings: tuple[str, ...]


def choose_way(how: How, answer_tokens: int | None, service: Service, caller: Caller) -> Way:
    """Raises: ApiError that names the field at fault."""
    backends = service.backends_for(caller)
    base, fixed = split_model(how.model, tuple(backends))
    backend = backends[base]
    mode, think_tokens = choose(how, fixed, context_tokens=backend.context_tokens, ceiling=service.ceiling)
    budget = Budget(think_tokens=think_tokens, answer_tokens=answer_tokens)
    return Way(backend, mode, budget, tuple(_lowered(budget, service.ceiling)))


def own_tools(mode: Mode, conversation: Conversation, caller_tools: Sequence[ToolSpec]) -> tuple[Tool, ...]:
    """The tools that a mode has look at pictures. A caller's tool of the same name is the one that is meant."""
    theirs = {spec.name for spec in caller_tools}
    own = default_tools(mode) if conversation.pictures else ()
    return tuple(tool for tool in own if tool.spec.name not in theirs)


def understand(body: ChatBody, service: Service, caller: Caller) -> Asked:
    """Decodes pictures, so it is for a thread. Raises: ApiError that names the field at fault."""
    backend, mode, budget, lowered = choose_way(body, _answer_tokens(body), service, caller)
    warnings = [*filter(None, [warning_of_unknown(body)]), *check_fates(body), *lowered]
    caller_tools = read_tools(body.tools or ())
    if any(entry.function.strict for entry in body.tools or ()):
        warnings.append("ignored: 'tools[].function.strict'")
    must_call = read_choice(body.tool_choice, caller_tools, mode)
    if must_call is None:
        caller_tools = ()
    extras = Extras(
        must_call or (), _top_logprobs(body, mode), body.frequency_penalty or 0.0, body.presence_penalty or 0.0,
        _bias(body.logit_bias or {}, backend),
    )  # fmt: skip
    _check_length(body, backend)
    blobs = RunBlobs()
    conversation = Reader(Gallery(blobs)).conversation(body.messages)
    own = own_tools(mode, conversation, caller_tools)
    stop = body.stop or ()
    return Asked(
        model=body.model, backend=backend, conversation=conversation, mode=mode, budget=budget, blobs=blobs,
        tools=service.tools_for(caller, own), caller_tools=caller_tools,
        answer_schema=answer_schema_of(body.response_format), temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p, seed=body.seed,
        stops=(stop,) if isinstance(stop, str) else tuple(stop), is_streamed=bool(body.stream),
        wants_usage=bool(body.stream_options and body.stream_options.include_usage),
        is_kept=service.keeps_runs and body.store is not False,
        most_calls=1 if body.parallel_tool_calls is False else None, warnings=tuple(warnings),
        extras=extras, num_choices=body.n or 1,
    )  # fmt: skip


def check_fates(body: Wire) -> list[str]:
    """Warnings of what is ignored. Raises: ApiError for what is refused."""
    ignored = []
    for name, told in says(type(body)).items():
        value = getattr(body, name)
        # `1 == True` in Python, and a client that sends one means it; 0 of a penalty is none, whatever its type.
        if value is None or value in told.unless or told.fate in ("taken", "accepted"):
            continue
        if told.fate == "refused":
            raise ApiError(f"'{name}' is not supported: {told.text}", param=name, code="unsupported_parameter")
        ignored.append(name)
    return [f"ignored: {', '.join(repr(name) for name in ignored)}"] if ignored else []


def _answer_tokens(body: ChatBody) -> int | None:
    one, other = body.max_completion_tokens, body.max_tokens
    if one is not None and other is not None and one != other:
        raise ApiError(
            f"'max_tokens' is {other}, and 'max_completion_tokens' is {one}", param="max_tokens", code="contradiction",
            hint="leave one of them out",
        )  # fmt: skip
    return one if one is not None else other


def read_choice(choice: Any, caller_tools: Sequence[ToolSpec], mode: Mode) -> tuple[str, ...] | None:
    """The tools of which one is to be called, none where the model may choose; None where no call may come.

    Raises: ApiError for a choice that cannot be kept.
    """
    if choice in (None, "auto"):
        return ()
    if choice == "none":
        return None
    names = tuple(tool.name for tool in caller_tools)
    if isinstance(choice, dict) and choice.get("type") == "function":
        inner = choice.get("function", choice)
        name = inner.get("name") if isinstance(inner, dict) else None
        names = tuple(known for known in names if known == name)
    elif choice != "required":
        raise ApiError(
            "'tool_choice' cannot be read", param="tool_choice", code="unsupported_value",
            hint="auto, none, required, or one function by its name",
        )  # fmt: skip
    if not names:
        raise ApiError("'tool_choice' names no function of 'tools'", param="tool_choice", code="invalid_value")
    if mode == "contemplating":
        raise ApiError(
            "several agents cannot be made to call the same", param="tool_choice", code="unsupported_value",
            hint="force a call in Instant or Thinking",
        )  # fmt: skip
    return names


def _top_logprobs(body: ChatBody, mode: Mode) -> int | None:
    """So many alternatives to each token; None where no probabilities are asked for. Raises: ApiError."""
    if not body.logprobs:
        if body.top_logprobs:
            raise ApiError("'top_logprobs' needs 'logprobs'", param="top_logprobs", code="contradiction")
        return None
    if mode == "contemplating":
        raise ApiError(
            "the answer of several agents has no probabilities of its own", param="logprobs",
            code="unsupported_value", hint="ask in Instant or Thinking",
        )  # fmt: skip
    return body.top_logprobs or 0


def _bias(given: Mapping[str, float], backend: Backend) -> dict[int, float]:
    """By token id. Raises: ApiError for what is no id of the model's."""
    chat = getattr(backend, "chat", None)
    most = 2**31 if chat is None else chat.tokenizer.vocab_size
    bias: dict[int, float] = {}
    for name, value in given.items():
        if not (name.isascii() and name.isdecimal() and int(name[:12]) < most):
            where = f"logit_bias.{name[:20]}"
            raise ApiError(f"'{where}' is no token of {backend.name}", param=where, code="invalid_value")
        bias[int(name)] = value
    return bias


def answer_schema_of(wanted: ResponseFormat | None) -> Mapping[str, Any] | None:
    """The JSON schema that an answer is to have; None where it may be any text. Raises: ApiError."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None:
        raise ApiError(
            "'response_format.json_schema' is missing", param="response_format.json_schema", code="invalid_value"
        )
    return wanted.json_schema.schema_ or {"type": "object"}


def _lowered(budget: Budget, ceiling: Budget) -> list[str]:
    """Which of the limits that were asked for the settings lower."""
    most = ceiling.model_dump(exclude_none=True)
    asked = budget.model_dump(exclude_none=True)
    return [
        f"{name} is {most[name]}, not {value}: the settings allow no more"
        for name, value in asked.items()
        if most.get(name, value) < value
    ]


def _check_length(body: ChatBody, backend: Backend) -> None:
    """Refuse what can never fit, before it holds anybody up. Raises: ApiError."""
    num_chars = sum(_num_chars(message.content) + len(message.reasoning or "") for message in body.messages)
    num_chars += sum(len(json.dumps(tool.function.parameters or {})) for tool in body.tools or ())
    if num_chars > backend.context_tokens * MAX_CHARS_PER_TOKEN:
        raise ApiError(
            f"the conversation has {num_chars:,} characters, which is more than the {backend.context_tokens} tokens "
            f"that {backend.name} has for it and the reply together", param="messages", code=CONTEXT_CODE,
            hint="ask less at once, or choose a model with a longer context",
        )  # fmt: skip


def _num_chars(content: str | Sequence[ContentPart] | None) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(part.text or "") for part in content or ())
