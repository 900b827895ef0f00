from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from narthex.chat import Conversation, ImagePart, Message, TextPart, ToolCall, ToolSpec


def picture(mark: str = "a") -> ImagePart:
    return ImagePart(sha256=mark * 64, media_type="image/png", width=4, height=3)


texts = st.text(st.characters(exclude_categories=["Cs"]))
parts = st.one_of(texts.map(lambda text: TextPart(text=text)), st.sampled_from("abc").map(picture))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(ToolCall, id=texts, name=texts, arguments=st.dictionaries(texts, json_values, max_size=3))
part_tuples = st.lists(parts, max_size=3).map(tuple)
messages = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "user"]), parts=part_tuples),
    st.builds(
        Message,
        role=st.just("assistant"),
        parts=part_tuples,
        thought=texts,
        calls=st.lists(calls, max_size=2).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), parts=part_tuples, call_id=texts),
)


@given(st.lists(messages, max_size=4).map(tuple))
def test_any_conversation_survives_json(said):
    conversation = Conversation(messages=said)
    assert Conversation.model_validate_json(conversation.model_dump_json()) == conversation


def test_pictures_are_counted_in_order_of_appearance():
    said = Conversation(messages=(Message.of("user", "look", picture("a"), picture("b")),))
    longer = said.with_messages(
        Message(role="assistant", calls=(ToolCall(id="1", name="zoom"),)),
        Message(role="tool", parts=(picture("c"), TextPart(text="a crop")), call_id="1"),
    )
    assert [part.sha256[0] for part in longer.pictures] == ["a", "b", "c"]
    assert len(said.messages) == 1
    assert longer.messages[0].text == "look" and longer.messages[2].text == "a crop"


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "user", "thought": "hm"},
        {"role": "user", "calls": [{"id": "1", "name": "zoom"}]},
        {"role": "user", "call_id": "1"},
        {"role": "tool"},
        {"role": "ipython", "call_id": "1"},
        {"role": "user", "parts": [{"type": "sound"}]},
        {"role": "user", "content": "typo"},
    ],
)
def test_messages_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        Message.model_validate(wrong)


@pytest.mark.parametrize(
    "change",
    [{"sha256": "A" * 64}, {"sha256": "a" * 63}, {"sha256": "../" * 21 + "a"}, {"sha256": "a" * 64 + "\n"},
     {"media_type": "text/html"}, {"width": 0}, {"height": -1}],
)
def test_a_picture_is_named_by_a_true_hash_and_has_a_size(change):
    with pytest.raises(ValidationError):
        ImagePart.model_validate({**picture().model_dump(), **change})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}, b"x", "\ud800"])
def test_arguments_must_be_json(bad):
    with pytest.raises(ValidationError):
        ToolCall(id="1", name="zoom", arguments={"box": bad})


def test_arguments_are_a_private_copy():
    box = [1, 2]
    call = ToolCall(id="1", name="zoom", arguments={"box": box})
    box.append(3)
    assert call.arguments == {"box": [1, 2]}


def test_messages_cannot_be_changed():
    with pytest.raises(ValidationError):
        Message.of("user", "hi").role = "system"


def test_a_tool_name_fits_every_upstream():
    assert ToolSpec(name="zoom").parameters["type"] == "object"
    with pytest.raises(ValidationError):
        ToolSpec(name="zoom in")
