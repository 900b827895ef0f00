"""What a hostile or careless client sends ends soon in a refusal, while another user's stream goes on."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import httpx2
import pytest
from PIL import Image

from narthex.backends.local import LocalBackend
from narthex.serve import Service, listen
from narthex.serve.server import address_of, make_server
from narthex.serve.settings import ServeSettings
from narthex.store import Store

PATH = "/v1/chat/completions"
LONG_S = 60.0  # on a machine that does other things, too; a bomb that works takes minutes or all memory


def asks(text="What?", **fields):
    return {"model": "tiny:instant", "messages": [{"role": "user", "content": text}], "max_tokens": 4, **fields}


def shows(data, kind="image/png"):
    uri = f"data:{kind};base64," + base64.b64encode(data).decode()
    return asks([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": uri}}])


def at(url):
    return asks([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}])


def holds(schema):
    return asks(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})


def png(width, height, *, packed=b"", more=b""):
    """A PNG that says it is so large, whatever is in it."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def text_chunk():
    """A comment of 200 MB, packed into 200 KB."""
    data = b"Comment\0\0" + zlib.compress(b"x" * 200_000_000, 9)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


def frames(count):
    buffer, size = io.BytesIO(), (2000, 2000)
    rest = [Image.new("P", size, number % 250) for number in range(count)]
    Image.new("P", size).save(buffer, "GIF", save_all=True, append_images=rest)
    return buffer.getvalue()


PDF = (
    b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids["
    + b"3 0 R " * 100_000 + b"]/Count 100000>>endobj\n3 0 obj<</Type/Page/MediaBox[0 0 99999999 99999999]>>endobj\n"
)  # fmt: skip
DEEP: dict = {}
for _ in range(190):
    DEEP = {"properties": {"a": DEEP}}
WIDE = {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 10} for i in range(60)} | {"d60": {"const": 1}},
        "$ref": "#/$defs/d0"}  # fmt: skip

# What a grammar can follow step by step without ever writing it out is no bomb: it may as well be answered.
HARMLESS = (200, 400)
# name -> (body, bytes as they are, or what makes one; statuses that are fine)
BOMBS = {
    "too large": (b" " * (33 * 2**20), 413),
    "arrays 100,000 deep": (b"[" * 100_000, 400),
    "objects 100,000 deep": (b'{"a":' * 100_000, 400),
    "deep in its place": (json.dumps(asks()).encode()[:-1] + b', "metadata": ' + b'{"a":' * 100_000, 400),
    "a schema 5,000 deep": (json.dumps(holds({})).replace('"schema": {}', '"schema": ' + '{"not":' * 5000 + "{}"
                            + "}" * 5000).encode(), 400),
    "a number of a million digits": (b'{"seed": ' + b"9" * 1_000_000 + b"}", 400),
    "a million values": (b"[" + b"1," * 1_000_000 + b"1]", 413),
    "10,000 tools": (asks(tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(10_000)]), 400),
    "a tool beyond measure": (asks(tools=[{"type": "function", "function": {
        "name": "f", "parameters": {"properties": {f"p{i}": {"type": "string"} for i in range(20_000)}}}}]), 400),
    "n": (asks(n=16384), 400),
    "n beyond numbers": (asks(n=10**30), 400),
    "10,000 messages": (asks() | {"messages": [{"role": "user", "content": "x"}] * 10_000}, 400),
    "a text of a megabyte": (asks("x" * 1_000_000), 400),
    "stop strings": (asks(stop=["x" * 10_000] * 100), 400),
    "a pattern in a pattern": (holds({"type": "string", "pattern": "^(.{0,5000}){0,5000}$"}), HARMLESS),
    "a pattern with a long memory": (holds({"type": "string", "pattern": "(.*a.{1000}){3}"}), HARMLESS),
    "a pattern that looks ahead": (holds({"type": "string", "pattern": "(?=(a+)+$)b"}), 400),
    "a schema of a megabyte": (holds({"enum": [f"{i:0200}" for i in range(5000)]}), 400),
    "ten references each sixty times": (holds(WIDE), HARMLESS),
    "a reference elsewhere": (holds({"$ref": "http://127.0.0.1:9/schema.json"}), 400),
    "what nothing can be": (holds({"type": "string", "minLength": 10**7}), HARMLESS),
    "a picture of 3.6 gigapixels": (shows(png(60_000, 60_000, packed=zlib.compress(b"\0" * 10**7, 9))), 400),
    "a picture of four billion columns": (shows(png(2**32 - 1, 1)), 400),
    "a picture of no size": (shows(png(0, 0)), 400),
    "a comment of 200 MB": (lambda: shows(png(4, 4, packed=zlib.compress(b"\0" * 52), more=text_chunk())), 400),
    "a film": (lambda: shows(frames(20), "image/gif"), HARMLESS),  # its first picture alone is read
    "a cut picture": (shows(png(100, 100, packed=zlib.compress(b"\0" * 100))), 400),
    "no picture": (shows(b"nothing"), 400),
    "a document": (shows(PDF, "application/pdf"), 400),
    "a document as a picture": (shows(PDF), 400),
    "a drawing": (shows(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1'/></svg>"), 400),
    "no base64": (at("data:image/png;base64,%%%"), 400),
    "1,000 pictures": (asks([at("x")["messages"][0]["content"][1]] * 1000), 400),
    "an inner address": (at("http://127.0.0.1:8000/health"), 400),
    "an inner address, mapped": (at("http://[::ffff:7f00:1]/"), 400),
    "an inner address, decimal": (at("http://2130706433/"), 400),
    "an inner address, octal": (at("http://0177.0.0.01/"), 400),
    "metadata": (at("http://169.254.169.254/latest/meta-data/"), 400),
    "a file": (at("file:///etc/passwd"), 400),
}  # fmt: skip


@contextmanager
def serving(folder, home):
    """(URL, keys of two users) of a server around a model that goes on for thousands of tokens."""
    store = Store.open(home)
    keys = [store.people.add_key(store.people.add_user(name).id).key for name in ("bo", "cy")]
    backend = LocalBackend.open(folder, device="cpu")
    service = Service({"tiny": backend}, settings=ServeSettings(metrics="this_machine"), store=store)
    is_ready = threading.Event()
    with listen("127.0.0.1", 0) as taken:
        server = make_server(service, on_ready=is_ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            assert is_ready.wait(60)
            yield address_of(taken), keys
        finally:
            server.should_exit = True
            thread.join(30)


class Streaming(threading.Thread):
    """A user whose streams follow each other; `chunks` counts what came, `problem` says what went wrong."""

    def __init__(self, url, key):
        super().__init__(daemon=True)
        self._url, self._headers = url, {"authorization": f"Bearer {key}"}
        self.chunks, self.problem, self.may_end = 0, None, threading.Event()

    def run(self):
        try:
            while not self.may_end.is_set():
                self._one()
        except Exception as error:
            self.problem = repr(error)

    def _one(self):
        body = asks("Go on.", stream=True) | {"max_tokens": 2000}
        with httpx2.Client(base_url=self._url, headers=self._headers, timeout=LONG_S) as client:
            with client.stream("POST", PATH, json=body) as reply:
                for line in reply.iter_lines():
                    if '"error"' in line or reply.status_code != 200:
                        raise RuntimeError(line)
                    self.chunks += line.startswith("data: {")
                    if self.may_end.is_set():
                        return

    def wait_for_more(self):
        """Until more has come. Raises: AssertionError."""
        before, until = self.chunks, time.monotonic() + LONG_S
        while self.chunks <= before and time.monotonic() < until and self.problem is None:
            time.sleep(0.01)
        assert self.chunks > before and self.problem is None, self.problem


@pytest.fixture(scope="module")
def server(endless_model, tmp_path_factory):
    with serving(endless_model, tmp_path_factory.mktemp("home")) as (url, (bo, cy)):
        stream = Streaming(url, bo)
        stream.start()
        try:
            with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {cy}"}, timeout=LONG_S) as client:
                yield client, stream
        finally:
            stream.may_end.set()
            stream.join(LONG_S)


@pytest.mark.parametrize("name", BOMBS)
def test_it_is_refused_while_another_users_stream_goes_on(server, name):
    client, stream = server
    body, statuses = BOMBS[name]
    stream.wait_for_more()
    body = body() if callable(body) else body
    reply = client.post(PATH, content=body if isinstance(body, bytes) else json.dumps(body))  # within LONG_S, or raises
    assert reply.status_code in (statuses if isinstance(statuses, tuple) else (statuses,)), reply.text[:500]
    if reply.status_code != 200:
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"] and "Traceback" not in reply.text
        assert len(reply.content) < 5000, "it does not come back"
    stream.wait_for_more()


UPLOADS = {
    "a picture of 3.6 gigapixels": ("a.png", lambda: png(60_000, 60_000, packed=zlib.compress(b"\0" * 10**7, 9))),
    "a comment of 200 MB": ("a.png", lambda: png(4, 4, packed=zlib.compress(b"\0" * 52), more=text_chunk())),
    "a document of 100,000 pages": ("a.pdf", lambda: PDF),
    "a page that is an archive": ("a.txt", lambda: b"PK\x03\x04" + zlib.compress(b"x" * 10**7)),
    "a text beyond measure": ("a.txt", lambda: b"x" * 2**20),
    "a way up": ("../../../../etc/passwd", lambda: b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_a_file_that_cannot_be_read_is_refused_when_it_is_asked_about(server, name):
    """To keep bytes is no work; a question about them is."""
    client, stream = server
    file_name, data = UPLOADS[name]
    kept = client.post("/v1/files", files={"file": (file_name, data())}, data={"purpose": "user_data"})
    assert kept.status_code == 200 and "/" not in kept.json()["filename"], kept.text[:300]
    conversation = client.post("/api/conversations", json={}).json()["id"]
    place = f"/api/conversations/{conversation}/turns"
    reply = client.post(place, json={"text": "What?", "files": [kept.json()["id"]], "mode": "instant"})
    assert reply.status_code == 400 and set(reply.json()["error"]) == {"message", "type", "param", "code"}, reply.text
    stream.wait_for_more()


@pytest.mark.parametrize("path", ["/v1/responses", "/api/conversations", "/tokenize", "/api/keys", "/api/inside"])
def test_every_body_is_bounded(server, path):
    client, stream = server
    for body, status in ((b"[" * 100_000, 400), (b" " * (33 * 2**20), 413), (b"[" + b"1," * 1_000_000 + b"1]", 413)):
        reply = client.post(path, content=body)
        assert reply.status_code == status and set(reply.json()["error"]) == {"message", "type", "param", "code"}
    stream.wait_for_more()


def test_responses_take_no_bombs_either(server):
    client, stream = server
    bomb = "data:image/png;base64," + base64.b64encode(png(60_000, 60_000)).decode()
    for url in (bomb, "http://127.0.0.1/", "http://2130706433/", "http://[::ffff:7f00:1]/", "file:///etc/passwd"):
        shown = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": url}]
        reply = client.post("/v1/responses", json={"model": "tiny", "input": [{"role": "user", "content": shown}]})
        assert reply.status_code == 400 and reply.json()["error"]["code"], url
    reply = client.post("/v1/responses", json={"model": "tiny", "input": "?", "tools": [{"type": "function"}] * 10_000})
    assert reply.status_code == 400
    stream.wait_for_more()


def test_afterwards_all_is_as_before(server):
    client, stream = server
    assert client.post(PATH, json=asks()).status_code == 200 and client.get("/ready").status_code == 200
    stream.wait_for_more()


def test_metrics_tell_what_the_engine_does(server):
    client, stream = server
    until, found = time.monotonic() + LONG_S, {}
    while found.get("num_requests_running") != 1.0 and time.monotonic() < until:
        stream.wait_for_more()
        found = {name: float(value) for name, value in re.findall(
            r'^narthex:(\w+)\{model_name="tiny"\} (\S+)', client.get("/metrics").text, re.MULTILINE)}  # fmt: skip
    assert found["num_requests_running"] == 1.0 and found["num_requests_waiting"] == 0.0
    assert 0 < found["kv_cache_usage_perc"] <= 1 and found["generation_tokens_total"] > 0
