"""Floor 2: runs, events, conversations and blobs, in one folder. Used by cli and serve; knows no model and no tool."""

from __future__ import annotations

from narthex.store.blobs import Blob, Blobs
from narthex.store.conversations import (
    LAST_TURN,
    ConversationRecord,
    Conversations,
    Turn,
    TurnStatus,
    answered,
    line_of,
)
from narthex.store.errors import StoreError
from narthex.store.store import RunRecord, RunStatus, Store

__all__ = [
    "LAST_TURN",
    "Blob",
    "Blobs",
    "ConversationRecord",
    "Conversations",
    "RunRecord",
    "RunStatus",
    "Store",
    "StoreError",
    "Turn",
    "TurnStatus",
    "answered",
    "line_of",
]
