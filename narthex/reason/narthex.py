"""The whole system from Python: open a model once, then ask.

    from narthex.reason import Narthex

    narthex = Narthex.open()
    answer = narthex.ask("What does gauge C read?", images=["examples/panel.png"], mode="contemplating")
    print(answer.text, answer.ledger.agents)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from narthex.backends.base import Backend
from narthex.backends.settings import load_settings, open_upstream
from narthex.base.errors import InputError
from narthex.base.places import find_model
from narthex.chat import Budget, Conversation, Event, FinishReason, ImagePart, Ledger, Message, Mode, ToolCall
from narthex.reason.run import run
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import Tool


class Answer(NamedTuple):
    """What a run came to. `calls` are of the caller's own tools; `events` is everything that happened."""

    text: str
    ledger: Ledger
    finish_reason: FinishReason
    calls: tuple[ToolCall, ...]
    events: tuple[Event, ...]


class Narthex:
    """A model that can be asked in three modes. Close it, or use it in a `with`."""

    def __init__(self, backend: Backend, ceiling: Budget | None = None) -> None:
        self.backend, self.ceiling = backend, ceiling
        self._gallery = Gallery(MemoryBlobs())
        self._runner = asyncio.Runner()  # one loop for all questions: connections belong to theirs

    @classmethod
    def open(
        cls, model: str | Path | None = None, *, upstream: str | None = None, device: str | None = None,
        config: Path | None = None,
    ) -> Narthex:  # fmt: skip
        """Open the shipped model, one by name or folder, or one behind an upstream (a name in narthex.toml, or a URL).

        Raises: WeightsError, ConfigError.
        """
        settings = load_settings(config)
        name = None if model is None else str(model)
        if upstream is not None:
            return cls(open_upstream(upstream, settings, model=name), settings.ceiling)
        folder = find_model(name)
        from narthex.backends.local import LocalBackend  # torch comes with it

        return cls(LocalBackend.open(folder, device=device), settings.ceiling)

    def ask(self, question: str, **how: Any) -> Answer:
        """Answer a question; `how` is what `stream` takes. Raises: NarthexError where the run fails."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(self.answer(question, **how))
        raise InputError("an event loop is running here", hint="await narthex.answer(…) there")

    async def answer(self, question: str, **how: Any) -> Answer:
        """As `ask`, in an event loop."""
        async with aclosing(self.stream(question, **how)) as stream:
            events = [event async for event in stream]
        end = events[-1]
        if end.type == "run_failed":
            raise end.error()
        if end.type != "run_finished":
            raise RuntimeError(f"a run ended with {end.type}")
        return Answer(end.answer, end.ledger, end.finish_reason, end.calls, tuple(events))

    def stream(
        self, question: str, *, images: Sequence[str | Path | bytes] = (), mode: Mode = "thinking",
        budget: Budget | None = None, tools: Sequence[Tool] | None = None, system: str = "",
        history: Conversation | None = None, **options: Any,
    ) -> AsyncGenerator[Event]:  # fmt: skip
        """The events of one run; see `narthex.reason.run` for `options`. Images are files, or their bytes.

        Raises: InputError for what is no picture.
        """
        pictures = [self._picture(image) for image in images]
        before = (Message.of("system", system),) if system else ()
        said = (history or Conversation()).with_messages(Message.of("user", question, *pictures))
        conversation = Conversation(messages=before + said.messages)
        return run(
            conversation, mode, budget, self.backend, tools, gallery=self._gallery, ceiling=self.ceiling, **options
        )

    def close(self) -> None:
        """Let go of the model, or of the connections to it."""
        aclose = getattr(self.backend, "aclose", None)
        if aclose is not None:
            self._runner.run(aclose())
        close = getattr(self.backend, "close", None)
        if close is not None:
            close()
        self._runner.close()

    def __enter__(self) -> Narthex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _picture(self, image: str | Path | bytes) -> ImagePart:
        if isinstance(image, bytes):
            return self._gallery.add_bytes(image)
        try:
            return self._gallery.add_bytes(Path(image).read_bytes())
        except OSError as error:
            raise InputError(f"cannot read '{image}': {error.strerror}", hint="check the path") from None
