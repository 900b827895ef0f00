"""Two reports beside each other: what changed in every mode that both have, with its interval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from narthex.base.errors import InputError
from narthex.evals.stats import Share, gap
from narthex.evals.table import arms_of, interval, points
from narthex.evals.text import columns, percent

# What makes two reports answer to the same questions.
_SAME = ("task", "seed", "limit")
_NEEDED = ("task", "model", "modes", "baselines", "by_world", "n", "limit", "seed")


def load_report(path: Path) -> dict[str, Any]:
    """Read what `narthex eval --json` printed.

    Raises: InputError if the file cannot be read or is no report.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="name a file that `--json` wrote") from None
    except ValueError:
        raise InputError(f"{path} is not JSON", hint="name a file that `narthex eval … --json` wrote") from None
    if not isinstance(found, dict) or any(key not in found for key in _NEEDED):
        raise InputError(f"{path} is no report", hint="name a file that `narthex eval … --json` wrote")
    return found


def names_of(paths: tuple[Path, Path], one: dict[str, Any], two: dict[str, Any]) -> tuple[str, str]:
    """What two reports are called: by their models where those differ, else by their files."""
    if one["model"] != two["model"]:
        return one["model"], two["model"]
    return paths[0].stem, paths[1].stem


def comparison(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Mode or baseline of both -> both shares, the gain in points with its interval, and the change in tokens.

    The interval takes the two samples for independent; on the same questions it is wider than it need be.
    """
    first, second = arms_of(one), arms_of(two)
    arms = {}
    for arm in (arm for arm in first if arm in second):
        a, b = first[arm], second[arm]
        kept = ("accuracy", "low", "high", "n", "tokens_mean", "looks_mean", "seconds_mean")
        arms[arm] = {
            "one": {key: a[key] for key in kept},
            "two": {key: b[key] for key in kept},
            **gap(_share(b), _share(a)).to_json(),
            "tokens_change": round(b["tokens_mean"] / a["tokens_mean"] - 1, 6) if a["tokens_mean"] else None,
        }
    apart = [name for name in _SAME if one[name] != two[name]]
    return {"same_questions": not apart, "differs_in": apart, "arms": arms}


def comparison_table(told: dict[str, Any], names: tuple[str, str]) -> str:
    """A comparison for a terminal."""
    rows = [["", names[0], "95 % interval", names[1], "95 % interval", "points", "tokens"]]
    for arm, entry in told["arms"].items():
        shares = [text for key in ("one", "two") for text in (percent(entry[key]["accuracy"]), interval(entry[key]))]
        change = entry["tokens_change"]
        rows.append([arm, *shares, points(entry), "-" if change is None else f"{100 * change:+.0f} %"])
    note = "" if told["same_questions"] else f"\nnot the same questions: {', '.join(told['differs_in'])} differ"
    return columns(rows) + note


def _share(told: dict[str, Any]) -> Share:
    return Share(told["accuracy"], told["low"], told["high"], told["n"])
