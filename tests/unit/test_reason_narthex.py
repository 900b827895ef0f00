"""The five lines of the README: open, ask, read."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError, InputError, NarthexError, WeightsError
from narthex.chat import Budget, Conversation, Message
from narthex.reason import Narthex


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def test_one_question_three_modes(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    backend = ScriptedBackend(lambda request: Said("12 bar", thought="I see."))
    with Narthex(backend) as narthex:
        for mode, agents in (("instant", 1), ("thinking", 1), ("contemplating", 4)):
            answer = narthex.ask("What?", images=[tmp_path / "a.png", png()], mode=mode, seed=1)
            assert (answer.text, answer.finish_reason, answer.ledger.agents) == ("12 bar", "stop", agents)
            assert answer.events[-1].type == "run_finished"
    assert len(backend.requests[0].messages[0].pictures) == 2


def test_a_conversation_goes_on_and_a_system_prompt_comes_first():
    backend = ScriptedBackend(lambda request: Said("ok"))
    history = Conversation(messages=(Message.of("user", "One?"), Message.of("assistant", "1")))
    with Narthex(backend) as narthex:
        narthex.ask("Two?", system="Be brief.", history=history)
    assert [message.text for message in backend.requests[0].messages] == ["Be brief.", "One?", "1", "Two?"]


def test_a_ceiling_only_lowers():
    backend = ScriptedBackend(lambda request: Said("ok"))
    with Narthex(backend, Budget(think_tokens=100, agents=3)) as narthex:
        assert narthex.ask("?").events[0].budget.think_tokens == 100
        assert narthex.ask("?", budget=Budget(think_tokens=7)).events[0].budget.think_tokens == 7
        assert narthex.ask("?", mode="contemplating").ledger.agents == 3
    with Narthex(backend, Budget(think_tokens=10**6)) as narthex:
        assert narthex.ask("?").events[0].budget.think_tokens == 4096


def test_what_goes_wrong_is_raised(tmp_path):
    def dead(request):
        raise BackendError("the line is dead", hint="plug it in")

    with Narthex(ScriptedBackend(dead)) as narthex:
        with pytest.raises(NarthexError, match="the line is dead") as caught:
            narthex.ask("?")
        assert (caught.value.hint, caught.value.exit_code) == ("plug it in", BackendError.exit_code)
        with pytest.raises(InputError, match="cannot read"):
            narthex.ask("?", images=[tmp_path / "none.png"])
    with pytest.raises(WeightsError, match="no model 'nannon'"):
        Narthex.open("nannon")


async def test_in_an_event_loop_it_is_awaited():
    narthex = Narthex(ScriptedBackend(lambda request: Said("12")))
    with pytest.raises(InputError, match="event loop"):
        narthex.ask("?")
    assert (await narthex.answer("?")).text == "12"
    assert [event.type async for event in narthex.stream("?")][-1] == "run_finished"
    await asyncio.to_thread(narthex.close)
