"""Keys: who gets in with which, what each may see of the own account, and what no user is told of another."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import ConfigError
from narthex.serve import Service, create_app, listen
from narthex.serve.settings import RoleSettings, ServeSettings
from narthex.store import Store

from .serve_helpers import PATH, asks


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def team(folder, script=lambda request: Said(text="12"), *, settings=None, base_url="http://narthex.example"):
    """(client, service, keys by name) of a server with an administrator, ada, and two users, bo and cy."""
    with Store.open(folder) as store:
        people = store.people
        users = [
            people.add_user("ada", "admin"),
            people.add_user("bo", groups=["lab"]),
            people.add_user("cy", groups=["ops"]),
        ]
        keys = {user.name: people.add_key(user.id).key for user in users}
        backend = script if hasattr(script, "turn") else ScriptedBackend(script)
        service = Service({backend.name: backend}, settings=settings or ServeSettings(), store=store)
        transport = httpx2.ASGITransport(create_app(service), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=base_url) as client:
            yield client, service, keys


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer "},
        bearer("nx_00000000_" + "a" * 43), bearer("none"), bearer("nx_" + "é" * 9), {"authorization": "Basic YTpi"},
        {"host": "127.0.0.1"}, {"cookie": "key=1"}, {"x-api-key": "1"}, {"x-forwarded-for": "127.0.0.1"},
    ],
    ids=range(12),
)  # fmt: skip
async def test_nobody_gets_in_without_a_key_not_even_from_this_machine(tmp_path, headers):
    raw = {name: value.encode("utf-8") for name, value in headers.items()}
    async with team(tmp_path, base_url="http://127.0.0.1:8000") as (client, _, _):
        reply = await client.post(PATH, json=asks(), headers=raw)
    assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer"
    error = reply.json()["error"]
    assert error["type"] == "authentication_error" and error["code"] == "invalid_api_key" and "12" not in reply.text


async def test_a_key_opens_from_anywhere_until_it_is_revoked(tmp_path):
    async with team(tmp_path) as (client, service, keys):
        for value in (f"Bearer {keys['bo']}", f"bearer  {keys['bo']} "):
            assert (await client.post(PATH, json=asks(), headers={"authorization": value})).status_code == 200
        service.store.people.revoke_key(keys["bo"].split("_")[1])
        assert (await client.post(PATH, json=asks(), headers=bearer(keys["bo"]))).status_code == 401
        assert (await client.post(PATH, json=asks(), headers=bearer(keys["cy"]))).status_code == 200


async def test_from_the_first_user_on_everybody_needs_one(tmp_path):
    with Store.open(tmp_path) as store:
        service = Service({}, store=store)
        transport = httpx2.ASGITransport(create_app(service))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get("/v1/models")).status_code == 200
            store.people.add_user("ada")
            assert (await client.get("/v1/models")).status_code == 401
            store.people.remove_user("ada")
            assert (await client.get("/v1/models")).status_code == 200
            service.is_open_wide = True  # then no user is no reason to let anybody in
            assert (await client.get("/v1/models")).status_code == 401


def test_it_listens_beyond_this_machine_only_with_keys():
    with pytest.raises(ConfigError, match="no keys"):
        listen("0.0.0.0", 0)
    with listen("0.0.0.0", 0, has_keys=True) as taken:
        assert taken.getsockname()[0] == "0.0.0.0"


async def test_work_of_two_users_is_never_shared(tmp_path):
    backend = ScriptedBackend(lambda request: Said(text="12"))
    async with team(tmp_path, backend) as (client, service, keys):
        for name in ("ada", "bo"):
            assert (await client.post(PATH, json=asks(), headers=bearer(keys[name]))).status_code == 200
        tenants = [request.tenant for request in backend.requests]
        assert tenants == [service.store.people.user(name).id for name in ("ada", "bo")]


async def test_who_i_am(tmp_path):
    settings = ServeSettings(roles={"user": RoleSettings(models=(), tools=("zoom",))})
    async with team(tmp_path, settings=settings) as (client, _, keys):
        bo = (await client.get("/api/me", headers=bearer(keys["bo"]))).json()
        ada = (await client.get("/api/me", headers=bearer(keys["ada"]))).json()
    assert (bo["user"], bo["groups"], bo["role"], bo["keys_required"]) == ("bo", ["lab"], "user", True)
    assert bo["models"] == [] and bo["tools"] == ["zoom"] and bo["quota"] is None
    (model,) = ada["models"]
    assert model["id"] == "scripted" and model["modes"] == ["instant", "thinking", "contemplating"]
    assert model["is_embedded"] is False and set(ada["tools"]) == {"zoom", "mark", "ground"}


async def test_own_keys_are_made_listed_and_revoked_and_nobody_elses(tmp_path):
    async with team(tmp_path) as (client, _, keys):
        bo, cy = bearer(keys["bo"]), bearer(keys["cy"])
        made = await client.post("/api/keys", json={"name": "laptop"}, headers=bo)
        assert made.status_code == 201 and set(made.json()) == {"id", "name", "key"}
        listed = (await client.get("/api/keys", headers=bo)).json()["data"]
        assert [key["name"] for key in listed] == ["", "laptop"] and "key" not in listed[1]
        assert len((await client.get("/api/keys", headers=cy)).json()["data"]) == 1
        place = f"/api/keys/{made.json()['id']}"
        for headers in (cy, bearer(keys["ada"])):
            assert (await client.delete(place, headers=headers)).status_code == 404
        assert (await client.get("/api/me", headers=bearer(made.json()["key"]))).status_code == 200
        assert (await client.delete(place, headers=bo)).status_code == 204
        assert (await client.delete(place, headers=bo)).status_code == 404
        assert (await client.get("/api/me", headers=bearer(made.json()["key"]))).status_code == 401
        for body in ({"name": 5}, {"name": "x" * 65}, {"name": "\x1b"}, []):
            assert (await client.post("/api/keys", json=body, headers=bo)).status_code == 400, body


async def test_without_users_there_is_nobody_to_give_a_key_to(tmp_path):
    transport = httpx2.ASGITransport(create_app(Service({}, keeps_runs=False)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/api/keys")).json() == {"data": []}
        assert (await client.post("/api/keys", json={})).status_code == 409
        assert (await client.delete("/api/keys/1")).status_code == 404
        me = (await client.get("/api/me")).json()
        assert me["keys_required"] is False and me["role"] == "admin"
        assert (await client.get("/api/usage")).json() == {"data": [], "quota": None}
        for days in ("0", "367", "x", "-1", "9" * 30):
            assert (await client.get("/api/usage", params={"days": days})).status_code == 400
