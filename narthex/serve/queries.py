"""What stands behind the `?` of a path: read within bounds, and described for the OpenAPI document."""

from __future__ import annotations

import math
from typing import Any

from fastapi import Request

from narthex.serve.errors import ApiError

MAX_LIMIT = 200
MAX_NUMBER = 2**53  # of events; all integers up to it are exact in any client


def number(request: Request, name: str, default: float, *, least: float = -math.inf, most: float = math.inf) -> float:
    """A number of the query. Raises: ApiError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most or not math.isfinite(value):
        bounds = f" from {least:g} to {most:g}" if math.isfinite(least + most) else ""
        raise ApiError(f"'{name}' should be a number{bounds}", param=name, code="invalid_value")
    return value


def limit_of(request: Request, default: int = 50, most: int = MAX_LIMIT) -> int:
    """How many are wanted. Raises: ApiError."""
    return int(number(request, "limit", default, least=1, most=most))


def described(**parameters: str) -> dict[str, Any]:
    """For a route's `openapi_extra`: its parameters and their types."""
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": {"type": kind}}
            for name, kind in parameters.items()
        ]
    }
