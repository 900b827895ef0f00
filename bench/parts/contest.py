"""How a contestant is measured: its best setting is looked for with short runs, then whole runs give a median."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable
from typing import Any, Protocol

from narthex.model.config import TextConfig
from parts.machine import OthersClock, num_cores
from parts.work import Prompts, Row, Timing, median_of, prompts_for, short

Setting = dict[str, Any]
CHECK = Row("check", 4, 0, 24, 32)  # greedy ids that contestants compare: few enough that rounding seldom decides
_EXACT = ("float32", "F32")
_SEARCH_RUNS, _SEARCH_S = 12, 1.0  # at most so many short runs of a setting, and none begun after this time
_HOPELESS = 0.6  # of the best so far
_SLOW_S = 5.0  # a first run that takes longer was mostly work: half as good as hopeless is then enough to judge by


class Contestant(Protocol):
    """Something that continues prompts. It opens what a setting needs and forgets what the last one needed."""

    text: TextConfig

    def axes(self, row: Row) -> dict[str, list[Any]]:
        """What can be chosen, the likeliest first."""
        ...

    def run(self, setting: Setting, row: Row, prompts: Prompts) -> Timing:
        """Continue every prompt by `row.new` greedy tokens. Nothing may be left from earlier runs but the model."""
        ...


def thread_counts() -> list[int]:
    """One, and then as many as there are cores, by doubling."""
    counts = [1]
    while counts[-1] * 2 <= num_cores():
        counts.append(counts[-1] * 2)
    return counts


def measure(contestant: Contestant, rows: Iterable[Row], runs: int) -> dict[str, Any]:
    """For each row its figures, or the reason why there are none; and the ids of the check."""
    rows = list(rows)
    results: dict[str, Any] = {}
    chosen = _choose(contestant, rows, results)
    # Rows of one precision after another: a change of precision opens the model again.
    for row in sorted((row for row in rows if row.name in chosen), key=lambda row: chosen[row.name]["precision"]):
        setting, others = chosen[row.name], OthersClock()
        try:
            timings = [contestant.run(setting, row, prompts_for(row, contestant.text, seed)) for seed in range(runs)]
        except Exception as error:
            results[row.name] = {"reason": f"{type(error).__name__}: {error}"}
            continue
        middle = median_of(timings, row)
        results[row.name] = {
            "tps": middle.score(row),
            "wall_tps": middle.wall_tps,
            "decode_tps": middle.decode_tps,
            "cpu_tps": middle.cpu_tps(row),
            "setting": setting,
            "all_tps": [timing.score(row) for timing in timings],
            "others_cores": others.cores(),
        }
        print(f"{row.name}: {results[row.name]}", file=sys.stderr, flush=True)
    return {"rows": results, "check": _checked(contestant, next(iter(chosen.values()), {}))}


def _choose(contestant: Contestant, rows: list[Row], results: dict[str, Any]) -> dict[str, Setting]:
    """The best setting for each row; rows for which none works get their reason in the results."""
    chosen: dict[str, Setting] = {}
    best: dict[str, float] = {}
    for precision in contestant.axes(rows[0])["precision"]:
        earlier: Setting = {}
        for row in rows:
            try:
                setting, found = search(contestant, row, precision, earlier, best.get(row.name, 0.0))
            except Exception as error:
                results[row.name] = {"reason": f"{type(error).__name__}: {error}"}
                continue
            earlier = setting
            if found > best.get(row.name, 0.0):
                best[row.name], chosen[row.name] = found, setting
            gc.collect()
    return chosen


def search(contestant: Contestant, row: Row, precision: str, first: Setting, to_beat: float) -> tuple[Setting, float]:
    """The best setting of that precision, and its score with a little of the row's work.

    One axis after the other, from what was best in an earlier row. A setting's best run counts: others may use the
    machine as well, and hit one setting harder than the next. What is far behind after one run is not tried again.
    """
    little = short(row)
    axes = contestant.axes(row)
    setting = {name: first[name] if first.get(name) in values else values[0] for name, values in axes.items()}
    setting["precision"] = precision
    best = 0.0

    def score(setting: Setting) -> float:
        began = time.perf_counter()
        found = contestant.run(setting, little, prompts_for(little, contestant.text, -1)).score(row)  # warms up, too
        start = time.perf_counter()
        if start - began > _SLOW_S and found < _HOPELESS / 2 * max(best, to_beat):
            return found
        for seed in range(-2, -2 - _SEARCH_RUNS, -1):
            found = max(found, contestant.run(setting, little, prompts_for(little, contestant.text, seed)).score(row))
            if time.perf_counter() - start > _SEARCH_S or found < _HOPELESS * max(best, to_beat):
                break
        return found

    best = score(setting)
    for name in (name for name in axes if name != "precision"):
        for value in axes[name]:
            if value == setting[name]:
                continue
            found = score({**setting, name: value})
            if found > best:
                best, setting = found, {**setting, name: value}
    return setting, best


def _checked(contestant: Contestant, setting: Setting) -> dict[str, Any]:
    try:
        axes = contestant.axes(CHECK)
        setting = {name: setting.get(name, values[0]) for name, values in axes.items()}
        # As exact as it can be: rounding is not what is compared.
        for name in axes.keys() & {"precision", "cache"}:
            setting[name] = next((value for value in axes[name] if value in _EXACT), setting[name])
        timing = contestant.run(setting, CHECK, prompts_for(CHECK, contestant.text, 0))
    except Exception as error:
        return {"reason": f"{type(error).__name__}: {error}"}
    return {"ids": timing.ids, "setting": setting}
