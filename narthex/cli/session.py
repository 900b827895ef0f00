"""A conversation under way: what was said, its pictures, its folder, and how its next turn is asked.

`ask` is a session of one turn, `chat` of many; both leave the same traces in the store.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from narthex.base.errors import InputError
from narthex.base.paths import narthex_home
from narthex.chat import Conversation, Event, ImagePart, Message, Mode, parse_mode
from narthex.chat.replies import reply_of
from narthex.cli.keeping import KeptTurn, RunBlobs, Warn
from narthex.cli.logs import SHORT_ID, database
from narthex.store import ConversationRecord, Store, Turn, answered, line_of
from narthex.tokens.gallery import Gallery


@dataclass(frozen=True)
class Manner:
    """How turns are asked: the mode, and what was chosen by name. Kept with the conversation."""

    mode: Mode = "thinking"
    model: str | None = None
    upstream: str | None = None
    tools: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Manner:
        """From what the store kept; what another version wrote and this one does not know is left out."""
        names = {name: settings[name] for name in ("model", "upstream") if isinstance(settings.get(name), str)}
        tools = tuple(name for name in settings.get("tools") or () if isinstance(name, str))
        return cls(mode=parse_mode(str(settings.get("mode", "thinking"))), tools=tools, **names)

    def changed(
        self, *, mode: str | None, model: str | None, upstream: str | None, tools: Sequence[str] | None
    ) -> Manner:
        """With what was said on the command line. Raises: InputError for an unknown mode."""
        manner = self
        if mode is not None:
            manner = replace(manner, mode=parse_mode(mode))
        if model is not None or upstream is not None:  # they belong together: one names what the other has
            manner = replace(manner, model=model, upstream=upstream)
        return replace(manner, tools=tuple(dict.fromkeys((*manner.tools, *(tools or ())))))

    def settings(self) -> dict[str, Any]:
        return {"mode": self.mode, "model": self.model, "upstream": self.upstream, "tools": list(self.tools)}


@dataclass
class Session:
    """One conversation. `conversation` holds its answered turns; `unanswered` is the last question if it was cut."""

    blobs: RunBlobs
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    conversation: Conversation = field(default_factory=Conversation)
    unanswered: Turn | None = None
    manner: Manner = field(default_factory=Manner)
    num_turns: int = 0

    @classmethod
    def new(cls, warn: Warn) -> Session:
        return cls(RunBlobs(warn))

    @classmethod
    def resume(cls, prefix: str | None, warn: Warn) -> Session:
        """Go on with a kept conversation: the last one, or the one whose id begins so. Its pictures are loaded.

        Raises: InputError where there is none, or more than one.
        """
        if not database().exists():
            raise InputError("there is no conversation to go on with", hint="ask something first; it is kept")
        with Store.open() as store:
            record = _chosen(store, prefix)
            turns = line_of(store.conversations.turns(record.id))
            done = [turn for turn in turns if turn.replied is not None]
            cut = turns[-1] if turns and turns[-1].replied is None else None
            blobs, conversation = RunBlobs(warn), answered(turns)
            shown = {picture.sha256: picture for picture in conversation.pictures}
            shown |= {picture.sha256: picture for message in (cut.asked if cut else ()) for picture in message.pictures}
            for picture in shown.values():
                blobs.put(store.blobs.get(picture.sha256).data, picture.media_type)
        return cls(blobs, record.id, conversation, cut, Manner.of(record.settings), len(done))

    @property
    def folder(self) -> Path:
        """Where its tools keep their files."""
        return narthex_home() / "folders" / self.id

    @property
    def gallery(self) -> Gallery:
        return Gallery(self.blobs)

    def question(self, text: str, pictures: Sequence[ImagePart], system: str | None) -> tuple[Message, ...]:
        """The messages of a new question. Raises: InputError for a system prompt where something was said already."""
        said = Message.of("user", text, *pictures)
        if not system:
            return (said,)
        if self.conversation.messages:
            raise InputError("a system prompt stands at the beginning of a conversation", hint="begin a new one for it")
        return Message.of("system", system), said

    def kept_turn(self, asked: Sequence[Message], *, replaces: str | None = None) -> KeptTurn:
        return KeptTurn(self.id, asked, self.manner.settings(), replaces=replaces)

    def answered(self, asked: Sequence[Message], events: Sequence[Event]) -> None:
        """A turn went well: what was said is part of the conversation."""
        self.conversation = self.conversation.with_messages(*asked, *reply_of(events))
        self.num_turns, self.unanswered = self.num_turns + 1, None

    def cut(self, asked: Sequence[Message], turn_id: str | None, run_id: str | None) -> None:
        """A turn was cut: it can be asked again."""
        self.unanswered = Turn(turn_id or "", run_id or "", tuple(asked), None)


def _chosen(store: Store, prefix: str | None) -> ConversationRecord:
    kept = store.conversations
    found = kept.latest(limit=1, user="") if prefix is None else kept.find(prefix, user="")
    if prefix is None and not found:
        raise InputError("there is no conversation to go on with", hint="ask something first; it is kept")
    if not found:
        raise InputError(f"there is no conversation '{prefix}'", hint="narthex logs lists the last ones")
    if len(found) > 1:
        ids = ", ".join(record.id[:SHORT_ID] for record in found[:5])
        raise InputError(f"{len(found)} conversations begin with '{prefix}'", hint=f"give more of it: {ids}")
    return found[0]
