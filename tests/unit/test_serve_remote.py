"""Pictures from elsewhere: none without an allowed domain, none from inside, whatever the address looks like."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from narthex.backends.fake import Said
from narthex.serve import remote
from narthex.serve.errors import ApiError
from narthex.serve.remote import RemotePictures, is_public

from .serve_helpers import PATH, asks, data_uri, served

SECRETS = "127.0.0.1 localhost 169.254.169.254 10.0.0.1 192.168.0.1 172.16.0.1 100.64.0.1 0.0.0.0 [::1] [::] 0 127.1"
SPELLINGS = (
    "2130706433 0x7f000001 0x7f.0.0.1 017700000001 0177.0.0.01 127.0.1 [::ffff:127.0.0.1] [::ffff:7f00:1] "
    "[64:ff9b::7f00:1] [2002:7f00:1::] [fe80::1%25lo] [fd00::1] 127.0.0.1. localhost. LOCALHOST ①②⑦.⓪.⓪.① 127。0。0。1 "
    "metadata.google.internal localtest.me 127.0.0.1.nip.io allowed.example@127.0.0.1 127.0.0.1#allowed.example "
    "127.0.0.1\\@allowed.example allowed.example.evil.example evilallowed.example allowed.example:8080 "
    "allowed.example%00.evil.example"
)
URLS = [f"http://{host}/x.png" for host in [*SECRETS.split(), *SPELLINGS.split()]] + [
    "https://127.0.0.1/", "HTTP://127.0.0.1/", "http:/127.0.0.1/x", "http:///127.0.0.1/x", "//127.0.0.1/x", "http://",
    "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:6379/_x", "data:text/html,x", "http://127.0.0.1:22/",
    "http://allowed.example:22/x", " http://127.0.0.1/", "http://allowed.example\t@127.0.0.1/", "unix:///run/x.sock",
    "jar:http://127.0.0.1!/", "http://[::ffff:169.254.169.254]/latest/meta-data/", "http://[", "http://allowed.example:x/",
]  # fmt: skip


@pytest.fixture
def no_network(monkeypatch):
    """Whoever opens a socket or asks for a name is noted, and fails."""
    tried = []

    def refuse(name):
        def tell(*arguments, **_):
            tried.append((name, arguments[1:]))
            raise OSError("no network here")

        return tell

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse(name))
    return tried


@pytest.mark.parametrize("domains", [(), ("allowed.example", "*.pictures.example")], ids=["none", "some"])
async def test_the_corpus_opens_no_socket(no_network, domains):
    """With no domain allowed, and with two that none of these belongs to: every URL is a 400, and nobody is asked."""
    async with served(lambda request: Said(text="12")) as (client, backend, service):
        service.remote = RemotePictures(domains)
        for url in URLS:
            reply = await client.post(PATH, json=asks("What?", url))
            assert reply.status_code == 400, url
            error = reply.json()["error"]
            assert error["param"] == "messages[0].content[1].image_url" and error["code"], url
        assert backend.requests == [] and no_network == []


@pytest.mark.parametrize(
    ("address", "is_fine"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True), ("127.0.0.1", False),
        ("10.1.2.3", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fd12::1", False), ("::ffff:93.184.216.34", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False), ("ff02::1", False), ("192.0.2.1", False), ("198.18.0.1", False),
    ],
)  # fmt: skip
def test_what_is_public(address, is_fine):
    assert is_public(address) is is_fine


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:10.0.0.1"], []])
async def test_an_allowed_name_that_stands_for_an_inner_address_is_refused(monkeypatch, addresses):
    async def resolve(self, host, port, **_):
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: connected.append(arguments))
    with pytest.raises(ApiError, match="no public address"):
        await RemotePictures(("allowed.example",)).inlined(asks("What?", "http://allowed.example/x.png"))
    assert connected == []


@contextmanager
def elsewhere(answer, monkeypatch):
    """A server on this machine that stands in for a public one: requests it got are in the list."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["host"]))
            answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    asked = []

    async def resolve(target, where):
        asked.append(target.host)
        return f"127.0.0.1:{server.server_address[1]}"

    monkeypatch.setattr(remote, "_resolve", resolve)
    try:
        yield seen, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def sends(status, body=b"", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


async def test_an_allowed_picture_is_fetched_once_by_its_own_name(monkeypatch):
    picture = base64.b64decode(data_uri().partition(",")[2])
    with elsewhere(sends(200, picture), monkeypatch) as (seen, asked):
        async with served(lambda request: Said(text="12")) as (client, backend, service):
            service.remote = RemotePictures(("allowed.example",))
            reply = await client.post(PATH, json=asks("What?", "http://allowed.example/a%20b.png?size=1"))
    assert reply.status_code == 200 and len(backend.requests[0].messages[-1].pictures) == 1
    assert seen == [("/a%20b.png?size=1", "allowed.example")] and asked == ["allowed.example"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sends(302, location="http://127.0.0.1:1/"), "redirect"), (sends(301, location="/other"), "redirect"),
        (sends(404), "got a 404"), (sends(200, b"x", content_encoding="gzip"), "compressed"),
        (sends(200, b"x" * 3000), "more than"), (lambda handler: time.sleep(1), "did not come"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "could not be fetched"),
    ],
    ids=["away", "here", "gone", "bomb", "large", "slow", "odd"],
)  # fmt: skip
async def test_what_cannot_be_fetched_is_a_400(monkeypatch, answer, told):
    monkeypatch.setattr(remote, "MAX_REMOTE_BYTES", 2000)
    monkeypatch.setattr(remote, "TOTAL_S", 0.5 if told == "did not come" else 20.0)
    with elsewhere(answer, monkeypatch) as (seen, _):
        async with served(lambda request: Said(text="12")) as (client, backend, service):
            service.remote = RemotePictures(("allowed.example",))
            reply = await client.post(PATH, json=asks("What?", "http://allowed.example/x.png"))
    assert reply.status_code == 400 and told in reply.json()["error"]["message"], reply.text
    assert len(seen) == 1 and backend.requests == []


async def test_no_more_than_a_few(no_network):
    urls = ["http://allowed.example/x.png"] * (remote.MAX_REMOTE + 1)
    with pytest.raises(ApiError, match="more than 8"):
        await RemotePictures(("allowed.example",)).inlined(asks("What?", *urls))
    assert no_network == []
