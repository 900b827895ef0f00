"""The embedded backend's newer promises: schemas hold the answer alone, stops end a turn, tenants share nothing."""

from __future__ import annotations

import asyncio
import json
import math
import time

import pytest
from PIL import Image

from narthex.backends.base import TurnDelta, TurnEnd, TurnRequest
from narthex.backends.confidence import WINDOW_TOKENS, Confidence
from narthex.backends.local import LocalBackend, _answer_grammar
from narthex.base.errors import InputError
from narthex.chat import Message, ToolSpec
from narthex.engine import core
from narthex.engine.grammar import GrammarCompiler
from narthex.engine.sampler import Drawn
from narthex.tokens import ChatFormat

ZOOM = ToolSpec(name="zoom", parameters={"type": "object", "properties": {"box": {}, "image": {}}})
SCHEMA = {
    "type": "object",
    "properties": {"gauge": {"enum": ["A", "B"]}, "value": {"enum": [1, 2]}},
    "required": ["gauge", "value"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}


@pytest.fixture(scope="module")
def backend(tiny_folder):
    opened = LocalBackend.open(tiny_folder, device="cpu")
    yield opened
    opened.close()


def asks(text="What does gauge C read?", **how):
    return TurnRequest((Message.of("user", text),), lambda _: Image.new("RGB", (40, 30)), **how)


async def turn(backend, request):
    *deltas, end = [step async for step in backend.turn(request)]
    assert isinstance(end, TurnEnd) and all(isinstance(delta, TurnDelta) for delta in deltas)
    return deltas, end


class TestConfidence:
    def test_the_least_likely_window_counts(self):
        sure = Confidence()
        assert sure.last is None and sure.lowest is None
        for value in (0.9, 0.4):
            sure.push(math.log(value))
        assert sure.last == sure.lowest == pytest.approx(0.6)  # the geometric mean of a reply that is short
        for _ in range(WINDOW_TOKENS):
            sure.push(math.log(0.5))
        assert sure.last == pytest.approx(0.5)
        for _ in range(3 * WINDOW_TOKENS):
            sure.push(math.log(0.9))
        assert sure.last == pytest.approx(0.9) and sure.lowest == pytest.approx(0.5, rel=0.02)

    def test_what_is_no_number_counts_as_next_to_impossible(self):
        for odd in (float("nan"), float("-inf"), -1e9):
            sure = Confidence()
            sure.push(odd)
            assert sure.last == pytest.approx(0.0, abs=1e-30)

    async def test_it_is_given_where_wanted_and_only_there(self, backend):
        for thinking in (False, True):
            deltas, end = await turn(
                backend, asks(wants_confidence=True, thinking=thinking, think_tokens=9, answer_tokens=40)
            )
            assert 0 < end.confidence < 1
            assert all(0 < delta.confidence <= 1 for delta in deltas)
            _, unasked = await turn(backend, asks(thinking=thinking, think_tokens=9, answer_tokens=40))
            assert unasked.confidence is None and unasked.text == end.text


class TestSchema:
    @pytest.mark.parametrize("thinking", [False, True])
    async def test_it_holds_the_answer_and_leaves_the_thought(self, backend, thinking):
        for seed in range(3):
            how = {"temperature": 1.5, "seed": seed, "thinking": thinking, "think_tokens": 9}
            deltas, end = await turn(backend, asks(answer_schema=SCHEMA, answer_tokens=60, **how))
            read = json.loads(end.text)
            assert set(read) == {"gauge", "value"} and read["gauge"] in "AB" and end.finish_reason == "stop"
            assert "".join(delta.text for delta in deltas if delta.kind == "text") == end.text
            if thinking and end.thought:
                with pytest.raises(ValueError):
                    json.loads(end.thought)

    @pytest.mark.parametrize("ends_itself", [False, True])
    async def test_it_holds_after_a_thought_that_families_spell_out(
        self, backend, tiny_folder, monkeypatch, ends_itself
    ):
        """Be it spent, or ended by the model's own mark in the middle of its budget."""
        chat = ChatFormat.open(tiny_folder, thought="think_tags")
        chat._opens_thought = {True: True, False: False}  # as a template that writes <think> at its end
        grammars = GrammarCompiler(
            (tiny_folder / "tokenizer.json").read_text(encoding="utf-8"),
            vocab_size=backend.model.config.text.vocab_size, stop_ids=chat.stop_ids,
        )  # fmt: skip
        spelt = LocalBackend("spelt", backend.model, chat, grammars)
        if ends_itself:
            first = iter(chat.encode("bar</think>"))
            drawn = core.draw
            monkeypatch.setattr(
                core, "draw", lambda logits, sequences: [Drawn(id_) for id_ in [next(first, None)] if id_ is not None]
                or drawn(logits, sequences)
            )  # fmt: skip
        _, end = await turn(
            spelt, asks(thinking=True, think_tokens=20, answer_tokens=60, answer_schema=SCHEMA, temperature=1.5, seed=1)
        )
        spelt.close()
        assert json.loads(end.text)["gauge"] in "AB" and 1 < end.usage.thought_tokens <= 20
        assert (end.thought == "bar") == ends_itself
        assert end.usage.cached_tokens <= end.usage.prompt_tokens

    async def test_one_that_cannot_be_kept_is_refused(self, backend):
        with pytest.raises(InputError):
            await turn(backend, asks(answer_schema={"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}}))

    def test_with_tools_calls_stay_possible_and_nothing_else(self, backend, tiny_folder):
        compiler = GrammarCompiler(
            (tiny_folder / "tokenizer.json").read_text(encoding="utf-8"),
            vocab_size=backend.model.config.text.vocab_size, stop_ids=backend.chat.stop_ids,
        )  # fmt: skip
        grammar = _answer_grammar(asks(answer_schema=SCHEMA, tools=(ZOOM,)), compiler)

        def is_allowed(text):
            matcher = compiler.compile(grammar)
            for id_ in backend.chat.encode(text):
                if not matcher.allowed()[id_]:
                    return False
                matcher.consume(id_)
            return matcher.is_accepting

        call = '{"name": "zoom", "parameters": {"box": [1, 2, 3, 4], "image": 0}}'
        assert is_allowed('{"gauge":"A","value":1}')
        assert is_allowed(call) and is_allowed(f"{call}\n{call}")
        assert is_allowed(f"<tool_call>\n{call}\n</tool_call>") and is_allowed("[zoom(box=[1, 2, 3, 4])]")
        for wrong in ("It is 12.", '{"gauge":"C","value":1}', call.replace("zoom", "fly"), f"Look.\n{call}"):
            assert not is_allowed(wrong), wrong


class TestStop:
    async def test_it_ends_a_turn_between_two_tokens(self, backend, monkeypatch):
        stop, forward = asyncio.Event(), backend.engine.core.runner.step

        def slowly(works):
            time.sleep(0.02)
            return forward(works)

        monkeypatch.setattr(backend.engine.core.runner, "step", slowly)
        steps, began = [], 0.0
        async for step in backend.turn(asks("Tell.", stop=stop, temperature=2.0, seed=1)):
            steps.append(step)
            if len(steps) == 3:
                began = time.monotonic()
                stop.set()
        assert time.monotonic() - began < 5
        end = steps[-1]
        assert end.finish_reason == "cancelled" and end.text
        assert 3 <= end.usage.answer_tokens < 40 and end.usage.flops > 0

    async def test_it_ends_the_wait_for_a_first_token_too(self, backend, monkeypatch):
        stop, forward = asyncio.Event(), backend.engine.core.runner.step

        def stuck(works):
            time.sleep(1.5)
            return forward(works)

        monkeypatch.setattr(backend.engine.core.runner, "step", stuck)
        asyncio.get_running_loop().call_later(0.05, stop.set)
        began = time.monotonic()
        _, end = await turn(backend, asks(stop=stop))
        assert time.monotonic() - began < 1.4
        assert (end.text, end.finish_reason, end.usage.answer_tokens) == ("", "cancelled", 0)
        assert end.usage.prompt_tokens > 0

    async def test_one_that_is_not_set_changes_nothing(self, backend):
        plain = (await turn(backend, asks(answer_tokens=20)))[1]
        held = (await turn(backend, asks(answer_tokens=20, stop=asyncio.Event())))[1]
        assert held.text == plain.text and held.finish_reason == plain.finish_reason


async def test_tenants_share_no_cache(backend):
    question = "How much is the pressure of the pump, and what does gauge C read, and since when?"
    first = (await turn(backend, asks(question, answer_tokens=2, tenant="a")))[1]
    other = (await turn(backend, asks(question, answer_tokens=2, tenant="b")))[1]
    again = (await turn(backend, asks(question, answer_tokens=2, tenant="a")))[1]
    assert first.usage.cached_tokens == other.usage.cached_tokens == 0
    assert again.usage.cached_tokens > 0
    assert first.text == other.text == again.text
