"""Every field of the API has a fate, and gets it: nothing is dropped without a word."""

from __future__ import annotations

import pytest
from openai.types.chat import completion_create_params as official

from narthex.backends.fake import Said
from narthex.serve.wire import FATES, ChatBody, says

from .serve_helpers import PATH, asks, function, served

VALUES = {
    "modalities": ["text", "audio"], "audio": {"voice": "x"}, "functions": [{"name": "f"}],
    "function_call": {"name": "f"}, "web_search_options": {}, "moderation": {"model": "x"},
    "prediction": {"type": "content", "content": "x"}, "service_tier": "flex", "verbosity": "low", "user": "me",
    "safety_identifier": "me", "metadata": {"a": "b"}, "prompt_cache_key": "k", "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
}  # fmt: skip


def of_fate(fate):
    return [name for name, told in says().items() if told.fate == fate]


async def answer(**fields):
    async with served(lambda request: Said(text="It is 12.")) as (client, _, _):
        return await client.post(PATH, json={**asks(), **fields})


def test_every_field_of_openai_is_known():
    theirs = set(official.CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert theirs <= set(says()), theirs - set(says())
    assert {told.fate for told in says().values()} == set(FATES)


@pytest.mark.parametrize("name", of_fate("refused"))
async def test_what_is_refused_names_itself(name):
    reply = await answer(**{name: VALUES[name]})
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == name and error["type"] == "invalid_request_error"
    for harmless in (None, *says()[name].unless):
        reply = await answer(**{name: harmless})
        assert reply.status_code == 200 and "warning" not in reply.headers, harmless


@pytest.mark.parametrize("name", of_fate("ignored"))
async def test_what_is_ignored_is_named_in_a_header(name):
    reply = await answer(**{name: VALUES[name]})
    assert reply.status_code == 200 and name in reply.headers["warning"]
    assert "warning" not in (await answer(**{name: None})).headers


@pytest.mark.parametrize("name", of_fate("accepted"))
async def test_what_is_accepted_passes(name):
    reply = await answer(**{name: VALUES[name]})
    assert reply.status_code == 200 and "warning" not in reply.headers


async def test_unknown_fields_are_named_wherever_they_stand():
    message = {"role": "user", "content": [{"type": "text", "text": "What?", "colour": 1}], "mood": 2}
    fields = {"messages": [message], "temprature": 1, "stream_options": {"often": True}, "x\r\n\"é": 1}
    reply = await answer(**fields, tools=[function() | {"extra": 1}])
    warning = reply.headers["warning"]
    assert reply.status_code == 200
    for name in ("messages[0].mood", "messages[0].content[0].colour", "stream_options.often", "tools[0].extra"):
        assert name in warning
    assert "did you mean 'temperature'?" in warning and warning.isascii() and "\n" not in warning


async def test_a_warning_names_some_of_many():
    reply = await answer(**{f"field_{number}": 1 for number in range(1000)})
    assert reply.status_code == 200 and "and 990 more" in reply.headers["warning"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}, "messages[0].content[0].text"),
        ({"stop": ["", "x"]}, "stop[0]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": 5}, "stop"),
        ({"model": None}, "model"),
        ({"tools": [{"type": "code"}]}, "tools[0].type"),
        ({"tools": [function("no spaces")]}, "tools[0].function.name"),
        ({"tools": [function("f"), function("f")]}, "tools[1].function.name"),
        ({"tools": [function(f"f{number}") for number in range(129)]}, "tools"),
        ({"tools": [function("f", x={"description": "y" * 300_000})]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": "any", "tools": [function()]}, "tool_choice"),
        ({"tool_choice": "required", "tools": [function()], "model": "scripted:contemplating"}, "tool_choice"),
        ({"logprobs": True, "model": "scripted:contemplating"}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"n": 16384}, "n"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
    ],
)
async def test_what_does_not_fit_is_named(fields, param):
    reply = await answer(**fields)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == param, error
    assert set(error) == {"message", "type", "param", "code"} and error["message"]


async def test_a_missing_field_says_so():
    async with served(lambda request: Said(text="It is 12.")) as (client, _, _):
        reply = await client.post(PATH, json={"messages": [{"role": "user", "content": "x"}]})
    assert reply.json()["error"] | {"message": ""} == {
        "message": "", "type": "invalid_request_error", "param": "model", "code": "missing_required_parameter"
    }  # fmt: skip


def test_every_model_field_says_what_becomes_of_it():
    assert list(says()) == list(ChatBody.model_fields) and all(told.text for told in says().values())
