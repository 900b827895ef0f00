"""The fields of `POST /v1/chat/completions`, each with what becomes of it. docs/api.md has the same list; a test
compares them.

taken     it does what it says
accepted  it changes nothing here, and need not
ignored   it would change something elsewhere; a `warning` header names it
refused   400, unless it asks for what happens anyway
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field

from narthex.serve.bodies import Wire

MAX_MESSAGES = 4096
MAX_PARTS = 1024  # of one message
MAX_TOOLS = 128  # as OpenAI has it
MAX_STOPS, MAX_STOP_CHARS = 16, 256
MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20  # as OpenAI has it
MAX_BIASES = 1024
MAX_TOKENS = 10**9
_SEED = 2**63

Fate = Literal["taken", "accepted", "ignored", "refused"]
FATES: tuple[Fate, ...] = get_args(Fate)


class Says(NamedTuple):
    """What becomes of a field, and what it means, as the page has it. `unless`: values that are never refused."""

    fate: Fate
    text: str
    unless: tuple[Any, ...] = ()


class ImageUrl(Wire):
    url: str
    detail: str | None = None


class ContentPart(Wire):
    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    refusal: str | None = None


class CalledFunction(Wire):
    name: str
    arguments: str = "{}"


class MessageCall(Wire):
    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ChatMessage(Wire):
    """Beside OpenAI's fields: `reasoning` and `reasoning_content`, as they went out."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[ContentPart], Field(max_length=MAX_PARTS)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[MessageCall], Field(max_length=MAX_PARTS)] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: Any = None
    audio: None = None
    function_call: None = None


class FunctionSpec(Wire):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolEntry(Wire):
    type: Literal["function"]
    function: FunctionSpec


class SchemaEntry(Wire):
    name: str = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaEntry | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ReasoningEntry(Wire):
    effort: str | None = None
    mode: str | None = None
    summary: str | None = None


class ThinkingEntry(Wire):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None


_Count = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_Think = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_OLD_TOOLS = Says("refused", "OpenAI's older form of `tools`", ([],))


class ChatBody(Wire):
    """The body of a chat completion."""

    model: Annotated[str, Field(max_length=512), Says(
        "taken", "a model of `/v1/models`; `:instant`, `:thinking` or `:contemplating` behind it fixes the mode")]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES), Says(
        "taken", "the conversation; its last message is a user's, or a tool's result")]
    stream: Annotated[bool | None, Says("taken", "server-sent events, as they happen")] = None
    stream_options: Annotated[StreamOptions | None, Says(
        "taken", "`include_usage`: a last chunk with the usage; `include_obfuscation` changes nothing")] = None
    reasoning_effort: Annotated[str | None, Says(
        "taken", "none, minimal, low, medium, high, xhigh or max: how long each agent may think")] = None
    reasoning: Annotated[ReasoningEntry | None, Says(
        "taken", "`effort` as above; `mode`: `pro` is Contemplating, `standard` is not, or a mode by its name; "
        "`summary` changes nothing")] = None
    thinking_token_budget: Annotated[_Think | None, Says("taken", "tokens of thought of the whole run")] = None
    thinking_budget_tokens: Annotated[_Think | None, Says("taken", "the same, as llama.cpp calls it")] = None
    thinking: Annotated[ThinkingEntry | None, Says(
        "taken", "`type` enabled, disabled or adaptive; `budget_tokens`: the same again")] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Says(
        "taken", "`enable_thinking` alone; any other key is refused")] = None
    max_completion_tokens: Annotated[_Count | None, Says("taken", "tokens of the answer; thought is not part")] = None
    max_tokens: Annotated[_Count | None, Says("taken", "the same")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2), Says("taken", "0, greedy, where nothing is said")] = None
    top_p: Annotated[float | None, Field(gt=0, le=1), Says("taken", "1 where nothing is said")] = None
    seed: Annotated[int | None, Field(ge=-_SEED, lt=_SEED), Says(
        "taken", "the same question and seed, the same answer")] = None
    stop: Annotated[_Stop | Annotated[list[_Stop], Field(max_length=MAX_STOPS)] | None, Says(
        "taken", "a string or up to 16; the answer ends before the first that it would hold")] = None
    tools: Annotated[list[ToolEntry] | None, Field(max_length=MAX_TOOLS), Says(
        "taken", "your functions, which you run; `strict` is ignored")] = None
    tool_choice: Annotated[Any, Says(
        "taken", "`auto`, `none`, `required`, or one function; not forced in Contemplating")] = None
    parallel_tool_calls: Annotated[bool | None, Says("taken", "false: the first call alone comes out")] = None
    response_format: Annotated[ResponseFormat | None, Says(
        "taken", "`text`, `json_object`, or `json_schema`, which binds the answer; `strict` is always so")] = None
    store: Annotated[bool | None, Says("taken", "false: nothing is kept of this run")] = None
    n: Annotated[int | None, Field(ge=1, le=MAX_CHOICES), Says(
        "taken", "so many answers, each a run of its own, with seeds one apart; all of them count")] = None
    logprobs: Annotated[bool | None, Says(
        "taken", "log-probabilities of the answer's tokens, before temperature; not in Contemplating")] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_TOP_LOGPROBS), Says(
        "taken", "the likeliest tokens in the place of each")] = None
    logit_bias: Annotated[dict[str, _Bias] | None, Field(max_length=MAX_BIASES), Says(
        "taken", "by token id, from -100 to 100, on thought and answer")] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), Says("taken", "of each turn's own tokens")] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), Says("taken", "the same")] = None
    modalities: Annotated[list[Any] | None, Says("refused", "answers are text", (["text"],))] = None
    audio: Annotated[Any, Says("refused", "answers are text")] = None
    functions: Annotated[Any, _OLD_TOOLS] = None
    function_call: Annotated[Any, Says("refused", "OpenAI's older form of `tool_choice`", ("none", "auto"))] = None
    web_search_options: Annotated[Any, Says("refused", "nothing is looked up outside")] = None
    moderation: Annotated[Any, Says("refused", "nothing is moderated here")] = None
    prediction: Annotated[Any, Says("ignored", "an answer foreseen makes nothing faster here")] = None
    service_tier: Annotated[str | None, Says("ignored", "there is one tier", ("auto", "default"))] = None
    verbosity: Annotated[str | None, Says("ignored", "say in the conversation how long it should be")] = None
    user: Annotated[str | None, Says("accepted", "not kept")] = None
    safety_identifier: Annotated[str | None, Says("accepted", "not kept")] = None
    metadata: Annotated[dict[str, Any] | None, Says("accepted", "not kept")] = None
    prompt_cache_key: Annotated[str | None, Says("accepted", "prompts are cached by what they say")] = None
    prompt_cache_options: Annotated[Any, Says("accepted", "the same")] = None
    prompt_cache_retention: Annotated[str | None, Says("accepted", "the same")] = None


def says(kind: type[Wire] = ChatBody) -> dict[str, Says]:
    """What becomes of each field, in the order of the page."""
    return {
        name: next(extra for extra in field.metadata if isinstance(extra, Says))
        for name, field in kind.model_fields.items()
    }
