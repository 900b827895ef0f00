"""Everything passes the gate: ids, sizes, who may ask, and an answer to whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from narthex.backends.fake import Said
from narthex.base.errors import ConfigError
from narthex.serve import Service, create_app, listen
from narthex.serve.errors import ApiError
from narthex.serve.gate import OPEN_PATHS, is_open

from .serve_helpers import PATH, asks, served
from .test_serve_page import paths

APP = create_app(Service({}))
ROUTES = [(method, route.path) for route in paths(APP.routes) for method in route.methods - {"HEAD"}]


def is_error(reply):
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_stands_behind_it(method, path):
    """Who is not let in gets nowhere but to what is open to all; nothing answers without an id."""
    name = path.replace("{name:path}", "scripted")
    async with served(lambda request: Said(text="a secret")) as (client, _, _):
        inside = await client.request(method, name, json={})
        assert inside.status_code < 500 and inside.headers["x-request-id"] and inside.headers["x-content-type-options"]
        for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            outside = await client.request(method, name, json=asks(), headers=headers)
            if is_open(method, name):
                assert outside.status_code == inside.status_code
            else:
                assert outside.status_code == 403 and is_error(outside) and "secret" not in outside.text


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_what_is_open_tells_nothing_of_anybody(path):
    async with served(lambda request: Said(text="12")) as (client, _, _):
        told = await client.get(path, headers={"host": "evil.example"})
    assert set(told.json()) <= {"status", "problem", "version"}


async def test_whoever_decides_is_asked_for_every_route_that_is_not_open():
    """Where the next thing that decides, such as keys, goes in."""

    async def nobody(scope):
        raise ApiError("no key", status=401)

    import httpx2

    transport = httpx2.ASGITransport(create_app(Service({}), admit=nobody))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for method, path in [*ROUTES, ("GET", "/nothing"), ("DELETE", "/v1/models")]:
            reply = await client.request(method, path)
            assert (reply.status_code == 401) == (not is_open(method, path)), path


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8000"}, {"host": "127.0.0.1"}, {"host": "[::1]:8000"}, {"host": "127.8.9.1:1"},
        {"origin": "http://localhost:3000"}, {"origin": "http://127.0.0.1:5173"},
    ],
)  # fmt: skip
async def test_this_machine_by_its_names_is_let_in(headers):
    async with served(lambda request: Said(text="12")) as (client, _, _):
        assert (await client.post(PATH, json=asks(), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "2130706433", "10.0.0.1", "[::"]
)
async def test_other_names_are_not(host):
    async with served(lambda request: Said(text="12")) as (client, _, _):
        reply = await client.post(PATH, json=asks(), headers={"host": host})
    assert reply.status_code == 403 and is_error(reply)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "192.168.1.5", "example.com", "2130706433", "127.1"])
def test_it_listens_nowhere_else(host):
    with pytest.raises(ConfigError, match="no keys") as raised:
        listen(host, 0)
    assert "--host" in raised.value.hint


def test_a_port_that_is_taken_is_one_line():
    with listen("127.0.0.1", 0) as first, pytest.raises(ConfigError, match="cannot listen"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b'{"model": NaN}', 400),
        (b"\xff\xfe", 400),
        (b'{"model": "\\ud800"}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (json.dumps(asks(response_format={"type": "json_schema", "json_schema": {"schema": {}}})).replace(
            '"schema": {}', '"schema": ' + '{"not": ' * 5000 + "{}" + "}" * 5000).encode(), 400),
        (b"1" * 1_000_000, 400),
        (b"[" + b"[]," * 2_000_000 + b"1]", 413),
        (b'{"messages": [' + b"{}," * 200_000 + b"{}]}", 400),
        (json.dumps(asks("x" * 2_000_000)).encode(), 400),
        (json.dumps(asks(tools=[{}] * 10_000)).encode(), 400),
        (json.dumps(asks(n=16384)).encode(), 400),
        (b" " * (33 * 2**20), 413),
    ],
    ids=range(17),
)  # fmt: skip
async def test_hostile_bodies_end_soon_in_a_refusal(content, status):
    async with served(lambda request: Said(text="12")) as (client, backend, _):
        began = time.process_time()
        reply = await client.post(PATH, content=content)
        assert time.process_time() - began < 3
        assert reply.status_code == status and is_error(reply), reply.text[:300]
        assert backend.requests == []


async def test_a_body_without_a_length_is_measured_as_it_comes():
    async def pieces():
        for _ in range(40):
            yield b" " * 2**20

    async with served(lambda request: Said(text="12")) as (client, _, _):
        reply = await client.post(PATH, content=pieces())
        assert reply.status_code == 413 and is_error(reply)
        for length in ("nine", "-1", str(2**40), "9" * 5000):
            reply = await client.post(PATH, content=b"{}", headers={"content-length": length})
            assert reply.status_code == 413, length


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch):
    monkeypatch.setattr("narthex.serve.bodies.READ_S", 0.05)

    async def never():
        yield b"{"
        await asyncio.sleep(5)

    async with served(lambda request: Said(text="12")) as (client, _, _):
        reply = await client.post(PATH, content=never())
    assert reply.status_code == 408 and is_error(reply)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", PATH, 405), ("GET", "/docs", 404), ("GET", "/v1/models/none", 404)],
)
async def test_what_is_not_there_has_the_same_shape(method, path, status):
    async with served(lambda request: Said(text="12")) as (client, _, _):
        reply = await client.request(method, path)
    assert reply.status_code == status and is_error(reply)


async def test_models_and_what_they_can():
    async with served(lambda request: Said(text="12")) as (client, _, _):
        listed = (await client.get("/v1/models")).json()["data"]
        assert [entry["id"] for entry in listed] == ["scripted", *(f"scripted:{mode}" for mode in (
            "instant", "thinking", "contemplating"))]  # fmt: skip
        for entry in listed:
            assert (await client.get(f"/v1/models/{entry['id']}")).json() == entry
    assert [entry["capabilities"]["mode"] for entry in listed] == ["thinking", "instant", "thinking", "contemplating"]


async def test_ready_says_what_is_missing():
    async with served(lambda request: Said(text="12")) as (client, _, service):
        assert (await client.get("/ready")).status_code == 200
        service.keeps_runs = True
        reply = await client.get("/ready")
        assert reply.status_code == 503 and "store" in reply.json()["problem"]


async def test_tokens_of_what_runs_elsewhere_are_not_known():
    async with served(lambda request: Said(text="12")) as (client, _, _):
        reply = await client.post("/tokenize", json={"prompt": "x"})
    assert reply.status_code == 400 and is_error(reply)


async def test_the_openapi_document_has_every_body():
    async with served(lambda request: Said(text="12")) as (client, _, _):
        document = (await client.get("/openapi.json")).json()
    body = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ChatBody"}
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"], reference
