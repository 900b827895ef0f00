"""Messages become a conversation; what cannot be read is named by its place."""

from __future__ import annotations

import base64

import pytest

from narthex.chat import ToolCall
from narthex.serve.errors import ApiError
from narthex.serve.messages import Reader
from narthex.serve.wire import ChatBody
from narthex.tokens.gallery import Gallery, MemoryBlobs

from .cli_helpers import bomb_png
from .serve_helpers import data_uri


def read(*messages):
    body = ChatBody.model_validate({"model": "m", "messages": list(messages)})
    return Reader(Gallery(MemoryBlobs())).conversation(body.messages).messages


def user(*content):
    return {"role": "user", "content": list(content) if len(content) > 1 else content[0]}


def picture(url):
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


def calls(arguments='{"a": 1}', id_="c1", **more):
    function = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": id_, "type": "function", "function": function}],
            **more}  # fmt: skip


def test_a_conversation_with_everything_in_it():
    said = read(
        {"role": "developer", "content": "Be brief."},
        user({"type": "text", "text": "Look"}, picture(data_uri((40, 30))), {"type": "text", "text": " twice"}),
        calls(reasoning="Hm."),
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "7"}, picture(data_uri((8, 9)))]},
    )
    assert [message.role for message in said] == ["system", "user", "assistant", "tool"]
    assert said[1].text == "Look twice" and (said[1].pictures[0].width, said[1].pictures[0].height) == (40, 30)
    assert said[2].calls == (ToolCall(id="c1", name="f", arguments={"a": 1}),) and said[2].thought == "Hm."
    assert said[3].call_id == "c1" and said[3].text == "7" and said[3].pictures[0].width == 8


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thought_comes_back_under_either_name_within_a_run_alone(name):
    said = read(user("What?"), calls(**{name: "early"}), {"role": "tool", "tool_call_id": "c1", "content": "7"},
                {"role": "assistant", "content": "7", name: "early"}, user("And?"), calls(id_="c2", **{name: "late"}),
                {"role": "tool", "tool_call_id": "c2", "content": "8"})  # fmt: skip
    assert [message.thought for message in said if message.role == "assistant"] == ["", "", "late"]


def test_what_our_own_replies_hold_comes_back_as_it_went_out():
    reply = {"role": "assistant", "content": "It is 12.", "refusal": None, "annotations": [], "audio": None,
             "function_call": None, "tool_calls": None, "reasoning": "Hm.", "reasoning_content": "Hm."}  # fmt: skip
    assert [message.text for message in read(user("What?"), reply, user("Sure?"))] == ["What?", "It is 12.", "Sure?"]


FOREIGN = (
    "http://127.0.0.1:9/x.png", "https://example.com/x.png", "http://2130706433/", "http://0177.0.0.1/",
    "http://[::ffff:127.0.0.1]/", "file:///etc/passwd", "ftp://x/y", "//x/y.png", "", "data:image/png,x",
    "DATA:text/plain;base64", "gopher://x",
)  # fmt: skip


@pytest.mark.parametrize("url", FOREIGN)
def test_no_picture_is_fetched(url, monkeypatch):
    import socket

    def forbidden(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    for part in (picture(url), {"type": "image_url", "image_url": url}):
        with pytest.raises(ApiError) as raised:
            read(user({"type": "text", "text": "Look"}, part))
        assert raised.value.param == "messages[0].content[1].image_url" and raised.value.code == "remote_picture"


def uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("url", [uri(b""), uri(b"GIF89a"), uri(b"%PDF-1.7"), uri(bomb_png()), uri(b"x") + "*", uri(
    b"<svg/>"), data_uri()[:-40]])  # fmt: skip
def test_what_is_no_picture_is_refused(url):
    with pytest.raises(ApiError) as raised:
        read(user({"type": "text", "text": "Look"}, picture(url)))
    assert raised.value.code == "invalid_picture" and raised.value.http_status == 400


def test_many_pictures_are_bounded_by_number_and_by_pixels(monkeypatch):
    with pytest.raises(ApiError, match="more than 64 pictures"):
        read(user({"type": "text", "text": "Look"}, *[picture(data_uri((1, 1)))] * 65))
    with pytest.raises(ApiError, match="pixels together"):
        monkeypatch.setattr("narthex.serve.messages.MAX_PICTURE_PIXELS", 3000)
        assert read(user({"type": "text", "text": "Look"}, *[picture(data_uri((40, 30)))] * 2))
        read(user({"type": "text", "text": "Look"}, *[picture(data_uri((40, 30)))] * 3))


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([user("x"), {"role": "assistant", "content": "y"}], "messages"),
        ([{"role": "system", "content": "x"}], "messages"),
        ([user(" ")], "messages"),
        ([user("x"), {"role": "tool", "content": "7"}], "messages[1].tool_call_id"),
        ([user("x"), {"role": "tool", "tool_call_id": "c9", "content": "7"}], "messages[1].tool_call_id"),
        ([user("x"), calls("[1]"), user("y")], "messages[1].tool_calls[0].function.arguments"),
        ([user("x"), calls("{"), user("y")], "messages[1].tool_calls[0].function.arguments"),
        ([user("x"), calls('{"a": "\\ud800"}'), user("y")], "messages[1].tool_calls[0].function.arguments"),
        ([user("x"), calls("[" * 100_000), user("y")], "messages[1].tool_calls[0].function.arguments"),
        ([{**user("x"), "tool_calls": calls()["tool_calls"]}], "messages[0].tool_calls"),
        ([user({"type": "text", "text": "x"}, {"type": "input_audio"})], "messages[0].content[1]"),
        ([user({"type": "text", "text": "x"}, {"type": "text"})], "messages[0].content[1]"),
    ],
)
def test_what_cannot_be_read_is_named(messages, param):
    with pytest.raises(ApiError) as raised:
        read(*messages)
    assert raised.value.param == param and raised.value.http_status == 400
