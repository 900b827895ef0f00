"""What an upstream is asked, in its own dialect, and what is learnt of it from what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from narthex.backends.base import TurnRequest
from narthex.backends.dialects import Dialect, think_fields
from narthex.backends.settings import UpstreamSettings
from narthex.backends.think_tags import TAGS, ThoughtPlace
from narthex.backends.upstream_http import Failure
from narthex.backends.upstream_reply import CHARACTERS_PER_TOKEN
from narthex.backends.wire import add_instruction, count_characters, write_tools
from narthex.base.log import get_logger
from narthex.chat import Message

log = get_logger(__name__)

# Left out where a server does not know them. Without them a reply is still a reply.
_OPTIONAL = (
    "thinking_token_budget", "thinking_budget_tokens", "custom_params", "thinking", "reasoning_effort",
    "chat_template_kwargs", "tool_choice", "stream_options", "logprobs", "response_format", "cache_salt",
    "seed", "top_p", "temperature",
)  # fmt: skip
_BUDGET_FIELDS = ("thinking_token_budget", "thinking_budget_tokens", "custom_params", "thinking", "reasoning_effort")
# These a server may also refuse for their values, which is for whoever set them to know.
_SAMPLING = ("seed", "top_p", "temperature")
_UNKNOWN = re.compile(
    r"not support|unsupported|unknown|unrecogni|not (allowed|permitted)|unexpected|extra", re.IGNORECASE
)
_REFUSALS = (400, 422)
_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (size|window|length)|"
    r"prompt is too long|longer than the maximum model length",
    re.IGNORECASE,
)
_SEEDS = 2**31  # llama.cpp takes no larger ones
_OPENED_SEEN = 2  # replies; one may only speak of the mark
# A picture's tokens vary from server to server. Qwen's models take one for 28 x 28 pixels.
_PIXELS_PER_TOKEN = 28 * 28


@dataclass
class Known:
    """What is known of one upstream: said in the settings, found out when it was opened, or learnt from its replies.

    `place`: where it puts thought; `continues`: whether it goes on with an assistant's message; `refused`: fields that
    it does not take. None: not known yet.
    """

    settings: UpstreamSettings
    model: str
    dialect: Dialect
    context_tokens: int | None
    place: ThoughtPlace | None = None
    continues: bool | None = None
    refused: set[str] = field(default_factory=set)
    limit_field: str = ""
    num_opened: int = 0

    def __post_init__(self) -> None:
        self.limit_field = self.limit_field or self.dialect.limit

    @property
    def has_exact_budget(self) -> bool:
        """Whether it is told a budget in tokens, in a field that it has not refused."""
        name = {"custom": "custom_params"}.get(self.dialect.budget, self.dialect.budget)
        return self.dialect.has_exact_budget and name not in self.refused

    def learn_place(self, found: ThoughtPlace | None) -> None:
        """Remember where a reply that was to think had its thought."""
        if self.settings.thought != "auto" or found is None or self.place is not None:
            return
        if found == "opened":
            self.num_opened += 1
            if self.num_opened < _OPENED_SEEN:
                return
        self.place = found
        log.info("%s: thought is found as '%s'", self.model, found)

    def learn(self, failure: Failure, body: Mapping[str, Any]) -> bool:
        """Whether a refusal names a field that can be left out or written otherwise; from now on it is."""
        if failure.status not in _REFUSALS or is_overflow(failure):
            return False
        if "max_completion_tokens" in failure.message and "max_tokens" in body:
            self.limit_field = "max_completion_tokens"
            return True
        for name in _OPTIONAL:
            if name not in body or not re.search(rf"\b{name}\b", failure.message):
                continue
            if name in _SAMPLING and not _UNKNOWN.search(failure.message):
                continue
            level, levels = body[name], self.dialect.efforts
            if name == "reasoning_effort" and level in levels and len(levels) > 1:
                self.dialect = self.dialect._replace(efforts=tuple(known for known in levels if known != level))
                log.warning("%s does not take the effort '%s'", self.model, level)
            else:
                self.refused.add(name)
                log.warning("%s does not take '%s', which is left out from now on", self.model, name)
            return True
        return False

    def body(
        self, request: TurnRequest, messages: Sequence[Message | dict[str, Any]], *, think_tokens: int | None,
        thinking: bool, limit: int | None,
    ) -> dict[str, Any]:  # fmt: skip
        """A streamed request. `messages` are as `write_messages` wrote them; `limit` bounds thought and answer."""
        written: list[Any] = list(messages)
        body: dict[str, Any] = {"model": self.model, "messages": written, "stream": True}
        body["stream_options"] = {"include_usage": True}
        if self.dialect.counts_always:
            body["stream_options"]["continuous_usage_stats"] = True
        body["temperature"] = request.temperature
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.seed is not None:
            # The turns of a run share a seed, and are not to repeat each other's luck.
            body["seed"] = (request.seed + len(request.messages)) % _SEEDS
        if limit is not None:
            body[self.limit_field] = max(1, limit)
        if request.tools:
            body["tools"] = write_tools(request.tools)
            if not request.may_call:
                body["tool_choice"] = "none"
            elif request.must_call:
                only = {"type": "function", "function": {"name": request.must_call[0]}}
                body["tool_choice"] = only if len(request.must_call) == 1 else "required"
        if request.wants_confidence or request.top_logprobs is not None:
            body["logprobs"] = True
        if request.top_logprobs:
            body["top_logprobs"] = request.top_logprobs
        for name in ("frequency_penalty", "presence_penalty"):
            if value := getattr(request, name):
                body[name] = value
        if request.logit_bias:
            body["logit_bias"] = {str(id_): bias for id_, bias in request.logit_bias.items()}
        if request.tenant and self.dialect.has_cache_salt:
            body["cache_salt"] = hashlib.sha256(request.tenant.encode()).hexdigest()
        if request.answer_schema is not None:
            self._ask_schema(body, request)
        body |= think_fields(self.dialect, thinking=thinking, think_tokens=think_tokens)
        for name, value in self.settings.extra_body.items():
            both_tables = isinstance(value, dict) and isinstance(body.get(name), dict)
            body[name] = {**body[name], **value} if both_tables else value
        return {name: value for name, value in body.items() if name not in self.refused}

    def continued(self, body: dict[str, Any], thought: str) -> dict[str, Any]:
        """The same request, to go on after a thought that is closed for the model."""
        said = {"role": "assistant", "content": f"{TAGS.start}\n{thought.strip()}\n{TAGS.end}\n\n"}
        going_on = {"continue_final_message": True, "add_generation_prompt": False}
        # A thought that is closed needs no budget; a server that closes one by itself would do it twice.
        kept = {name: value for name, value in body.items() if name not in _BUDGET_FIELDS}
        return {**kept, **going_on, "messages": [*body["messages"], said]}

    def probes(self) -> list[dict[str, Any]]:
        """Two requests of one token. A server that goes on with the message needs a shorter prompt for the first."""
        said = [{"role": "user", "content": "Count to four."}, {"role": "assistant", "content": "one, two,"}]
        plain = {"model": self.model, "messages": said, "stream": False, self.limit_field: 1}
        return [{**plain, "continue_final_message": True, "add_generation_prompt": False}, plain]

    def _ask_schema(self, body: dict[str, Any], request: TurnRequest) -> None:
        """By the field for it, or by words where that would keep the model from calling tools.

        The words stay when no call is wanted any more: the prompt of a run begins the same way on all its turns.
        """
        is_taken = "response_format" not in self.refused
        if is_taken and (self.dialect.schema_with_tools or not (request.tools and request.may_call)):
            named = {"name": "answer", "schema": request.answer_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if is_taken and (self.dialect.schema_with_tools or not request.tools):
            return
        schema = json.dumps(request.answer_schema, ensure_ascii=False)
        wish = "Your answer, where you do not call a tool, is JSON alone, without any other text, and satisfies this "
        body["messages"] = add_instruction(body["messages"], f"{wish}JSON schema:\n{schema}")


def estimate_prompt(body: Mapping[str, Any], messages: Sequence[Message]) -> int:
    """Tokens of a prompt, roughly: characters by four, and pictures by their size."""
    num_pixels = sum(picture.width * picture.height for message in messages for picture in message.pictures)
    said = count_characters(body.get("messages", [])) + count_characters(body.get("tools", []))
    return said // CHARACTERS_PER_TOKEN + num_pixels // _PIXELS_PER_TOKEN


def is_overflow(failure: Failure) -> bool:
    """Whether the conversation was refused for its length."""
    return failure.status in (*_REFUSALS, 413) and bool(_OVERFLOW.search(failure.message))
