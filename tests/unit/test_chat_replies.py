"""What a run leaves in its conversation, from its events."""

from __future__ import annotations

from narthex.backends.fake import Said, ScriptedBackend
from narthex.chat import (
    AgentStarted,
    AnswerDelta,
    AnswerStarted,
    Conversation,
    FilePart,
    Ledger,
    Message,
    RunFinished,
    RunStarted,
    TextPart,
    ThoughtDelta,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from narthex.chat.replies import reply_of
from narthex.reason import run
from narthex.tokens.gallery import Gallery, MemoryBlobs

from .test_cli_board import Script

FILE = FilePart(sha256="1" * 64, name="sums.csv", num_bytes=9)


def call(number, name="python"):
    return ToolCall(id=str(number), name=name, arguments={"code": str(number)})


def begun() -> Script:
    return Script().add(RunStarted, mode="thinking", model="nano").add(AgentStarted, "agent-0")


def end(script: Script, answer: str = "done"):
    script.add(AnswerStarted, "agent-0").add(AnswerDelta, "agent-0", text=answer)
    return reply_of(script.add(RunFinished, answer=answer, ledger=Ledger()).events)


def result(script: Script, number: int, *parts, **more) -> Script:
    return script.add(ToolFinished, "agent-0", call_id=str(number), name="python", parts=parts, **more)


def test_calls_results_and_what_was_said_with_them_stay_and_thought_goes():
    run = begun().add(ThoughtDelta, "agent-0", text="Hm.")
    run.add(AnswerStarted, "agent-0").add(AnswerDelta, "agent-0", text="Let me see.")
    run.add(ToolStarted, "agent-0", call=call(1)).add(ToolStarted, "agent-0", call=call(2))
    result(result(run, 2, FILE), 1, TextPart(text="3"))  # side by side: the second is done first
    assert end(run) == (
        Message(role="assistant", parts=(TextPart(text="Let me see."),), calls=(call(1), call(2))),
        Message(role="tool", parts=(TextPart(text="3"),), call_id="1"),
        Message(role="tool", parts=(FILE,), call_id="2"),
        Message.of("assistant", "done"),
    )


def test_calls_of_one_turn_after_another_are_told_apart():
    run = result(begun().add(ToolStarted, "agent-0", call=call(1)), 1).add(ThoughtDelta, "agent-0", text="More.")
    result(run.add(ToolStarted, "agent-0", call=call(2)), 2)
    assert [message.role for message in end(run)] == ["assistant", "tool", "assistant", "tool", "assistant"]


def test_what_was_refused_or_withdrawn_or_cut_does_not_stay():
    run = result(begun().add(ToolStarted, "agent-0", call=call(1)), 1, TextPart(text="error: no"), is_error=True)
    run.add(ToolStarted, "agent-0", call=call(2))
    run.add(AnswerStarted, "agent-0").add(AnswerDelta, "agent-0", text="No, wait.")
    assert end(run, answer="") == (Message(role="assistant"),)
    assert reply_of(begun().events) == ()


async def test_it_is_what_the_agent_itself_had_read():
    """The run's own conversation, less thought and mistakes, is the judge of what is rebuilt from events."""

    def script(request):
        turn = len([message for message in request.messages if message.role == "assistant"])
        wrong = ToolCall(id=f"w{turn}", name="nothing")
        right = ToolCall(id=f"r{turn}", name="zoom", arguments={"box": [0, 0, 500, 500]})
        if turn < 3:
            return Said(thought="Hm.", text=f"Look {turn}. ", calls=(wrong, right), mistakes=("no JSON",))
        return Said(text="347 bar")

    backend, gallery = ScriptedBackend(script), Gallery(MemoryBlobs())
    from PIL import Image

    question = Message.of("user", "C?", gallery.add_image(Image.new("RGB", (64, 64))))
    conversation = Conversation(messages=(question,))
    events = [event async for event in run(conversation, "thinking", None, backend, gallery=gallery)]
    read = backend.requests[-1].messages[1:]
    kept = [message for message in read if message.role == "assistant" or (message.call_id or "").startswith("r")]
    expected = [
        message.model_copy(update={"thought": "", "calls": tuple(c for c in message.calls if c.id.startswith("r"))})
        for message in kept
    ]
    assert list(reply_of(events)) == [*expected, Message.of("assistant", "347 bar")]
