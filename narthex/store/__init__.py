"""Floor 2: runs, events and blobs, kept in one folder. Used by cli and serve; knows no model and no tool."""

from __future__ import annotations

from narthex.store.blobs import Blob, Blobs
from narthex.store.errors import StoreError
from narthex.store.store import RunRecord, RunStatus, Store

__all__ = ["Blob", "Blobs", "RunRecord", "RunStatus", "Store", "StoreError"]
