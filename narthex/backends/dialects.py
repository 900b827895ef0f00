"""What servers call the same things: how each is told whether to think, and for how long.

    dialect     on and off                              budget                      counts tokens
    plain       -                                       -                           -
    vllm        chat_template_kwargs.enable_thinking    thinking_token_budget       yes
    sglang      chat_template_kwargs.enable_thinking    custom_params               where started for it
    llama_cpp   chat_template_kwargs.enable_thinking    thinking_budget_tokens      yes
    ollama      reasoning_effort                        reasoning_effort            no
    openai      reasoning_effort                        reasoning_effort            no
    anthropic   thinking.type                           thinking.budget_tokens      yes, from 1024
    deepseek    thinking.type                           thinking.budget_tokens      not promised

A field that a server does not know is left out from then on; one that it ignores shows in the count of the thought.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from narthex.chat import EFFORT_THINK_TOKENS

DialectName = Literal["auto", "plain", "vllm", "sglang", "llama_cpp", "ollama", "openai", "anthropic", "deepseek"]

# Anthropic's API refuses a smaller budget.
LEAST_THINKING_BUDGET = 1024


class Dialect(NamedTuple):
    """Names of fields. `efforts` are the levels of reasoning_effort it takes, lowest first."""

    name: str
    switch: Literal["template", "thinking", "effort", "none"] = "none"
    budget: Literal["thinking_token_budget", "thinking_budget_tokens", "custom", "thinking", "effort", "none"] = "none"
    efforts: tuple[str, ...] = ()
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    counts_always: bool = False  # `usage` in every chunk, where asked
    has_cache_salt: bool = False
    schema_with_tools: bool = False  # a schema binds the answer and leaves calls free
    has_field: bool = False  # thought never comes in the content
    may_continue: bool = True  # an assistant's message, where asked; found out when needed

    @property
    def can_switch_off(self) -> bool:
        """Whether a turn without thinking can be asked for."""
        return self.switch in ("template", "thinking") or "none" in self.efforts

    @property
    def has_exact_budget(self) -> bool:
        """Whether its budget field counts tokens."""
        return self.budget not in ("effort", "none")


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("plain"),
        Dialect("vllm", "template", "thinking_token_budget", counts_always=True, has_cache_salt=True),
        Dialect("sglang", "template", "custom", counts_always=True),
        # It goes on with any last message of an assistant, but with none while thinking is on.
        Dialect("llama_cpp", "template", "thinking_budget_tokens", may_continue=False),
        Dialect("ollama", "effort", "effort", ("none", "low", "medium", "high"), may_continue=False),
        Dialect(
            "openai", "effort", "effort", ("none", "minimal", "low", "medium", "high", "xhigh"),
            limit="max_completion_tokens", schema_with_tools=True, has_field=True, may_continue=False,
        ),
        Dialect("anthropic", "thinking", "thinking", has_field=True, may_continue=False),
        Dialect("deepseek", "thinking", "thinking", has_field=True, may_continue=False),
    )
}  # fmt: skip

# What servers say of themselves as `owned_by` in GET /v1/models.
OWNERS = {
    "vllm": "vllm", "sglang": "sglang", "llamacpp": "llama_cpp", "library": "ollama", "openai": "openai",
    "openai-internal": "openai", "system": "openai", "anthropic": "anthropic", "deepseek": "deepseek",
}  # fmt: skip


def think_fields(dialect: Dialect, *, thinking: bool, think_tokens: int | None) -> dict[str, Any]:
    """The body's fields that switch thinking on with a budget (None: none given), or off as far as that can be."""
    fields: dict[str, Any] = {}
    if dialect.switch == "template":
        # Qwen's templates know the first name, DeepSeek's the second; a template ignores what it does not know.
        fields["chat_template_kwargs"] = {"enable_thinking": thinking, "thinking": thinking}
    elif dialect.switch == "thinking":
        fields["thinking"] = {"type": "enabled" if thinking else "disabled"}
        if thinking and (think_tokens is not None or dialect.name == "anthropic"):
            wanted = EFFORT_THINK_TOKENS["high"] if think_tokens is None else think_tokens
            fields["thinking"]["budget_tokens"] = max(LEAST_THINKING_BUDGET, wanted or 0)
    elif dialect.switch == "effort" and dialect.efforts:
        fields["reasoning_effort"] = effort(dialect.efforts, think_tokens) if thinking else dialect.efforts[0]
    if thinking and think_tokens is not None:
        if dialect.budget == "custom":
            fields["custom_params"] = {"thinking_budget": think_tokens}
        elif dialect.budget in ("thinking_token_budget", "thinking_budget_tokens"):
            fields[dialect.budget] = think_tokens
    return fields


def effort(levels: tuple[str, ...], think_tokens: int | None) -> str:
    """The level whose published budget is nearest by ratio; the highest for None, and never "none" while others are."""
    thinking = [level for level in levels if level != "none"] or list(levels)
    if think_tokens is None:
        return thinking[-1]

    def distance(level: str) -> float:
        tokens = EFFORT_THINK_TOKENS.get(level) or 2 * (EFFORT_THINK_TOKENS["xhigh"] or 0)
        return abs(math.log(tokens / max(1, think_tokens)))

    return min(thinking, key=distance)
