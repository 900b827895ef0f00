"""`/v1/responses` as OpenAI's own client drives it, over a real socket, against the shipped model."""

from __future__ import annotations

import base64
import json
import time

import openai
import pytest
from pydantic import BaseModel

from narthex.backends.fake import Said, ScriptedBackend
from narthex.backends.local import LocalBackend
from narthex.base.paths import SHIPPED_NANO
from narthex.chat import MODES
from narthex.store import Store

from .test_serve import PANEL, QUESTION, running

DEADLINE_S = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(home):
    with running(LocalBackend.open(SHIPPED_NANO, device="cpu"), home) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client


def asked(text=QUESTION):
    uri = "data:image/png;base64," + base64.b64encode(PANEL.read_bytes()).decode()
    picture = {"type": "input_image", "image_url": uri, "detail": "auto"}
    return [{"role": "user", "content": [{"type": "input_text", "text": text}, picture]}]


def waited(client, response_id):
    began = time.monotonic()
    while (found := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_the_same_answer_in_one_piece_as_a_stream_and_in_the_background(client, mode):
    how = {"model": f"narthex-nano:{mode}", "input": asked()}
    whole = client.responses.create(**how)
    assert whole.status == "completed" and whole.output_text and whole.usage.output_tokens > 0
    assert [item.type for item in whole.output] == ["message"] if mode == "instant" else ["reasoning", "message"]
    with client.responses.stream(**how) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    behind = waited(client, client.responses.create(**how, background=True).id)
    if mode != "contemplating":  # whose agents throw dice
        assert said == final.output_text == behind.output_text == whole.output_text
    assert final.output_text == said and behind.output_text
    for made in (whole, behind):
        assert client.responses.retrieve(made.id) == made
    again = client.responses.retrieve(final.id)
    assert (again.output_text, again.usage) == (said, final.usage)


def test_a_conversation_goes_on_with_its_picture(client, home):
    first = client.responses.create(model="narthex-nano", input=asked(), store=True)
    second = client.responses.create(model="narthex-nano", input="Once more?", previous_response_id=first.id)
    assert second.previous_response_id == first.id and second.output_text
    with Store.open(home) as store:
        record = store.responses.record(first.id)
        assert record.asked[0].pictures and record.asked[0].pictures[0].sha256 in store.blobs


def test_what_was_asked_is_read_again(client):
    made = client.responses.create(model="narthex-nano:instant", input=[*asked(), *asked("Once more?")])
    items = list(client.responses.input_items.list(made.id, order="asc", limit=1))
    assert [item.content[0].text for item in items] == [QUESTION, "Once more?"]
    assert items[0].content[1].image_url == asked()[0]["content"][1]["image_url"]
    newest = client.responses.input_items.list(made.id).data[0]
    assert newest.id == items[1].id


def test_a_form_is_parsed_and_tools_are_called_in_turn(client):
    class Reading(BaseModel):
        bar: int

    parsed = client.responses.parse(model="narthex-nano:instant", input=asked(), text_format=Reading)
    assert isinstance(parsed.output_parsed, Reading)


def test_in_the_background_it_is_followed_from_any_number_on(client):
    stream = client.responses.create(model="narthex-nano", input=asked(), background=True, stream=True)
    seen = []
    for event in stream:
        seen.append(event)
        if len(seen) == 6:
            break
    stream.close()
    rest = list(client.responses.retrieve(
        seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number))  # fmt: skip
    numbers = [event.sequence_number for event in (*seen, *rest)]
    assert numbers == list(range(len(numbers))) and rest[-1].type == "response.completed"
    again = list(client.responses.retrieve(seen[0].response.id, stream=True))
    assert [event.type for event in again] == [event.type for event in (*seen, *rest)]


def test_what_is_deleted_is_gone(client):
    made = client.responses.create(model="narthex-nano:instant", input=asked())
    assert client.responses.delete(made.id) is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_errors_are_openais(client):
    for bad, kind in (
        ({"model": "gpt-9"}, openai.NotFoundError), ({"previous_response_id": "resp_0"}, openai.NotFoundError),
        ({"input": "x" * 10_000_000}, openai.BadRequestError), ({"temperature": 9}, openai.BadRequestError),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            client.responses.create(**{"model": "narthex-nano", "input": "?", **bad})
        assert caught.value.param


def test_files_are_kept_named_and_deleted(client):
    uploaded = client.files.create(file=PANEL, purpose="vision")
    assert uploaded.filename == "panel.png" and uploaded.bytes == PANEL.stat().st_size
    assert client.files.content(uploaded.id).content == PANEL.read_bytes()
    picture = {"type": "input_image", "file_id": uploaded.id, "detail": "auto"}
    content = [{"type": "input_text", "text": QUESTION}, picture]
    by_id = client.responses.create(model="narthex-nano", input=[{"role": "user", "content": content}])
    assert by_id.output_text == client.responses.create(model="narthex-nano", input=asked()).output_text
    assert uploaded.id in [file.id for file in client.files.list()]
    assert client.files.delete(uploaded.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(uploaded.id)


def test_a_client_that_leaves_ends_its_response_and_one_in_the_background_goes_on(tmp_path):
    backend = ScriptedBackend(lambda request: Said("word " * 400), word_s=0.01)
    with running(backend, tmp_path) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        ids = {}
        for is_background in (False, True):
            stream = client.responses.create(
                model="scripted:instant", input="?", stream=True, background=is_background
            )
            for event in stream:
                if event.type == "response.created":
                    ids[is_background] = event.response.id
                if event.type == "response.output_text.delta":
                    break
            stream.close()
        left = waited(client, ids[False])
        assert left.status == "incomplete" and left.output_text.startswith("word")
        assert waited(client, ids[True]).output_text == "word " * 400
        begun = client.responses.create(model="scripted:instant", input="?", background=True)
        cancelled = client.responses.cancel(begun.id)
        assert cancelled.status == "cancelled" and client.responses.retrieve(begun.id) == cancelled


def test_calls_of_functions_over_two_requests(tmp_path):
    from narthex.chat import ToolCall

    def script(request):
        last = request.messages[-1]
        if last.role == "tool":
            return Said(f"It reads {json.loads(last.text)['bar']} bar.")
        return Said(calls=(ToolCall(id="call_7", name="read", arguments={"gauge": "C"}),))

    tool = {"type": "function", "name": "read", "strict": False, "parameters": {
        "type": "object", "properties": {"gauge": {"type": "string"}}}}  # fmt: skip
    with running(ScriptedBackend(script), tmp_path) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="n") as client:
        first = client.responses.create(model="scripted", input="C?", tools=[tool])
        (call,) = [item for item in first.output if item.type == "function_call"]
        assert json.loads(call.arguments) == {"gauge": "C"}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"bar": 80}'}
        second = client.responses.create(
            model="scripted", input=[result], tools=[tool], previous_response_id=first.id
        )
        assert second.output_text == "It reads 80 bar."
