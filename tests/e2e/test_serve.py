"""The server as a client sees it: OpenAI's own, over a real socket, against the shipped model."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.backends.fake_server import Call, FakeServer, Reply
from narthex.backends.local import LocalBackend
from narthex.backends.settings import Settings, open_upstream
from narthex.base.paths import SHIPPED_NANO
from narthex.chat import MODES
from narthex.serve import Service, listen
from narthex.serve.server import address_of, make_server
from narthex.store import Store

PANEL = Path(__file__).parents[2] / "examples" / "panel.png"
QUESTION = PANEL.with_suffix(".txt").read_text(encoding="utf-8").strip()


@contextmanager
def running(backend, home):
    """The URL of a server in a thread of its own; runs are kept in `home`."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NARTHEX_HOME", str(home))
    service = Service({backend.name: backend})
    is_ready = threading.Event()
    with listen("127.0.0.1", 0) as taken:
        server = make_server(service, on_ready=is_ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            assert is_ready.wait(30)
            yield address_of(taken)
        finally:
            server.should_exit = True
            thread.join(20)
            patch.undo()
            assert not thread.is_alive() and service.store is None, "it ended, and let go of the store"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(home):
    with running(LocalBackend.open(SHIPPED_NANO, device="cpu"), home) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client


def question(text=QUESTION):
    uri = "data:image/png;base64," + base64.b64encode(PANEL.read_bytes()).decode()
    return [{"role": "user", "content": [
        {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": uri}}]}]  # fmt: skip


def ask(client, model="narthex-nano", messages=None, **how):
    return client.chat.completions.create(model=model, messages=messages or question(), **how)


def test_the_models_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert names == ["narthex-nano", *(f"narthex-nano:{mode}" for mode in MODES)]
    assert client.models.retrieve("narthex-nano:instant").capabilities["pictures"] is True


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_in_every_mode_in_both_forms(client, home, mode):
    model = f"narthex-nano:{mode}"
    whole = ask(client, model, seed=1)
    with ask(client, model, stream=True, stream_options={"include_usage": True}, seed=1) as stream:
        chunks = list(stream)
    choice, last = whole.choices[0], chunks[-1]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasoning = "".join(getattr(chunk.choices[0].delta, "reasoning", "") for chunk in chunks[:-1]
                        if hasattr(chunk.choices[0].delta, "reasoning"))  # fmt: skip
    assert text == choice.message.content and text
    assert choice.finish_reason == "stop" == chunks[-2].choices[0].finish_reason
    assert bool(reasoning) == (mode != "instant") == hasattr(choice.message, "reasoning_content")
    for told in (whole, last):
        agents = told.narthex["ledger"]["by_agent"]
        assert told.usage.prompt_tokens == sum(agent["prompt_tokens"] for agent in agents)
        assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens
        assert (len(agents) > 1) == (mode == "contemplating")
        with Store.open(home) as store:
            assert store.run(told.narthex["run_id"]).status == "done"
    if mode == "instant":
        assert whole.usage.completion_tokens_details.reasoning_tokens == 0
    else:
        assert whole.narthex["ledger"]["looks"] and whole.usage.completion_tokens_details.reasoning_tokens


def test_thinking_reads_the_panel(client):
    assert ask(client, reasoning_effort="high").choices[0].message.content == "33 bar"


def test_a_schema_binds(client):
    schema = {"type": "object", "properties": {"reading": {"type": "string", "maxLength": 24}},
              "required": ["reading"], "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "reading", "schema": schema, "strict": True}}
    for mode in ("instant", "thinking"):  # many agents that never learnt JSON take a minute; their form has unit tests
        reply = ask(client, f"narthex-nano:{mode}", response_format=form)
        assert set(json.loads(reply.choices[0].message.content)) == {"reading"}


def test_a_callers_tool_is_called_answered_and_used(client):
    """nano knows one tool; offered by the caller, it is the caller's."""
    box = {"type": "array", "items": {"type": "integer"}}
    parameters = {"type": "object", "properties": {"box": box, "image": {"type": "integer"}}, "required": ["box"]}
    spec = {"name": "zoom", "description": "Enlarge a box of a picture.", "parameters": parameters}
    tools = [{"type": "function", "function": spec}]
    with ask(client, stream=True, tools=tools) as stream:
        chunks = list(stream)
    (call,) = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert chunks[-1].choices[0].finish_reason == "tool_calls" and call.index == 0 and call.function.name == "zoom"
    message = ask(client, tools=tools).choices[0].message
    assert "box" in json.loads(message.tool_calls[0].function.arguments)
    answered = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "There is nothing to see."}
    reply = ask(client, messages=[*question(), message.model_dump(), answered], tools=tools, tool_choice="none")
    assert reply.choices[0].finish_reason in ("stop", "length") and reply.choices[0].message.content


def test_a_conversation_goes_on(client):
    first = ask(client).choices[0].message
    reply = ask(client, messages=[*question(), first.model_dump(), {"role": "user", "content": "And gauge B?"}])
    assert reply.choices[0].message.content


def test_room_for_the_answer_is_kept(client):
    reply = ask(client, "narthex-nano:instant", max_tokens=2)
    assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens <= 2


@pytest.mark.parametrize(
    ("how", "kind", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model"),
        ({"n": 300}, openai.BadRequestError, "n"),
        ({"model": "narthex-nano:thinking", "reasoning_effort": "none"}, openai.BadRequestError, "reasoning_effort"),
        ({"messages": [{"role": "user", "content": "gauge " * 9000}]}, openai.BadRequestError, "messages"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such"}}}},
         openai.BadRequestError, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_streamed", [False, True])
def test_errors_are_openai_s(client, how, kind, param, is_streamed):
    with pytest.raises(kind) as raised:
        ask(client, **how, stream=is_streamed)
    error = raised.value
    assert error.param == param and error.request_id.startswith("req_") and error.body["message"]


def test_tokens_are_counted_as_the_model_reads_them(client):
    def tokenize(**body):
        return client.post("/../tokenize", body=body, cast_to=httpx2.Response).json()

    assert tokenize(prompt="gauge C")["count"] == len(tokenize(prompt="gauge C")["tokens"]) > 0
    counted = tokenize(messages=question(), model="narthex-nano:instant")["count"]
    assert counted == ask(client, "narthex-nano:instant").usage.prompt_tokens


def test_an_upstream_is_passed_on_in_every_mode(tmp_path):
    def script(body):
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            return Reply(thought="Look it up.", calls=(Call("look_up", '{"what": "é"}'),))
        return Reply(thought="Hm.", text="It is 12.")

    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    with FakeServer(script) as upstream, running(open_upstream(upstream.url, Settings()), tmp_path) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            asked = [{"role": "user", "content": "What?"}]
            for mode in MODES:
                said = ask(client, f"fake:{mode}", asked)
                assert said.choices[0].message.content == "It is 12." and said.usage.total_tokens > 0
                called = ask(client, f"fake:{mode}", asked, tools=tools).choices[0]
                assert called.finish_reason == "tool_calls"
                assert json.loads(called.message.tool_calls[0].function.arguments) == {"what": "é"}


# What happens when somebody leaves, or nothing is said for long.


def long_reply(request):
    return Said(thought="word " * 400, text="word " * 400)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_who_hangs_up_ends_the_run_with_all_its_agents(tmp_path, mode, is_streamed):
    backend = ScriptedBackend(long_reply, word_s=0.05)
    with running(backend, tmp_path) as url:
        body = {"model": f"scripted:{mode}", "messages": [{"role": "user", "content": "x"}], "stream": is_streamed}
        with httpx2.Client() as client:
            if is_streamed:
                with client.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
                    lines = reply.iter_lines()
                    next(lines)
                    assert backend.num_open == (4 if mode == "contemplating" else 1)
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    client.post(f"{url}/v1/chat/completions", json=body, timeout=0.5)
        began = time.monotonic()
        while backend.num_open and time.monotonic() - began < 20:
            time.sleep(0.01)
        assert time.monotonic() - began < 5, "within a second, where nobody else needs the processor"
        with Store.open(tmp_path) as store:
            until = time.monotonic() + 2
            while store.runs()[0].status == "running" and time.monotonic() < until:
                time.sleep(0.02)
            assert [run.status for run in store.runs()] == ["cut"]


def test_a_long_silence_is_kept_alive(tmp_path, monkeypatch):
    monkeypatch.setattr("narthex.reason.quiet.QUIET_S", 0.2)
    monkeypatch.setattr("narthex.serve.completions.KEEP_ALIVE_S", 0.2)
    with running(ScriptedBackend(lambda request: Said(text="late"), word_s=1.0), tmp_path) as url:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with httpx2.Client() as client, client.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
            lines = list(reply.iter_lines())
    assert sum(line.startswith(": ") for line in lines) >= 3
    assert lines.index(": still at work") < next(n for n, line in enumerate(lines) if '"late"' in line)


def test_one_bad_request_holds_no_stream_up(tmp_path):
    """While bodies at their limits are refused, another's words keep coming."""
    backend = ScriptedBackend(lambda request: Said(text="word " * 60), word_s=0.05)
    bodies = [b"[" + b"[]," * 240_000 + b"1]", b"[" * 100_000, b" " * 31 * 2**20, b'{"messages": ["' + b"x" * 2**24]
    with running(backend, tmp_path) as url:
        path = f"{url}/v1/chat/completions"

        def spoil():
            with httpx2.Client(timeout=30) as client:
                for body in bodies:
                    assert client.post(path, content=body).status_code in (400, 413)

        spoiler = threading.Thread(target=spoil)
        gaps, body = [], {"model": "scripted", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with httpx2.Client(timeout=30) as client, client.stream("POST", path, json=body) as reply:
            last = time.monotonic()
            for number, _ in enumerate(reply.iter_lines()):
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
                if number == 10:
                    spoiler.start()
        spoiler.join(30)
    assert not spoiler.is_alive() and len(gaps) > 60 and max(gaps[1:]) < 5, max(gaps[1:])
