"""One mode and one budget come of all that a request says, or a 400."""

from __future__ import annotations

import pytest

from narthex.chat import EFFORT_THINK_TOKENS, MODES, Budget
from narthex.serve.errors import ApiError
from narthex.serve.thinking import choose, split_model
from narthex.serve.wire import ChatBody

CONTEXT = 100_000
ALL = 16 + 4 + 1  # who may be asked in Contemplating


def chosen(fixed=None, ceiling=None, **fields):
    body = ChatBody.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields})
    return choose(body, fixed, context_tokens=CONTEXT, ceiling=ceiling or Budget())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("m", ("m", None)),
        ("m:thinking", ("m", "thinking")),
        ("qwen3:4b", ("qwen3:4b", None)),
        ("qwen3:4b:contemplating", ("qwen3:4b", "contemplating")),
        ("odd:instant", ("odd:instant", None)),
        ("odd:instant:instant", ("odd:instant", "instant")),
    ],
)
def test_the_last_suffix_alone_names_the_mode(name, found):
    assert split_model(name, ("m", "qwen3:4b", "odd:instant")) == found


@pytest.mark.parametrize("name", ["", ":", "m:", "m:loud", "m:thinking:thinking", "qwen3:thinking", "M"])
def test_what_is_not_served_is_404(name):
    with pytest.raises(ApiError) as raised:
        split_model(name, ("m", "qwen3:4b"))
    assert raised.value.http_status == 404 and raised.value.code == "model_not_found"


@pytest.mark.parametrize("effort", EFFORT_THINK_TOKENS)
def test_an_effort_names_what_each_agent_may_think(effort):
    each = EFFORT_THINK_TOKENS[effort]
    each = CONTEXT - 1024 if each is None else each
    assert chosen(reasoning_effort=effort) == ("instant" if effort == "none" else "thinking", each)
    assert chosen(reasoning={"effort": effort}) == chosen(reasoning_effort=effort)
    if effort != "none":
        assert chosen("contemplating", reasoning_effort=effort) == ("contemplating", each * ALL)
        few = Budget(agents=2, rounds=0)
        assert chosen("contemplating", few, reasoning_effort=effort) == ("contemplating", each * 3)


@pytest.mark.parametrize("fixed", [None, *MODES])
def test_the_suffix_alone_decides_where_nothing_else_is_said(fixed):
    assert chosen(fixed) == (fixed or "thinking", None)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"thinking_token_budget": 500}, ("thinking", 500)),
        ({"thinking_budget_tokens": 500}, ("thinking", 500)),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, ("thinking", 500)),
        ({"thinking": {"type": "adaptive", "budget_tokens": 500}}, ("thinking", 500)),
        ({"thinking": {"type": "enabled"}}, ("thinking", None)),
        ({"thinking": {"type": "disabled"}}, ("instant", None)),
        ({"chat_template_kwargs": {"enable_thinking": True}}, ("thinking", None)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, ("instant", None)),
        ({"thinking_token_budget": 0}, ("instant", 0)),
        ({"thinking_token_budget": 500, "thinking_budget_tokens": 500}, ("thinking", 500)),
        ({"thinking_token_budget": 500, "reasoning_effort": "high"}, ("thinking", 500)),
        ({"reasoning": {"mode": "pro"}}, ("contemplating", None)),
        ({"reasoning": {"mode": "contemplating"}}, ("contemplating", None)),
        ({"reasoning": {"mode": "standard"}}, ("thinking", None)),
        ({"reasoning": {"mode": "standard", "effort": "none"}}, ("instant", 0)),
        ({"reasoning": {"mode": "instant"}}, ("instant", None)),
        ({"reasoning": {"mode": "pro", "effort": "low"}}, ("contemplating", 1024 * ALL)),
        ({"reasoning": {"mode": "pro"}, "thinking_token_budget": 700}, ("contemplating", 700)),
    ],
)
def test_every_way_to_say_it(fields, found):
    assert chosen(**fields) == found


@pytest.mark.parametrize(
    ("fixed", "fields", "param"),
    [
        ("thinking", {"reasoning_effort": "none"}, "reasoning_effort"),
        ("contemplating", {"reasoning": {"effort": "none"}}, "reasoning.effort"),
        ("instant", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("instant", {"thinking_token_budget": 5}, "thinking_token_budget"),
        ("thinking", {"thinking_token_budget": 0}, "thinking_token_budget"),
        ("instant", {"thinking": {"type": "enabled"}}, "thinking.type"),
        ("thinking", {"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ("contemplating", {"reasoning": {"mode": "standard"}}, "reasoning.mode"),
        ("thinking", {"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs.enable_thinking"),
        (None, {"thinking_token_budget": 5, "thinking_budget_tokens": 6}, "thinking_budget_tokens"),
        (None, {"thinking": {"type": "disabled", "budget_tokens": 5}}, "thinking.type"),
        (None, {"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        (None, {"reasoning_effort": "none", "reasoning": {"mode": "pro"}}, "reasoning.mode"),
        (None, {"reasoning_effort": "none", "thinking_token_budget": 9}, "thinking_token_budget"),
        (None, {"reasoning_effort": "loud"}, "reasoning_effort"),
        (None, {"reasoning": {"mode": "loud"}}, "reasoning.mode"),
    ],
)
def test_what_contradicts_is_named(fixed, fields, param):
    with pytest.raises(ApiError) as raised:
        chosen(fixed, **fields)
    assert raised.value.http_status == 400 and raised.value.param == param
