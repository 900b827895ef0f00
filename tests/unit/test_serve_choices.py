"""Several answers, chances of tokens, forced calls, penalties and biases: as far as a scripted model goes."""

from __future__ import annotations

import json
import math

import pytest

from narthex.backends.base import TokenChance, TurnDelta
from narthex.backends.fake import Said, ScriptedBackend
from narthex.chat import ToolCall

from .serve_helpers import PATH, asks, chunks_of, data_uri, function, joined, served

SAID = Said("12 bar now", thought="hm ")
CALL = ToolCall(id="1", name="look_up", arguments={"what": "C"})


class Sure(ScriptedBackend):
    """Gives each word a probability of one half, and another word instead, where it is asked."""

    async def turn(self, request):
        async for delta in super().turn(request):
            if isinstance(delta, TurnDelta) and delta.kind == "text" and request.top_logprobs is not None:
                other = (("other", b"other", -2.0),)[: request.top_logprobs]
                chance = TokenChance(delta.text, delta.text.encode(), math.log(0.5), other)
                delta = delta._replace(chances=(chance,))
            yield delta


def tokens_of(logprobs):
    return [entry["token"] for entry in logprobs["content"]]


async def test_chances_come_with_the_text_that_they_are_of():
    async with served(Sure(lambda request: SAID)) as (client, _, _):
        reply = await client.post(PATH, json=asks(logprobs=True, top_logprobs=1))
        (choice,) = reply.json()["choices"]
        first = choice["logprobs"]["content"][0]
        assert tokens_of(choice["logprobs"]) == ["12 ", "bar ", "now"] and first["bytes"] == [49, 50, 32]
        assert first["logprob"] == pytest.approx(-0.6931, abs=1e-4)
        assert first["top_logprobs"] == [{"token": "other", "logprob": -2.0, "bytes": list(b"other")}]
        chunks = chunks_of((await client.post(PATH, json=asks(logprobs=True, stream=True))).text)
        for chunk in chunks:
            (choice,) = chunk["choices"]
            if choice["delta"].get("content"):
                assert tokens_of(choice["logprobs"]) == [choice["delta"]["content"]]
                assert choice["logprobs"]["content"][0]["top_logprobs"] == []
            else:
                assert choice["logprobs"] is None
        plain = (await client.post(PATH, json=asks())).json()
        assert plain["choices"][0]["logprobs"] is None


async def test_what_was_withdrawn_or_cut_off_has_no_chances():
    def script(request):
        if request.messages[-1].role == "tool":
            return SAID
        look = ToolCall(id="1", name="zoom", arguments={"picture": 0, "box": [0, 0, 9, 9]})
        return Said("let me look ", calls=(look,))

    async with served(Sure(script)) as (client, _, _):
        for stream in (False, True):
            reply = await client.post(PATH, json=asks("What?", data_uri(), logprobs=True, stream=stream))
            choices = [chunk["choices"][0] for chunk in chunks_of(reply.text)] if stream else reply.json()["choices"]
            told = [token for choice in choices if choice["logprobs"] for token in tokens_of(choice["logprobs"])]
            assert told == ["12 ", "bar ", "now"]
        stopped = (await client.post(PATH, json=asks(logprobs=True, stop="r n"))).json()["choices"][0]
        assert stopped["message"]["content"] == "12 ba", "a token of which a part is shown is told of"
        assert tokens_of(stopped["logprobs"]) == ["12 ", "bar "]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_gives_no_chances_is_told_of(stream):
    async with served(lambda request: SAID) as (client, _, _):
        reply = await client.post(PATH, json=asks(logprobs=True, stream=stream))
        error = json.loads(reply.text.split("data: ")[-2])["error"] if stream else reply.json()["error"]
        assert error["code"] == "not_kept_by_upstream" and error["param"] == "logprobs"


async def test_several_answers_are_runs_of_their_own(tmp_path):
    async with served(lambda request: Said(f"seed {request.seed}"), store=tmp_path) as (client, _, service):
        reply = (await client.post(PATH, json=asks("What?", data_uri(), n=3, seed=5))).json()
        assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
        assert [choice["message"]["content"] for choice in reply["choices"]] == ["seed 5", "seed 6", "seed 7"]
        assert reply["usage"]["completion_tokens"] == 6 and len(reply["narthex"]["others"]) == 2
        runs = {reply["narthex"]["run_id"], *(own["run_id"] for own in reply["narthex"]["others"])}
        assert {run.id for run in service.store.runs()} == runs
        chunks = chunks_of((await client.post(PATH, json=asks(n=2, seed=5, stream=True))).text)
        for index in (0, 1):
            own = [{"choices": [choice]} for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
            assert joined(own, "content") == f"seed {5 + index}"
            reasons = [chunk["choices"][0]["finish_reason"] for chunk in own]
            assert reasons.count("stop") == 1 and reasons[-1] == "stop"
        assert len(chunks[-1]["narthex"]["others"]) == 1
        counted = chunks_of((await client.post(
            PATH, json=asks(n=2, stream=True, stream_options={"include_usage": True}))).text)  # fmt: skip
        assert counted[-1]["choices"] == [] and counted[-1]["usage"]["completion_tokens"] == 4


async def test_where_one_of_several_fails_all_of_them_do():
    from narthex.base.errors import BackendError

    def script(request):
        if request.seed == 6:
            raise BackendError("gone")
        return Said("word " * 5000)

    async with served(script, word_s=0.002) as (client, backend, service):
        reply = await client.post(PATH, json=asks(n=2, seed=5))
        assert reply.status_code == 502 and backend.num_open == 0 and not service.running


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
async def test_a_call_that_is_asked_for_is_asked_of_the_model(choice):
    async with served(lambda request: Said(calls=(CALL,))) as (client, backend, _):
        tools = [function(), function("other")]
        reply = (await client.post(PATH, json=asks(tools=tools, tool_choice=choice))).json()
        assert reply["choices"][0]["finish_reason"] == "tool_calls"
        assert backend.requests[-1].must_call == (("look_up", "other") if choice == "required" else ("look_up",))
        body = {"model": "scripted", "input": "?", "tools": [{"type": "function", "name": "look_up", "parameters": {}}]}
        await client.post("/v1/responses", json={**body, "tool_choice": {"type": "function", "name": "look_up"}})
        assert backend.requests[-1].must_call == ("look_up",)


async def test_a_call_that_was_asked_for_and_not_made_is_an_error():
    async with served(lambda request: SAID) as (client, _, _):
        reply = await client.post(PATH, json=asks(tools=[function()], tool_choice="required"))
        assert reply.status_code == 502 and reply.json()["error"]["param"] == "tool_choice"


async def test_penalties_and_biases_reach_every_turn():
    async with served(lambda request: SAID) as (client, backend, _):
        how = {"frequency_penalty": 0.5, "presence_penalty": -1.5, "logit_bias": {"17": -100}}
        assert (await client.post(PATH, json=asks(**how))).status_code == 200
        (request,) = backend.requests
        assert (request.frequency_penalty, request.presence_penalty, request.logit_bias) == (0.5, -1.5, {17: -100})
