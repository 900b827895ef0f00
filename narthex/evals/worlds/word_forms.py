"""The kinds of word problems: which numbers they take, what is to be computed, and how python is told to do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from narthex.evals.worlds.item import Kind

Numbers = dict[str, int]

# Larger unit, smaller unit, how many of the smaller make one of the larger.
MEASURES = (
    ("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("t", "kg", 1000), ("L", "mL", 1000),
    ("h", "min", 60), ("min", "s", 60), ("days", "h", 24), ("m", "mm", 1000),
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One form. `draw` takes a stream and a difficulty; `code` is a Python expression over the numbers drawn.

    `unit` follows the answer: "" for things counted, or a unit, or "big" or "small" of a drawn measure. `easy`: one
    step that can be done at a glance at difficulty 0. `plan`: what the demonstration says before it calls python.
    """

    kind: Kind
    draw: Callable[[random.Random, float], Numbers]
    code: str
    value: Callable[[Numbers], float]
    unit: str = ""
    plan: str = ""
    easy: bool = False


def _up_to(rng: random.Random, level: float, easy: int, hard: int, least: int = 2) -> int:
    """A number whose range grows with the difficulty, from `easy` to `hard`, on a logarithmic scale."""
    return rng.randint(least, max(least + 1, round(easy * (hard / easy) ** level)))


def _pair(rng: random.Random, level: float) -> Numbers:
    top = 99 if level < 0.35 else 999 if level < 0.75 else 9999
    return {"a": rng.randint(10, top), "b": rng.randint(10, top)}


def _falling(rng: random.Random, level: float) -> Numbers:
    high, low = sorted(_pair(rng, level).values(), reverse=True)
    return {"a": high + (high == low), "b": low}


def _factors(rng: random.Random, level: float) -> Numbers:
    return {"a": _up_to(rng, level, 9, 60), "b": _up_to(rng, level, 9, 400)}


def _shares(rng: random.Random, level: float) -> Numbers:
    one, each = _up_to(rng, level, 9, 40), _up_to(rng, level, 9, 200)
    return {"a": one * each, "b": one}


def _change(rng: random.Random, level: float) -> Numbers:
    a, b = _up_to(rng, level, 6, 30), _up_to(rng, level, 20, 90)
    return {"a": a, "b": b, "c": a * b + rng.randint(1, 60 + 200 * (level > 0.5))}


def _two_kinds(rng: random.Random, level: float) -> Numbers:
    return {name: _up_to(rng, level, 9 if name in "ac" else 20, 40 if name in "ac" else 95) for name in "abcd"}


def _in_and_out(rng: random.Random, level: float) -> Numbers:
    a, b = _pair(rng, level).values()
    return {"a": a, "b": b, "c": rng.randint(5, a + b - 1)}


def _three(rng: random.Random, level: float) -> Numbers:
    while True:
        a, b, c = (_up_to(rng, level, 40, 900, 10) for _ in range(3))
        if (a + b + c) % 3 == 0:
            return {"a": a, "b": b, "c": c}


def _left_each(rng: random.Random, level: float) -> Numbers:
    c, each, b = _up_to(rng, level, 9, 30), _up_to(rng, level, 12, 90), _up_to(rng, level, 20, 200)
    return {"a": c * each + b, "b": b, "c": c}


def _percent(rng: random.Random, level: float) -> Numbers:
    share = rng.choice((10, 20, 25, 50) if level < 0.4 else (5, 12, 15, 30, 35, 40, 60, 65, 75, 80, 85, 90))
    while True:
        b = rng.randrange(20, round(200 * 20**level), 5)
        if share * b % 100 == 0:
            return {"a": share, "b": b}


def _sides(rng: random.Random, level: float) -> Numbers:
    return {"a": _up_to(rng, level, 60, 900, 10), "b": _up_to(rng, level, 40, 600, 5)}


def _way(rng: random.Random, level: float) -> Numbers:
    return {"a": rng.randint(12, 60 + round(240 * level)), "b": _up_to(rng, level, 9, 30)}


def _one(rng: random.Random, level: float) -> Numbers:
    return {"a": _up_to(rng, level, 12, 900)}


def _cut(rng: random.Random, level: float) -> Numbers:
    b, c = _up_to(rng, level, 6, 25), _up_to(rng, level, 30, 90, 5)
    return {"a": b * c // 100 + rng.randint(1, 3 + round(20 * level)), "b": b, "c": c}


def _pump(rng: random.Random, level: float) -> Numbers:
    return {"a": _up_to(rng, level, 15, 250), "b": _up_to(rng, level, 5, 24)}


def _weigh(rng: random.Random, level: float) -> Numbers:
    return {"a": _up_to(rng, level, 9, 60), "b": 50 * _up_to(rng, level, 10, 40)}


FORMS: dict[str, Problem] = {
    "add": Problem("arithmetic", _pair, "{a}+{b}", lambda n: n["a"] + n["b"], easy=True),
    "take": Problem("arithmetic", _falling, "{a}-{b}", lambda n: n["a"] - n["b"], easy=True),
    "times": Problem("arithmetic", _factors, "{a}*{b}", lambda n: n["a"] * n["b"], plan="Multiply.", easy=True),
    "share": Problem("arithmetic", _shares, "{a}//{b}", lambda n: n["a"] // n["b"], plan="Divide.", easy=True),
    "change": Problem(
        "arithmetic", _change, "{c}-{a}*{b}", lambda n: n["c"] - n["a"] * n["b"], "euros", "Given less cost."
    ),
    "two_kinds": Problem(
        "arithmetic", _two_kinds, "{a}*{b}+{c}*{d}", lambda n: n["a"] * n["b"] + n["c"] * n["d"], "euros", "Both costs."
    ),
    "in_and_out": Problem(
        "arithmetic", _in_and_out, "{a}+{b}-{c}", lambda n: n["a"] + n["b"] - n["c"], "", "In and out."
    ),
    "mean": Problem(
        "arithmetic", _three, "({a}+{b}+{c})//3", lambda n: (n["a"] + n["b"] + n["c"]) // 3, "", "Mean of 3."
    ),
    "left_each": Problem(
        "arithmetic", _left_each, "({a}-{b})//{c}", lambda n: (n["a"] - n["b"]) // n["c"], "", "Rest by {c}."
    ),
    "percent": Problem("arithmetic", _percent, "{b}*{a}//100", lambda n: n["b"] * n["a"] // 100, "", "{a} of 100."),
    "discount": Problem(
        "arithmetic", _percent, "{b}-{b}*{a}//100", lambda n: n["b"] - n["b"] * n["a"] // 100, "euros",
        "{a} of 100 off.",
    ),
    "fence": Problem("arithmetic", _sides, "2*({a}+{b})", lambda n: 2 * (n["a"] + n["b"]), "m", "Both sides twice."),
    "way": Problem("arithmetic", _way, "{a}*{b}", lambda n: n["a"] * n["b"], "km", "Speed by time."),
    "down": Problem("units", _one, "{a}*{k}", lambda n: n["a"] * n["k"], "small", easy=True),
    "mixed": Problem("units", _one, "{a}*{k}+{b}", lambda n: n["a"] * n["k"] + n["b"], "small"),
    "up": Problem("units", _one, "{a}//{k}", lambda n: n["a"] // n["k"], "big", easy=True),
    "cut": Problem("units", _cut, "{a}*100-{b}*{c}", lambda n: n["a"] * 100 - n["b"] * n["c"], "cm", "1 m = 100 cm."),
    "pump": Problem("units", _pump, "{a}*60*{b}", lambda n: n["a"] * 60 * n["b"], "L", "1 h = 60 min."),
    "weigh": Problem("units", _weigh, "{a}*{b}/1000", lambda n: n["a"] * n["b"] / 1000, "kg", "1 kg = 1000 g."),
}  # fmt: skip
