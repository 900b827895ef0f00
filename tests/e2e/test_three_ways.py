"""One conversation with pictures, tools and a schema, through all three modes, over every way to reach a model.

The embedded model, a scripted HTTP server that delays, cuts and breaks its chunks, and, where it is installed, a
foreign server: `transformers serve` with the weights we ship.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from narthex.backends.fake_server import Call, FakeServer, Reply
from narthex.backends.local import LocalBackend
from narthex.backends.settings import Settings, UpstreamSettings, open_upstream
from narthex.base.paths import SHIPPED_NANO
from narthex.chat import MODES, Budget, Conversation, Message, parse_event
from narthex.evals.worlds import get_world
from narthex.reason import run
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import get_tool

SCHEMA = {
    "type": "object", "properties": {"reading": {"type": "string", "maxLength": 24}}, "required": ["reading"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS = (get_tool("zoom"), get_tool("mark"))


async def events_of(backend, mode, *, budget=None, schema=SCHEMA):
    """The conversation: a question about two pictures, asked with two tools on the table."""
    gallery = Gallery(MemoryBlobs())
    item = get_world("panels").item(3, 5, split="test")
    pictures = [gallery.add_image(picture) for picture in (item.picture, Image.new("RGB", (300, 200), "navy"))]
    asked = Conversation(messages=(Message.of("user", item.question, *pictures),))
    events = run(asked, mode, budget, backend, TOOLS, gallery=gallery, seed=5, answer_schema=schema)
    async with aclosing(events) as stream:
        found = [event async for event in stream]
    assert [event.seq for event in found] == list(range(len(found)))
    assert all(parse_event(event.model_dump_json()) == event for event in found)
    assert found[0].type == "run_started" and found[0].mode == mode and set(found[0].tools) == {"zoom", "mark"}
    text = ""
    for event in found:
        text = "" if event.type == "answer_started" else text + (event.text if event.type == "answer_delta" else "")
    assert found[-1].type == "run_failed" or found[-1].answer == text
    return found


def check_answer(found, mode):
    end = found[-1]
    assert end.type == "run_finished" and end.finish_reason == "stop", end
    assert set(json.loads(end.answer)) == {"reading"}
    assert end.ledger.prompt_tokens > 0 and end.ledger.answer_tokens > 0
    assert end.ledger.agents == (1 if mode != "contemplating" else end.ledger.agents) and end.ledger.seconds > 0


@pytest.fixture(scope="module")
def local():
    backend = LocalBackend.open(SHIPPED_NANO, device="cpu")
    yield backend
    backend.close()


@pytest.mark.parametrize("mode", MODES)
async def test_the_embedded_model(local, mode):
    found = await events_of(local, mode, budget=Budget(tool_calls=2 if mode != "contemplating" else 16))
    check_answer(found, mode)
    assert not found[-1].ledger.estimated and found[-1].ledger.flops
    if mode == "contemplating":
        roles = [event.role for event in found if event.type == "agent_started"]
        assert roles[:4] == ["proposer"] * 4 and found[-1].ledger.cached_tokens > 0, "one prompt, shared"


LOOK = (
    Call("zoom", '{"box": [0, 0, 500, 500], "image": 1}'),
    Call("mark", '{"image": 0, "boxes": [[100, 100, 400, 400]], "labels": ["C"]}'),
)


def looks_then_answers(**manner):
    """A model that uses both tools at once, gets their pictures, and answers as the schema wants."""

    def script(body):
        told = [message for message in body["messages"] if message["role"] == "tool"]
        if told or not body.get("tools"):
            return Reply(thought="It reads 12 bar.", text='{"reading": "12 bar"}', **manner)
        return Reply(thought="Find C.", calls=LOOK, **manner)

    return script


def pictures_of(message):
    content = message["content"]
    return [part for part in content if part["type"] == "image_url"] if isinstance(content, list) else []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "manner",
    [{}, {"split_bytes": 3, "line_end": "\r\n", "comments": True}, {"delay_s": 0.002, "thought_in": "tags"}],
    ids=["plain", "broken", "slow"],
)
async def test_a_scripted_server(mode, manner):
    with FakeServer(looks_then_answers(**manner)) as server:
        backend = open_upstream(server.url, Settings())
        found = await events_of(backend, mode)
        await backend.aclose()
    check_answer(found, mode)
    assert json.loads(found[-1].answer) == {"reading": "12 bar"}
    assert mode == "contemplating" or not found[-1].ledger.estimated, "who is stopped early is counted by us"
    for body in server.bodies:
        assert {tool["function"]["name"] for tool in body["tools"]} == {"zoom", "mark"}
        asked = [message for message in body["messages"] if message["role"] == "user"]
        assert "reading" in body["messages"][0]["content"], "beside tools, the schema is told in words"
        assert len(pictures_of(asked[0])) == 2
    after = [body["messages"] for body in server.bodies if any(m["role"] == "tool" for m in body["messages"])]
    assert after, "the calls were run and shown to the model"
    for messages in after:
        assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
        assert len(pictures_of(messages[-1])) == 2, "both pictures, after all tool messages"
    assert found[-1].ledger.looks >= 2
    assert [event for event in found if event.type == "thought_delta"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_line_that_is_cut_ends_in_what_it_had(mode):
    numbers = itertools.count()

    def script(body):
        if next(numbers) == 0:  # the first of all, whoever asks it
            return Reply(text="one two three four five", cut_after=4)
        return looks_then_answers()(body)

    with FakeServer(script) as server:
        backend = open_upstream(server.url, Settings())
        began = time.monotonic()
        found = await events_of(backend, mode)
        await backend.aclose()
    assert time.monotonic() - began < 10 and found[-1].type == "run_finished" and found[-1].ledger.estimated
    if mode == "contemplating":
        assert json.loads(found[-1].answer) == {"reading": "12 bar"}, "one agent's line is not the run's"
    else:
        assert found[-1].finish_reason == "cancelled" and found[-1].answer.startswith("one")


@pytest.mark.parametrize("mode", MODES)
async def test_garbage_and_silence_end_in_bounded_time(mode):
    settings = Settings({
        "bad": UpstreamSettings(url="http://127.0.0.1:9/v1", model="m", retries=0),
    })  # fmt: skip
    backend = open_upstream("bad", settings)
    found = await events_of(backend, mode)
    await backend.aclose()
    assert found[-1].type == "run_failed" and found[-1].hint and "\n" not in found[-1].message
    with FakeServer(lambda body: Reply(raw=b"<html>not what you think</html>")) as server:
        backend = open_upstream(server.url, Settings())
        found = await events_of(backend, mode)
        await backend.aclose()
    assert found[-1].type == "run_failed" and found[-1].ledger.agents >= 1


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """`transformers serve` on a port of its own, with the shipped weights."""
    if missing := [name for name in ("accelerate", "fastapi", "openai", "uvicorn") if find_spec(name) is None]:
        pytest.skip("transformers serve needs " + ", ".join(missing))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("foreign_server.py")), str(SHIPPED_NANO)]
    command = [*program, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("foreign") / "log"
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as server:
        try:
            until = time.monotonic() + 120
            while not _is_up(f"http://127.0.0.1:{port}/health"):
                assert server.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def _is_up(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("mode", MODES)
async def test_a_foreign_server(foreign, mode):
    """It knows neither schemas nor our model's marks of thought and calls; what it says still comes through."""
    settings = Settings({"foreign": UpstreamSettings(url=foreign, model=str(SHIPPED_NANO))})
    backend = open_upstream("foreign", settings)
    found = await events_of(backend, mode, budget=Budget(agents=2, rounds=0, answer_tokens=48))
    await backend.aclose()
    end = found[-1]
    assert end.type == "run_finished" and end.answer, end
    assert end.ledger.prompt_tokens > 0 and end.ledger.answer_tokens > 0
    assert end.ledger.agents >= (2 if mode == "contemplating" else 1)
    assert [event for event in found if event.type in ("answer_delta", "agent_text_delta")]
