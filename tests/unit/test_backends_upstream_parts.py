"""The parts of an upstream's backend, each alone: events, marks of thought, messages, replies, usage, dialects."""

from __future__ import annotations

import base64
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from narthex.backends.base import TurnUsage
from narthex.backends.dialects import DIALECTS, effort, think_fields
from narthex.backends.sse import MAX_EVENT_BYTES, SseParser
from narthex.backends.think_tags import MAX_HELD_CHARS, ThinkTags
from narthex.backends.upstream_reply import Counts, ReplyReader, settle_usage
from narthex.backends.wire import MAX_PNG_BYTES, add_instruction, add_note, picture_uri, write_messages, write_tools
from narthex.chat import FilePart, ImagePart, Message, TextPart, ToolCall, ToolSpec

PICTURES = [ImagePart(sha256=f"{n:064x}", media_type="image/png", width=40, height=30) for n in range(4)]


def uri_of(part):
    return f"data:{int(part.sha256, 16)}"


def shown(number):
    return {"type": "image_url", "image_url": {"url": f"data:{number}"}}


def said(text):
    return {"type": "text", "text": text}


class TestEvents:
    STREAM = '\ufeff: hello\r\ndata: {"a": "é…𝄞"}\r\n\r\nevent: x\nid: 1\ndata: {"b": 1}\n\n'.encode() + (
        b'data:{"c": 2}\r\rdata: {"d":\ndata: 3}\n\ndata: {"e": 1}\ndata: {"f": 1}\n\n\n: still here\n\n'
        b"data: [DONE]\n\n"
    )
    EVENTS = (
        {"a": "é…𝄞"}, {"b": 1}, {"c": 2}, {"d": 3}, {"e": 1}, {"f": 1}, "[DONE]",
    )  # fmt: skip

    @given(st.lists(st.integers(1, 40), min_size=1))
    def test_it_does_not_matter_where_they_are_cut(self, sizes):
        parser, found, start = SseParser(), [], 0
        while start < len(self.STREAM):
            size = sizes[len(found) % len(sizes)]
            found += parser.feed(self.STREAM[start : start + size])
            start += size
        found += parser.finish()
        assert tuple(json.loads(event) if event != "[DONE]" else event for event in found) == self.EVENTS

    def test_the_last_needs_no_blank_line(self):
        parser = SseParser()
        assert parser.feed(b'data: {"a": 1}') == []
        assert parser.finish() == ['{"a": 1}'] and parser.finish() == []

    def test_an_endless_one_is_refused(self):
        for piece in (b"x" * 2**20, b"data: x" + b"x" * 2**20 + b"\n"):
            parser = SseParser()
            with pytest.raises(ValueError, match="longer than"):
                for _ in range(MAX_EVENT_BYTES // 2**20 + 2):
                    parser.feed(piece)


def split(place, text, size=1, *, is_whole=True):
    """(thought, text, what was learnt) of content that comes in pieces of `size`."""
    tags = ThinkTags(place)
    pieces = [piece for start in range(0, len(text), size) for piece in tags.feed(text[start : start + size])]
    pieces += tags.finish(is_whole=is_whole)
    kinds = ["".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("thought", "text")]
    return *kinds, tags.found


class TestThinkTags:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    def test_marks_are_found_wherever_they_are_cut(self, size):
        marked = "<think>\nLet a < b.\n</think>\n\nIt is </b> 12."
        assert split(None, marked, size) == ("Let a < b.", "It is </b> 12.", "tags")
        assert split("tags", marked, size) == ("Let a < b.", "It is </b> 12.", "tags")
        assert split(None, marked.removeprefix("<think>\n"), size)[:2] == ("Let a < b.", "It is </b> 12.")
        assert split("opened", marked.removeprefix("<think>\n"), size)[:2] == ("Let a < b.", "It is </b> 12.")
        assert split(None, "It is <think>12", size) == ("", "It is <think>12", "none")

    def test_text_streams_once_it_cannot_be_thought(self):
        tags = ThinkTags("none")
        assert [piece.text for piece in tags.feed("It")] == ["It"]
        undecided = ThinkTags(None)
        assert undecided.feed("It") == [] and undecided.is_undecided
        assert [piece.text for piece in undecided.has_field()] == ["It"] and undecided.found == "field"

    def test_nothing_is_learnt_from_half_a_reply(self):
        assert split(None, "It is", is_whole=False) == ("", "It is", None)
        assert split(None, "") == ("", "", None)

    def test_it_holds_back_no_more_than_it_may(self):
        tags = ThinkTags(None)
        assert tags.feed("x" * MAX_HELD_CHARS) == []
        assert tags.feed("y") and not tags.is_undecided


class TestMessages:
    def test_plain_ones_are_plain(self):
        written = write_messages([Message.of("system", "Be brief."), Message.of("user", "What?")], uri_of)
        assert written == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}]

    def test_pictures_go_with_their_words_and_get_numbers_where_tools_need_them(self):
        asked = Message.of("user", "What?", *PICTURES[:2])
        assert write_messages([asked], uri_of)[0]["content"] == [said("What?"), shown(0), shown(1)]
        assert write_messages([asked], uri_of, names_pictures=True)[0]["content"] == [
            said("What?\n\nPicture 0:"), shown(0), said("Picture 1:"), shown(1)
        ]  # fmt: skip

    def test_pictures_of_tools_follow_all_tool_messages_under_their_numbers(self):
        calls = (ToolCall(id="a", name="zoom", arguments={"box": [1, 2, 3, 4]}), ToolCall(id="b", name="mark"))
        turn = [
            Message.of("user", "What?", PICTURES[0]),
            Message(role="assistant", thought="Look.", calls=calls),
            Message(role="tool", call_id="a", parts=(TextPart(text="done"), PICTURES[1], PICTURES[2])),
            Message(role="tool", call_id="b", parts=(PICTURES[3],)),
        ]
        written = write_messages(turn, uri_of)
        assert [entry["role"] for entry in written] == ["user", "assistant", "tool", "tool", "user"]
        assert written[1]["content"] is None and "reasoning_content" not in written[1]
        assert [call["id"] for call in written[1]["tool_calls"]] == ["a", "b"]
        assert json.loads(written[1]["tool_calls"][0]["function"]["arguments"]) == {"box": [1, 2, 3, 4]}
        assert written[2]["tool_call_id"] == "a" and isinstance(written[2]["content"], str)
        assert written[2]["content"].startswith("done\n[picture 1") and "[picture 3" in written[3]["content"]
        assert written[4]["content"] == [
            said("Picture 1:"), shown(1), said("Picture 2:"), shown(2), said("Picture 3:"), shown(3)
        ]  # fmt: skip

    def test_two_users_in_a_row_are_one(self):
        calls = (ToolCall(id="a", name="zoom"),)
        written = write_messages(
            [
                Message.of("user", "One."), Message.of("user", "Two."), Message(role="assistant", calls=calls),
                Message(role="tool", call_id="a", parts=(PICTURES[0],)), Message.of("user", "And now?"),
                Message.of("user", "Well?"),
            ],
            uri_of,
        )  # fmt: skip
        assert [entry["role"] for entry in written] == ["user", "assistant", "tool", "user"]
        assert written[0]["content"] == "One.\n\nTwo."
        assert written[3]["content"] == [said("Picture 0:"), shown(0), said("And now?\n\nWell?")]

    def test_thought_goes_back_within_a_run_only_and_only_where_it_is_taken(self):
        turn = [
            Message.of("user", "One?"), Message(role="assistant", thought="old", parts=(TextPart(text="1"),)),
            Message.of("user", "Two?"),
            Message(role="assistant", thought="new", calls=(ToolCall(id="a", name="zoom"),)),
            Message(role="tool", call_id="a", parts=(TextPart(text="x"),)),
        ]  # fmt: skip
        written = write_messages(turn, uri_of, sends_thought=True)
        assert [entry.get("reasoning_content") for entry in written] == [None, None, None, "new", None]
        assert "old" not in json.dumps(written) and "new" not in json.dumps(write_messages(turn, uri_of))

    def test_a_call_that_could_not_be_read_is_written_for_its_answer(self):
        turn = [
            Message.of("user", "?"), Message(role="assistant", parts=(TextPart(text="Hm."),)),
            Message(role="tool", call_id="unreadable_1_0", parts=(TextPart(text="error: no JSON"),)),
        ]  # fmt: skip
        written = write_messages(turn, uri_of)
        assert written[1]["tool_calls"][0]["id"] == written[2]["tool_call_id"] == "unreadable_1_0"

    def test_files_are_their_line(self):
        file = FilePart(sha256="0" * 64, name="sums.csv", num_bytes=12)
        written = write_messages([Message(role="user", parts=(TextPart(text="See"), file))], uri_of)
        assert written == [{"role": "user", "content": "See\n[file sums.csv, 12 bytes]"}]

    def test_notes_and_instructions_leave_the_rest_alone(self):
        written = write_messages([Message.of("user", "What?")], uri_of)
        assert add_note(written, "Now.") == [{"role": "user", "content": "What?\n\nNow."}]
        assert add_note([*written, {"role": "tool", "content": "x"}], "Now.")[-1] == {"role": "user", "content": "Now."}
        assert add_instruction(written, "JSON.")[0] == {"role": "system", "content": "JSON."}
        again = add_instruction(add_instruction(written, "One."), "Two.")
        assert again[0]["content"] == "One.\n\nTwo." and written == [{"role": "user", "content": "What?"}]

    def test_tools(self):
        (written,) = write_tools([ToolSpec(name="zoom", description="Look closer.")])
        assert written["function"]["name"] == "zoom" and written["function"]["parameters"]["type"] == "object"

    def test_pictures_are_png_or_jpeg_and_of_a_sane_size(self):
        def read(uri):
            kind, _, data = uri.partition(",")
            return kind, Image.open(io.BytesIO(base64.b64decode(data)))

        kind, image = read(picture_uri(Image.new("RGB", (400, 100), "teal"), max_side=200))
        assert kind == "data:image/png;base64" and image.size == (200, 50) and image.getpixel((9, 9)) == (0, 128, 128)
        noise = Image.effect_noise((1200, 900), 90).convert("RGB")
        kind, image = read(picture_uri(noise, max_side=2048))
        assert kind == "data:image/jpeg;base64" and image.size == (1200, 900)
        assert len(picture_uri(noise, max_side=2048)) < 4 * MAX_PNG_BYTES


def read_all(*chunks, place="field", **how):
    reader = ReplyReader(place, **how)
    deltas = [delta for chunk in chunks for delta in reader.feed(chunk)]
    return reader, deltas + reader.finish(is_whole=True)


def delta(finish=None, logprobs=None, **fields):
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": logprob} for logprob in logprobs]}
    return {"choices": [choice]}


def piece(index=None, call_id=None, name=None, arguments=None):
    whole = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in whole.items() if value is not None}


class TestReplies:
    def test_calls_come_in_pieces_side_by_side(self):
        reader, _ = read_all(
            delta(tool_calls=[piece(0, "a", "zoom", "")]),
            delta(tool_calls=[piece(1, "b", "ma", ""), piece(0, arguments='{"bo')]),
            delta(tool_calls=[piece(1, name="rk")]),
            delta(tool_calls=[piece(0, arguments='x": [1]}'), piece(1, arguments="{}")]),
        )
        calls, mistakes = reader.calls()
        read = [(call.id, call.name, call.arguments) for call in calls]
        assert read == [("a", "zoom", {"box": [1]}), ("b", "mark", {})]
        assert mistakes == ()

    @pytest.mark.parametrize(
        "pieces",
        [
            [piece(0, "a", "f", '{"x": 1}'), piece(0, "b", "f", '{"x": 2}')],  # all are the first
            [piece(None, "a", "f", '{"x": 1}'), piece(None, "b", "f", '{"x": 2}')],  # none has a place
            [piece(0, "same", "f", '{"x": 1}'), piece(1, "same", "f", '{"x": 2}')],
            [piece(0, None, "f", '{"x": 1}'), piece(1, None, "f", '{"x": 2}')],  # none has an id
            [piece(0, "a", "f", {"x": 1}), piece(1, "b", "f", {"x": 2})],  # objects instead of their text
        ],
    )
    @pytest.mark.parametrize("is_one_chunk", [True, False])
    def test_calls_of_careless_servers(self, pieces, is_one_chunk):
        chunks = [delta(tool_calls=pieces)] if is_one_chunk else [delta(tool_calls=[one]) for one in pieces]
        calls, mistakes = read_all(*chunks)[0].calls()
        assert [call.arguments for call in calls] == [{"x": 1}, {"x": 2}] and not mistakes
        assert len({call.id for call in calls}) == 2 and all(call.id for call in calls)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ('{"box": [1, 2', "the call is not JSON"), ("[1]", "the call is no JSON object"),
            ('{"x": NaN}', "out of bounds"), ('{"x": "\\ud800"}', "cannot be written as JSON"),
        ],
    )  # fmt: skip
    def test_a_call_that_cannot_be_read_is_one_line(self, arguments, why):
        calls, (mistake,) = read_all(delta(tool_calls=[piece(0, "a", "zoom", arguments)]))[0].calls()
        assert calls == () and why in mistake and "\n" not in mistake and len(mistake) < 250

    def test_nothing_malformed_harms(self):
        odd = [
            {}, {"choices": None}, {"choices": [None]}, {"choices": [{"delta": None}]}, {"choices": "x"}, {"usage": []},
            delta(content=None), delta(content=7), delta(tool_calls="x"), delta(tool_calls=[None, {"index": "x"}]),
            {"choices": [{"index": 1, "delta": {"content": "another"}}]}, delta(content="\ud800"),
            {"choices": [{"delta": {}, "logprobs": {"content": [None, {"logprob": None}]}}]},
        ]  # fmt: skip
        reader, deltas = read_all(*odd)
        assert [one.text for one in deltas] == ["?"] and "another" not in reader.text

    @pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
    def test_thought_in_a_field(self, name):
        reader, deltas = read_all(delta(**{name: "Hm. "}), delta(**{name: "So."}), delta(content="12"), place=None)
        assert [(one.kind, one.text) for one in deltas] == [("thought", "Hm. "), ("thought", "So."), ("text", "12")]
        assert reader.tags.found == "field" and reader.counts == Counts(2, 1)

    def test_both_fields_at_once_are_one_thought(self):
        _, deltas = read_all(delta(reasoning="Hm.", reasoning_content="Hm."))
        assert [one.text for one in deltas] == ["Hm."]

    @pytest.mark.parametrize("later", ["", "12"])
    def test_after_a_closed_thought_a_parser_may_still_see_thought(self, later):
        chunks = [delta(reasoning="It is"), *([delta(content=later)] if later else [])]
        _, deltas = read_all(*chunks, place="tags", is_closed=True)
        assert [(one.kind, one.text) for one in deltas if one.kind == "text"] == [("text", later or "It is")]

    @pytest.mark.parametrize(
        ("reason", "ours"),
        [
            ("stop", "stop"), ("tool_calls", "stop"), ("length", "length"), ("content_filter", "cancelled"),
            ("eos", "stop"),
        ],
    )  # fmt: skip
    def test_reasons_to_end(self, reason, ours):
        assert read_all(delta(content="x"), delta(reason))[0].finish_reason == ours

    def test_confidence_is_of_the_least_likely_stretch(self):
        likely, unlikely = math.log(0.9), math.log(0.3)
        chunks = [delta(content="x", logprobs=[likely]) for _ in range(40)]
        chunks += [delta(content="x", logprobs=[unlikely]) for _ in range(32)]
        reader, deltas = read_all(*chunks)
        assert deltas[0].confidence == pytest.approx(0.9) and deltas[-1].confidence == pytest.approx(0.3)
        assert reader.confidence.lowest == pytest.approx(0.3)
        assert read_all(delta(content="x"))[1][0].confidence is None

    def test_what_was_counted_on_the_way_is_exact(self):
        chunks = [
            {**delta(reasoning="word " * 9), "usage": {"prompt_tokens": 5, "completion_tokens": 12}},
            {**delta(content="It is."), "usage": {"prompt_tokens": 5, "completion_tokens": 15}},
        ]
        assert read_all(*chunks)[0].counts == Counts(12, 3)

    def test_a_whole_reply_in_one_piece_is_counted_by_its_kinds(self):
        reader, _ = read_all(delta(content="<think>" + "a" * 400 + "</think>" + "b" * 40), place=None)
        assert reader.counts.thought == pytest.approx(100, abs=2) and reader.counts.answer == pytest.approx(10, abs=2)


class TestUsage:
    OURS = Counts(10, 5)

    def settle(self, reported, counts=OURS, characters=60):
        return settle_usage(reported, counts, 100, characters)

    def test_what_can_be_true_is_believed(self):
        reported = {
            "prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 14},
        }  # fmt: skip
        assert self.settle(reported) == TurnUsage(90, 64, 14, 6)

    @pytest.mark.parametrize(
        "reported",
        [
            None, {}, {"prompt_tokens": -1, "completion_tokens": 20}, {"prompt_tokens": 0, "completion_tokens": 20},
            {"prompt_tokens": 90, "completion_tokens": 0}, {"prompt_tokens": 90, "completion_tokens": True},
            {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 100},
            {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": "many"},
            {"prompt_tokens": 1e3, "completion_tokens": 20}, {"prompt_tokens": 90, "completion_tokens": 10**12},
        ],
    )  # fmt: skip
    def test_what_cannot_is_counted_by_us_and_marked(self, reported):
        assert self.settle(reported) == TurnUsage(100, 0, 10, 5, estimated=True)

    def test_too_few_tokens_for_so_much_text(self):
        assert self.settle({"prompt_tokens": 90, "completion_tokens": 1}, characters=4000).estimated

    def test_parts_that_exceed_the_whole_are_replaced(self):
        reported = {"prompt_tokens": 90, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 91}}
        reported["completion_tokens_details"] = {"reasoning_tokens": 31}
        assert self.settle(reported) == TurnUsage(90, 0, 20, 10, estimated=True)
        reported["completion_tokens_details"] = {"reasoning_tokens": -5}
        assert self.settle(reported) == TurnUsage(90, 0, 20, 10, estimated=True)

    def test_a_thought_that_came_was_thought(self):
        """The share is ours where the upstream does not tell it; without thought there is nothing to share."""
        reported = {"prompt_tokens": 90, "completion_tokens": 30}
        assert self.settle(reported) == TurnUsage(90, 0, 20, 10, estimated=True)
        assert self.settle(reported, Counts(0, 5)) == TurnUsage(90, 0, 0, 30)

    def test_hidden_thought_is_believed(self):
        reported = {"prompt_tokens": 9, "completion_tokens": 500}
        reported["completion_tokens_details"] = {"reasoning_tokens": 480}
        assert self.settle(reported, Counts(0, 5)) == TurnUsage(9, 0, 480, 20)


class TestDialects:
    @pytest.mark.parametrize(
        ("tokens", "level"),
        [(1, "minimal"), (256, "minimal"), (900, "low"), (4096, "medium"), (9000, "high"), (None, "xhigh")],
    )
    def test_the_nearest_level(self, tokens, level):
        assert effort(DIALECTS["openai"].efforts, tokens) == level

    def test_fields(self):
        def on(name, tokens=2000):
            return think_fields(DIALECTS[name], thinking=True, think_tokens=tokens)

        def off(name):
            return think_fields(DIALECTS[name], thinking=False, think_tokens=None)

        template = {"enable_thinking": True, "thinking": True}
        assert on("vllm") == {"chat_template_kwargs": template, "thinking_token_budget": 2000}
        assert on("llama_cpp") == {"chat_template_kwargs": template, "thinking_budget_tokens": 2000}
        assert on("sglang")["custom_params"] == {"thinking_budget": 2000}
        assert on("anthropic") == {"thinking": {"type": "enabled", "budget_tokens": 2000}}
        assert on("anthropic", 5)["thinking"]["budget_tokens"] == 1024
        assert on("deepseek", None) == {"thinking": {"type": "enabled"}}
        assert on("ollama", 300) == {"reasoning_effort": "low"} and on("plain") == off("plain") == {}
        assert off("vllm")["chat_template_kwargs"]["enable_thinking"] is False
        assert off("deepseek") == {"thinking": {"type": "disabled"}} and off("openai") == {"reasoning_effort": "none"}

    def test_where_thinking_cannot_be_switched_off_it_is_least(self):
        stubborn = DIALECTS["openai"]._replace(efforts=("low", "high"))
        assert think_fields(stubborn, thinking=False, think_tokens=None) == {"reasoning_effort": "low"}
        assert not stubborn.can_switch_off and DIALECTS["openai"].can_switch_off
