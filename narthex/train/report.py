"""A page with the curves of a model in the making: what log.jsonl told, stage by stage, in one file without scripts.

Each stage's folder holds its own log; reinforcement's lies in `rl` beside the supervised stage's. Lines that a crash
cut in the middle are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from narthex.base.errors import ConfigError
from narthex.evals.page import svg
from narthex.evals.page.style import STYLE

Line = dict[str, Any]
Dots = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 480.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 12.0, 16.0, 34.0
SMOOTH = 0.06  # of a curve's points, on either side, go into a smoothed one's
HUES = (28, 218, 145, 275, 0, 185, 55, 320, 95, 240)  # apart for neighbours, too
_MORE = """
svg .curve { fill: none; stroke: hsl(var(--h) var(--s) var(--l)); stroke-width: 2; stroke-linejoin: round; }
svg .raw { fill: none; stroke: hsl(var(--h) var(--s) var(--l)); stroke-width: 1; opacity: .25; }
svg .end { fill: hsl(var(--h) var(--s) var(--l)); }
svg .seam { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; opacity: .7; }
.legend i.of { background: hsl(var(--h) var(--s) var(--l)); height: 4px; vertical-align: 3px; width: 16px; }
:root { --s: 62%; --l: 42%; } @media (prefers-color-scheme: dark) { :root { --s: 70%; --l: 66%; } }
figure h3 { font-size: 15px; margin: 0 0 2px; } figure p { margin: 0 0 8px; color: var(--soft); font-size: 13px; }
figure .legend { margin: 6px 0 0; gap: 2px 14px; } figure .legend span { white-space: nowrap; }
.grid2 { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; } .grid2 figure { margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 14px 24px; margin: 18px 0; }
.facts div { border-top: 2px solid var(--line); padding-top: 6px; } .facts b { display: block; font-size: 24px; }
.facts span { color: var(--soft); font-size: 13px; }
@media screen and (max-width: 760px) { .grid2 { grid-template-columns: 1fr; } }
@media print { :root { --s: 62%; --l: 38%; } }
"""


class Series(NamedTuple):
    """A curve: its name, its points in order of x, and whether the points behind a smoothed one are shown."""

    name: str
    dots: Dots
    is_noisy: bool = True


def read_log(folder: Path) -> list[Line]:
    """The lines of a stage's log, in order; none where there is no log."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def write_report(folder: Path) -> Path:
    """Write `report.html` into a stage's folder. Raises: ConfigError where nothing is logged there."""
    supervised, rl = read_log(folder), read_log(folder / "rl")
    if supervised and any("reward" in line for line in supervised):  # the folder is reinforcement's own
        supervised, rl = [], supervised
    if not supervised and not rl:
        raise ConfigError(f"{folder} holds no log.jsonl", hint="name the folder of a stage that has run")
    path = folder / "report.html"
    path.write_text(report_page(folder.resolve().name, supervised, rl), encoding="utf-8", newline="\n")
    return path


def report_page(name: str, supervised: Sequence[Line], rl: Sequence[Line]) -> str:
    """The page of a model's stages, either of which may be missing."""
    body = [f"<header><p class=over>Training</p><h1>{escape(name)}</h1></header>"]
    if supervised:
        body.append(_supervised(supervised))
    if rl:
        body.append(_reinforced(rl))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: training</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}{_MORE}</style></head>\n'
    )
    return head + "<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"


# The stages.


def _supervised(lines: Sequence[Line]) -> str:
    steps = [line for line in lines if "means" in line]
    tests = [line for line in lines if "held_out" in line]
    names = sorted({name for line in steps for name in line["means"]})
    tasks = [task for task in ("read", "find", "think", "instant", "edge") if f"{task}.words" in names]
    parts = sorted({name.partition(".")[2] for name in names} & {"glyph", "token", "align", "asked", "corner"})
    seams = _seams(steps, "sample")
    last = steps[-1] if steps else {}
    figures = [
        figure("Loss on words", "by task; nats a token, of what the model has to write",
               [Series(task, _of(steps, "sample", _told("means", f"{task}.words"))) for task in tasks], seams=seams,
               log=True),
        figure("Tokens right", "by task, given all tokens before",
               [Series(task, _of(steps, "sample", _told("means", f"{task}.accuracy"))) for task in tasks], seams=seams,
               top=1.0),
        figure("What the encoder is taught", "losses on glyphs, on words and on places that are asked for",
               [Series(part, _of(steps, "sample", _over(part))) for part in parts], seams=seams),
        *(figure(f"Held out: {title}", "replies with every token right, given those before, by world",
                 _by_world(tests, "sample", task), seams=seams, top=1.0)
          for task, title in (("think", "whole traces"), ("instant", "answers in one pass"))),
        figure("Held out: reading and finding", "the text of a close view; the first look",
               [Series(task, _of(tests, "sample", _told("held_out", task)), is_noisy=False)
                for task in ("read", "find")], seams=seams, top=1.0),
        figure("Learning rate", "warm-up after each start, then down over the last part",
               [Series("rate", _of(steps, "sample", _told("rate")), is_noisy=False)], seams=seams),
        figure("Samples a second", "mean of the leg so far",
               [Series("samples", _of(steps, "sample", _told("samples_per_s")), is_noisy=False)], seams=seams),
    ]  # fmt: skip
    facts = {
        "samples seen": svg.short(last.get("sample", 0)), "of": svg.short(last.get("of", 0)),
        "hours": f"{last.get('seconds', 0) / 3600:.1f}", "legs": str(len(seams) + 1),
    }  # fmt: skip
    note = "Demonstrations of all worlds. The x axis counts samples; dotted lines are new legs."
    return _section("Supervised", note, facts, figures)


def _reinforced(lines: Sequence[Line]) -> str:
    steps = [line for line in lines if "reward" in line]
    tests = [line for line in lines if "held_out" in line]
    worlds = sorted({name for line in steps for name in line["by_world"]})
    seams = _seams(steps, "rollout")
    last = steps[-1] if steps else {}

    def curve(*names: str) -> list[Series]:
        return [Series(name, _of(steps, "rollout", _told(name))) for name in names]

    figures = [
        figure("Reward and right answers", "of rollouts at temperature 1", curve("reward", "right"), seams=seams,
               top=1.0),
        figure("Right answers by world", "of rollouts; “peers”: with the answers of an earlier group shown",
               [Series(name, _of(steps, "rollout", _told("by_world", name))) for name in worlds], seams=seams,
               top=1.0, is_raw=False),
        figure("Thought", "tokens said before the answer, and with those of the pictures looked at",
               curve("tokens", "effort"), seams=seams),
        figure("Looks and calls", "a rollout; a look is a call of zoom", curve("looks", "calls"), seams=seams),
        figure("Held out", "right answers at temperature 0, one each",
               [Series("right", _of(tests, "rollout", _told("held_out", "right")), is_noisy=False)], seams=seams,
               top=1.0),
        figure("Held out: thought", "tokens said before the answer, and with pictures",
               [Series(name, _of(tests, "rollout", _told("held_out", name)), is_noisy=False)
                for name in ("tokens", "effort")], seams=seams),
        figure("Demonstrations", "loss on words of the share that keeps what rollouts do not practise",
               curve("demonstrated"), seams=seams),
        figure("Rollouts a second", "mean of the leg so far",
               [Series("rollouts", _of(steps, "rollout", _told("rollouts_per_s")), is_noisy=False)], seams=seams),
    ]  # fmt: skip
    facts = {
        "rollouts": svg.short(last.get("rollout", 0)), "of": svg.short(last.get("of", 0)),
        "hours": f"{last.get('seconds', 0) / 3600:.1f}", "legs": str(len(seams) + 1), **_change(tests),
    }  # fmt: skip
    note = "Answers checked by the worlds themselves, in groups. The x axis counts rollouts; dotted lines are new legs."
    return _section("Reinforcement", note, facts, figures)


def _change(tests: Sequence[Line]) -> dict[str, str]:
    """From the first to the last look at held-out items: right answers and thought."""
    if len(tests) < 2:
        return {}
    one, two = tests[0]["held_out"], tests[-1]["held_out"]
    return {
        "right, held out": f"{100 * one['right']:.0f} → {100 * two['right']:.0f} %",
        "tokens of thought": f"{one['tokens']:.0f} → {two['tokens']:.0f}",
    }


def _section(title: str, note: str, facts: dict[str, str], figures: Sequence[str]) -> str:
    told = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts.items())
    drawn = "".join(one for one in figures if one)
    return (
        f"<section><h2>{title}</h2><p class=note>{escape(note)}</p>"
        f'<div class="facts">{told}</div><div class="grid2">{drawn}</div></section>'
    )


# Points.


def _of(lines: Iterable[Line], x: str, value: Callable[[Line], Any]) -> list[tuple[float, float]]:
    """(x, value) of the lines that have both as finite numbers."""
    found: list[tuple[Any, Any]] = [(line.get(x), value(line)) for line in lines]
    return [(float(a), float(b)) for a, b in found if _is_number(a) and _is_number(b)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _told(*names: str) -> Callable[[Line], Any]:
    """What a line says under a name, or under a name below another."""

    def value(line: Line) -> Any:
        found: Any = line
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    return value


def _over(part: str) -> Callable[[Line], float | None]:
    """A loss that several tasks have: its mean over those of the line."""

    def value(line: Line) -> float | None:
        found = [told for name, told in line["means"].items() if name.partition(".")[2] == part and told]
        return sum(found) / len(found) if found else None

    return value


def _by_world(tests: Sequence[Line], x: str, task: str) -> list[Series]:
    names = sorted({name for line in tests for name in line["held_out"] if name.partition(".")[0] == task})
    found = [(name.partition(".")[2] or "all", _of(tests, x, _told("held_out", name))) for name in names]
    return [Series(name, dots, is_noisy=False) for name, dots in found]


def _seams(steps: Sequence[Line], x: str) -> list[float]:
    """Where a leg began after another: the time left jumps up there."""
    return [float(two[x]) for one, two in pairwise(steps) if two.get("left_s", 0) > one.get("left_s", 0) + 600]


def smooth(dots: Dots) -> list[tuple[float, float]]:
    """Each point's mean with its neighbours, at the ends on one side; as it is where there are few points."""
    reach = round(len(dots) * SMOOTH)
    found = []
    for place, (x, _) in enumerate(dots):
        near = [y for _, y in dots[max(0, place - reach) : place + reach + 1]]
        found.append((x, sum(near) / len(near)))
    return found


# Figures.


def figure(
    title: str, note: str, series: Sequence[Series], *, seams: Sequence[float] = (), top: float | None = None,
    log: bool = False, is_raw: bool = True,
) -> str:  # fmt: skip
    """A figure with its curves and their names; nothing where there are none. top: the y axis ends there."""
    series = [one for one in series if one.dots]
    if not series:
        return ""
    hues = [f"--h: {HUES[place % len(HUES)]}" for place in range(len(series))]
    plot = _Plot(series, top, log)
    parts = [*plot.axes(), *(svg.line(plot.x(at), _TOP, plot.x(at), HEIGHT - _BOTTOM, "seam") for at in seams)]
    names = ""
    for one, hue in zip(series, hues, strict=True):
        shown = smooth(one.dots) if one.is_noisy else one.dots
        drawn = [plot.place(dot) for dot in shown]
        behind = svg.curve([plot.place(dot) for dot in one.dots], "raw") if one.is_noisy and is_raw else ""
        parts.append(f'<g style="{hue}">{behind}{svg.curve(drawn, "curve")}{svg.dot(*drawn[-1], 2.5, "end")}</g>')
        said = f"{escape(one.name)} {_value(shown[-1][1], top)}"
        names += f'<span style="{hue}"><i class="of"></i>{said}</span>'
    drawing = svg.drawing(WIDTH, HEIGHT, parts, title)
    return f'<figure><h3>{escape(title)}</h3><p>{escape(note)}</p>{drawing}<div class="legend">{names}</div></figure>'


def _value(value: float, top: float | None) -> str:
    return f"{100 * value:.0f} %" if top == 1.0 else f"{value:.3g}"


class _Plot:
    """Where a point stands: y from 0 or, on a logarithmic scale, from the smallest value."""

    def __init__(self, series: Sequence[Series], top: float | None, log: bool) -> None:
        values = [y for one in series for _, y in one.dots]
        self._last = max(x for one in series for x, _ in one.dots) or 1.0
        first = min(x for one in series for x, _ in one.dots)
        self._from = first if 0.5 * self._last < first < self._last else 0.0  # a stage that began far in
        self._is_log, self._is_share = log and min(values) > 0, top == 1.0
        self._high = top or max(values) * 1.05 or 1.0
        self._low = min(values) / 1.1 if self._is_log else 0.0

    def x(self, value: float) -> float:
        share = (value - self._from) / max(1e-9, self._last - self._from)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share))

    def y(self, value: float) -> float:
        if self._is_log:
            share = math.log(max(value, self._low) / self._low) / math.log(self._high / self._low)
        else:
            share = value / self._high
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(1.0, max(0.0, share))

    def place(self, dot: tuple[float, float]) -> tuple[float, float]:
        return self.x(dot[0]), self.y(dot[1])

    def axes(self) -> list[str]:
        """Lines and numbers of both axes."""
        ticks = svg.log_ticks(self._low, self._high) if self._is_log else _round_ticks(0, self._high)
        parts = []
        for tick in ticks:
            name = f"{100 * tick:.0f} %" if self._is_share else svg.short(tick)
            parts.append(svg.line(_LEFT, self.y(tick), WIDTH - _RIGHT, self.y(tick), "grid"))
            parts.append(svg.text(_LEFT - 7, self.y(tick) + 4, name, anchor="end", css="soft"))
        for tick in _round_ticks(self._from, self._last):
            at = self.x(tick)
            anchor = "end" if at > WIDTH - _RIGHT - 14 else "middle"
            parts.append(svg.text(at, HEIGHT - _BOTTOM + 20, svg.short(tick), anchor=anchor, css="soft"))
        return parts


def _round_ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers from low to high."""
    size = 10.0 ** math.floor(math.log10(max(1e-12, high - low)))
    step = next(size * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if (high - low) / (size * part) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
