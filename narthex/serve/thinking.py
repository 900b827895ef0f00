"""How hard to think: a model's name, an effort and five ways to name a budget become one mode and one number.

Whatever is said must agree. An explicit number comes before an effort, an effort before the mode's own default.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from narthex.base.config import did_you_mean
from narthex.base.errors import NarthexError
from narthex.chat import EFFORT_THINK_TOKENS, MODES, Budget, Mode, parse_mode
from narthex.reason import DEFAULTS
from narthex.reason.contemplating import GROUP
from narthex.serve.errors import ApiError
from narthex.serve.wire import ReasoningEntry, ThinkingEntry

DEFAULT_MODE: Mode = "thinking"
_PRO = ("pro", "contemplating")


class How(Protocol):
    """The fields that say how hard to think; a body of chat completions has them all."""

    @property
    def model(self) -> str: ...
    @property
    def reasoning_effort(self) -> str | None: ...
    @property
    def reasoning(self) -> ReasoningEntry | None: ...
    @property
    def thinking_token_budget(self) -> int | None: ...
    @property
    def thinking_budget_tokens(self) -> int | None: ...
    @property
    def thinking(self) -> ThinkingEntry | None: ...
    @property
    def chat_template_kwargs(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Said:
    """Those fields, of a body that has only some of them."""

    model: str
    reasoning_effort: str | None = None
    reasoning: ReasoningEntry | None = None
    thinking_token_budget: int | None = None
    thinking_budget_tokens: int | None = None
    thinking: ThinkingEntry | None = None
    chat_template_kwargs: dict[str, Any] | None = None


def split_model(name: str, served: Collection[str]) -> tuple[str, Mode | None]:
    """A served model and the mode that its name fixes: only the last `:suffix` may be one.

    Raises: ApiError 404 for a model that is not served.
    """
    if name in served:
        return name, None
    base, _, suffix = name.rpartition(":")
    if base in served and suffix in MODES:
        return base, parse_mode(suffix)
    known = [*served, *(f"{model}:{mode}" for model in served for mode in MODES)]
    guess = did_you_mean(name[:200], known)
    hint = f"did you mean '{guess}'?" if guess else f"the models here: {', '.join(served)}"
    raise ApiError(
        f"there is no model '{name[:200]}'", status=404, param="model", code="model_not_found", hint=hint
    )


@dataclass
class _Wish:
    """What has been said so far, and by which field: modes that remain, and numbers of tokens."""

    modes: set[Mode] = field(default_factory=lambda: set(MODES))
    said_by: str = ""
    tokens: int | None = None
    tokens_by: str = ""

    def allow(self, modes: Collection[Mode], by: str) -> None:
        """Only these modes are meant. Raises: ApiError where nothing is left of what was said before."""
        left = self.modes & set(modes)
        if not left:
            raise ApiError(
                f"'{by}' contradicts '{self.said_by}'", param=by, code="contradiction", hint="leave one of them out"
            )
        if left != self.modes:
            self.modes, self.said_by = left, by

    def allow_tokens(self, tokens: int, by: str) -> None:
        """So many tokens of thought are meant; none at all is Instant. Raises: ApiError as above."""
        if self.tokens is not None and self.tokens != tokens:
            raise ApiError(
                f"'{by}' is {tokens}, and '{self.tokens_by}' is {self.tokens}", param=by, code="contradiction",
                hint="leave one of them out",
            )  # fmt: skip
        self.allow(["instant"] if tokens == 0 else ["thinking", "contemplating"], by)
        self.tokens, self.tokens_by = tokens, by

    def allow_thinking(self, is_on: bool, by: str) -> None:
        self.allow(["thinking", "contemplating"] if is_on else ["instant"], by)


def choose(body: How, fixed: Mode | None, *, context_tokens: int, ceiling: Budget) -> tuple[Mode, int | None]:
    """The mode, and tokens of thought for the whole run (None: the mode's own).

    An effort names what each agent may think: in Contemplating it is multiplied by all who may be asked.
    Raises: ApiError for an unknown effort or mode, and for two fields that contradict each other.
    """
    wish = _Wish()
    if fixed is not None:
        wish.allow([fixed], "model")
    effort = _effort(body, wish)
    _budgets(body, wish)
    if body.reasoning is not None and body.reasoning.mode is not None:
        _reasoning_mode(body.reasoning.mode, wish)
    mode = DEFAULT_MODE if DEFAULT_MODE in wish.modes else next(mode for mode in MODES if mode in wish.modes)
    if wish.tokens is not None:
        return mode, wish.tokens
    if effort is None:
        return mode, None
    each = Budget.for_effort(effort, context_tokens).think_tokens or 0
    if mode != "contemplating":
        return mode, each
    limits = DEFAULTS[mode].lowered_to(ceiling)
    return mode, each * ((limits.agents or 1) + GROUP * (limits.rounds or 0) + 1)


def _effort(body: How, wish: _Wish) -> str | None:
    nested = body.reasoning.effort if body.reasoning is not None else None
    given = {"reasoning_effort": body.reasoning_effort, "reasoning.effort": nested}
    effort: str | None = None
    for by, value in given.items():
        if value is None:
            continue
        if value not in EFFORT_THINK_TOKENS:
            guess = did_you_mean(value[:200], EFFORT_THINK_TOKENS)
            hint = f"did you mean '{guess}'?" if guess else "use one of " + ", ".join(EFFORT_THINK_TOKENS)
            raise ApiError(f"unknown effort '{value[:200]}'", param=by, code="invalid_value", hint=hint)
        if effort is not None and effort != value:
            raise ApiError(f"'{by}' is {value}, and 'reasoning_effort' is {effort}", param=by, code="contradiction")
        wish.allow_thinking(value != "none", by)
        effort = value
    return effort


def _budgets(body: How, wish: _Wish) -> None:
    for by in ("thinking_token_budget", "thinking_budget_tokens"):
        tokens = getattr(body, by)
        if tokens is not None:
            wish.allow_tokens(tokens, by)
    if body.thinking is not None:
        if body.thinking.budget_tokens is not None:
            wish.allow_tokens(body.thinking.budget_tokens, "thinking.budget_tokens")
        if body.thinking.type != "adaptive":
            wish.allow_thinking(body.thinking.type == "enabled", "thinking.type")
    for name, value in (body.chat_template_kwargs or {}).items():
        by = f"chat_template_kwargs.{name[:64]}"
        if name != "enable_thinking":
            raise ApiError(f"'{by}' cannot be set", param=by, code="unsupported_parameter", hint="enable_thinking can")
        if not isinstance(value, bool):
            raise ApiError(f"'{by}' should be true or false", param=by, code="invalid_value")
        wish.allow_thinking(value, by)


def _reasoning_mode(name: str, wish: _Wish) -> None:
    by = "reasoning.mode"
    if name in _PRO:
        wish.allow(["contemplating"], by)
    elif name == "standard":
        wish.allow(["instant", "thinking"], by)
    else:
        try:
            wish.allow([parse_mode(name)], by)
        except ApiError:
            raise
        except NarthexError as error:
            hint = "standard, pro, instant, thinking or contemplating"
            raise ApiError(error.message[:200], param=by, code="invalid_value", hint=hint) from None
