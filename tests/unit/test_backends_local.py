"""The embedded backend over a model that knows nothing: budgets, deadlines, stops and seeds hold whatever it says."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from contextlib import aclosing

import pytest
import torch
from PIL import Image

from narthex.backends.base import Backend, TurnDelta, TurnEnd, TurnRequest
from narthex.backends.local import LocalBackend
from narthex.base.errors import BackendError, ContextOverflowError, WeightsError
from narthex.chat import ImagePart, Message, ToolSpec
from narthex.engine.sampler import Drawn

PICTURE = ImagePart(sha256="0" * 64, media_type="image/png", width=40, height=30)
ZOOM = ToolSpec(name="zoom", parameters={"type": "object", "properties": {"box": {}, "image": {}}})


@pytest.fixture(scope="module")
def backend(tiny_folder):
    return LocalBackend.open(tiny_folder, device="cpu")


@pytest.fixture
def endless(tiny_folder):
    """The same model, unable to stop or to end a thought by itself; it writes plain text alone."""
    made = LocalBackend.open(tiny_folder, device="cpu")
    specials = torch.tensor(sorted(made.chat.tokenizer.special_ids.values()))
    decoder = made.engine.core.runner.decoder
    score = decoder.score

    def only_words(x):
        scores = score(x).clone()
        scores[..., specials] = float("-inf")
        return scores

    decoder.score = only_words
    return made


def asks(text="What does gauge C read?", *pictures, **how):
    return TurnRequest((Message.of("user", text, *pictures),), lambda _: Image.new("RGB", (40, 30), "teal"), **how)


async def turn(backend, request):
    """(deltas, end), checked to be what every turn is."""
    steps = [step async for step in backend.turn(request)]
    *deltas, end = steps
    assert isinstance(end, TurnEnd) and all(isinstance(delta, TurnDelta) and delta.text for delta in deltas)
    for kind, whole in (("thought", end.thought), ("text", end.text)):
        assert "".join(delta.text for delta in deltas if delta.kind == kind) == whole
    return deltas, end


async def all_pages_return(backend):
    """The engine has nothing left to do, and its books add up."""
    for _ in range(100):
        if backend.engine.core.is_idle:
            break
        await asyncio.sleep(0.01)
    backend.engine.core.check()
    return backend.engine.core.is_idle


def draws(monkeypatch, ids):
    """Let the engine draw these ids, one a step, whatever the model says."""
    script = iter(ids)
    monkeypatch.setattr("narthex.engine.core.draw", lambda logits, sequences: [Drawn(next(script)) for _ in sequences])


def test_it_is_a_backend(backend: Backend, tiny_folder):
    assert backend.name == tiny_folder.name
    assert backend.context_tokens == 192


@pytest.mark.parametrize("answer_tokens", [0, 1, 7])
async def test_the_answer_keeps_to_its_tokens(endless, answer_tokens):
    _, end = await turn(endless, asks(answer_tokens=answer_tokens))
    assert (end.usage.answer_tokens, end.usage.thought_tokens) == (answer_tokens, 0)
    assert (end.finish_reason, end.thought) == ("length", "")


@pytest.mark.parametrize("think_tokens", [0, 1, 2, 9])
async def test_the_thought_keeps_to_its_tokens_and_the_answer_follows(endless, think_tokens):
    """The end of the thought is forced inside the budget; room for the mark alone means no thought at all."""
    _, end = await turn(endless, asks(thinking=True, think_tokens=think_tokens, answer_tokens=5))
    assert end.usage.thought_tokens == (think_tokens if think_tokens > 1 else 0)
    assert bool(end.thought) == (think_tokens > 1)
    assert end.usage.answer_tokens == 5 and end.text
    assert (end.finish_reason, end.budget_enforced) == ("length", "native")


async def test_without_a_budget_the_answer_keeps_its_reserve(endless):
    """192 tokens of context: a quarter is the answer's, whatever was thought."""
    _, end = await turn(endless, asks(thinking=True))
    usage = end.usage
    assert usage.answer_tokens == 192 // 4
    assert usage.prompt_tokens + usage.thought_tokens + usage.answer_tokens == endless.context_tokens
    assert usage.flops == endless.flops(endless.context_tokens)


async def test_the_forced_end_changes_nothing_before_it(endless):
    short, long = [
        (await turn(endless, asks(thinking=True, think_tokens=n, answer_tokens=1)))[1].thought for n in (6, 12)
    ]
    assert short and long.startswith(short.rstrip("\ufffd"))


async def test_a_thought_spent_at_once_is_a_thought_switched_off(endless):
    """A budget of nothing and no thinking are the same prompt, so the same answer."""
    off = (await turn(endless, asks(answer_tokens=9)))[1]
    spent = (await turn(endless, asks(thinking=True, think_tokens=0, answer_tokens=9)))[1]
    assert off.text == spent.text
    for name in ("prompt_tokens", "thought_tokens", "answer_tokens"):
        assert getattr(off.usage, name) == getattr(spent.usage, name)


async def test_a_stop_token_ends_the_turn(backend, monkeypatch):
    stop = backend.chat.stop_ids[0]
    draws(monkeypatch, [*backend.chat.encode("It is 12"), stop, *backend.chat.encode("never")])
    _, end = await turn(backend, asks())
    assert (end.text, end.finish_reason) == ("It is 12", "stop")
    assert end.usage.answer_tokens == len(backend.chat.encode("It is 12")) + 1


async def test_thought_text_calls_and_mistakes_are_told_apart(backend, monkeypatch):
    chat = backend.chat
    call, broken = '{"name": "zoom", "parameters": {"box": [1, 2, 3, 4]}}', '{"name": "zoom", "parameters": [}}'
    drawn = [*chat.encode("Find C."), chat.thought_end_id, *chat.encode(f"Look.\n{call}\n{broken}"), chat.stop_ids[0]]
    draws(monkeypatch, drawn)
    _, end = await turn(backend, asks(thinking=True, tools=(ZOOM,)))
    assert (end.thought, end.finish_reason) == ("Find C.", "stop")
    assert [made.arguments for made in end.calls] == [{"box": [1, 2, 3, 4]}]
    assert len(end.mistakes) == 1
    assert end.usage.thought_tokens == len(chat.encode("Find C.")) + 1
    assert end.usage.thought_tokens + end.usage.answer_tokens == len(drawn)


async def test_greedy_is_reproducible_and_seeds_are_honoured(endless):
    async def said(**how):
        return (await turn(endless, asks("What?", PICTURE, answer_tokens=24, **how)))[1].text

    assert await said() == await said(seed=5)
    hot = {"temperature": 1.5}
    assert await said(**hot, seed=1) == await said(**hot, seed=1)
    assert await said(**hot, seed=1) != await said(**hot, seed=2)
    assert await said(**hot) != await said(**hot), "no seed means dice of their own"
    assert await said(**hot, seed=10**30), "any whole number is a seed"


async def test_pictures_are_seen(endless):
    blank = asks("What?", PICTURE, answer_tokens=24)
    _, teal = await turn(endless, blank)
    other = TurnRequest(blank.messages, lambda _: Image.effect_noise((40, 30), 90).convert("RGB"), answer_tokens=24)
    _, noise = await turn(endless, other)
    assert teal.usage.prompt_tokens == noise.usage.prompt_tokens
    assert teal.text != noise.text


async def test_what_does_not_fit_is_said_before_the_first_token(backend):
    with pytest.raises(ContextOverflowError, match=r"takes \d+ tokens, and tiny has 192") as caught:
        await turn(backend, asks("word " * 400))
    assert caught.value.hint and caught.value.exit_code == 2
    _, end = await turn(backend, asks())
    assert end.usage.prompt_tokens < 192


async def test_an_almost_full_context_still_gets_its_answer_and_no_more(endless):
    text, room = "What", 0
    while True:
        try:
            _, end = await turn(endless, asks(text, thinking=True))
        except ContextOverflowError:
            break
        room = endless.context_tokens - end.usage.prompt_tokens
        assert end.usage.thought_tokens + end.usage.answer_tokens == room
        assert end.usage.answer_tokens >= 15
        text += " 1 2 3"
    assert 16 <= room <= 24


async def test_a_deadline_ends_the_turn_with_what_there_is(endless, monkeypatch):
    _, none = await turn(endless, asks(deadline_s=0.0))
    assert (none.text, none.finish_reason, none.usage.answer_tokens, none.usage.flops) == ("", "length", 0, 0.0)
    slowly(endless, monkeypatch, 0.05)
    began = time.monotonic()
    _, some = await turn(endless, asks(deadline_s=0.3))
    assert 0.3 <= time.monotonic() - began < 5
    assert some.finish_reason == "length" and 1 <= some.usage.answer_tokens <= 7


async def held_up(backend, request):
    """Deltas of one who reads the first one only when the engine has written everything."""
    found = []
    async with aclosing(backend.turn(request)) as stream:
        async for step in stream:
            found.append(step)
            limit = time.monotonic() + 20
            while len(found) == 1 and not backend.engine.core.is_idle and time.monotonic() < limit:
                time.sleep(0.01)  # the event loop is busy
            if request.stop is not None and len(found) == 3:
                request.stop.set()
    return found


async def test_what_came_together_is_one_delta(endless):
    *deltas, end = await held_up(endless, asks(thinking=True, think_tokens=20, answer_tokens=20))
    assert len(deltas) <= 6 and len(end.thought) + len(end.text) > 20  # of 40 tokens
    assert "".join(delta.text for delta in deltas) == end.thought + end.text
    assert (end.usage.thought_tokens, end.usage.answer_tokens) == (20, 20)


async def test_who_wants_confidence_gets_each_token_and_stops_right_there(endless):
    """Agents are cut for what a token shows: how far the engine was by then must not change what they said."""
    alone, end = await turn(endless, asks(answer_tokens=40, wants_confidence=True))
    assert len(alone) > 15
    *deltas, cut = await held_up(endless, asks(answer_tokens=40, wants_confidence=True, stop=asyncio.Event()))
    assert [delta.text for delta in deltas[:3]] == [delta.text for delta in alone[:3]]
    assert len(deltas) <= 4 and cut.finish_reason == "cancelled"  # half a character may be left
    assert cut.usage.answer_tokens < end.usage.answer_tokens and end.text.startswith(cut.text)


def slowly(backend, monkeypatch, seconds):
    decoder = backend.engine.core.runner.decoder
    forward = decoder.run

    def late(*arguments):
        time.sleep(seconds)
        return forward(*arguments)

    monkeypatch.setattr(decoder, "run", late)


async def test_closing_stops_the_model(endless, monkeypatch):
    slowly(endless, monkeypatch, 0.05)
    async with aclosing(endless.turn(asks())) as stream:
        async for _ in stream:
            break
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert await all_pages_return(endless)
    _, end = await turn(endless, asks(answer_tokens=1))
    assert end.usage.answer_tokens == 1


async def test_cancelling_stops_the_model(endless, monkeypatch):
    slowly(endless, monkeypatch, 0.1)
    task = asyncio.create_task(turn(endless, asks()))
    await asyncio.sleep(0.25)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    assert await all_pages_return(endless)


async def test_turns_are_batched_and_say_what_they_say_alone(endless):
    questions = [asks(f"What does gauge {label} read?", answer_tokens=12) for label in "ABCDEF"]
    alone = [(await turn(endless, question))[1].text for question in questions]
    together = await asyncio.gather(*(turn(endless, question) for question in questions))
    assert [end.text for _, end in together] == alone


async def test_a_second_turn_over_the_same_prompt_finds_it_cached(endless):
    question = asks("How much is the pressure of the pump, and what does gauge C read?", answer_tokens=2)
    _, first = await turn(endless, question)
    _, second = await turn(endless, question)
    assert first.usage.cached_tokens == 0
    assert 0 < second.usage.cached_tokens < second.usage.prompt_tokens
    assert second.usage.flops < first.usage.flops
    assert second.text == first.text


def test_one_backend_serves_one_loop_after_another(endless):
    async def crowd():
        return await asyncio.gather(*(turn(endless, asks(answer_tokens=2)) for _ in range(3)))

    assert [asyncio.run(crowd()) for _ in range(2)]


async def test_what_breaks_in_the_engine_comes_out_of_the_turn(tiny_folder, monkeypatch):
    broken = LocalBackend.open(tiny_folder, device="cpu")

    def step(works):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(broken.engine.core.runner, "step", step)
    with pytest.raises(BackendError, match="no room") as caught:
        await turn(broken, asks())
    assert caught.value.hint


def test_a_tokenizer_of_another_model_is_refused(tiny_folder, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("narthex.sha256.json"))
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    last = max(definition["added_tokens"], key=lambda token: token["id"])
    definition["added_tokens"].append({**last, "id": last["id"] + 1, "content": "<|one_too_many|>"})
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer.json has (\d+) entries, and the model knows"):
        LocalBackend.open(folder, device="cpu")
