"""The store's own error: the disk, or what lies on it, is at fault; neither the question nor the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from narthex.base.errors import NarthexError


class StoreError(NarthexError):
    """Something could not be written or read back: a full disk, a locked database, a damaged file."""


@contextmanager
def told_as_store_error(what: str, *, hint: str) -> Iterator[None]:
    """Turn what the database or the disk raises into one line: `could not {what}: {reason}`."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"could not {what}: {getattr(error, 'orig', None) or error}", hint=hint) from error
