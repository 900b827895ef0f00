"""`docs/api.md` lists every field and route as the server has them. Run this file to print the table of fields anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.routing import Route

from narthex.serve import Service, bodies, create_app, messages, wire
from narthex.serve.response_wire import ResponseBody
from narthex.serve.wire import FATES, ChatBody, says

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def table(kind):
    """One line for each field, by fate."""
    lines = ["| field | | |", "|---|---|---|"]
    for fate in FATES:
        lines += [f"| `{name}` | {fate} | {told.text} |" for name, told in says(kind).items() if told.fate == fate]
    return lines


@pytest.mark.parametrize("kind", [ChatBody, ResponseBody])
def test_every_field_stands_there_with_its_fate(kind):
    text = PAGE.read_text(encoding="utf-8")
    assert "\n" + "\n".join(table(kind)) + "\n" in text, "run this file, and put what it prints into docs/api.md"


def test_every_route_stands_there_and_no_other():
    app = create_app(Service({}))
    routes = {
        (method, re.sub(r":path}", "}", route.path))
        for route in paths(app.routes)
        for method in route.methods - {"HEAD"}
    }
    found = set(re.findall(r"`(GET|POST|PATCH|DELETE) (/[\w./{}]*)`", PAGE.read_text(encoding="utf-8")))
    assert found == routes


def test_the_limits_are_those_of_the_code():
    text = PAGE.read_text(encoding="utf-8").split("## Errors and limits")[1]
    for limit in (
        wire.MAX_MESSAGES, wire.MAX_PARTS, wire.MAX_TOOLS, wire.MAX_STOPS, wire.MAX_STOP_CHARS, messages.MAX_PICTURES
    ):  # fmt: skip
        assert re.search(rf"\b{limit}\b", text), limit
    for limit in (bodies.MAX_VALUES, messages.MAX_PICTURE_PIXELS, messages.MAX_SCHEMA_CHARS):
        assert f"{limit:,}" in text, limit
    assert f"{bodies.MAX_BODY_BYTES // 2**20} MiB" in text and f"{bodies.READ_S:.0f} seconds" in text


def paths(routes):
    """All plain routes, those of routers that were included as well."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from paths(getattr(getattr(route, "original_router", route), "routes", ()))


if __name__ == "__main__":
    print(*table(ChatBody), "", *table(ResponseBody), sep="\n")
