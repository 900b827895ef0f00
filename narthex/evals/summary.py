"""The numbers of a report, computed from its records: shares with intervals, costs, guessing, held-out comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from narthex.evals.chance import CHANCE_HOW
from narthex.evals.guessing import GUESS_HOW
from narthex.evals.record import WITHOUT_PRINT, Record
from narthex.evals.stats import Share, at_least, gap, mean, wilson

_MAX_ERRORS = 5  # different messages told per mode
_ERROR_CHARS = 200
# Thirds of the dial from 0 to 1 that a world's difficulty is.
DIFFICULTIES = ("easy", "middle", "hard")


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Everything that is said of one mode."""
    errors = Counter(record.error[:_ERROR_CHARS] for record in records if record.error is not None)
    guesses = [record.guess for record in records if record.guess is not None]
    guessed = [record for record in records if record.guess is not None]
    return {
        **share_of(records).to_json(),
        **_costs(records),
        "agents_mean": _mean_of(records, lambda r: r.agents),
        "seconds_mean": _mean_of(records, lambda r: r.seconds),
        "critical_path_s_mean": _mean_of(records, lambda r: r.critical_path_s),
        "flops_mean": _mean_if_known(records, lambda r: r.flops),
        "declined": mean([float(record.declined) for record in records]),
        "failed": sum(record.error is not None for record in records),
        "errors": dict(errors.most_common(_MAX_ERRORS)),
        "guessing_p": at_least(sum(r.right for r in guessed), guesses) if guesses else None,
        "by_kind": _shares(records, lambda r: r.kind),
        "by_world_kind": _shares(records, lambda r: r.world_kind),
        "by_difficulty": _by_difficulty(records),
        "by_print": _by_print(records),
    }


def by_world(records: Sequence[Record], arms: Sequence[str]) -> dict[str, Any]:
    """World -> mode or baseline -> its share, what is legible apart, and its costs."""
    found: dict[str, Any] = {}
    for world in values_of(records, lambda r: r.world):
        found[world] = {}
        for arm in arms:
            chosen = [record for record in records if record.world == world and record.mode == arm]
            prints = {name: told["accuracy"] for name, told in _by_print(chosen).items()}
            found[world][arm] = {**share_of(chosen).to_json(), **prints, **_costs(chosen)}
    return found


def guessing(records: Sequence[Record]) -> dict[str, Any] | None:
    """What one who sees no picture scores on the items of these records; None where that is known of none."""
    known = [record for record in records if record.guess is not None]
    if not known:
        return None
    return {
        "how": GUESS_HOW,
        "accuracy": _guess_of(known),
        "n": len(known),
        "by_world": _grouped(known, lambda r: r.world, _guess_of),
        "by_world_kind": _grouped(known, lambda r: r.world_kind, _guess_of),
        "by_difficulty": _grouped(known, third_of, _guess_of),
    }


def heldout(records: Sequence[Record], arms: Sequence[str]) -> dict[str, Any] | None:
    """What held-out drawings and wordings cost, in points against the plain worlds that were measured beside them.

    Variant -> mode -> both shares, the difference with its interval, and the same by world; None where there are none.
    """
    names = {record.world for record in records}
    variants = sorted({name.partition("-")[2] for name in names} - {""})
    found: dict[str, Any] = {}
    for variant in variants:
        plain = sorted(name for name in names if f"{name}-{variant}" in names)
        if not plain:
            continue
        found[variant] = {}
        for arm in arms:
            of_arm = [record for record in records if record.mode == arm]
            told = _compared(of_arm, plain, variant)
            told["by_world"] = {world: _compared(of_arm, [world], variant) for world in plain}
            found[variant][arm] = told
    return found or None


def scope(records: Sequence[Record], arms: Sequence[str]) -> dict[str, Any] | None:
    """Shares of refusals where something is to be declined and something is not; None without such a mixture."""
    if len({record.kind == "edge" for record in records}) < 2:
        return None
    found: dict[str, Any] = {}
    for arm in arms:
        found[arm] = {}
        for name, is_outside in (("outside_declined", True), ("inside_declined", False)):
            chosen = [r for r in records if r.mode == arm and (r.kind == "edge") == is_outside]
            found[arm][name] = wilson(sum(r.declined for r in chosen), len(chosen)).to_json()
    return found


def third_of(record: Record) -> str:
    """Which third of its world's difficulty an item comes from."""
    return DIFFICULTIES[min(2, int(3 * record.difficulty))]


def share_of(records: Sequence[Record]) -> Share:
    """The share of right answers."""
    return wilson(sum(record.right for record in records), len(records))


def values_of(records: Iterable[Record], value: Callable[[Record], str]) -> list[str]:
    """The different values that records have, in order."""
    return sorted({value(record) for record in records})


def _compared(records: Sequence[Record], plain: Sequence[str], variant: str) -> dict[str, Any]:
    one = share_of([record for record in records if record.world in {f"{world}-{variant}" for world in plain}])
    other = share_of([record for record in records if record.world in plain])
    return {"heldout": one.to_json(), "plain": other.to_json(), **gap(one, other).to_json()}


def _by_difficulty(records: Sequence[Record]) -> dict[str, Any]:
    """Shares by third of the dial, without the items that have no difficulty."""
    dialled = [record for record in records if record.kind not in WITHOUT_PRINT]
    found = _shares(dialled, third_of)
    return {name: found[name] for name in DIFFICULTIES if name in found}


def _by_print(records: Sequence[Record]) -> dict[str, Any]:
    """Legible and fine print apart; what guessing scores beside the latter."""
    prints: dict[str, Any] = {}
    asked = [record for record in records if record.kind not in WITHOUT_PRINT]
    for name, legible in (("legible", True), ("fine", False)):
        chosen = [record for record in asked if record.legible == legible]
        if not chosen:
            continue
        prints[name] = share_of(chosen).to_json()
        chances = [record.chance for record in chosen if record.chance is not None]
        if not legible and len(chances) == len(chosen):
            prints[name] |= {"chance": mean(chances), "chance_how": CHANCE_HOW}
    return prints


def _costs(records: Sequence[Record]) -> dict[str, float]:
    return {
        "tokens_mean": _mean_of(records, lambda r: r.tokens),
        "looks_mean": _mean_of(records, lambda r: r.looks),
        "tool_calls_mean": _mean_of(records, lambda r: r.tool_calls),
    }


def _shares(records: Sequence[Record], value: Callable[[Record], str]) -> dict[str, Any]:
    return _grouped(records, value, lambda chosen: share_of(chosen).to_json())


def _grouped(
    records: Sequence[Record], value: Callable[[Record], str], told: Callable[[Sequence[Record]], Any]
) -> dict[str, Any]:
    groups: dict[str, list[Record]] = {name: [] for name in values_of(records, value)}
    for record in records:
        groups[value(record)].append(record)
    return {name: told(chosen) for name, chosen in groups.items()}


def _guess_of(records: Sequence[Record]) -> float:
    return mean([record.guess for record in records if record.guess is not None])


def _mean_of(records: Iterable[Record], value: Callable[[Record], float | None]) -> float:
    """The mean over the runs that told what they cost."""
    return _mean_if_known(records, value) or 0.0


def _mean_if_known(records: Iterable[Record], value: Callable[[Record], float | None]) -> float | None:
    known = [float(told) for record in records if (told := value(record)) is not None]
    return mean(known) if known else None
