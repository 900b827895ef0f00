"""Nobody gets in without a key, and nobody gets at what another user has: every route, from the table of routes itself.

A new route with an id, or a new field that names something of a user's, fails here until it is covered.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from contextlib import asynccontextmanager

import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.serve import Service, create_app
from narthex.serve.gate import is_open
from narthex.serve.routes import BODIES

from .serve_helpers import PATH, asks, data_uri
from .test_serve_keys import bearer, team
from .test_serve_page import paths

SECRET = "the patient is Mr Smith"
ROUTES = sorted({(method, route.path) for route in paths(create_app(Service({})).routes) for method in route.methods})
# A model's name is nobody's: it has no owner, and roles are tested elsewhere.
NOT_OWNED = {"name"}
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
WITH_ID = [(method, path) for method, path in ROUTES if set(_PARAMETER.findall(path)) - NOT_OWNED]
OTHERS = ("ada", "cy", "di")  # an administrator, a user of another group, one of the same
# What a request needs to be understood, so that it gets as far as asking whose it is.
WITH_BODY = {
    ("PATCH", "/api/conversations/{conversation_id}"): {"title": "mine now"},
    ("POST", "/api/conversations/{conversation_id}/turns"): {"text": "and what else?"},
}


class Holding(ScriptedBackend):
    """Answers at once, but for what says "hold": that stays under way until it is cancelled."""

    def __init__(self):
        super().__init__(lambda request: Said(text=SECRET))

    async def turn(self, request):
        if "hold" in request.messages[-1].text:
            await asyncio.Event().wait()
        async for delta in super().turn(request):
            yield delta


@asynccontextmanager
async def four(folder):
    """(client, headers by name): bo has it, di is in bo's group, cy in another, ada an administrator."""
    async with team(folder, Holding()) as (client, service, keys):
        di = service.store.people.add_user("di", groups=["lab"])
        keys["di"] = service.store.people.add_key(di.id).key
        try:
            yield client, {name: bearer(key) for name, key in keys.items()}
        finally:
            service.stop()
            await asyncio.gather(*service.running, return_exceptions=True)


async def ask_turn(client, headers, text=SECRET):
    """(conversation, turn, run) of a question that has been asked in the page's way."""
    conversation = (await client.post("/api/conversations", json={}, headers=headers)).json()["id"]
    reply = await client.post(f"/api/conversations/{conversation}/turns", json={"text": text}, headers=headers)
    assert reply.status_code == 201, reply.text
    run_id = reply.json()["run_id"]
    if text == SECRET:  # to its end
        async with asyncio.timeout(30):
            while (await client.get(f"/api/runs/{run_id}", headers=headers)).json()["status"] == "running":
                await asyncio.sleep(0.02)
    return conversation, reply.json()["turn_id"], run_id


async def make_file(client, headers):
    form = {"files": {"file": ("a.txt", SECRET.encode())}, "data": {"purpose": "user_data"}}
    return (await client.post("/v1/files", headers=headers, **form)).json()["id"]


async def make_picture(client, headers):
    reply = await client.post(PATH, json=asks(SECRET, data_uri()), headers=headers)
    run_id = reply.json()["narthex"]["run_id"]
    assert (await client.get(f"/api/runs/{run_id}", headers=headers)).status_code == 200
    return hashlib.sha256(base64.b64decode(data_uri().partition(",")[2])).hexdigest()


async def make_response(client, headers):
    body = {"model": "scripted", "input": SECRET}
    return (await client.post("/v1/responses", json=body, headers=headers)).json()["id"]


async def make_key(client, headers):
    return (await client.post("/api/keys", json={"name": SECRET}, headers=headers)).json()["id"]


async def make_conversation(client, headers):
    return (await ask_turn(client, headers))[0]


async def make_run(client, headers):
    return (await ask_turn(client, headers))[2]


async def make_going_run(client, headers):
    return (await ask_turn(client, headers, "hold"))[2]


async def make_turn(client, headers):
    return (await ask_turn(client, headers))[1]


# For each name of a path's parameter, how somebody comes to own such a thing.
MAKERS = {
    "conversation_id": [make_conversation], "run_id": [make_run, make_going_run], "file_id": [make_file],
    "sha256": [make_picture], "response_id": [make_response], "key_id": [make_key],
}  # fmt: skip
CASES = [
    pytest.param(method, path, maker, id=f"{method} {path} {maker.__name__}")
    for method, path in WITH_ID
    for parameter in sorted(set(_PARAMETER.findall(path)) - NOT_OWNED)
    for maker in MAKERS.get(parameter, ())
]


def test_every_route_with_an_id_is_covered():
    parameters = {name for _, path in WITH_ID for name in _PARAMETER.findall(path)} - NOT_OWNED
    assert parameters <= set(MAKERS), f"say in MAKERS how one comes by {parameters - set(MAKERS)}"
    assert {(case.values[0], case.values[1]) for case in CASES} == set(WITH_ID)


def is_error(reply, code=None):
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and SECRET not in reply.text
    return code is None or error["code"] == code


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: value)
async def test_no_route_answers_without_a_key(tmp_path, method, path):
    place = _PARAMETER.sub("scripted", path)
    async with four(tmp_path) as (client, _):
        for headers in ({}, bearer("nx_00000000_" + "a" * 43), {"host": "127.0.0.1"}):
            reply = await client.request(method, place, headers=headers)
            if is_open(method, place):
                assert reply.status_code < 500 and reply.status_code != 401
            else:
                assert reply.status_code == 401 and (method == "HEAD" or is_error(reply, "invalid_api_key"))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
async def test_nor_does_anything_that_is_no_route(tmp_path, method):
    async with four(tmp_path) as (client, _):
        for place in ("/nothing", "/v1/models/", "//v1/models", "/V1/models", "/health/", "/assets", "/api", "/docs",
                      "/health/../v1/models", "/%2e%2e/v1/models", "/index.html/v1/models", "/.env"):  # fmt: skip
            assert (await client.request(method, place)).status_code == 401, place


@pytest.mark.parametrize(("method", "path", "maker"), CASES)
async def test_what_is_anothers_is_not_there(tmp_path, method, path, maker):
    async with four(tmp_path) as (client, headers):
        id_ = await maker(client, headers["bo"])
        parameter = next(iter(set(_PARAMETER.findall(path)) - NOT_OWNED))
        place = _PARAMETER.sub(id_, path)
        body = {"json": WITH_BODY[method, path]} if (method, path) in WITH_BODY else {}
        before = await seen_by_owner(client, headers["bo"], parameter, id_)
        nothing = await client.request(method, _PARAMETER.sub("0" * len(id_), path), headers=headers["cy"], **body)
        for other in OTHERS:
            reply = await asyncio.wait_for(client.request(method, place, headers=headers[other], **body), 30)
            assert reply.status_code == 404 and is_error(reply), (other, reply.text)
            # Theirs and what never was are told alike, or ids could be tried.
            told, never = reply.json()["error"], nothing.json()["error"]
            assert told["code"] == never["code"] and told["type"] == never["type"]
        assert await seen_by_owner(client, headers["bo"], parameter, id_) == before
        own = client.request(method, place, headers=headers["bo"], **body)
        if maker is make_going_run and path.endswith("/events"):  # it goes on until somebody ends it
            await client.post(f"/api/runs/{id_}/cancel", headers=headers["bo"])
        reply = await asyncio.wait_for(own, 30)
        assert reply.status_code not in (401, 403, 404) and reply.status_code < 500, reply.text


async def seen_by_owner(client, headers, parameter, id_):
    """All that the owner is shown of it, to compare: nobody else changed, ended or deleted it."""
    places = {
        "conversation_id": f"/api/conversations/{id_}", "run_id": f"/api/runs/{id_}", "file_id": f"/v1/files/{id_}",
        "sha256": f"/api/pictures/{id_}", "response_id": f"/v1/responses/{id_}", "key_id": "/api/keys",
    }  # fmt: skip
    reply = await client.get(places[parameter], headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.content


LISTS = [(method, path) for method, path in ROUTES if method == "GET" and not _PARAMETER.search(path)]


@pytest.mark.parametrize("path", [path for _, path in LISTS if path not in ("/metrics", "/openapi.json")])
async def test_no_list_shows_what_is_anothers(tmp_path, path):
    async with four(tmp_path) as (client, headers):
        for maker in (make_conversation, make_file, make_key):
            await maker(client, headers["bo"])
        for other in OTHERS:
            for query in ({}, {"search": "patient"}, {"limit": "100"}):
                reply = await client.get(path, params=query, headers=headers[other])
                assert "Smith" not in reply.text and "patient" not in reply.text, (other, reply.text)


# Fields of bodies and queries that name something a user has: (method, path, what is sent with the id).
NAMED = {
    ("post", "/api/conversations/{conversation_id}/turns", "files"): (
        [make_file, make_picture], lambda id_: {"text": "x", "files": [f"sha256:{id_}" if len(id_) == 64 else id_]}
    ),
    ("post", "/api/conversations/{conversation_id}/turns", "parent"): (
        [make_turn], lambda id_: {"text": "x", "parent": id_}
    ),
    ("post", "/api/inside", "run_id"): ([make_run], lambda id_: {"run_id": id_, "agent_id": "agent-0"}),
    ("post", "/v1/responses", "previous_response_id"): (
        [make_response], lambda id_: {"model": "scripted", "input": "x", "previous_response_id": id_}
    ),
    ("post", "/v1/responses", "input"): (
        [make_file],
        lambda id_: {"model": "scripted", "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "x"}, {"type": "input_file", "file_id": id_}]}]},
    ),
}  # fmt: skip
_NAMES_SOMETHING = re.compile(r"(^|_)(ids?|parent|files?|conversation|run)$")
# What is refused or changes nothing, whatever it names; docs/api.md says so of each.
# An agent is of a run, which is named beside it.
HARMLESS = {"prompt_cache_key", "safety_identifier", "conversation", "agent_id"}


def test_every_field_that_names_something_is_covered():
    found = {
        (method, path, name)
        for (method, path), kind in BODIES.items()
        for name in kind.model_fields
        if _NAMES_SOMETHING.search(name) and name not in HARMLESS
    }
    assert found <= set(NAMED), f"say in NAMED how another's id is sent as {found - set(NAMED)}"


@pytest.mark.parametrize(
    ("path", "maker", "body"),
    [
        pytest.param(path, maker, body, id=f"{path} {name} {maker.__name__}")
        for (method, path, name), (makers, body) in NAMED.items()
        for maker in makers
        if (method, path) in BODIES
    ],
)
async def test_anothers_id_in_a_body_is_not_there(tmp_path, path, maker, body):
    async with four(tmp_path) as (client, headers):
        id_ = await maker(client, headers["bo"])
        for other in OTHERS:
            own = (await client.post("/api/conversations", json={}, headers=headers[other])).json()["id"]
            place = path.replace("{conversation_id}", own)
            reply = await client.post(place, json=body(id_), headers=headers[other])
            assert reply.status_code in (400, 404) and is_error(reply), (other, reply.text)
            never = await client.post(place, json=body("0" * len(id_)), headers=headers[other])
            assert (never.status_code, never.json()["error"]["code"]) == (
                reply.status_code, reply.json()["error"]["code"])  # fmt: skip


async def test_a_list_after_anothers_file_is_none(tmp_path):
    async with four(tmp_path) as (client, headers):
        id_ = await make_file(client, headers["bo"])
        for other in OTHERS:
            assert (await client.get("/v1/files", params={"after": id_}, headers=headers[other])).status_code == 404
