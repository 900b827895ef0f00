"""The page's files: given out under a strict policy; where they are missing, one line says how to get them."""

from __future__ import annotations

import gzip

import httpx2
import pytest
from fastapi import FastAPI

from narthex.base.errors import ConfigError
from narthex.serve import Service, create_app, page
from narthex.serve.page import HOW_TO_GET, POLICY, make_page_router

HASHED, PLAIN = "assets/index-Ab3_-x9Z.js", "assets/theme.js"


@pytest.fixture
def built(tmp_path):
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text("<p>page", encoding="utf-8")
    for name in (HASHED, PLAIN):
        (tmp_path / "dist" / name).write_text("let x = 1;\n" * 200, encoding="utf-8")
    (tmp_path / "dist" / "assets" / "notes.txt").write_text("not of the page", encoding="utf-8")
    (tmp_path / "secret.js").write_text("outside", encoding="utf-8")
    return tmp_path / "dist"


def asking(folder):
    app = FastAPI()
    app.include_router(make_page_router(folder))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


async def test_without_a_page_a_line_says_how_to_get_it(tmp_path):
    async with asking(tmp_path) as client:
        reply = await client.get("/")
    assert reply.status_code == 200 and HOW_TO_GET in reply.text
    assert reply.headers["content-security-policy"] == POLICY


async def test_files_carry_the_policy_and_are_kept_only_where_their_name_changes_with_them(built):
    async with asking(built) as client:
        index, hashed, plain = [await client.get(f"/{name}") for name in ("", HASHED, PLAIN)]
    assert index.text == "<p>page" and index.headers["content-type"] == "text/html; charset=utf-8"
    assert hashed.headers["content-type"] == "text/javascript; charset=utf-8"
    for reply in (index, hashed, plain):
        assert reply.headers["content-security-policy"] == POLICY and reply.headers["referrer-policy"] == "no-referrer"
    assert "immutable" in hashed.headers["cache-control"]
    assert index.headers["cache-control"] == plain.headers["cache-control"] == "no-cache"


async def test_they_are_squeezed_for_whoever_takes_that(built):
    whole = (built / HASHED).read_bytes()
    async with asking(built) as client:
        async with client.stream("GET", f"/{HASHED}", headers={"accept-encoding": "gzip"}) as reply:
            raw = b"".join([part async for part in reply.aiter_raw()])
        plain = await client.get(f"/{HASHED}", headers={"accept-encoding": "identity"})
    assert reply.headers["content-encoding"] == "gzip" and gzip.decompress(raw) == whole and len(raw) < len(whole)
    assert "content-encoding" not in plain.headers and plain.content == whole


async def test_a_changed_file_is_read_anew(built):
    async with asking(built) as client:
        await client.get("/")
        (built / "index.html").write_text("<p>newer page", encoding="utf-8")
        assert (await client.get("/")).text == "<p>newer page"


@pytest.mark.parametrize(
    "name", ["assets/../../secret.js", "assets/%2e%2e%2f%2e%2e%2fsecret.js", "assets/..%5c..%5csecret.js",
             "assets/notes.txt", "assets/nothing.js", "assets/", "secret.js"],
)  # fmt: skip
async def test_nothing_else_is_given_out(built, name):
    async with asking(built) as client:
        reply = await client.get(f"/{name}")
    assert reply.status_code >= 400 and "outside" not in reply.text and "not of the page" not in reply.text


async def test_the_whole_application_has_it_and_errors_keep_their_shape():
    transport = httpx2.ASGITransport(create_app(Service({})), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/")).headers["content-security-policy"] == POLICY
        missing = await client.get("/assets/nothing.js")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "unknown_url"


def test_building_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SOURCE", tmp_path / "web")
    with pytest.raises(ConfigError, match="nor is its source"):
        page.build(print)
    (tmp_path / "web").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no Node here"):
        page.build(print)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho \"cannot $1\" >&2\nexit 1\n", encoding="utf-8")
    npm.chmod(0o755)
    with pytest.raises(ConfigError, match="could not be built: cannot ci"):
        page.build(print)
