"""ground: find what is described in a picture. The run's model is asked aside; what it says is checked and drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from narthex.base.errors import ModelMistake
from narthex.chat import Part, TextPart
from narthex.chat.boxes import SIDE, Box
from narthex.tools.contract import ToolContext, tool
from narthex.tools.mark import MAX_MARKS, draw_marks

_QUESTION = (
    "Find in this picture: {what}\n\n"
    "Reply with one JSON object and nothing else:\n"
    '{{"boxes": [[left, top, right, bottom], …], "points": [[x, y], …], "count": N}}\n'
    "All coordinates are whole numbers from 0 to 1000, of the picture's own width and height, from its top left "
    "corner. Give one box for each thing found, or one point where it has no extent; count says how many there are. "
    "Where there is none, both lists are empty and the count is 0."
)
_REPLY_CHARS = 50_000  # of a reply that are looked at: a hundred boxes take three thousand


class Grounded(NamedTuple):
    """What a model found, in thousandths of the picture's sides."""

    boxes: tuple[Box, ...]
    points: tuple[tuple[int, int], ...]
    number: int

    def as_json(self) -> str:
        return json.dumps({"boxes": self.boxes, "points": self.points, "count": self.number})


@tool(timeout_s=300.0)  # a question to the model, which may be slow
async def ground(
    context: ToolContext,
    what: Annotated[str, Field(min_length=1, max_length=500, description="what to find, such as: all red buttons")],
    image: Annotated[int, Field(ge=0, description="which picture, counted from 0 in order of appearance")] = 0,
) -> list[Part]:
    """Find things in a picture: boxes, points and their count come back as JSON (0..1000 of the picture's sides),
    and the picture with what was found marked on it as a new picture.
    """
    picture = context.open_picture(image)
    found = read_reply(await context.ask_model(_QUESTION.format(what=what), (image,)))
    said: list[Part] = [TextPart(text=found.as_json())]
    if found.boxes or found.points:
        said.append(context.keep_picture(draw_marks(picture, found.boxes, found.points)))
    return said


def read_reply(reply: str) -> Grounded:
    """What a model's reply says it found: the first JSON in it that is such an answer, with or without prose around it.

    Strict in what counts: whole numbers in 0..1000, boxes that hold something, a count that is a count.
    Raises: ModelMistake, in one line, where there is none, or where it is wrong.
    """
    problem: str | None = None
    for value in _json_values(reply[:_REPLY_CHARS]):
        answer = _as_answer(value)
        if answer is None:
            continue
        try:
            return _checked(answer)
        except ValueError as error:
            problem = problem or str(error)
    raise ModelMistake(f"ground: {problem or 'the reply held no boxes, points or count'}; ask in other words, or zoom")


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON object or list in a text, in order, those inside another left out, up to one that is cut off."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at = 0
    while (start := min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
            yield value
        except json.JSONDecodeError as error:
            if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
                return  # what stands inside it is a part of an answer, and would pass for the whole
            at = start + 1
        except RecursionError:
            return
        except ValueError:
            at = start + 1


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _as_answer(value: Any) -> dict[str, Any] | None:
    """`value` as {"boxes", "points", "count"} where it is meant as one; a bare box, or a list of boxes, is too."""
    if isinstance(value, dict):
        if "box" in value and "boxes" not in value:
            value = {**value, "boxes": [value["box"]]}
        if "point" in value and "points" not in value:
            value = {**value, "points": [value["point"]]}
        return value if {"boxes", "points", "count"} & value.keys() else None
    if not isinstance(value, list) or not value:
        return None
    if all(_is_number(item) for item in value):
        value = [value]
    if not all(isinstance(item, list) and len(item) in (2, 4) for item in value):
        return None
    return {"boxes": [v for v in value if len(v) == 4], "points": [v for v in value if len(v) == 2]}


def _checked(answer: dict[str, Any]) -> Grounded:
    """Raises: ValueError, which says what is wrong."""
    boxes = tuple(Box(*_numbers(item, 4, "box")) for item in _list(answer, "boxes"))
    points = tuple(_numbers(item, 2, "point") for item in _list(answer, "points"))
    for box in boxes:
        if problem := box.problem():
            raise ValueError(problem)
    for point in points:
        if not all(0 <= number <= SIDE for number in point):
            raise ValueError(f"point {list(point)} leaves 0..{SIDE}")
    if len(boxes) + len(points) > MAX_MARKS:
        raise ValueError(f"{len(boxes) + len(points)} things were found, more than {MAX_MARKS}")
    count = answer.get("count")
    if count is None:
        count = max(len(boxes), len(points))
    if not _is_number(count) or count != int(count) or count < 0:
        raise ValueError(f"the count is {json.dumps(count)[:40]}")
    return Grounded(boxes, points, int(count))  # type: ignore[arg-type]


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    value = answer.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{name} is {json.dumps(value)[:40]}, not a list")
    if value and all(_is_number(item) for item in value):  # one, without the list around it
        return [value]
    return value


def _numbers(item: Any, size: int, name: str) -> tuple[int, ...]:
    if not isinstance(item, list) or len(item) != size or not all(_is_number(number) for number in item):
        raise ValueError(f"{json.dumps(item)[:40]} is no {name}: {size} numbers")
    return tuple(round(number) for number in item)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
