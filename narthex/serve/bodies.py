"""What comes in as JSON: bounded before it is read, checked before it is used, nothing dropped without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from narthex.base.config import did_you_mean
from narthex.serve.errors import ApiError

MAX_BODY_BYTES = 32 * 2**20
READ_S = 60.0  # for the whole body to arrive
# Python's lock is held while values are made, and everybody else waits: half a second for so many, at worst.
MAX_VALUES = 500_000
MAX_NAMED_FIELDS = 10  # unknown ones, in the warning
MAX_NAME_CHARS = 64


class Wire(BaseModel):
    """Base of what clients send: types are not guessed at; unknown fields are kept aside, to be named."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


W = TypeVar("W", bound=Wire)


async def read_body(request: Request, *, or_empty: bool = False) -> Any:
    """The JSON of a request; of an empty one `{}`, where that will do.

    Raises: ApiError for what is too large, too slow, too deep, or no JSON.
    """
    try:
        async with asyncio.timeout(READ_S):
            data = await request.body()
    except TimeoutError:
        raise ApiError("the request did not arrive in time", status=408, hint=f"within {READ_S:.0f} s") from None
    if or_empty and not data:
        return {}
    return await asyncio.to_thread(parse_json, data)


def parse_json(data: bytes) -> Any:
    """JSON by the letter, with neither NaN nor lone surrogates. Raises: ApiError.

    Values are counted by their signs before any is made, so signs inside of strings count as well.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ApiError("the request holds too many values", status=413, code="request_too_large")
    try:
        return pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(
            f"the request is no JSON that can be read: {error}", code="invalid_json", hint="send one JSON object"
        ) from None


def check_body(kind: type[W], body: Any) -> W:
    """`body` as what it should be. Raises: ApiError that names the field at fault."""
    if not isinstance(body, dict):
        raise ApiError("the request should be a JSON object", code="invalid_type")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # Of a union every branch complains; the one that came furthest is the one that was meant.
        place, problem = max(((_place(body, problem["loc"]), problem) for problem in problems), key=_depth)
    is_missing = problem["type"] == "missing"
    message = problem["msg"].removeprefix("Value error, ")
    told = f"'{place}' is missing" if is_missing else f"'{place}': {message[:1].lower()}{message[1:]}"
    code = "missing_required_parameter" if is_missing else "invalid_value"
    raise ApiError(told, param=place or None, code=code)


def _depth(found: tuple[str, Any]) -> int:
    return found[0].count(".") + found[0].count("[")


def _place(body: Any, steps: Sequence[int | str]) -> str:
    """Where a problem is, as `messages[0].content`; names of a union's branches are no places."""
    place, here = "", body
    for number, step in enumerate(steps):
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            place, here = f"{place}[{step}]", here[step]
        elif isinstance(here, dict) and (step in here or number == len(steps) - 1):
            place, here = f"{place}.{step}" if place else str(step), here.get(step)
    return place


def unknown_fields(part: Any, where: str = "") -> Iterator[str]:
    """Every field that nobody here reads, by its place."""
    if isinstance(part, Wire):
        yield from (f"{where}{name}" for name in part.model_extra or ())
        for name in type(part).model_fields:
            yield from unknown_fields(getattr(part, name), f"{where}{name}.")
    elif isinstance(part, list):
        for number, entry in enumerate(part):
            yield from unknown_fields(entry, f"{where.removesuffix('.')}[{number}].")


def warning_of_unknown(part: Wire) -> str | None:
    """One line that names the fields nobody here reads; None where there are none."""
    names = list(unknown_fields(part))
    if not names:
        return None
    shown = []
    for name in names[:MAX_NAMED_FIELDS]:
        guess = did_you_mean(name, type(part).model_fields) if "." not in name else None
        shown.append(f"'{name[:MAX_NAME_CHARS]}'" + (f" (did you mean '{guess}'?)" if guess else ""))
    more = len(names) - len(shown)
    return "not known here, and ignored: " + ", ".join(shown) + (f" and {more} more" if more else "")
