"""Everything that is kept belongs to a user. Whoever asks for it by id comes here; what is not theirs is not there."""

from __future__ import annotations

from typing import Protocol, TypeVar

from narthex.serve.callers import Caller
from narthex.serve.errors import ApiError
from narthex.serve.service import Service
from narthex.store import ConversationRecord, FileRecord, ResponseRecord, RunRecord, Store, Turn


class _Belonging(Protocol):
    @property
    def user(self) -> str: ...


B = TypeVar("B", bound=_Belonging)


def store_of(service: Service) -> Store:
    """Where things are kept. Raises: ApiError where nothing is."""
    if service.store is None:
        if service.keeps_runs:
            raise ApiError("the store is not open", status=503, code="store_unavailable")
        raise ApiError(
            "this server keeps nothing, so there is nothing to come back to", status=404, code="not_kept",
            hint="start it without --no-save",
        )  # fmt: skip
    return service.store


def _theirs(found: B | None, caller: Caller, what: str, id_: str) -> B:
    if found is None or found.user != caller.user:
        raise ApiError(f"there is no {what} '{id_[:100]}'", status=404, code=f"{what}_not_found")
    return found


def conversation_of(service: Service, caller: Caller, conversation_id: str) -> ConversationRecord:
    """For a thread, as all of these. Raises: ApiError 404."""
    return _theirs(
        store_of(service).conversations.record(conversation_id), caller, "conversation", conversation_id
    )


def run_of(service: Service, caller: Caller, run_id: str) -> RunRecord:
    """Raises: ApiError 404."""
    return _theirs(store_of(service).run(run_id), caller, "run", run_id)


def file_of(service: Service, caller: Caller, file_id: str) -> FileRecord:
    """Raises: ApiError 404."""
    return _theirs(store_of(service).files.record(file_id), caller, "file", file_id)


def response_of(service: Service, caller: Caller, response_id: str) -> ResponseRecord:
    """Raises: ApiError 404."""
    return _theirs(store_of(service).responses.record(response_id), caller, "response", response_id)


def check_seen(service: Service, caller: Caller, sha256: str) -> None:
    """Whether the caller may see those bytes. Raises: ApiError 404."""
    if not store_of(service).blobs.is_seen_by(sha256, caller.user):
        raise ApiError(f"there is no picture '{sha256[:100]}'", status=404, code="picture_not_found")


def turn_of(turns: list[Turn], turn_id: str) -> Turn:
    """One of a conversation's turns. Raises: ApiError 404."""
    for turn in turns:
        if turn.id == turn_id:
            return turn
    raise ApiError(f"there is no turn '{turn_id[:100]}' in it", status=404, param="parent", code="turn_not_found")
