"""Chances, forced calls, biases and several answers, by OpenAI's client: of the shipped model and of an upstream."""

from __future__ import annotations

import json
import math

import openai
import pytest

from narthex.backends.fake_server import Call, FakeServer, Reply
from narthex.backends.local import LocalBackend
from narthex.backends.settings import Settings, open_upstream
from narthex.base.paths import SHIPPED_NANO

from .test_serve import ask, question, running

TOOLS = [
    {"type": "function", "function": {"name": name, "description": "A tool.", "parameters": {
        "type": "object", "properties": {"bar": {"type": "integer", "minimum": 0, "maximum": 999}},
        "required": ["bar"], "additionalProperties": False}}}
    for name in ("report", "alarm")
]  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(LocalBackend.open(SHIPPED_NANO, device="cpu"), tmp_path_factory.mktemp("home")) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client


def test_the_chances_of_a_greedy_answer_are_those_of_its_tokens(client):
    (choice,) = ask(client, "narthex-nano:thinking", logprobs=True, top_logprobs=4).choices
    content = choice.logprobs.content
    assert "".join(entry.token for entry in content) == choice.message.content
    for entry in content:
        assert len(entry.top_logprobs) == 4 and entry.top_logprobs[0].token == entry.token, "greedy takes the best"
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob, abs=1e-4) and entry.logprob <= 0
        assert bytes(entry.bytes).decode() == entry.token
        assert sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1 + 1e-4
    streamed = [
        entry.token for chunk in ask(client, "narthex-nano:thinking", logprobs=True, stream=True)
        for each in chunk.choices if each.logprobs for entry in each.logprobs.content
    ]  # fmt: skip
    assert streamed == [entry.token for entry in content]


@pytest.mark.parametrize("mode", ["instant", "thinking"])
@pytest.mark.parametrize("name", ["report", "alarm"])
def test_a_forced_call_is_made(client, mode, name):
    choice = {"type": "function", "function": {"name": name}}
    (made,) = ask(client, f"narthex-nano:{mode}", tools=TOOLS, tool_choice=choice, max_tokens=200).choices
    assert made.finish_reason == "tool_calls" and made.message.tool_calls[0].function.name == name
    assert 0 <= json.loads(made.message.tool_calls[0].function.arguments)["bar"] <= 999


def test_a_token_that_is_banned_is_not_drawn(client):
    (plain,) = ask(client, "narthex-nano:instant", logprobs=True).choices
    word = plain.logprobs.content[0].token
    backend = LocalBackend.open(SHIPPED_NANO, device="cpu")
    try:
        (banned,) = backend.chat.tokenizer.encode(word)
    finally:
        backend.close()
    (other,) = ask(client, "narthex-nano:instant", logprobs=True, logit_bias={str(banned): -100}).choices
    assert word not in [entry.token for entry in other.logprobs.content]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, logit_bias={"99999999": 1})
    assert caught.value.param == "logit_bias.99999999"


def test_several_answers_come_with_their_index(client):
    reply = ask(client, "narthex-nano:instant", n=3, temperature=1.0, seed=1)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    again = ask(client, "narthex-nano:instant", n=3, temperature=1.0, seed=1)
    assert [choice.message.content for choice in again.choices] == [choice.message.content for choice in reply.choices]
    assert all(reply.usage.completion_tokens > 0 for _ in reply.choices)


def test_an_upstream_is_asked_and_believed(tmp_path):
    seen = []

    def script(body):
        seen.append(body)
        if body.get("tool_choice"):
            return Reply(calls=[Call("report", '{"bar": 3}')])
        return Reply(text="12 bar", logprobs=[-0.1, -0.2])

    with FakeServer(script) as fake:
        backend = open_upstream(fake.url, Settings(), model="fake")
        with running(backend, tmp_path) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="n") as client:
            (choice,) = ask(
                client, "fake:instant", question(), logprobs=True, top_logprobs=2, frequency_penalty=0.5,
                presence_penalty=0.25, logit_bias={"7": -5},
            ).choices  # fmt: skip
            assert [entry.logprob for entry in choice.logprobs.content] == [-0.1, -0.2]
            told = {name: seen[-1][name] for name in ("top_logprobs", "frequency_penalty", "presence_penalty")}
            assert told == {"top_logprobs": 2, "frequency_penalty": 0.5, "presence_penalty": 0.25}
            assert seen[-1]["logit_bias"] == {"7": -5.0}
            forced = {"type": "function", "function": {"name": "report"}}
            (made,) = ask(client, "fake:instant", question(), tools=TOOLS, tool_choice=forced).choices
            assert seen[-1]["tool_choice"] == forced and made.message.tool_calls[0].function.name == "report"
            ask(client, "fake:instant", question(), tools=TOOLS, tool_choice="required")
            assert seen[-1]["tool_choice"] == "required"
