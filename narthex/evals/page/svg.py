"""Small pieces of SVG: text, lines, marks, axes. Colours come from the style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

MODES = ("instant", "thinking", "contemplating")


def css_class(arm: str) -> str:
    """The colour's class of a mode; all baselines share one."""
    return arm if arm in MODES else "baseline"


def name_of(arm: str) -> str:
    """A mode's or baseline's name as it is written for people: "Thinking", "vote at equal tokens"."""
    return arm.capitalize() if arm in MODES else arm.replace("vote_equal", "vote at equal").replace("_", " ")


def text(x: float, y: float, said: str, *, anchor: str = "start", css: str = "") -> str:
    """A line of text, its baseline at (x, y)."""
    style = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(said)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, css: str) -> str:
    """A straight line."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" class="{css}"/>'


def bar(x: float, y: float, wide: float, high: float, css: str) -> str:
    """A bar with rounded ends."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, wide):.1f}" height="{high:.1f}" rx="2.5" class="{css}"/>'


def dot(x: float, y: float, radius: float, css: str) -> str:
    """A round mark."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{css}"/>'


def curve(places: Sequence[tuple[float, float]], css: str) -> str:
    """Straight lines from place to place."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" class="{css}"/>'


def drawing(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """The whole picture; `title` is what a screen reader says."""
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
    return f"{head}{''.join(parts)}</svg>"


def percent_axis(x: float, y0: float, y1: float, wide: float, every: int = 20) -> list[str]:
    """Upright lines of a grid from 0 to 100 %, with their numbers below."""
    parts = []
    for share in range(0, 101, every):
        at = x + wide * share / 100
        parts += [line(at, y0, at, y1, "grid"), text(at, y1 + 17, f"{share} %", anchor="middle", css="soft")]
    return parts


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers (1, 2, 5, …) within a range, by decades where it is wide."""
    steps = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]


def short(number: float) -> str:
    """A number for an axis: 12, 1.5 k, 30 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
