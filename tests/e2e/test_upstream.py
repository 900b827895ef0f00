"""An upstream over real sockets: streams, budgets, schemas, pictures and tools, against the scripted server."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest
from PIL import Image

from narthex.backends.base import Backend, TurnDelta, TurnEnd, TurnRequest, TurnUsage
from narthex.backends.fake_server import Call, FakeServer, Reply
from narthex.backends.settings import Price, Settings, UpstreamSettings
from narthex.backends.upstream import open_upstream
from narthex.base.errors import BackendError, ConfigError, ContextOverflowError
from narthex.chat import Conversation, ImagePart, Message, TextPart, ToolCall, ToolSpec
from narthex.reason import run
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import zoom

PICTURES = [ImagePart(sha256=f"{n:064x}", media_type="image/png", width=40, height=30) for n in range(2)]
ZOOM = ToolSpec(name="zoom", parameters={"type": "object", "properties": {"box": {}, "image": {}}})
SCHEMA = {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"]}
LONG_THOUGHT = "word " * 300
ANSWER = Reply(text="It is 12.5 bar – café.", thought="Let me see the dial. ")


def asks(text="What does gauge C read?", *pictures, **how):
    def load(part):
        return Image.new("RGB", (40, 30), ["teal", "red"][int(part.sha256, 16)])

    return TurnRequest((Message.of("user", text, *pictures),), load, **how)


@contextmanager
def served(script, *, continues=False, models=({"id": "fake"},), **settings):
    """(backend, server) over a script, or over one reply for all."""
    with FakeServer(script if callable(script) else lambda _: script, models=models, continues=continues) as server:
        named = {"url": server.url, "backoff_s": 0.01, "dialect": "plain", **settings}
        yield open_upstream("it", Settings({"it": UpstreamSettings(**named)})), server


async def turn(backend, request):
    """(deltas, end), checked to be what every turn is. Not for several at once: it closes the backend."""
    try:
        return await one_of_several(backend, request)
    finally:
        await backend.aclose()


async def one_of_several(backend, request):
    *deltas, end = [step async for step in backend.turn(request)]
    assert isinstance(end, TurnEnd) and all(isinstance(delta, TurnDelta) and delta.text for delta in deltas)
    for kind, whole in (("thought", end.thought), ("text", end.text)):
        assert "".join(delta.text for delta in deltas if delta.kind == kind) == whole
    return deltas, end


async def has_left(request):
    """Whether whoever sent it hangs up, within ten seconds."""
    for _ in range(1000):
        if request.has_left:
            break
        await asyncio.sleep(0.01)
    return request.has_left


class TestStreams:
    @pytest.mark.parametrize("thought_in", ["reasoning", "reasoning_content", "tags", "opened"])
    @pytest.mark.parametrize(
        "how",
        [
            {}, {"split_bytes": 2}, {"split_bytes": 11, "line_end": "\r\n", "comments": True}, {"has_done": False},
            {"chunk": "characters"}, {"chunk": "whole"}, {"content_type": "text/plain; charset=utf-8"},
        ],
    )  # fmt: skip
    async def test_thought_and_text_arrive_whatever_the_stream_is_like(self, thought_in, how):
        with served(replace(ANSWER, thought_in=thought_in, **how)) as (backend, _):
            for _ in range(3):  # unknown first, then as learnt
                deltas, end = await turn(backend, asks(thinking=True, think_tokens=100, answer_tokens=50))
                assert (end.thought.strip(), end.text) == ("Let me see the dial.", "It is 12.5 bar – café.")
                assert (end.finish_reason, end.budget_enforced, end.mistakes) == ("stop", "native", ())
                assert not end.usage.estimated and end.usage.thought_tokens == 5
        assert len(deltas) > 5 or how.get("chunk") == "whole"

    async def test_a_reply_that_does_not_stream(self):
        with served(replace(ANSWER, streams=False, calls=(Call("zoom", '{"image": 0}'),))) as (backend, _):
            deltas, end = await turn(backend, asks(thinking=True))
        assert len(deltas) == 2 and end.thought == ANSWER.thought and end.text == ANSWER.text
        assert [call.arguments for call in end.calls] == [{"image": 0}] and end.usage.thought_tokens == 5

    async def test_text_streams_while_it_is_written(self):
        with served(replace(ANSWER, thought="", delay_s=0.01, hang_after=3), model="fake") as (backend, _):
            stream = backend.turn(asks())
            assert [(await anext(stream)).text for _ in range(2)] == ["It ", "is "]
            await stream.aclose()

    @pytest.mark.parametrize("is_whole", [True, False])
    async def test_calls(self, is_whole):
        calls = (Call("zoom", '{"box": [1, 2, 3, 4], "image": 0}'), Call("zoom", '{"box": [5'), Call("fly", ""))
        with served(Reply(text="Look.", calls=calls, calls_whole=is_whole)) as (backend, _):
            _, end = await turn(backend, asks(tools=(ZOOM,)))
        assert [(call.id, call.name) for call in end.calls] == [("call_0", "zoom"), ("call_2", "fly")]
        assert end.calls[0].arguments == {"box": [1, 2, 3, 4], "image": 0} and end.calls[1].arguments == {}
        assert len(end.mistakes) == 1 and "not JSON" in end.mistakes[0] and end.finish_reason == "stop"

    async def test_confidence(self):
        reply = replace(ANSWER, logprobs=[-0.5] * 5)
        with served(reply) as (backend, server):
            deltas, end = await turn(backend, asks(wants_confidence=True))
            assert end.confidence == pytest.approx(0.6065, abs=1e-3) == deltas[-1].confidence
            _, end = await turn(backend, asks())
            assert end.confidence is None and ["logprobs" in body for body in server.bodies] == [True, False]

    async def test_usage_that_cannot_be_true_is_counted_and_marked(self):
        for prompt_tokens in (None, -5, 9):
            usage = prompt_tokens and {"prompt_tokens": prompt_tokens, "completion_tokens": 0}
            with served(replace(ANSWER, usage=usage)) as (backend, _):
                _, end = await turn(backend, asks(thinking=True))
            assert end.usage.estimated and end.usage.prompt_tokens > 5
            assert 5 <= end.usage.thought_tokens <= 7 and 5 <= end.usage.answer_tokens <= 8

    async def test_one_backend_serves_one_loop_after_another(self):
        with served(ANSWER) as (backend, _):
            for _ in range(2):
                ends = await asyncio.to_thread(lambda: asyncio.run(crowd(backend)))
                assert len(ends) == 3


async def crowd(backend):
    found = await asyncio.gather(*(one_of_several(backend, asks()) for _ in range(3)))
    await backend.aclose()
    return [end for _, end in found]


class TestRequests:
    async def test_a_conversation_with_pictures_and_tools(self):
        with served(ANSWER) as (backend, server):
            made = (ToolCall(id="c1", name="zoom", arguments={"image": 0}),)
            messages = (
                Message.of("user", "What?", PICTURES[0]), Message(role="assistant", thought="Look.", calls=made),
                Message(role="tool", call_id="c1", parts=(TextPart(text="here"), PICTURES[1])),
            )  # fmt: skip
            request = replace(asks(), messages=messages, tools=(ZOOM,), seed=5, temperature=0.7, top_p=0.9)
            await turn(backend, request)
            await turn(backend, replace(request, seed=None, top_p=1.0))
        body, second = server.bodies
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "user"]
        urls = [part["image_url"]["url"] for message in (body["messages"][0], body["messages"][3])
                for part in message["content"] if part["type"] == "image_url"]  # fmt: skip
        assert len(set(urls)) == 2 and all(url.startswith("data:image/png;base64,") for url in urls)
        assert "reasoning_content" not in json.dumps(body) and body["tools"][0]["function"]["name"] == "zoom"
        assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 5 + 3)
        assert "seed" not in second and "top_p" not in second

    async def test_thought_goes_back_where_it_is_taken(self):
        with served(ANSWER, accepts_reasoning=True) as (backend, server):
            calls = (ToolCall(id="a", name="zoom"),)
            messages = (
                Message.of("user", "?"), Message(role="assistant", thought="Hm.", calls=calls),
                Message(role="tool", call_id="a", parts=(TextPart(text="x"),)),
            )  # fmt: skip
            await turn(backend, replace(asks(), messages=messages))
        assert server.bodies[0]["messages"][1]["reasoning_content"] == "Hm."

    @pytest.mark.parametrize(("dialect", "has_field"), [("openai", True), ("vllm", False)])
    async def test_a_schema_binds_the_answer_and_leaves_calls_possible(self, dialect, has_field):
        with served(Reply(text='{"value": 12}'), dialect=dialect) as (backend, server):
            await turn(backend, asks(answer_schema=SCHEMA))
            await turn(backend, asks(answer_schema=SCHEMA, tools=(ZOOM,)))
            await turn(backend, asks(answer_schema=SCHEMA, tools=(ZOOM,), may_call=False))
        alone, with_tools, last = server.bodies
        assert last["response_format"] == alone["response_format"] and last["tool_choice"] == "none"
        assert (last["messages"], last["tools"]) == (with_tools["messages"], with_tools["tools"])
        assert "tool_choice" not in with_tools
        assert alone["response_format"]["json_schema"]["schema"] == SCHEMA
        assert ("response_format" in with_tools) == has_field
        assert (json.dumps(SCHEMA) in str(with_tools["messages"][0]["content"])) != has_field

    @pytest.mark.parametrize(
        "name", ["stream_options", "response_format", "logprobs", "seed", "temperature", "cache_salt"]
    )
    async def test_fields_that_are_refused_are_left_out_from_then_on(self, name, caplog):
        def script(body):
            return Reply(status=400, error=f"Unknown parameter: '{name}'.") if name in body else ANSWER

        asked = asks(answer_schema=SCHEMA, wants_confidence=True, seed=1, tenant="a")
        with served(script, dialect="vllm") as (backend, server), caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert (await turn(backend, asked))[1].text == ANSWER.text
        assert [name in body for body in server.bodies] == [True, False, False] and f"'{name}'" in caplog.text
        in_words = json.dumps(SCHEMA) in server.bodies[1]["messages"][0]["content"]
        assert in_words == (name == "response_format"), "a schema is asked for one way or the other"

    async def test_a_value_that_is_refused_is_told(self):
        with served(Reply(status=400, error="temperature must be at most 2")) as (backend, server):
            with pytest.raises(BackendError, match="temperature must be at most 2"):
                await turn(backend, asks(temperature=9.0))
        assert len(server.bodies) == 1

    async def test_the_limit_goes_by_the_name_it_is_asked_by(self):
        def script(body):
            wrong = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Reply(status=400, error=wrong) if "max_tokens" in body else ANSWER

        with served(script) as (backend, server):
            for _ in range(2):
                await turn(backend, asks(answer_tokens=9))
        assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 9, 9]

    async def test_a_server_that_refuses_everything_is_left_in_peace(self):
        names = "stream_options logprobs seed temperature cache_salt response_format unsupported max_completion_tokens"
        with served(Reply(status=400, error=names)) as (backend, server), pytest.raises(BackendError):
            await turn(backend, asks(answer_schema=SCHEMA, seed=1, answer_tokens=5))
        assert len(server.bodies) <= 16

    async def test_tenants_get_salts_and_extra_fields_join(self):
        extra = {"top_k": 5, "chat_template_kwargs": {"x": 1}}
        with served(ANSWER, dialect="vllm", extra_body=extra, extra_headers={"x-team": "a"}) as (backend, server):
            for tenant in ("a", "b", ""):
                await turn(backend, asks(tenant=tenant))
        salts = [body.get("cache_salt") for body in server.bodies]
        assert salts[0] != salts[1] and salts[2] is None and salts[0] != "a"
        assert server.bodies[0]["top_k"] == 5 and server.requests[0].headers["x-team"] == "a"
        assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False, "x": 1}

    async def test_no_more_turns_at_once_than_it_can_carry(self):
        with served(replace(ANSWER, first_delay_s=0.05), max_parallel=2) as (backend, server):
            assert backend.max_parallel == 2
            await asyncio.gather(*(one_of_several(backend, asks()) for _ in range(5)))
            await backend.aclose()
        assert (len(server.requests), server.peak) == (5, 2)

    def test_it_is_a_backend_and_knows_its_price(self):
        with served(ANSWER, model="m", context_tokens=4096, price=Price(1.0, 4.0, 0.5)) as (backend, _):
            checked: Backend = backend
            assert (checked.name, checked.context_tokens) == ("m", 4096)
            cost = backend.cost(TurnUsage(1_000_000, 500_000, 250_000, 250_000))
            assert cost == pytest.approx(0.5 + 0.25 + 2.0)

    async def test_a_run_costs_what_its_turns_do(self):
        def script(body):
            has_looked = any(message["role"] == "tool" for message in body["messages"])
            return ANSWER if has_looked else Reply(calls=(Call("zoom", '{"box": [0, 0, 500, 500], "image": 7}'),))

        async def ledger(**settings):
            gallery, asked = Gallery(MemoryBlobs()), Conversation(messages=(Message.of("user", "What?"),))
            with served(script, **settings) as (backend, _):
                events = run(asked, "thinking", None, backend, [zoom], gallery=gallery)
                return [event async for event in events][-1].ledger

        priced = await ledger(price=Price(1e6, 2e6))
        assert priced.by_agent[0].turns == 2 and (await ledger()).cost is None
        assert priced.cost == priced.prompt_tokens + 2 * (priced.thought_tokens + priced.answer_tokens)


class TestBudgets:
    """A thought of 300 words, a budget of 40 tokens."""

    HOW = MappingProxyType({"thinking": True, "think_tokens": 40, "answer_tokens": 20})

    def script(self, body):
        last = body["messages"][-1]
        if last["role"] == "assistant":  # what goes on with it
            return Reply(text="It is 12.")
        if "cut off here" in str(last["content"]):
            return Reply(text="It is 13.")
        return Reply(text="never", thought=LONG_THOUGHT)

    @pytest.mark.parametrize("thought_in", ["reasoning", "tags", "opened"])
    async def test_continued_where_that_works(self, thought_in):
        def script(body):
            return replace(self.script(body), thought_in=thought_in, hang_after=50)  # until it is cut

        place = "opened" if thought_in == "opened" else "auto"
        with served(script, continues=True, thought=place) as (backend, server):
            for _ in range(2):
                _, end = await turn(backend, asks(**self.HOW))
                assert (end.text, end.budget_enforced, end.finish_reason) == ("It is 12.", "continued", "stop")
                assert 25 <= len(end.thought.split()) <= 40 and end.usage.thought_tokens <= 44
                assert end.usage.estimated
            assert await has_left(server.requests[0]), "the rest of the thought is not paid for"
        asked = [body for body in server.bodies if body.get("continue_final_message") and body["stream"]]
        assert len(asked) == 2 and len(server.bodies) == 2 + 2 + 2  # the probe is made once
        said = asked[0]["messages"][-1]["content"]
        assert said.startswith("<think>\nword word") and said.endswith("</think>\n\n")
        assert asked[0]["add_generation_prompt"] is False and asked[0]["max_tokens"] == 20

    async def test_asked_again_where_it_does_not(self):
        with served(self.script) as (backend, server):
            _, end = await turn(backend, asks(**self.HOW))
        assert (end.text, end.budget_enforced) == ("It is 13.", "reasked")
        assert "word word" in server.bodies[-1]["messages"][-1]["content"]
        assert server.bodies[-1]["messages"][-1]["role"] == "user" and end.usage.thought_tokens <= 44

    async def test_asked_again_where_continuing_is_refused_after_all(self):
        def script(body):
            return Reply(status=400, error="no") if body.get("continue_final_message") else self.script(body)

        with served(script, continues=None) as (backend, _), served(script) as (other, _):
            for one in (backend, other):
                one.known.continues = True
                _, end = await turn(one, asks(**self.HOW))
                assert (end.text, end.budget_enforced, one.known.continues) == ("It is 13.", "reasked", False)

    @pytest.mark.parametrize(
        ("dialect", "field"), [("vllm", "thinking_token_budget"), ("llama_cpp", "thinking_budget_tokens")]
    )
    async def test_native_where_there_is_a_field(self, dialect, field):
        def script(body):
            return Reply(text="It is 12.", thought="word " * (body.get(field) or 300))

        with served(script, dialect=dialect) as (backend, server):
            _, end = await turn(backend, asks(**self.HOW))
        assert (end.budget_enforced, end.usage.thought_tokens, end.text) == ("native", 40, "It is 12.")
        assert len(server.bodies) == 1 and server.bodies[0]["max_tokens"] == 60

    async def test_a_field_that_is_ignored_is_seen(self):
        with served(self.script, dialect="vllm") as (backend, _):
            _, end = await turn(backend, asks(**self.HOW))
        assert end.budget_enforced == "reasked" and 40 < end.usage.thought_tokens <= 40 * 1.125 + 32 + 4

    @pytest.mark.parametrize("is_hidden", [False, True])
    async def test_a_thought_that_leaves_no_room_is_followed_by_an_answer(self, is_hidden):
        """Seen or hidden, it went on to the end of thought and answer together."""
        usage = {"prompt_tokens": 9, "completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 60}}

        def script(body):
            if "already" in str(body["messages"][-1]["content"]):
                return Reply(text="It is 13.")
            return Reply(finish_reason="length", usage=usage, thought="" if is_hidden else "word")

        with served(script, dialect="openai") as (backend, server):
            _, end = await turn(backend, asks(**self.HOW))
        assert (end.text, end.budget_enforced, end.finish_reason) == ("It is 13.", "reasked", "stop")
        assert server.bodies[1]["reasoning_effort"] == "none" and end.usage.thought_tokens == 60
        assert ("cut off here:\n\nword" in server.bodies[1]["messages"][-1]["content"]) != is_hidden

    async def test_a_field_that_is_refused_is_left_out_and_told(self, caplog):
        def script(body):
            if "thinking_token_budget" in body:
                return Reply(status=400, error="Extra inputs: thinking_token_budget needs a reasoning config")
            return self.script(body)

        with served(script, dialect="vllm", continues=False) as (backend, server), caplog.at_level(logging.WARNING):
            for _ in range(2):
                _, end = await turn(backend, asks(**self.HOW))
                assert end.budget_enforced == "reasked" and end.usage.thought_tokens <= 44
        assert sum("thinking_token_budget" in body for body in server.bodies) == 1
        assert "does not take 'thinking_token_budget'" in caplog.text

    async def test_instant_switches_it_off_or_says_that_it_could_not(self):
        def stubborn(body):
            return replace(ANSWER, thought="Hm. " * 40)

        with served(replace(ANSWER, thought=""), dialect="vllm") as (backend, server):
            _, end = await turn(backend, asks(answer_tokens=20))
            assert (end.budget_enforced, end.usage.thought_tokens) == ("native", 0)
            assert server.bodies[0]["chat_template_kwargs"]["enable_thinking"] is False
        with served(stubborn, dialect="openai", efforts=("low", "high")) as (backend, server):
            _, end = await turn(backend, asks(answer_tokens=20))
            assert (end.budget_enforced, end.text) == ("none", ANSWER.text)
            body = server.bodies[0]
            assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("low", 20 + 1024)

    async def test_an_effort_that_is_refused_gives_way_to_the_next(self):
        def script(body):
            if body["reasoning_effort"] in ("none", "minimal"):
                return Reply(status=400, error=f"reasoning_effort does not support '{body['reasoning_effort']}'")
            return ANSWER

        with served(script, dialect="openai") as (backend, server):
            await turn(backend, asks())
            await turn(backend, asks())
        assert [body["reasoning_effort"] for body in server.bodies] == ["none", "minimal", "low", "low"]

    async def test_the_answer_keeps_to_its_tokens_on_servers_that_do_not(self):
        with served(Reply(text="word " * 400, hang_after=100), extra_body={"max_tokens": 1000}) as (backend, server):
            _, end = await turn(backend, asks(answer_tokens=40))
            assert await has_left(server.requests[0])
        assert end.finish_reason == "length" and 40 <= end.usage.answer_tokens <= 80

    async def test_a_long_piece_of_thought_is_cut_where_the_budget_ends(self):
        def script(body):
            return replace(self.script(body), chunk="whole")

        with served(script) as (backend, _):
            _, end = await turn(backend, asks(**self.HOW, seed=1))
        assert end.budget_enforced == "reasked" and len(end.thought) <= 40 * 8

    async def test_a_thought_of_no_tokens_is_none(self):
        with served(replace(ANSWER, thought=""), dialect="vllm") as (backend, server):
            await turn(backend, asks(thinking=True, think_tokens=0))
        assert server.bodies[0]["chat_template_kwargs"]["enable_thinking"] is False

    async def test_what_does_not_fit_the_context_is_told_so(self):
        error = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."
        with served(Reply(status=400, error=error)) as (backend, server), pytest.raises(ContextOverflowError) as caught:
            await turn(backend, asks(**self.HOW))
        assert "4096" in str(caught.value) and caught.value.hint
        assert ["max_tokens" in body for body in server.bodies] == [True, False], "once more without a limit of ours"


class TestOpening:
    def test_what_nobody_said_is_asked_for(self):
        models = [{"id": "qwen3-8b", "owned_by": "vllm", "max_model_len": 40960}]
        with FakeServer(lambda _: ANSWER, models=models) as server:
            backend = open_upstream(server.url.removesuffix("/v1") + "/", Settings())
        assert (backend.name, backend.context_tokens, backend.known.dialect.name) == ("qwen3-8b", 40960, "vllm")

    def test_several_models_must_be_chosen_from(self):
        models = [{"id": "a", "meta": {"n_ctx_train": 2048}, "owned_by": "llamacpp"}, {"id": "b"}]
        with FakeServer(lambda _: ANSWER, models=models) as server:
            with pytest.raises(ConfigError, match="serves 2 models: a, b"):
                open_upstream(server.url, Settings())
            backend = open_upstream(server.url, Settings(), model="a")
            assert (backend.context_tokens, backend.known.dialect.name) == (2048, "llama_cpp")
            assert open_upstream(server.url, Settings(), model="c").name == "c"
        with FakeServer(lambda _: ANSWER, models=[]) as server, pytest.raises(ConfigError, match="serves 0 models"):
            open_upstream(server.url, Settings())

    def test_nobody_there_is_told_so_at_once(self):
        with FakeServer(lambda _: ANSWER) as server:
            url = server.url
        with pytest.raises(BackendError, match="cannot be reached") as caught:
            open_upstream(url, Settings())
        assert caught.value.hint and caught.value.exit_code == 3

    def test_no_list_of_models(self):
        with FakeServer(lambda _: ANSWER) as server, pytest.raises(BackendError, match="status 404"):
            open_upstream(server.url + "/elsewhere", Settings())

    def test_nothing_is_asked_where_everything_is_said(self):
        with served(ANSWER, model="m", context_tokens=100) as (_, server):
            assert server.others == []
