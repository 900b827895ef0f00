"""Where an agent's tool calls are run: checked, allowed or refused, side by side, each in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from narthex.base.config import did_you_mean
from narthex.base.errors import ModelMistake, NarthexError
from narthex.base.log import get_logger
from narthex.chat import (
    ApprovalAsked,
    ApprovalGiven,
    Event,
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from narthex.reason.desk import Desk
from narthex.reason.merge import Merge
from narthex.tools import Tool

log = get_logger(__name__)

Ask = Callable[[str, Sequence[ImagePart]], Awaitable[str]]
Stamp = Callable[[], dict[str, Any]]


class Wish(NamedTuple):
    """A call as the model wrote it, or why it could not be read."""

    call: ToolCall
    unreadable: str | None = None


class Bench:
    """Runs the calls of one turn. Afterwards `results` holds a tool message for each, in the order written."""

    def __init__(
        self, desk: Desk, tools: Sequence[Tool], pictures: Sequence[ImagePart], ask: Ask, stamp: Stamp
    ) -> None:
        self._desk, self._pictures, self._ask, self._stamp = desk, pictures, ask, stamp
        self._tools = {tool.spec.name: tool for tool in tools}
        self._parts: dict[str, tuple[Part, ...]] = {}
        self.num_calls = self.num_looks = 0

    async def use(self, wishes: Sequence[Wish]) -> AsyncGenerator[Event]:
        """Start all calls at once and tell what happens; those beyond what the run has left are told so."""
        work: Merge[Event] = Merge()
        for wish in wishes:
            work.add(self._one(wish))
        async with aclosing(work.stream()) as events:
            async for event in events:
                yield event

    def results(self, wishes: Sequence[Wish]) -> tuple[Message, ...]:
        return tuple(Message(role="tool", parts=self._parts[w.call.id], call_id=w.call.id) for w in wishes)

    async def _one(self, wish: Wish) -> AsyncGenerator[Event]:
        call = wish.call
        yield ToolStarted(**self._stamp(), call=call)
        began = self._desk.clock.elapsed()
        parts: tuple[Part, ...]
        try:
            tool = self._find(wish)
            if tool.needs_approval:
                yield ApprovalAsked(**self._stamp(), call=call)
                approval = await self._desk.approve(call)
                yield ApprovalGiven(
                    **self._stamp(), call_id=call.id, is_allowed=approval.is_allowed, by=approval.by,
                    reason=approval.reason,
                )  # fmt: skip
                if not approval.is_allowed:
                    raise ModelMistake(f"{call.name} was not allowed: {approval.reason or 'somebody refused it'}")
            parts, is_error = await self._run(tool, call), False
        except ModelMistake as mistake:
            parts, is_error = (TextPart(text="error: " + " ".join(str(mistake).split())),), True
        self.num_looks += any(isinstance(part, ImagePart) for part in parts)
        self._parts[call.id] = parts
        yield ToolFinished(
            **self._stamp(), call_id=call.id, name=call.name, parts=parts, is_error=is_error,
            seconds=self._desk.clock.elapsed() - began,
        )  # fmt: skip

    def _find(self, wish: Wish) -> Tool:
        """The tool that is meant, paid for. Raises: ModelMistake."""
        self._desk.purse.take_call()
        self.num_calls += 1
        if wish.unreadable is not None:
            raise ModelMistake(wish.unreadable)
        name = wish.call.name
        if name not in self._tools:
            guess = did_you_mean(name, self._tools)
            hint = f"did you mean {guess}?" if guess else f"the tools are: {', '.join(self._tools) or 'none'}"
            raise ModelMistake(f"there is no tool {name!r}; {hint}")
        return self._tools[name]

    async def _run(self, tool: Tool, call: ToolCall) -> tuple[Part, ...]:
        """Raises: ModelMistake for everything that goes wrong, a fault of the tool included: the run goes on."""
        try:
            async with asyncio.timeout(tool.timeout_s):
                return await tool.call(_Context(self._desk, self._pictures, self._ask), call.arguments)
        except TimeoutError:
            raise ModelMistake(f"{call.name} was stopped after {tool.timeout_s:g} seconds") from None
        except ModelMistake:
            raise
        except NarthexError as error:
            raise ModelMistake(f"{call.name}: {error.message}") from None
        except Exception as bug:
            log.exception("tool %s failed", call.name)
            raise ModelMistake(f"{call.name} failed: {type(bug).__name__}: {bug}") from None


class _Context:
    """The ToolContext of one call."""

    def __init__(self, desk: Desk, pictures: Sequence[ImagePart], ask: Ask) -> None:
        self._desk, self._pictures, self._ask = desk, pictures, ask

    @property
    def num_pictures(self) -> int:
        return len(self._pictures)

    @property
    def folder(self) -> Path:
        return self._desk.folder.path

    def open_picture(self, index: int) -> Image.Image:
        return self._desk.gallery.load(self._picture(index))

    def keep_picture(self, image: Image.Image) -> ImagePart:
        return self._desk.gallery.add_image(image)

    def keep_file(self, path: Path) -> FilePart:
        return self._desk.keep_file(path)

    async def ask_model(self, question: str, pictures: Sequence[int] = ()) -> str:
        return await self._ask(question, [self._picture(index) for index in pictures])

    def _picture(self, index: int) -> ImagePart:
        if not 0 <= index < len(self._pictures):
            have = f"0..{len(self._pictures) - 1}" if self._pictures else "none"
            raise ModelMistake(f"there is no picture {index}; pictures here: {have}")
        return self._pictures[index]
