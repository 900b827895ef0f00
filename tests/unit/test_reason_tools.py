"""Tools in a run: side by side, allowed or refused, in bounded time, and what they may touch."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from typing import Annotated

import pytest
from PIL import Image
from pydantic import Field

from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import ConfigError, InputError
from narthex.chat import Conversation, FilePart, Message, TextPart, ToolCall, ToolSpec
from narthex.reason import run
from narthex.reason.approvals import Approval, Rule, always, by_rules, never
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import tool, zoom

Word = Annotated[str, Field(description="a word")]


@tool
async def slow(context, word: Word) -> list[TextPart]:
    """Say a word after a while."""
    await asyncio.sleep(1.0)
    return [TextPart(text=word)]


@tool(timeout_s=0.1)
def endless(context, word: Word = "") -> list[TextPart]:
    """Sleep longer than anybody waits."""
    time.sleep(1.0)
    return []


@tool(needs_approval=True)
def risky(context, word: Word) -> list[TextPart]:
    """Do something that somebody should allow."""
    return [TextPart(text=f"did {word}")]


@tool
def broken(context, word: Word = "") -> list[TextPart]:
    """Fail by a fault of its own."""
    raise KeyError("a fault")


@tool
async def curious(context, word: Word = "") -> list[TextPart]:
    """Ask the model about the picture."""
    return [TextPart(text=await context.ask_model("What colour?", [0]))]


@tool
def writer(context, word: Word) -> list[FilePart]:
    """Write a file and hand it over."""
    path = context.folder / "note.txt"
    if word == "link":
        (context.folder / "link").symlink_to("/etc/passwd")
        return [context.keep_file(context.folder / "link")]
    path.write_text(word)
    return [context.keep_file(path)]


def calls(*pairs):
    return tuple(ToolCall(id=f"c{i}", name=name, arguments=given) for i, (name, given) in enumerate(pairs))


async def events_of(wanted, tools, *, then=Said(text="done"), mode="thinking", gallery=None, **how):
    replies = iter([Said(calls=wanted)])
    backend = ScriptedBackend(lambda request: next(replies, then))
    gallery = gallery or Gallery(MemoryBlobs())
    asked = Conversation(messages=(Message.of("user", "?", gallery.add_image(Image.new("RGB", (64, 64)))),))
    async with aclosing(run(asked, mode, None, backend, tools, gallery=gallery, **how)) as stream:
        found = [event async for event in stream]
    return found, backend


def results(found):
    ended = {event.call_id: event for event in found if event.type == "tool_finished"}
    return ["".join(part.text for part in ended[call].parts if part.type != "image") for call in sorted(ended)]


async def test_calls_of_one_turn_run_side_by_side():
    began = time.monotonic()
    found, backend = await events_of(calls(*[("slow", {"word": word}) for word in "abcd"]), [slow])
    assert time.monotonic() - began < 3, "four of a second each"
    assert results(found) == ["a", "b", "c", "d"]
    assert [message.text for message in backend.requests[1].messages if message.role == "tool"] == list("abcd")


async def test_a_tool_that_takes_too_long_is_left_behind():
    found, _ = await events_of(calls(("endless", {}), ("slow", {"word": "a"})), [endless, slow])
    assert results(found) == ["error: endless was stopped after 0.1 seconds", "a"]
    assert found[-1].answer == "done"


async def test_a_tools_own_fault_costs_its_call_and_no_more():
    found, _ = await events_of(calls(("broken", {})), [broken])
    assert results(found) == ["error: broken failed: KeyError: 'a fault'"] and found[-1].type == "run_finished"


async def test_what_needs_approval_is_refused_where_nobody_can_give_it():
    found, _ = await events_of(calls(("risky", {"word": "x"}), ("zoom", {"box": [0, 0, 9, 9]})), [risky, zoom])
    assert "was not allowed" in results(found)[0]
    (given,) = [event for event in found if event.type == "approval_given"]
    assert (given.is_allowed, given.by, given.call_id) == (False, "rule", "c0"), "zoom was not asked about"


async def test_a_run_waits_for_a_person():
    asked, said = asyncio.Event(), asyncio.Event()

    async def person(call):
        asked.set()
        await said.wait()
        return Approval(call.arguments["word"] == "good", by="person", reason="too dangerous")

    both = calls(("risky", {"word": "good"}), ("risky", {"word": "bad"}))
    work = asyncio.create_task(events_of(both, [risky], approve=person))
    await asyncio.wait_for(asked.wait(), 10)
    await asyncio.sleep(0.05)
    assert not work.done()
    said.set()
    found, _ = await work
    assert results(found) == ["did good", "error: risky was not allowed: too dangerous"]
    kinds = [event.type for event in found if event.type.startswith(("approval", "tool"))]
    assert kinds.index("approval_asked") < kinds.index("approval_given") < kinds.index("tool_finished")


async def test_rules_decide_by_arguments():
    rules = by_rules([Rule("risky", False, "word", "rm"), Rule("*", True, "word", "^ls")], otherwise=never("unknown"))

    async def allowed(word):
        return await rules(ToolCall(id="c", name="risky", arguments={"word": word}))

    assert [(await allowed(word)).is_allowed for word in ("ls", "ls; rm", "cat")] == [True, False, False]
    assert (await allowed("cat")).reason == "unknown"
    assert (await always()(ToolCall(id="c", name="risky"))).is_allowed
    with pytest.raises(ConfigError, match="is no pattern"):
        by_rules([Rule("risky", True, "word", "(")])


async def test_a_tool_may_ask_the_model_aside():
    found, backend = await events_of(calls(("curious", {})), [curious], then=Said(text="blue"))
    assert results(found) == ["blue"]
    aside = backend.requests[1]
    assert (aside.thinking, aside.tools, aside.messages[0].text) == (False, (), "What colour?")
    assert len(aside.messages[0].pictures) == 1
    assert found[-1].ledger.by_agent[0].turns == 3


async def test_files_are_kept_and_links_are_not_followed(tmp_path):
    blobs = MemoryBlobs()
    found, backend = await events_of(
        calls(("writer", {"word": "hello"})), [writer], gallery=Gallery(blobs), folder=tmp_path / "here"
    )
    (part,) = next(event for event in found if event.type == "tool_finished").parts
    assert (part.type, part.name, part.num_bytes) == ("file", "note.txt", 5) and blobs.get(part.sha256).data == b"hello"
    assert backend.requests[1].messages[-1].text == "\n[file note.txt, 5 bytes]"
    assert (tmp_path / "here" / "note.txt").read_text() == "hello", "kept for the next turn"
    found, _ = await events_of(calls(("writer", {"word": "link"})), [writer])
    assert "link cannot be handed over" in results(found)[0]


async def test_a_folder_of_the_runs_own_ends_with_it(monkeypatch):
    seen = []

    @tool
    def where(context, word: Word = "") -> list[TextPart]:
        """Say where files go."""
        seen.append(context.folder)
        return []

    await events_of(calls(("where", {})), [where])
    assert seen and not os.path.exists(seen[0])


@pytest.mark.parametrize("mode", ["instant", "thinking"])
async def test_a_callers_own_tool_ends_the_run_with_its_call(mode):
    spec = ToolSpec(name="weather", description="The weather.")
    wanted = calls(("weather", {"city": "Rome"}))
    found, _ = await events_of(wanted, [zoom] if mode == "thinking" else [], mode=mode, caller_tools=[spec])
    assert (found[-1].finish_reason, found[-1].calls) == ("tool_calls", wanted)
    assert not [event for event in found if event.type == "tool_started"]


async def test_two_tools_of_one_name_are_refused():
    with pytest.raises(InputError, match="more than one tool is called zoom"):
        await events_of((), [zoom], caller_tools=[ToolSpec(name="zoom")])
