"""`narthex serve` as a process: what it says, how it ends, and what is left of a run when it is killed."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from narthex.store import Store

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "What does gauge C read?"}], "stream": True,
        "reasoning_effort": "high", "seed": 1}  # fmt: skip


@contextmanager
def serving(environment, model, *arguments):
    """(process, URL) of a server of its own."""
    command = [sys.executable, "-m", "narthex.cli", "serve", "-m", str(model), "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while not (url := re.search(r"tiny at (http://127\.0\.0\.1:\d+)/v1, ", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            url = url[1]
            assert process.stderr.readline() == f"the page: {url}\n"
            curl = process.stderr.readline()
            assert curl.startswith(f"curl {url}/v1/chat/completions "), curl
            yield process, url, curl
        finally:
            process.kill()


@contextmanager
def streaming(url, count):
    """The first `count` deltas of a stream that goes on."""
    with httpx2.Client(timeout=60) as client, client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as reply:
        seen, lines = [], reply.iter_lines()
        for line in lines:
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
            if len(seen) > count:
                break
        yield seen, lines


def thought(chunks):
    return "".join(chunk["choices"][0]["delta"].get("reasoning") or "" for chunk in chunks)


def test_what_was_streamed_is_there_after_a_kill(environment, endless_model):
    with serving(environment, endless_model) as (process, url, _), streaming(url, 12) as (seen, _):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        shown = thought(seen)
    with Store.open(Path(environment["NARTHEX_HOME"])) as store:
        (record,) = store.runs()
        assert record.status == "cut" and seen[0]["id"] == f"chatcmpl-{record.id}"
        kept = "".join(event.text for event in store.events(record.id) if event.type == "thought_delta")
    assert shown and kept.startswith(shown)


@pytest.mark.parametrize("sign", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_it_ends_when_told_to_with_a_stream_under_way(environment, endless_model, sign):
    with serving(environment, endless_model) as (process, url, _), streaming(url, 3) as (_, lines):
        began = time.monotonic()
        process.send_signal(sign)
        *_, error, done = [line.removeprefix("data: ") for line in lines if line]
        assert json.loads(error)["error"]["code"] == "stopping" and done == "[DONE]"
        assert process.wait(20) in (130, -signal.SIGTERM)
        assert time.monotonic() - began < 8
        rest = process.stderr.read()
    assert "Traceback" not in rest, rest
    with Store.open(Path(environment["NARTHEX_HOME"])) as store:
        assert [run.status for run in store.runs()] == ["cut"]


def test_the_curl_line_works_as_it_is_shown(environment, tiny_model, tmp_path):
    with serving(environment, tiny_model, "--no-save") as (_, _, curl):
        shown = re.fullmatch(r"curl (\S+) -H '(\S+): (\S+)' -d '(.+)'\n", curl)
        reply = httpx2.post(shown[1], content=shown[4], headers={shown[2]: shown[3]}, timeout=60)
    assert reply.status_code == 200 and reply.json()["choices"][0]["message"]["role"] == "assistant"
    assert not (Path(environment["NARTHEX_HOME"]) / "narthex.db").exists(), "nothing is kept"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--host", "0.0.0.0"), "there are no keys yet"),
        (("--host", "::"), "there are no keys yet"),
        (("--port", "70000"), "--port is 70000"),
        (("--upstream", "http://127.0.0.1:9", "--device", "cpu"), "--device is for models that run here"),
    ],
)
def test_what_it_refuses_is_said_at_once(narthex, arguments, error):
    began = time.monotonic()
    done = narthex("serve", *arguments)
    assert done.returncode == 2 and done.stdout == "" and time.monotonic() - began < 20
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ") and error in first and second.startswith("hint: ")


def test_a_port_that_is_taken_is_said_before_the_model_is_read(narthex, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = narthex("serve", "--port", str(other.getsockname()[1]), "-m", str(tmp_path / "none"))
    assert done.returncode == 2 and "cannot listen" in done.stderr
