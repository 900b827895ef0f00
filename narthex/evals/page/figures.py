"""The figures of a page: accuracy by world, against compute, by difficulty; two reports by world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from narthex.evals.page import svg

Box = tuple[float, float, float, float]

_LETTER = 7.5  # how wide one is, on the safe side
_WIDTH = 950.0
HALF_WIDTH = 460.0  # of two figures side by side: text stays as large as in one


class Point(NamedTuple):
    """One way of answering, on a curve: its mode or baseline, how it is named there, what it costs and scores."""

    arm: str
    name: str
    cost: float
    told: dict[str, Any]
    is_hollow: bool = False


def legend(arms: Sequence[str], *, has_guess: bool) -> str:
    """Which colour is which."""
    parts = [f'<span class="{svg.css_class(arm)}"><i></i>{svg.name_of(arm)}</span>' for arm in arms]
    if has_guess:
        parts.append('<span><i class="dash"></i>guessing without the picture</span>')
    return f'<div class="legend">{"".join(parts)}</div>'


def bars(
    groups: Sequence[tuple[str, dict[str, Any]]], guesses: dict[str, float], *, width: float = _WIDTH, label: float = 96
) -> str:
    """Shares as lying bars, a group for each name, a bar for each mode in it, with intervals and guessing.

    groups: (name, mode -> share); a mode without items has no bar.
    """
    right, thick = 62.0, 13.0
    wide = width - label - right
    parts: list[str] = []
    y = 6.0
    for name, told in groups:
        asked = {arm: share for arm, share in told.items() if share.get("n")}
        tall = len(asked) * (thick + 3)
        parts.append(svg.text(label - 12, y + tall / 2 + 3, name, anchor="end", css="strong"))
        for place, (arm, share) in enumerate(asked.items()):
            top = y + place * (thick + 3)
            middle = top + thick / 2
            low, end, high = (label + wide * share[key] for key in ("low", "accuracy", "high"))
            parts.append(f'<g class="{svg.css_class(arm)}">{svg.bar(label, top, end - label, thick, "bar")}</g>')
            parts.append(svg.line(low, middle, high, middle, "over-bar"))
            parts.append(svg.text(width - 4, middle + 4.5, _percent(share), anchor="end", css="soft"))
        if name in guesses:
            at = label + wide * guesses[name]
            parts.append(svg.line(at, y - 3, at, y + tall, "guess"))
        y += tall + 13
    grid = svg.percent_axis(label, 0, y - 6, wide)
    return svg.drawing(width, y + 16, [*grid, *parts], "right answers in percent, with 95 % intervals")


def cost_curve(series: Sequence[Sequence[Point]], apart: Sequence[Point], what: str, guess: float | None) -> str:
    """Accuracy against cost on a logarithmic scale: one line for each series, other points beside it.

    series: points to be joined; apart: baselines. What costs nothing stands at the left edge.
    """
    width, height, left, top, bottom = HALF_WIDTH, 360.0, 48.0, 14.0, 46.0
    points = [point for one in (*series, apart) for point in one if point.cost > 0]
    if not points:
        return ""
    low = min(point.cost for point in points) / 1.5
    high = max(point.cost for point in points) * 6  # room for the last names
    wide, tall = width - left - 16, height - top - bottom

    def place(point: Point) -> tuple[float, float]:
        share = math.log(max(point.cost, low) / low) / math.log(high / low)
        return left + wide * share, top + tall * (1 - point.told["accuracy"])

    parts = []
    for share in range(0, 101, 20):
        y = top + tall * (1 - share / 100)
        parts.append(svg.line(left, y, left + wide, y, "grid"))
        parts.append(svg.text(left - 8, y + 4, f"{share} %", anchor="end", css="soft"))
    for tick in svg.log_ticks(low, high):
        x = left + wide * math.log(tick / low) / math.log(high / low)
        parts.append(svg.line(x, top + tall, x, top + tall + 5, "axis"))
        parts.append(svg.text(x, top + tall + 19, svg.short(tick), anchor="middle", css="soft"))
    parts.append(svg.text(left + wide / 2, height - 6, what, anchor="middle", css="soft"))
    if guess is not None:
        y = top + tall * (1 - guess)
        parts.append(svg.line(left, y, left + wide, y, "guess"))
        parts.append(svg.text(left + wide, y - 5, "guessing", anchor="end", css="soft"))
    parts += [svg.curve([place(point) for point in one], "rope") for one in series if len(one) > 1]
    marks = [*apart, *(point for one in series for point in one)]
    whiskers = [(place(point)[0], *(top + tall * (1 - point.told[end]) for end in ("high", "low"))) for point in marks]
    labels = _spread([(place(point), point) for point in marks], whiskers, (left, top, width, top + tall))
    for point, (x, *bounds) in zip(marks, whiskers, strict=True):
        y = place(point)[1]
        css = "ring" if point.is_hollow else "dot"
        parts.append(f'<g class="{svg.css_class(point.arm)}">{svg.line(x, bounds[0], x, bounds[1], "whisker")}')
        parts.append(svg.dot(x, y, 6.5 if css == "dot" else 5.5, css) + "</g>")
    return svg.drawing(width, height, [*parts, *labels], f"right answers against {what}")


def _spread(
    found: Sequence[tuple[tuple[float, float], Point]], whiskers: Sequence[tuple[float, ...]], plot: Box
) -> list[str]:
    """The points' names beside them, each at the nearest place inside the plot where it lies on nothing else."""
    taken = [(x - 9, y - 9, x + 9, y + 9) for (x, y), _ in found]
    taken += [(x - 2, high, x + 2, low) for x, high, low in whiskers]
    labels = []
    for (x, y), point in sorted(found, key=lambda pair: (pair[1].arm not in svg.MODES, pair[0][0])):
        long = _LETTER * len(point.name)
        spots = [
            (start, y + down - 7, start + long, y + down + 7)
            for start in (x + 12, x - 12 - long)
            for down in sorted(range(-75, 76, 15), key=abs)
        ]
        inside = [s for s in spots if s[0] > plot[0] and s[2] < plot[2] and s[1] > plot[1] and s[3] < plot[3]]
        spot = next((s for s in inside if not any(_overlap(s, other) for other in taken)), spots[0])
        taken.append(spot)
        css = "strong" if point.arm in svg.MODES else "soft"
        if abs(spot[1] + 7 - y) > 20:
            labels.append(svg.line(x, y, spot[0] - 3 if spot[0] > x else spot[2] + 3, spot[1] + 7, "leader"))
        labels.append(svg.text(spot[0], spot[3] - 3, point.name, css=css))
    return labels


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def dumbbells(rows: Sequence[tuple[str, str, dict[str, Any], dict[str, Any]]]) -> str:
    """Two reports by row: (name, mode, share in the first, in the second); hollow is the first, full the second."""
    label, right, step = 210.0, 150.0, 26.0
    wide = _WIDTH - label - right
    parts = []
    y = 16.0
    for name, arm, one, two in rows:
        x0, x1 = label + wide * one["accuracy"], label + wide * two["accuracy"]
        parts.append(svg.text(label - 12, y + 4, name, anchor="end", css="strong"))
        parts.append(f'<g class="{svg.css_class(arm)}">{svg.line(x0, y, x1, y, "link")}')
        parts.append(svg.dot(x0, y, 5.5, "ring") + svg.dot(x1, y, 6.5, "dot") + "</g>")
        change = 100 * (two["accuracy"] - one["accuracy"])
        told = f"{100 * one['accuracy']:.0f} to {100 * two['accuracy']:.0f} %  ({change:+.1f})"
        parts.append(svg.text(_WIDTH - 2, y + 4, told, anchor="end", css="soft"))
        y += step
    grid = svg.percent_axis(label, 0, y - 8, wide)
    return svg.drawing(_WIDTH, y + 16, [*grid, *parts], "right answers of both reports")


def _percent(share: dict[str, Any]) -> str:
    return f"{100 * share['accuracy']:.0f} %"
