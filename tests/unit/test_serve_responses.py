"""`/v1/responses`: what comes in, the items and events that come out, and what is there to come back to."""

from __future__ import annotations

import asyncio
import json

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from narthex.backends.fake import Said
from narthex.base.errors import BackendError, ContextOverflowError
from narthex.chat import ToolCall
from narthex.store import Store

from .serve_helpers import data_uri, served

PATH = "/v1/responses"
SAID = Said("12 bar", thought="let me see ")
DEADLINE_S = 20
_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def wants(text="What?", **fields):
    return {"model": "scripted", "input": text, **fields}


def function(name="look_up"):
    return {"type": "function", "name": name, "description": "Looks it up.", "parameters": {
        "type": "object", "properties": {"what": {"type": "string"}}}}  # fmt: skip


def events_of(text):
    """The documents of a stream; each has the type that its line names, and passes OpenAI's own models."""
    found = []
    for event in text.split("\n\n"):
        if event.startswith("event: "):
            head, data = event.split("\n")
            document = json.loads(data.removeprefix("data: "))
            assert head == f"event: {document['type']}"
            _EVENT.validate_python(document, strict=False)
            found.append(document)
    assert [event["sequence_number"] for event in found] == list(
        range(found[0]["sequence_number"], found[0]["sequence_number"] + len(found)))  # fmt: skip
    return found


async def made(client, *, status=200, **fields):
    reply = await client.post(PATH, json=wants(**fields))
    assert reply.status_code == status, reply.text
    return reply.json()


def text_of(response):
    Response.model_validate(response)
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


async def ended(client, response_id):
    async with asyncio.timeout(DEADLINE_S):
        while (found := (await client.get(f"{PATH}/{response_id}")).json())["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.01)
    return found


async def test_one_piece_a_stream_and_what_is_read_again_are_the_same(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        whole = await made(client, metadata={"case": "7"}, reasoning={"effort": "low"})
        assert whole["status"] == "completed" and text_of(whole) == "12 bar"
        assert whole["metadata"] == {"case": "7"} and whole["reasoning"]["effort"] == "low"
        assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
        assert whole["output"][0]["content"] == [{"type": "reasoning_text", "text": "let me see "}]
        assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 3
        assert whole["usage"]["total_tokens"] == whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"]
        assert (await client.get(f"{PATH}/{whole['id']}")).json() == whole
        streamed = events_of((await client.post(PATH, json=wants(stream=True))).text)
        kinds = [event["type"] for event in streamed]
        assert list(dict.fromkeys(kinds)) == [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
            "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done",
            "response.output_item.done", "response.output_text.delta", "response.output_text.done",
            "response.completed",
        ]  # fmt: skip
        assert streamed[0]["response"]["output"] == [] and streamed[0]["response"]["status"] == "in_progress"
        last = streamed[-1]["response"]
        said = "".join(event["delta"] for event in streamed if event["type"] == "response.output_text.delta")
        assert said == text_of(last) == "12 bar"
        assert (await client.get(f"{PATH}/{last['id']}")).json() == last
        assert service.store.run(last["narthex"]["run_id"]).status == "done"


async def test_a_stream_is_gone_on_with_after_any_number(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        whole = events_of((await client.post(PATH, json=wants(stream=True))).text)
        path = f"{PATH}/{whole[0]['response']['id']}"
        assert events_of((await client.get(path, params={"stream": "true"})).text) == whole
        for after in (0, 5, len(whole) - 2):
            again = await client.get(path, params={"stream": "true", "starting_after": after})
            assert events_of(again.text) == whole[after + 1 :]
        bad = await client.get(path, params={"stream": "true", "starting_after": "x"})
        assert bad.json()["error"]["param"] == "starting_after"


async def test_in_the_background_it_goes_on_and_is_there_before_it_is_acknowledged(tmp_path):
    async with served(lambda request: SAID, store=tmp_path, word_s=0.05) as (client, _, _):
        begun = await made(client, background=True)
        assert begun["status"] == "queued" and begun["background"] is True
        with Store.open(tmp_path) as other:
            assert other.responses.record(begun["id"]).asked[0].text == "What?"
        path = f"{PATH}/{begun['id']}"
        live = events_of((await client.get(path, params={"stream": "true"})).text)
        assert [event["type"] for event in live[:3]] == ["response.created", "response.queued", "response.in_progress"]
        done = await ended(client, begun["id"])
        assert done["status"] == "completed" and live[-1]["response"] == done and text_of(done) == "12 bar"
        streamed = await client.post(PATH, json=wants(background=True, stream=True))
        assert text_of(events_of(streamed.text)[-1]["response"]) == "12 bar"


async def test_what_is_cancelled_keeps_what_it_had(tmp_path):
    script = lambda request: Said("word " * 5000)  # noqa: E731
    async with served(script, store=tmp_path, word_s=0.002) as (client, backend, service):
        begun = await made(client, background=True)
        async with asyncio.timeout(DEADLINE_S):
            while not text_of((await client.get(f"{PATH}/{begun['id']}")).json()):
                await asyncio.sleep(0.01)
        cancelled = (await client.post(f"{PATH}/{begun['id']}/cancel")).json()
        assert cancelled["status"] == "cancelled" and text_of(cancelled).startswith("word word")
        assert cancelled["output"][-1]["status"] == "incomplete" and backend.num_open == 0 and not service.running
        again = await client.post(f"{PATH}/{begun['id']}/cancel")
        assert again.status_code == 200 and again.json() == cancelled
        told = events_of((await client.get(f"{PATH}/{begun['id']}", params={"stream": "true"})).text)
        assert told[-1]["response"] == cancelled


async def test_what_is_done_cannot_be_cancelled_any_more(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        done = await made(client)
        assert (await client.post(f"{PATH}/{done['id']}/cancel")).json() == done


async def test_one_response_goes_on_from_another(tmp_path):
    def script(request):
        return Said(" | ".join(f"{message.role} {message.text}" for message in request.messages))

    async with served(script, store=tmp_path) as (client, _, _):
        first = await made(client, text="one", instructions="Be brief.")
        second = await made(client, text="two", previous_response_id=first["id"], instructions="Be long.")
        third = await made(client, text="three", previous_response_id=second["id"])
        assert text_of(first) == "system Be brief. | user one"
        assert text_of(second) == f"system Be long. | user one | assistant {text_of(first)} | user two"
        assert text_of(third).startswith("user one | assistant ") and "Be long. | user one" in text_of(third)
        assert third["previous_response_id"] == second["id"]
        unknown = await client.post(PATH, json=wants(previous_response_id="resp_no"))
        assert unknown.status_code == 404 and unknown.json()["error"]["param"] == "previous_response_id"
        assert (await client.delete(f"{PATH}/{first['id']}")).json()["deleted"] is True
        lost = await client.post(PATH, json=wants(previous_response_id=second["id"]))
        assert lost.status_code == 400 and lost.json()["error"]["code"] == "previous_response_not_found"


CALL = ToolCall(id="call_1", name="look_up", arguments={"what": "gäuge"})


def calls_then_answers(request):
    last = request.messages[-1]
    return Said(f"it says {last.text}", thought="so ") if last.role == "tool" else Said(calls=(CALL,), thought="hm ")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_callers_functions_by_previous_response(tmp_path, stream):
    async with served(calls_then_answers, store=tmp_path) as (client, backend, _):
        reply = await client.post(PATH, json=wants(tools=[function()], stream=stream))
        first = events_of(reply.text)[-1]["response"] if stream else reply.json()
        call = first["output"][-1]
        assert (call["type"], call["call_id"], call["name"]) == ("function_call", "call_1", "look_up")
        assert json.loads(call["arguments"]) == {"what": "gäuge"} and first["status"] == "completed"
        if stream:
            kinds = [event["type"] for event in events_of(reply.text)]
            at = kinds.index("response.function_call_arguments.delta")
            assert kinds[at - 1 : at + 3] == [
                "response.output_item.added", "response.function_call_arguments.delta",
                "response.function_call_arguments.done", "response.output_item.done"]  # fmt: skip
        result = {"type": "function_call_output", "call_id": "call_1", "output": "80"}
        second = await made(client, text=[result], previous_response_id=first["id"], tools=[function()])
        assert text_of(second) == "it says 80"
        roles = [message.role for message in backend.requests[-1].messages]
        assert roles == ["user", "assistant", "tool"] and backend.requests[-1].messages[1].thought == "hm "
        missing = await client.post(PATH, json=wants(previous_response_id=first["id"]))
        assert missing.status_code == 400 and "call_1" in missing.json()["error"]["message"]


async def test_without_a_store_everything_comes_with_the_request(tmp_path):
    async with served(calls_then_answers, store=tmp_path) as (client, backend, service):
        first = await made(client, store=False, tools=[function()])
        assert service.store.runs() == [] and first["store"] is False
        assert (await client.get(f"{PATH}/{first['id']}")).status_code == 404
        items = [{"role": "user", "content": "What?"}, *first["output"],
                 {"type": "function_call_output", "call_id": "call_1", "output": [
                     {"type": "input_text", "text": "80"}]}]  # fmt: skip
        second = await made(client, text=items, store=False, tools=[function()])
        assert text_of(second) == "it says 80"
        shown = backend.requests[-1].messages
        assert [message.role for message in shown] == ["user", "assistant", "tool"]
        assert shown[1].thought == "hm " and shown[1].calls == (CALL,)
        refused = await client.post(PATH, json=wants(store=False, background=True))
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "store"


async def test_pictures_and_files_come_as_data_or_by_their_id(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, _):
        upload = await client.post(
            "/v1/files", data={"purpose": "user_data"}, files={"file": ("notes.txt", b"C is gross")}
        )
        import base64

        png = base64.b64decode(data_uri((50, 20)).partition(",")[2])
        picture = await client.post("/v1/files", data={"purpose": "vision"}, files={"file": ("p.png", png)})
        parts = [
            {"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": data_uri(), "detail": "auto"},
            {"type": "input_image", "file_id": picture.json()["id"], "detail": "high"},
            {"type": "input_file", "file_id": upload.json()["id"]},
            {"type": "input_file", "filename": "b.txt",
             "file_data": "data:text/plain;base64," + base64.b64encode(b"D is net").decode()},
        ]  # fmt: skip
        first = await made(client, text=[{"role": "user", "content": parts}], reasoning={"effort": "none"})
        (message,) = backend.requests[-1].messages
        assert [(part.width, part.height) for part in message.pictures] == [(40, 30), (50, 20)]
        assert "notes.txt" in message.text and "C is gross" in message.text and "D is net" in message.text
        await made(client, previous_response_id=first["id"])
        assert [part.width for part in backend.requests[-1].messages[0].pictures] == [40, 50], "they are kept"
        assert backend.requests[-1].load_image(message.pictures[0]).size == (40, 30)


async def test_thought_as_a_summary(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        reply = await client.post(PATH, json=wants(stream=True, reasoning={"summary": "auto"}))
        streamed = events_of(reply.text)
        kinds = [event["type"] for event in streamed]
        assert "response.reasoning_summary_part.added" in kinds and "response.reasoning_text.delta" not in kinds
        item = streamed[-1]["response"]["output"][0]
        assert item["summary"] == [{"type": "summary_text", "text": "let me see "}] and item["content"] == []


async def test_a_form_binds_and_a_crowd_says_what_it_does(tmp_path):
    async with served(lambda request: Said('{"bar": 12}'), store=tmp_path) as (client, backend, _):
        schema = {"type": "object", "properties": {"bar": {"type": "integer"}}}
        form = {"format": {"type": "json_schema", "name": "reading", "schema": schema, "strict": True}}
        whole = await made(client)
        assert whole["text"] == {"format": {"type": "text"}}
        reply = await client.post(PATH, json={**wants(), "text": form})
        assert reply.json()["text"]["format"]["schema"] == schema and backend.requests[-1].answer_schema == schema
        crowd = await made(client, reasoning={"mode": "pro", "effort": "minimal"})
        assert crowd["narthex"]["mode"] == "contemplating" and "answers:" in crowd["output"][0]["content"][0]["text"]


async def test_what_is_cut_short_is_incomplete(tmp_path):
    async with served(lambda request: Said("12", finish_reason="length"), store=tmp_path) as (client, _, _):
        short = await made(client, max_output_tokens=1)
        assert short["status"] == "incomplete" and short["incomplete_details"] == {"reason": "max_output_tokens"}
        streamed = events_of((await client.post(PATH, json=wants(stream=True))).text)
        assert streamed[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_begin_is_an_error_with_its_status(tmp_path, stream):
    def script(request):
        raise ContextOverflowError("too long")

    async with served(script, store=tmp_path) as (client, _, _):
        reply = await client.post(PATH, json=wants(stream=stream))
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"


async def test_what_fails_on_its_way_says_so_in_the_stream_and_later(tmp_path):
    def script(request):
        if len(backends) < 1:
            backends.append(1)
            return Said(calls=(ToolCall(id="1", name="zoom", arguments={"picture": 0, "box": [0, 0, 500, 500]}),),
                        thought="look ")  # fmt: skip
        raise BackendError("the model is gone")

    backends = []
    async with served(script, store=tmp_path) as (client, _, _):
        content = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": data_uri()}]
        reply = await client.post(PATH, json=wants([{"role": "user", "content": content}], stream=True))
        last = events_of(reply.text)[-1]
        assert last["type"] == "response.failed" and "gone" in last["response"]["error"]["message"]
        assert (await client.get(f"{PATH}/{last['response']['id']}")).json() == last["response"]


async def test_the_run_of_a_stream_may_be_cancelled_by_its_id(tmp_path):
    async with served(lambda request: Said("word " * 5000), store=tmp_path, word_s=0.002) as (client, backend, service):
        asking = asyncio.create_task(client.post(PATH, json=wants(stream=True)))
        async with asyncio.timeout(DEADLINE_S):
            while not service.store.runs():
                await asyncio.sleep(0.01)
        (run,) = service.store.runs()
        await service.live.cancel(run.id)
        await asking
        assert service.store.run(run.id).status == "cut" and backend.num_open == 0


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("input", {"input": []}), ("input[0].role", {"input": [{"role": "king", "content": "x"}]}),
        ("input[0]", {"input": [{"type": "item_reference", "id": "x"}]}),
        ("input[0].content[0]", {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        ("input[1].call_id", {"input": [{"role": "user", "content": "x"},
                                        {"type": "function_call_output", "output": "x"}]}),
        ("input[1].tool_call_id", {"input": [{"role": "user", "content": "x"},
                                        {"type": "function_call_output", "call_id": "no", "output": "x"}]}),
        ("input", {"input": [{"role": "assistant", "content": "x"}]}),
        ("input", {"input": " "}),
        ("tools[0].type", {"tools": [{"type": "web_search"}]}), ("tools[0].name", {"tools": [{"type": "function"}]}),
        ("reasoning.effort", {"reasoning": {"effort": "much"}}), ("metadata", {"metadata": {"k": 1}}),
        ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "x"}}}),
        ("conversation", {"conversation": "c"}), ("prompt", {"prompt": {"id": "p"}}), ("model", {"model": "gpt"}),
        ("temperature", {"temperature": 3}), ("max_output_tokens", {"max_output_tokens": 0}),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_a_400_that_names_it(tmp_path, field, bad):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, service):
        reply = await client.post(PATH, json={**wants(), **bad})
        assert reply.status_code in (400, 404), reply.text
        assert (reply.json()["error"]["param"] or "").startswith(field), reply.text
        assert backend.requests == [] and service.store.runs() == []


async def test_what_is_deleted_is_gone_with_its_run(tmp_path):
    async with served(lambda request: Said("word " * 5000), store=tmp_path, word_s=0.002) as (client, backend, service):
        begun = await made(client, background=True)
        assert (await client.delete(f"{PATH}/{begun['id']}")).json() == {
            "id": begun["id"], "object": "response", "deleted": True}  # fmt: skip
        assert (await client.get(f"{PATH}/{begun['id']}")).status_code == 404
        assert service.store.runs() == [] and backend.num_open == 0


async def test_what_a_crash_left_is_there_and_incomplete(tmp_path):
    async with served(lambda request: Said("word " * 50), store=tmp_path, word_s=0.01) as (client, _, service):
        begun = await made(client, background=True)
        async with asyncio.timeout(DEADLINE_S):
            while not text_of((await client.get(f"{PATH}/{begun['id']}")).json()):
                await asyncio.sleep(0.01)
        service.stop()
        await asyncio.gather(*service.running, return_exceptions=True)
        found = (await client.get(f"{PATH}/{begun['id']}")).json()
        assert found["status"] == "incomplete" and text_of(found).startswith("word ")


async def test_items_come_back_as_they_came(tmp_path):
    async with served(calls_then_answers, store=tmp_path) as (client, _, _):
        items = [
            {"role": "user", "content": "What?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"what": "C"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "80"},
        ]
        first = await made(client, text=items, tools=[function()])
        path = f"{PATH}/{first['id']}/input_items"
        listed = (await client.get(path, params={"order": "asc"})).json()
        assert [item["type"] for item in listed["data"]] == [
            "message", "reasoning", "function_call", "function_call_output"]  # fmt: skip
        again = await made(client, text=listed["data"], tools=[function()], store=False)
        assert text_of(again) == text_of(first) == "it says 80"
        page = (await client.get(path, params={"limit": 1, "after": listed["data"][3]["id"]})).json()
        assert page["has_more"] and page["data"][0]["id"] == listed["data"][2]["id"]
        assert (await client.get(path, params={"after": "x"})).status_code == 404
        assert (await client.get(path, params={"order": "up"})).json()["error"]["param"] == "order"
