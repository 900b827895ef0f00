"""Examples on a page: the picture with the looks drawn into it, the thought, and what each mode answered."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from itertools import zip_longest
from typing import NamedTuple

from PIL import Image

from narthex.evals.page import svg
from narthex.evals.record import UNDRAWN, Record
from narthex.evals.report import Report
from narthex.evals.task import get_task

NUM_EXAMPLES = 10  # half of them right, half of them wrong, where there are as many
_SIDE_PX, _QUALITY = 448, 82
_MAX_CHARS = 600


class Example(NamedTuple):
    """One item: its picture, the record of the mode that is shown, and the records of all modes."""

    picture: Image.Image | None
    record: Record
    others: tuple[Record, ...]


def examples_of(report: Report) -> list[Example]:
    """Ten examples, right and wrong ones by turns, of Thinking where it was asked, else of the last mode.

    From as many worlds as there are; within a world those with the most looks first. Pictures are drawn again.
    """
    shown = "thinking" if "thinking" in report.modes else report.modes[-1]
    task = get_task(report.task)
    records = [record for record in report.of(shown) if record.kind != UNDRAWN]
    right, wrong = (_varied([record for record in records if record.right == is_right]) for is_right in (True, False))
    half = NUM_EXAMPLES // 2
    num_right = min(len(right), max(half, NUM_EXAMPLES - len(wrong)))
    num_wrong = min(len(wrong), NUM_EXAMPLES - num_right)
    by_turns = zip_longest(right[:num_right], wrong[:num_wrong])
    found = []
    for record in (one for pair in by_turns for one in pair if one is not None):
        others = tuple(r for mode in report.modes for r in report.of(mode) if r.index == record.index)
        found.append(Example(task.item(report.seed, record.index).picture, record, others))
    return found


def _varied(records: Sequence[Record]) -> list[Record]:
    """From each world by turns, those with the most looks first."""
    ranked = sorted(records, key=lambda r: (-len(_boxes(r)), r.error is not None, r.index))
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, Record]] = []
    for record in ranked:
        turns.append((seen.get(record.world, 0), len(turns), record))
        seen[record.world] = seen.get(record.world, 0) + 1
    return [record for _, _, record in sorted(turns, key=lambda turn: turn[:2])]


def example_card(example: Example) -> str:
    """One example as HTML. Whatever a model wrote is escaped."""
    record = example.record
    verdict = '<span class="mark good">right</span>' if record.right else '<span class="mark bad">wrong</span>'
    parts = [f"<h3>{escape(record.world)} · {escape(record.kind)}{verdict}</h3>"]
    if example.picture is not None:
        parts.append(_shown(example.picture, _boxes(record)))
    parts.append(f'<div class="asked">{escape(record.question)}</div>')
    if thought := _thought(record):
        parts.append(f'<div class="thought">{thought}</div>')
    rows = [f'<span class="who">expected</span><span>{escape(record.expected)}</span><span></span>']
    for other in example.others:
        mark = '<span class="good">✓</span>' if other.right else '<span class="bad">✗</span>'
        said = other.answer if other.error is None else f"failed: {other.error}"
        who = f'<b class="{svg.css_class(other.mode)}">{svg.name_of(other.mode)}</b>'
        rows.append(f"{who}<span>{escape(_cut(said)) or '(nothing)'}</span>{mark}")
    parts.append(f'<div class="answers">{"".join(rows)}</div>')
    return f'<article class="example">{"".join(parts)}</article>'


def _boxes(record: Record) -> list[tuple[float, float, float, float]]:
    """The looks into the picture itself, in order; looks into what a look returned are told in words alone."""
    found = []
    for call in record.calls:
        box = call.get("box")
        if call.get("name") == "zoom" and call.get("image", 0) == 0 and isinstance(box, list) and len(box) == 4:
            edges = [min(1000.0, max(0.0, float(edge))) for edge in box if isinstance(edge, int | float)]
            if len(edges) == 4 and edges[0] < edges[2] and edges[1] < edges[3]:
                found.append((edges[0], edges[1], edges[2], edges[3]))
    return found


def _shown(picture: Image.Image, boxes: Sequence[tuple[float, float, float, float]]) -> str:
    """The picture, made smaller, with the looks over it."""
    small = picture.convert("RGB")
    small.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    small.save(held, "JPEG", quality=_QUALITY)
    source = base64.b64encode(held.getvalue()).decode("ascii")
    marks = []
    for place, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        where = f'x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}"'
        marks += [f'<rect class="under" {where}/>', f'<rect class="look" {where}/>']
        marks.append(svg.text(x0 + 14, y0 + 48, str(place)))
    over = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">{"".join(marks)}</svg>' if marks else ""
    size = f'width="{small.width}" height="{small.height}"'
    image = f'<img alt="the picture asked about" {size} src="data:image/jpeg;base64,{source}">'
    return f'<div class="shown">{image}{over}</div>'


def _thought(record: Record) -> str:
    """The thought turn by turn, each followed by the call it led to."""
    lines = [line.strip() for line in record.thought.split("\n") if line.strip()]
    told = []
    for place in range(max(len(lines), len(record.calls))):
        if place < len(lines):
            told.append(escape(_cut(lines[place])))
        if place < len(record.calls):
            call = record.calls[place]
            given = ", ".join(f"{name} {value}" for name, value in call.items() if name != "name" and value != 0)
            said = f"{call.get('name', '?')} {given}"
            told.append(f"<code>{escape(_cut(said))}</code>")
    return "\n".join(told)


def _cut(said: str) -> str:
    return said if len(said) <= _MAX_CHARS else said[:_MAX_CHARS] + " …"
