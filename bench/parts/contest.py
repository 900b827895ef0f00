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
    results: dict[str, Any] = {}
    chosen: Setting = {}
    for row in rows:
        start, others = time.perf_counter(), OthersClock()
        try:
            setting = search(contestant, row, chosen)
            chosen = chosen or setting
            timings = [contestant.run(setting, row, prompts_for(row, contestant.text, seed)) for seed in range(runs)]
        except Exception as error:
            results[row.name] = {"reason": f"{type(error).__name__}: {error}"}
        else:
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
        gc.collect()
        print(f"{row.name}: {results[row.name]} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return {"rows": results, "check": _checked(contestant, chosen)}


def search(contestant: Contestant, row: Row, first: Setting) -> Setting:
    """One axis after the other, from what was best in an earlier row; every value is tried with a little of the work.

    A setting's best run counts: others may use the machine as well, and hit one setting harder than the next. What is
    far behind after its first run is not tried again.
    """
    little = short(row)
    axes = contestant.axes(row)
    setting = {name: first[name] if first.get(name) in values else values[0] for name, values in axes.items()}
    best = 0.0

    def score(setting: Setting) -> float:
        contestant.run(setting, little, prompts_for(little, contestant.text, -1))  # warms up
        found, start = 0.0, time.perf_counter()
        for seed in range(-2, -2 - _SEARCH_RUNS, -1):
            found = max(found, contestant.run(setting, little, prompts_for(little, contestant.text, seed)).score(row))
            if time.perf_counter() - start > _SEARCH_S or found < _HOPELESS * best:
                break
        return found

    best = score(setting)
    for name, values in axes.items():
        for value in values:
            if value == setting[name]:
                continue
            found = score({**setting, name: value})
            if found > best:
                best, setting = found, {**setting, name: value}
    return setting


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
