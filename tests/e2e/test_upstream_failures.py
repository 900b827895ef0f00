"""Upstreams that die, hang, lie, refuse or send garbage: each ends in bounded time, in one line or with what it has."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image

from narthex.backends import upstream_http
from narthex.backends.base import TurnEnd, TurnRequest
from narthex.backends.fake_server import Call, FakeServer, Reply
from narthex.backends.settings import Settings, Timeouts, UpstreamSettings
from narthex.backends.upstream import open_upstream
from narthex.base.errors import BackendError, ConfigError, format_error
from narthex.chat import Message

ANSWER = Reply(text="It is 12.5 bar.", thought="Let me see. ")
KEY = "sk-secret-0123456789"


def asks(**how):
    return TurnRequest((Message.of("user", "What does C read?"),), lambda _: Image.new("RGB", (4, 3)), **how)


@contextmanager
def served(*scripts, **settings):
    """(backend, servers): the same model behind one server per script; a reply is a script that always says it."""
    with contextlib_stack([s if callable(s) else (lambda _, said=s: said) for s in scripts]) as servers:
        named = {"urls": tuple(server.url for server in servers), "model": "fake", "dialect": "plain",
                 "context_tokens": 9999, "backoff_s": 0.01, **settings}  # fmt: skip
        yield open_upstream("it", Settings({"it": UpstreamSettings(**named)})), servers


@contextmanager
def contextlib_stack(scripts):
    if not scripts:
        yield []
        return
    with FakeServer(scripts[0]) as first, contextlib_stack(scripts[1:]) as others:
        yield [first, *others]


async def turn(backend, request=None):
    """How a turn ends. Not for several at once: it closes the backend."""
    end = await one_of_several(backend, request)
    await backend.aclose()
    return end


async def one_of_several(backend, request=None):
    steps = [step async for step in backend.turn(request or asks())]
    assert isinstance(steps[-1], TurnEnd)
    return steps[-1]


async def has_left(request):
    """Whether whoever sent it hangs up, within ten seconds."""
    for _ in range(1000):
        if request.has_left:
            break
        await asyncio.sleep(0.01)
    return request.has_left


def first(*replies):
    """A script that says these in turn, then the last one for ever."""
    said = iter(replies)
    return lambda _: next(said, replies[-1])


class TestRetries:
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
    async def test_what_passes_is_tried_again(self, status):
        with served(first(Reply(status=status), Reply(status=status), ANSWER)) as (backend, (server,)):
            end = await turn(backend)
        assert end.text == ANSWER.text and end.finish_reason == "stop" and len(server.requests) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
    async def test_what_does_not_is_told_at_once(self, status):
        with served(Reply(status=status, error="no such thing")) as (backend, (server,)):
            with pytest.raises(BackendError, match=f"status {status}: no such thing") as caught:
                await turn(backend)
        assert len(server.requests) == 1 and caught.value.hint and "\n" not in str(caught.value)

    async def test_it_ends_some_time(self):
        with served(Reply(status=503, error="loading"), retries=2) as (backend, (server,)):
            with pytest.raises(BackendError, match="status 503: loading"):
                await turn(backend)
        assert len(server.requests) == 3

    async def test_it_waits_as_long_as_it_is_told(self):
        busy = Reply(status=429, headers={"retry-after": "0.2"})
        with served(first(busy, ANSWER)) as (backend, _):
            began = time.monotonic()
            assert (await turn(backend)).text == ANSWER.text
            assert 0.2 <= time.monotonic() - began < 5

    @pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
    async def test_too_long_a_wait_is_told_at_once(self, value):
        with served(Reply(status=429, error="quota", headers={"retry-after": value})) as (backend, _):
            began = time.monotonic()
            with pytest.raises(BackendError, match="quota"):
                await turn(backend)
            assert time.monotonic() - began < 5

    async def test_waits_grow_and_differ(self, monkeypatch):
        waits = []

        async def sleep(self, seconds):
            waits.append(seconds)

        monkeypatch.setattr("narthex.backends.watch.Watch.sleep", sleep)
        with served(Reply(status=500), retries=6, backoff_s=1.0) as (backend, _), pytest.raises(BackendError):
            await turn(backend)
        for number, wait in enumerate(waits):
            assert 0.5 * min(8, 2**number) <= wait <= min(8, 2**number)
        assert len(waits) == 6 and len({round(wait / min(8, 2**n), 6) for n, wait in enumerate(waits)}) > 1

    async def test_nobody_there(self):
        with FakeServer(lambda _: ANSWER) as server:
            url = server.url
        settings = UpstreamSettings(url=url, model="m", dialect="plain", context_tokens=99, backoff_s=0.01)
        with pytest.raises(BackendError, match="cannot be reached") as caught:
            await turn(open_upstream("it", Settings({"it": settings})))
        assert caught.value.exit_code == 3 and caught.value.hint

    @pytest.mark.parametrize("how", [{"cut_after": 0}, {"cut_after": 1}, {"raw": b""}])
    async def test_death_before_the_first_token_is_tried_again(self, how):
        with served(first(replace(ANSWER, **how), ANSWER)) as (backend, (server,)):
            end = await turn(backend)
        assert end.text == ANSWER.text and end.thought == ANSWER.thought and len(server.requests) == 2

    async def test_never_after_the_first_token(self):
        with served(replace(ANSWER, cut_after=5)) as (backend, (server,)):
            end = await turn(backend)
        assert (end.thought, end.text, end.finish_reason) == ("Let me see. ", "It ", "cancelled")
        assert len(server.requests) == 1 and end.usage.estimated and end.usage.prompt_tokens > 0

    async def test_a_piece_of_a_call_is_a_token_too(self):
        reply = Reply(calls=(Call("zoom", '{"box": [1, 2, 3, 4]}'),), cut_after=3)
        with served(reply) as (backend, (server,)):
            end = await turn(backend)
        assert (end.calls, end.mistakes, end.finish_reason, len(server.requests)) == ((), (), "cancelled", 1)


class TestSilence:
    async def test_no_first_byte(self):
        with served(replace(ANSWER, hang_after=0), timeouts=Timeouts(first_byte_s=0.1), retries=1) as (backend, _):
            began = time.monotonic()
            with pytest.raises(BackendError, match="has not answered"):
                await turn(backend)
            assert time.monotonic() - began < 5

    async def test_no_next_byte(self):
        with served(replace(ANSWER, hang_after=6), timeouts=Timeouts(between_bytes_s=0.1)) as (backend, _):
            end = await turn(backend)
        assert (end.text, end.finish_reason, end.usage.estimated) == ("It is ", "cancelled", True)

    async def test_comments_keep_a_silence_alive(self):
        slow = Reply(text="It is.", comments=True, delay_s=0.06)
        with served(slow, timeouts=Timeouts(between_bytes_s=0.1)) as (backend, _):
            assert (await turn(backend)).finish_reason == "stop"

    async def test_a_connection_left_open_after_the_end(self, monkeypatch):
        monkeypatch.setattr(upstream_http, "LAST_WORDS_S", 0.1)
        events = 1 + 3 + 4 + 1
        with served(replace(ANSWER, hang_after=events)) as (backend, _):
            began = time.monotonic()
            end = await turn(backend)
        assert (end.text, end.finish_reason, end.usage.estimated) == (ANSWER.text, "stop", True)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("hang_after", [0, 4])
    async def test_a_deadline(self, hang_after):
        with served(replace(ANSWER, hang_after=hang_after)) as (backend, _):
            began = time.monotonic()
            end = await turn(backend, asks(deadline_s=0.15))
        assert 0.15 <= time.monotonic() - began < 5
        assert end.finish_reason == "length" and end.text == "" and bool(end.thought) == (hang_after > 0)


class TestStop:
    @pytest.mark.parametrize("hang_after", [0, 1, 6])
    async def test_it_ends_the_turn_and_the_upstreams_work(self, hang_after):
        stop = asyncio.Event()
        with served(replace(ANSWER, hang_after=hang_after)) as (backend, (server,)):
            asked = asyncio.create_task(turn(backend, asks(stop=stop)))
            while not server.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            began = time.monotonic()
            stop.set()
            end = await asked
            assert time.monotonic() - began < 5
            assert await has_left(server.requests[0])
        assert end.finish_reason == "cancelled" and end.text == ("It is " if hang_after == 6 else "")
        assert end.usage.prompt_tokens > 0 and end.usage.estimated

    async def test_it_ends_the_wait_for_a_place_and_between_tries(self):
        stop = asyncio.Event()
        with served(replace(ANSWER, hang_after=1), max_parallel=1) as (backend, (server,)):
            holder = asyncio.create_task(one_of_several(backend))
            while not server.requests:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, stop.set)
            end = await one_of_several(backend, asks(stop=stop))
            assert (end.finish_reason, end.usage.prompt_tokens) == ("cancelled", 0)
            holder.cancel()
            with pytest.raises(asyncio.CancelledError):
                await holder
            assert (await asyncio.wait_for(turn(backend, asks(deadline_s=0.1)), 10)).thought == "", "the place is free"
        stop.clear()
        with served(Reply(status=500), backoff_s=30.0) as (backend, _):
            asyncio.get_running_loop().call_later(0.05, stop.set)
            assert (await asyncio.wait_for(turn(backend, asks(stop=stop)), 10)).finish_reason == "cancelled"

    async def test_closing_and_cancelling_let_go_too(self):
        with served(replace(ANSWER, hang_after=4)) as (backend, (server,)):
            stream = backend.turn(asks())
            await anext(stream)
            await stream.aclose()
            task = asyncio.create_task(turn(backend))
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [await has_left(request) for request in server.requests] == [True, True]


class TestGarbage:
    @pytest.mark.parametrize(
        "reply",
        [
            Reply(raw=b"<html>Welcome</html>", content_type="text/html"),
            Reply(raw=b"<html>Welcome</html>"), Reply(raw=b"data: {broken\n\n"), Reply(raw=b"data: [1, 2]\n\n"),
            Reply(raw=b'data: {"hello": 1}\n\n'), Reply(raw=b"\x00\xff" * 500),
            Reply(raw=b"[1]", content_type="application/json"), Reply(raw=b"{}x", content_type="application/json"),
            Reply(raw=b"data: " + b"[" * 100_000 + b"\n\n"),
        ],
    )  # fmt: skip
    async def test_it_is_one_line(self, reply):
        with served(reply) as (backend, (server,)):
            with pytest.raises(BackendError, match="no chat completion") as caught:
                await turn(backend)
        assert len(str(caught.value)) < 250 and caught.value.hint and len(server.requests) == 1

    async def test_after_the_first_token_the_turn_ends_with_what_it_has(self, caplog):
        begun = b'data: {"choices": [{"index": 0, "delta": {"content": "It is"}}]}\n\n'
        for rest in (b"data: {broken\n\n", b'data: {"error": {"message": "out of memory"}}\n\n'):
            with served(Reply(raw=begun + rest)) as (backend, (server,)), caplog.at_level(logging.WARNING):
                end = await turn(backend)
            assert (end.text, end.finish_reason, len(server.requests)) == ("It is", "cancelled", 1)
        assert "out of memory" in caplog.text

    async def test_an_error_in_the_stream(self):
        broken = Reply(raw=b'data: {"error": {"message": "overloaded", "code": 503}}\n\n')
        with served(first(broken, ANSWER)) as (backend, _):
            assert (await turn(backend)).text == ANSWER.text
        wrong = Reply(raw=b'data: {"error": {"message": "no such model", "code": 404}}\n\n')
        with served(wrong) as (backend, (server,)), pytest.raises(BackendError, match="no such model"):
            await turn(backend)
        assert len(server.requests) == 1

    async def test_bodies_are_bounded(self, monkeypatch):
        monkeypatch.setattr(upstream_http, "MAX_REPLY_BYTES", 100_000)
        with served(Reply(raw=b": x\n\n" * 50_000)) as (backend, _), pytest.raises(BackendError, match="100,000 bytes"):
            await turn(backend)
        with served(Reply(status=400, error="x" * 10**6)) as (backend, _), pytest.raises(BackendError) as caught:
            await turn(backend)
        assert len(str(caught.value)) < 500

    async def test_compression_is_refused(self):
        with served(replace(ANSWER, headers={"content-encoding": "gzip"})) as (backend, _):
            with pytest.raises(BackendError, match="compresses"):
                await turn(backend)

    async def test_control_characters_do_not_reach_the_terminal(self):
        with served(Reply(status=400, error="\x1b[31mred\nhint: do it")) as (backend, _):
            with pytest.raises(BackendError) as caught:
                await turn(backend)
        assert "\x1b" not in format_error(caught.value) and format_error(caught.value).count("\n") == 1


class TestFailover:
    async def test_turns_go_round(self):
        with served(ANSWER, ANSWER, ANSWER) as (backend, servers):
            for _ in range(6):
                await turn(backend)
        assert [len(server.requests) for server in servers] == [2, 2, 2]

    async def test_one_that_fails_is_left_alone_for_a_while(self):
        with served(Reply(status=500), ANSWER, backoff_s=9.0) as (backend, (bad, good)):
            began = time.monotonic()
            for _ in range(4):
                assert (await turn(backend)).text == ANSWER.text
            assert time.monotonic() - began < 5, "nobody waits while another is well"
        assert (len(bad.requests), len(good.requests)) == (1, 4)

    async def test_it_is_asked_how_it_does_before_it_gets_another_turn(self):
        with served(first(Reply(status=500), ANSWER), ANSWER, rest_s=0.05) as (backend, (bad, good)):
            await turn(backend)
            await asyncio.sleep(0.1)
            for _ in range(4):
                await turn(backend)
        assert len(bad.others) == 1 and bad.others[0].path == "/v1/models"
        assert len(bad.requests) == 1 + 2 and len(good.requests) == 1 + 2

    async def test_one_that_is_gone_is_checked_and_not_used(self):
        with FakeServer(lambda _: ANSWER) as gone:
            url = gone.url
        with FakeServer(lambda _: ANSWER) as good:
            settings = UpstreamSettings(
                urls=(url, good.url), model="m", dialect="plain", context_tokens=99, rest_s=0.02, retries=1
            )
            backend = open_upstream("it", Settings({"it": settings}))
            for _ in range(4):
                assert (await turn(backend)).text == ANSWER.text
                await asyncio.sleep(0.03)
        assert len(good.requests) == 4

    async def test_all_of_them_failing_is_told(self):
        with served(Reply(status=500), Reply(status=503), retries=3) as (backend, servers):
            with pytest.raises(BackendError, match="status 50"):
                await turn(backend)
        assert [len(server.requests) for server in servers] == [2, 2]


class TestSecrets:
    @pytest.fixture
    def keyed(self, monkeypatch):
        monkeypatch.setenv("FAKE_KEY", KEY)
        return {"key_env": "FAKE_KEY"}

    async def test_the_key_goes_to_the_upstream_and_nowhere_else(self, keyed, caplog):
        with FakeServer(lambda _: ANSWER) as other:
            moved = Reply(status=307, headers={"location": other.url + "/chat/completions"})
            with served(moved, **keyed) as (backend, (server,)), caplog.at_level(logging.DEBUG):
                with pytest.raises(BackendError, match="redirects are not followed"):
                    await turn(backend)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert other.requests == other.others == [] and KEY not in caplog.text

    async def test_it_is_in_no_error_and_no_log(self, keyed, caplog):
        reply = Reply(status=401, error=f"Incorrect API key provided: {KEY}. Bearer {KEY}")
        with served(reply, **keyed) as (backend, _), caplog.at_level(logging.DEBUG):
            with pytest.raises(BackendError) as caught:
                await turn(backend)
        told = [format_error(caught.value), repr(caught.value), caplog.text, repr(backend.known), repr(vars(backend))]
        assert not any(KEY in text for text in told) and "key_env" in caught.value.hint

    @pytest.mark.parametrize(("url", "warns"), [("http://10.0.0.5:1", True), ("http://127.0.0.1:1", False),
                             ("http://localhost:1", False), ("https://10.0.0.5:1", False)])  # fmt: skip
    def test_a_key_in_the_clear_is_warned_of(self, keyed, caplog, url, warns):
        settings = UpstreamSettings(url=url, model="m", dialect="plain", context_tokens=9, **keyed)
        open_upstream("it", Settings({"it": settings}))
        assert ("in the clear" in caplog.text) == warns

    def test_a_missing_or_odd_one_is_told_before_anything_is_asked(self, monkeypatch):
        monkeypatch.delenv("FAKE_KEY", raising=False)
        with pytest.raises(ConfigError, match="FAKE_KEY is not set"), served(ANSWER, key_env="FAKE_KEY"):
            pass
        monkeypatch.setenv("FAKE_KEY", "two\nlines")
        with pytest.raises(ConfigError, match="cannot be an API key") as caught, served(ANSWER, key_env="FAKE_KEY"):
            pass
        assert "lines" not in str(caught.value)

    async def test_proxies_of_the_environment_are_not_trusted(self, monkeypatch):
        with FakeServer(lambda _: ANSWER) as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
            monkeypatch.delenv("no_proxy", raising=False)
            with served(ANSWER) as (backend, (server,)):
                await turn(backend)
            assert len(server.requests) == 1 and proxy.requests == proxy.others == []
