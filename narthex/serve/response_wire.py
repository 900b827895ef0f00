"""The fields of `POST /v1/responses`, each with what becomes of it (see `wire`). docs/api.md has the same list."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from narthex.serve.bodies import Wire
from narthex.serve.wire import MAX_MESSAGES, MAX_PARTS, MAX_TOKENS, MAX_TOOLS, ReasoningEntry, Says

MAX_METADATA = 16  # pairs, as OpenAI has it
MAX_KEY_CHARS, MAX_VALUE_CHARS = 64, 512


class InputPart(Wire):
    """A part of what a message or a tool's result says. A picture or file is a data URI or the id of an upload."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None
    detail: str | None = None
    annotations: Any = None
    logprobs: Any = None


class ReasoningPart(Wire):
    type: str
    text: str = ""


_Parts = Annotated[list[InputPart], Field(max_length=MAX_PARTS)]
_Thought = Annotated[list[ReasoningPart], Field(max_length=MAX_PARTS)]


class InputItem(Wire):
    """One item of the input: a message, thought, a call, or what a call came to. Which it is says `type`."""

    type: str = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | _Parts | None = None
    summary: _Thought | None = None
    encrypted_content: str | None = None
    call_id: Annotated[str | None, Field(max_length=256)] = None
    name: str | None = None
    arguments: str | None = None
    output: str | _Parts | None = None


class ResponseTool(Wire):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextEntry(Wire):
    format: TextFormat | None = None
    verbosity: str | None = None


class ResponseStreamOptions(Wire):
    include_obfuscation: bool | None = None


_Key = Annotated[str, Field(max_length=MAX_KEY_CHARS)]
_Value = Annotated[str, Field(max_length=MAX_VALUE_CHARS)]
_Count = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class ResponseBody(Wire):
    """The body of a response."""

    model: Annotated[str, Field(max_length=512), Says("taken", "as for chat completions")]
    input: Annotated[str | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)], Says(
        "taken", "a text, or items: `message`, `reasoning`, `function_call`, `function_call_output`")]
    instructions: Annotated[str | None, Says("taken", "a system prompt for this response alone")] = None
    previous_response_id: Annotated[str | None, Says("taken", "goes on from that response and all before it")] = None
    stream: Annotated[bool | None, Says("taken", "server-sent events, as they happen")] = None
    stream_options: Annotated[ResponseStreamOptions | None, Says(
        "taken", "`include_obfuscation` changes nothing")] = None
    background: Annotated[bool | None, Says("taken", "true: it goes on whether or not anybody listens")] = None
    store: Annotated[bool | None, Says("taken", "false: nothing is kept of it")] = None
    reasoning: Annotated[ReasoningEntry | None, Says(
        "taken", "`effort` and `mode` as for chat completions; `summary`: thought comes out as `summary`, whole, "
        "instead of `content`; `context` changes nothing")] = None
    max_output_tokens: Annotated[_Count | None, Says("taken", "tokens of the answer; thought is not part")] = None
    max_tool_calls: Annotated[_Count | None, Says("taken", "calls of the run's own tools, and of yours")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2), Says("taken", "0, greedy, where nothing is said")] = None
    top_p: Annotated[float | None, Field(gt=0, le=1), Says("taken", "1 where nothing is said")] = None
    text: Annotated[TextEntry | None, Says(
        "taken", "`format`: `text`, `json_object`, or `json_schema`, which binds; `verbosity` is ignored")] = None
    tools: Annotated[list[ResponseTool] | None, Field(max_length=MAX_TOOLS), Says(
        "taken", "your functions, which you run; `strict` is ignored, any other type is refused")] = None
    tool_choice: Annotated[Any, Says(
        "taken", "`auto`, `none`, `required`, or one function; not forced in Contemplating")] = None
    parallel_tool_calls: Annotated[bool | None, Says("taken", "false: the first call alone comes out")] = None
    metadata: Annotated[dict[_Key, _Value] | None, Field(max_length=MAX_METADATA), Says(
        "taken", "kept with the response and given back")] = None
    include: Annotated[list[str] | None, Says("accepted", "what there is comes anyway")] = None
    user: Annotated[str | None, Says("accepted", "not kept")] = None
    safety_identifier: Annotated[str | None, Says("accepted", "not kept")] = None
    prompt_cache_key: Annotated[str | None, Says("accepted", "prompts are cached by what they say")] = None
    prompt_cache_options: Annotated[Any, Says("accepted", "the same")] = None
    prompt_cache_retention: Annotated[str | None, Says("accepted", "the same")] = None
    truncation: Annotated[str | None, Says(
        "ignored", "nothing is left out: what is too long is refused", ("disabled",))] = None
    service_tier: Annotated[str | None, Says("ignored", "there is one tier", ("auto", "default"))] = None
    top_logprobs: Annotated[int | None, Says("refused", "chat completions have probabilities", (0,))] = None
    conversation: Annotated[Any, Says("refused", "go on with `previous_response_id`")] = None
    context_management: Annotated[Any, Says("refused", "nothing is left out", ([],))] = None
    prompt: Annotated[Any, Says("refused", "no templates are kept here")] = None
    moderation: Annotated[Any, Says("refused", "nothing is moderated here")] = None
