"""Floor 2: runs, events, conversations and blobs, in one folder. Used by cli and serve; knows no model and no tool."""

from __future__ import annotations

from narthex.store.audit import Audit, AuditLine
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
from narthex.store.files import FileRecord, Files
from narthex.store.people import ROLES, Holder, KeyRecord, NewKey, People, Role, UserRecord
from narthex.store.responses import ResponseRecord, Responses
from narthex.store.store import RunRecord, RunStatus, Store

__all__ = [
    "LAST_TURN",
    "ROLES",
    "Audit",
    "AuditLine",
    "Blob",
    "Blobs",
    "ConversationRecord",
    "Conversations",
    "FileRecord",
    "Files",
    "Holder",
    "KeyRecord",
    "NewKey",
    "People",
    "ResponseRecord",
    "Responses",
    "Role",
    "RunRecord",
    "RunStatus",
    "Store",
    "StoreError",
    "Turn",
    "TurnStatus",
    "UserRecord",
    "answered",
    "line_of",
]
