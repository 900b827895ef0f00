"""Runs as clients see them: in one piece and as a stream, the same from the same events."""

from __future__ import annotations

import json

import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError, ContextOverflowError
from narthex.chat import MODES, Budget, ToolCall
from narthex.serve.streams import warning_header

from .serve_helpers import PATH, asks, chunks_of, data_uri, function, joined, served

SAID = Said(thought="Let me see.", text="It is 12 bar – café.")
LOOK = ToolCall(id="c1", name="zoom", arguments={"box": [0, 0, 500, 500], "image": 0})


async def both(script, **fields):
    """(the whole object, the chunks) of one question."""
    async with served(script) as (client, backend, _):
        whole = await client.post(PATH, json=asks(**fields))
        stream = await client.post(PATH, json=asks(stream=True, stream_options={"include_usage": True}, **fields))
        assert backend.num_open == 0
    assert whole.status_code == stream.status_code == 200, whole.text
    assert stream.headers["content-type"] == "text/event-stream"
    return whole.json(), chunks_of(stream.text)


@pytest.mark.parametrize("mode", MODES)
async def test_one_answer_in_both_forms(mode):
    whole, chunks = await both(lambda request: SAID, model=f"scripted:{mode}")
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == SAID.text == joined(chunks, "content")
    assert choice["finish_reason"] == "stop" and whole["object"] == "chat.completion"
    assert whole["model"] == f"scripted:{mode}" and whole["id"].startswith("chatcmpl-")
    reasoning = choice["message"].get("reasoning", "")
    assert reasoning == choice["message"].get("reasoning_content", "")
    assert (reasoning == "") == (mode == "instant")
    assert (reasoning == "Let me see.") == (mode == "thinking")
    assert ("agent-0 answers: It is 12 bar" in reasoning) == (mode == "contemplating")
    assert joined(chunks, "reasoning") == joined(chunks, "reasoning_content")
    assert mode == "contemplating" or joined(chunks, "reasoning") == reasoning
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    *rest, last, usage = chunks
    assert last["choices"][0]["finish_reason"] == "stop" and last["choices"][0]["delta"] == {}
    assert all(chunk["choices"][0]["finish_reason"] is None and chunk["usage"] is None for chunk in rest)
    assert usage["choices"] == [] and usage["narthex"]["mode"] == whole["narthex"]["mode"] == mode


@pytest.mark.parametrize("mode", MODES)
async def test_usage_is_the_sum_of_the_ledger(mode):
    whole, chunks = await both(lambda request: SAID, model=f"scripted:{mode}", seed=1)
    for document in (whole, chunks[-1]):
        usage, agents = document["usage"], document["narthex"]["ledger"]["by_agent"]
        sums = {name: sum(agent[name] for agent in agents) for name in agents[0] if name.endswith("_tokens")}
        assert usage["prompt_tokens"] == sums["prompt_tokens"] > 0
        assert usage["completion_tokens"] == sums["thought_tokens"] + sums["answer_tokens"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] == sums["thought_tokens"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == sums["cached_tokens"]
    assert mode == "contemplating" or len(agents) == 1


async def test_without_include_usage_no_chunk_has_it():
    async with served(lambda request: SAID) as (client, _, _):
        chunks = chunks_of((await client.post(PATH, json=asks(stream=True))).text)
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks) and "ledger" in chunks[-1]["narthex"]


def looks_first(request):
    if request.messages[-1].role == "user" and request.tools:
        return Said(thought="Find it.", text="Let me zoom in.", calls=(LOOK,))
    return Said(thought="There.", text="It is 12 bar.")


async def test_what_is_said_before_a_look_is_no_content():
    content = asks("What?", data_uri())["messages"]
    whole, chunks = await both(looks_first, messages=content)
    assert whole["choices"][0]["message"]["content"] == "It is 12 bar." == joined(chunks, "content")
    assert joined(chunks, "reasoning") == "Find it.\n\nThere." == whole["choices"][0]["message"]["reasoning"]
    assert whole["narthex"]["ledger"]["looks"] == 1 and "withdrawn_characters" not in chunks[-1]["narthex"]


async def test_without_pictures_nothing_is_held_back_and_no_tool_looks():
    async with served(lambda request: Said(text="one two three four")) as (client, backend, _):
        chunks = chunks_of((await client.post(PATH, json=asks(stream=True))).text)
    assert sum("content" in chunk["choices"][0]["delta"] for chunk in chunks) == 5
    assert backend.requests[0].tools == ()


def stumbles(request):
    if request.messages[-1].role == "user":
        return Said(text="Let me see.", mistakes=("that was no call",))
    return Said(text='{"value": 12}')


async def test_what_was_streamed_and_withdrawn_is_counted():
    whole, chunks = await both(stumbles, tools=[function()])
    assert whole["choices"][0]["message"]["content"] == '{"value": 12}'
    content = joined(chunks, "content")
    assert content == 'Let me see.\n\n{"value": 12}'
    assert content[chunks[-1]["narthex"]["withdrawn_characters"] :] == '{"value": 12}'
    assert "withdrawn_characters" not in whole["narthex"]


async def test_with_a_schema_nothing_withdrawn_is_ever_streamed():
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    _, chunks = await both(stumbles, tools=[function()], response_format=form)
    assert joined(chunks, "content") == '{"value": 12}'


CALLS = (
    ToolCall(id="c1", name="look_up", arguments={"what": "é"}),
    ToolCall(id="c2", name="look_up", arguments={"what": "b"}),
)


@pytest.mark.parametrize("mode", MODES)
async def test_calls_come_whole_and_by_index(mode):
    tools = [function(what={"type": "string"})]
    whole, chunks = await both(lambda request: Said(calls=CALLS), model=f"scripted:{mode}", tools=tools)
    choice = whole["choices"][0]
    deltas = [delta for chunk in chunks for c in chunk["choices"] for delta in c["delta"].get("tool_calls", ())]
    assert choice["finish_reason"] == "tool_calls" == chunks[-2]["choices"][0]["finish_reason"]
    assert choice["message"]["content"] is None and joined(chunks, "content") == ""
    assert [delta.pop("index") for delta in deltas] == [0, 1]
    assert deltas == choice["message"]["tool_calls"]
    assert [(call["id"], json.loads(call["function"]["arguments"])["what"]) for call in deltas] == [
        ("c1", "é"), ("c2", "b")
    ]  # fmt: skip


async def test_one_call_at_a_time_where_that_is_wished():
    whole, _ = await both(lambda request: Said(calls=CALLS), tools=[function()], parallel_tool_calls=False)
    assert [call["id"] for call in whole["choices"][0]["message"]["tool_calls"]] == ["c1"]


async def test_what_the_caller_wants_reaches_the_model():
    form = {"type": "json_object"}
    async with served(lambda request: Said(text="{}")) as (client, backend, _):
        fields = {"temperature": 0.7, "top_p": 0.9, "seed": 5, "max_tokens": 77, "response_format": form}
        await client.post(PATH, json=asks(tools=[function()], tool_choice="none", **fields, reasoning_effort="low"))
    (request,) = backend.requests
    assert (request.temperature, request.top_p, request.seed, request.answer_tokens) == (0.7, 0.9, 5, 77)
    assert request.think_tokens == 1024 and request.thinking and request.tools == ()
    assert request.answer_schema == {"type": "object"}


async def test_a_caller_s_tool_replaces_ours_of_the_same_name():
    call = ToolCall(id="c1", name="zoom", arguments={})
    content = asks("What?", data_uri())["messages"]
    whole, _ = await both(lambda request: Said(calls=(call,)), messages=content, tools=[function("zoom")])
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("reason", "shown"), [("length", "length"), ("stop", "stop")])
async def test_how_it_ended(reason, shown):
    whole, chunks = await both(lambda request: Said(text="one", finish_reason=reason))
    assert whole["choices"][0]["finish_reason"] == shown == chunks[-2]["choices"][0]["finish_reason"]


def fails(error):
    def script(request):
        raise error

    return script


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_fails_before_it_says_anything_has_a_status(mode, is_streamed):
    for error, status, code in (
        (BackendError("nobody answers", hint="start it"), 502, None),
        (ContextOverflowError("too long"), 400, "context_length_exceeded"),
        (ZeroDivisionError("a bug"), 500, None),
    ):
        if mode == "contemplating" and status == 500:
            continue  # one agent's bug is its own
        async with served(fails(error)) as (client, _, _):
            reply = await client.post(PATH, json=asks(model=f"scripted:{mode}", stream=is_streamed))
        if mode == "contemplating" and is_streamed:  # it has told of each agent's failure by then
            assert chunks_of(reply.text)[-1]["error"]["code"] == code
            continue
        told = reply.json()["error"]
        assert (reply.status_code, told["code"]) == (status, code), told
        assert "a bug" not in reply.text and reply.headers["x-request-id"].startswith("req_")
        assert status != 502 or told["message"] == "nobody answers (start it)"


class Breaks(ScriptedBackend):
    """Says one word, then fails."""

    async def turn(self, request):
        async for step in super().turn(request):
            yield step
            raise BackendError("the line broke")


async def test_a_stream_that_fails_on_its_way_says_so_and_ends():
    async with served(Breaks(lambda request: SAID)) as (client, _, _):
        reply = await client.post(PATH, json=asks(stream=True))
    assert reply.status_code == 200
    chunks = chunks_of(reply.text)
    assert chunks[-1]["error"]["message"] == "the line broke" and joined(chunks[:-1], "reasoning") == "Let "


async def test_each_run_is_in_the_store_with_its_pictures(tmp_path):
    async with served(looks_first, store=tmp_path) as (client, _, service):
        body = asks("What?", data_uri(), stream=True)
        shown = chunks_of((await client.post(PATH, json=body)).text)[-1]["narthex"]
        await client.post(PATH, json={**body, "store": False})
        (record,) = service.store.runs()
        assert record.id == shown["run_id"] and record.status == "done" and shown["kept"]
        events = service.store.events(record.id)
        assert events[-1].answer == "It is 12 bar."
        pictures = [part for event in events if event.type == "tool_finished" for part in event.parts]
        assert any(part.type == "image" and service.store.blobs.get(part.sha256).data for part in pictures)


async def test_nothing_is_said_that_is_not_kept(tmp_path, monkeypatch):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        monkeypatch.setattr(service.store, "append", broken)
        for is_streamed in (False, True):
            reply = await client.post(PATH, json=asks(stream=is_streamed))
            assert reply.status_code == 503 and reply.json()["error"]["code"] == "store_unavailable"
            assert "12 bar" not in reply.text
        assert (await client.post(PATH, json=asks(store=False))).status_code == 200


def broken(*_, **__):
    from narthex.store import StoreError

    raise StoreError("could not write: the disk is full")


async def test_what_is_refused_leaves_no_trace(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, service):
        for bad in ({"n": 0}, {"messages": [{"role": "assistant", "content": "x"}]}, {"model": "x"}):
            assert (await client.post(PATH, json=asks("What?", data_uri(), **bad))).status_code in (400, 404)
        assert service.store.runs() == [] and backend.requests == []
        assert not list(tmp_path.rglob("blobs/*/*"))


async def test_the_ceiling_lowers_and_says_so():
    async with served(lambda request: SAID, ceiling=Budget(think_tokens=100, answer_tokens=50)) as (client, backend, _):
        reply = await client.post(PATH, json=asks(max_tokens=60, thinking_token_budget=500))
    warnings = reply.headers["warning"]
    assert "think_tokens is 100, not 500" in warnings and "answer_tokens is 50, not 60" in warnings
    assert (backend.requests[0].think_tokens, backend.requests[0].answer_tokens) == (100, 50)


def test_a_warning_is_one_line_of_ascii():
    assert warning_header('a "é"\r\nset-cookie: x') == b'199 narthex "a \\"\\\\xe9\\"??set-cookie: x"'


FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", ["", "It is 12.", "<tool_call>", "{", "[1] [2]"])
async def test_what_has_not_the_form_is_asked_for_again(mode, first):
    def script(request):
        return Said(thought="Hm. ", text=first if request.may_call else '{"value": 12}')

    whole, chunks = await both(script, model=f"scripted:{mode}", response_format=FORM, tools=[function()])
    assert whole["choices"][0]["message"]["content"] == '{"value": 12}' == joined(chunks, "content")
    assert mode != "thinking" or joined(chunks, "reasoning") == "Hm. "
    agents = whole["narthex"]["ledger"]["by_agent"]
    assert all(agent["answer_tokens"] == len(first.split()) + 2 for agent in agents[:1]), "both are counted"


async def test_a_model_that_ends_in_its_thought_is_asked_for_the_form():
    whole, chunks = await both(
        lambda request: Said(thought="Hm.") if request.thinking else Said(text="{}"), response_format=FORM
    )
    assert whole["choices"][0]["message"]["content"] == "{}" == joined(chunks, "content")


async def test_what_has_the_form_is_asked_for_once():
    async with served(lambda request: Said(text="{}")) as (client, backend, _):
        for tools in ([], [function()]):
            await client.post(PATH, json=asks(response_format=FORM, tools=tools))
    assert len(backend.requests) == 2
