"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}` and a status."""

from __future__ import annotations

from typing import Any

from narthex.base.errors import ContextOverflowError, NarthexError
from narthex.store import StoreError

CONTEXT_CODE = "context_length_exceeded"  # clients shorten the conversation when they read it
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
MAX_MESSAGE_CHARS = 2000  # a message may quote what came in


class ApiError(NarthexError):
    """What a request gets instead of an answer. `param` names the field at fault, `code` is for programs."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None,
        hint: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, hint=hint)
        self.http_status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of the reply. The hint is a part of the message: no client shows another field."""
        said = self.message + (f" ({self.hint})" if self.hint else "")
        if len(said) > MAX_MESSAGE_CHARS:
            said = said[: MAX_MESSAGE_CHARS - 1] + "…"
        status = self.http_status
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        return {"error": {"message": said, "type": kind, "param": self.param, "code": self.code}}


def as_api_error(error: NarthexError, *, param: str | None = None) -> ApiError:
    """The same error for a client of the API."""
    if isinstance(error, ApiError):
        return error
    code, status = None, error.http_status
    if isinstance(error, ContextOverflowError):
        code, param = CONTEXT_CODE, "messages"
    if isinstance(error, StoreError):
        status, code = 503, "store_unavailable"
    return ApiError(error.message, status=status, param=param, code=code, hint=error.hint)
