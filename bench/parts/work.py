"""What every contestant is asked: the same prompt ids, the same number of new tokens, greedy, nothing ends early."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from narthex.model.config import TextConfig


@dataclass(frozen=True)
class Row:
    """So many streams at once; each prompt is `shared` tokens that all have, and `own` tokens that only it has."""

    name: str
    streams: int
    shared: int
    own: int
    new: int

    @property
    def prompt(self) -> int:
        return self.shared + self.own

    @property
    def is_agents(self) -> bool:
        """Whether wall time from submission to the last token counts; else only the time while all streams decode."""
        return self.shared > 0


class Prompts(NamedTuple):
    """Token ids of one run: what all streams begin with, and how each goes on."""

    shared: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]

    @property
    def whole(self) -> list[list[int]]:
        return [[*self.shared, *ids] for ids in self.own]


class Moment(NamedTuple):
    """Since a run began: seconds on the wall's clock, and seconds of processors, which others do not lengthen."""

    wall_s: float
    cpu_s: float


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def now(self) -> Moment:
        return Moment(time.perf_counter() - self._wall, time.process_time() - self._cpu)


class Timing(NamedTuple):
    """One run: for each stream its new ids, and when each of them was there, counted from submission."""

    ids: list[list[int]]
    moments: list[list[Moment]]

    @property
    def wall_tps(self) -> float:
        """All new tokens over the time from submission to the last of them; prompts included."""
        return sum(map(len, self.ids)) / max(moments[-1].wall_s for moments in self.moments)

    @property
    def decode_tps(self) -> float | None:
        """Tokens per second while every stream decodes: from the last first token to the first last one."""
        found = self._all_decode()
        return found[0] / found[1].wall_s if found else None

    def cpu_tps(self, row: Row) -> float | None:
        """The row's figure per second of processors instead of the wall's clock: for what shares its machine."""
        if row.is_agents:
            return sum(map(len, self.ids)) / max(moments[-1].cpu_s for moments in self.moments)
        found = self._all_decode()
        return found[0] / found[1].cpu_s if found else None

    def score(self, row: Row) -> float:
        """The figure that the row is about."""
        return self.wall_tps if row.is_agents else self.decode_tps or 0.0

    def _all_decode(self) -> tuple[int, Moment] | None:
        """How many tokens were drawn while every stream decoded, and how long that took."""
        start, stop = max(moments[0] for moments in self.moments), min(moments[-1] for moments in self.moments)
        inside = sum(start < moment <= stop for moments in self.moments for moment in moments)
        return (inside, Moment(stop.wall_s - start.wall_s, stop.cpu_s - start.cpu_s)) if inside else None


ROWS = ("one_stream", "streams_8", "streams_16", "agents_8_shared")
MODELS = ("narthex-nano", "moe-1b")


def rows_for(model: str, *, quick: bool = False) -> list[Row]:
    """The rows of a model. The large one writes less: a token of it costs its slowest rival a quarter of a second."""
    one, many = (256, 128) if model == "narthex-nano" else (64, 32)
    rows = [
        Row("one_stream", 1, 0, 64, one),
        Row("streams_8", 8, 0, 64, many),
        Row("streams_16", 16, 0, 64, many),
        # An agent's own tokens: its first look. Without them greedy agents would all write the same.
        Row("agents_8_shared", 8, 2000, 16, 64),
    ]
    if not quick:
        return rows
    return [replace(row, new=row.new // 4, shared=row.shared // 4) for row in rows]


def short(row: Row) -> Row:
    """The same kind of work, a little of it: for warming up, and for choosing settings."""
    return replace(row, shared=row.shared // 8, new=12)


def prompts_for(row: Row, text: TextConfig, seed: int) -> Prompts:
    """Random words; the same for every contestant, others in every run, so that nothing is found in a cache."""
    dice = random.Random(f"{row.name} {seed}")
    # The upper end of a vocabulary holds control tokens, one of which stands for pictures.
    words = [dice.randrange(text.vocab_size // 2) for _ in range(row.shared + row.streams * row.own)]
    own = [tuple(words[row.shared + i * row.own :][: row.own]) for i in range(row.streams)]
    return Prompts(tuple(words[: row.shared]), tuple(own))


def median_of(timings: list[Timing], row: Row) -> Timing:
    """The run whose score is the median."""
    middle = statistics.median_low(timing.score(row) for timing in timings)
    return next(timing for timing in timings if timing.score(row) == middle)
