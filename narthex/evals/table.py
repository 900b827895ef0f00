"""A report for a terminal: the object that `--json` prints, as plain text."""

from __future__ import annotations

from typing import Any

from narthex.evals.text import columns, percent


def table(found: dict[str, Any]) -> str:
    """All there is to say of a report, no wider than 100 columns unless a name is very long."""
    head = f"{found['task']}   model {found['model']}   seed {found['seed']}   {found['n']} items"
    head += f"   {found['seconds']:.0f} s"
    if found["partial"]:
        head += f"\nPARTIAL: stopped after {found['n']} of {found['limit']} items"
    parts = [
        head, _accuracy_table(found), _cost_table(found), _world_table(found), _difficulty_table(found),
        _kind_table(found), _heldout_table(found), _scope_table(found), _notes(found),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def arms_of(found: dict[str, Any]) -> dict[str, Any]:
    """Modes, then baselines: rows of every table."""
    return {**found["modes"], **found["baselines"]}


def interval(told: dict[str, Any]) -> str:
    """A share's interval: "74.0 % to 81.2 %"."""
    return f"{percent(told['low'])} to {percent(told['high'])}"


def points(told: dict[str, Any]) -> str:
    """A difference with its interval: "-3.2 (-7.1 to 0.7)"."""
    return f"{told['points']:+.1f} ({told['low']:+.1f} to {told['high']:+.1f})"


def _compact(told: dict[str, Any]) -> str:
    """A share with its interval, short: "77.8 % (74 to 81)"."""
    if not told.get("n"):
        return "-"
    return f"{percent(told['accuracy'])} ({100 * told['low']:.0f} to {100 * told['high']:.0f})"


def _accuracy_table(found: dict[str, Any]) -> str:
    rows = [["mode", "right", "95 % interval", "legible", "fine print", "guessing", "declined", "failed"]]
    blind = found.get("guessing", {}).get("accuracy")
    for mode, told in arms_of(found).items():
        prints = told["by_print"]
        fine = prints.get("fine", {})
        rows.append([
            mode, percent(told["accuracy"]), interval(told),
            percent(prints.get("legible", {}).get("accuracy")), percent(fine.get("accuracy")),
            percent(fine.get("chance")), percent(told["declined"]), str(told["failed"]),
        ])  # fmt: skip
    if all(row[5] == "-" for row in rows[1:]):
        rows = [[*row[:5], *row[6:]] for row in rows]
    note = "" if blind is None else f"\nguessing without the picture: {percent(blind)}"
    return columns(rows) + note


def _cost_table(found: dict[str, Any]) -> str:
    rows = [["mean per question", "tokens", "looks", "tool calls", "agents", "seconds", "critical path s", "GFLOP"]]
    for mode, told in arms_of(found).items():
        flops = told["flops_mean"]
        rows.append([
            mode, f"{told['tokens_mean']:.1f}", f"{told['looks_mean']:.2f}", f"{told['tool_calls_mean']:.2f}",
            f"{told['agents_mean']:.1f}", f"{told['seconds_mean']:.2f}", f"{told['critical_path_s_mean']:.2f}",
            "-" if flops is None else f"{flops / 1e9:.3g}",
        ])  # fmt: skip
    return columns(rows)


def _world_table(found: dict[str, Any]) -> str:
    """Worlds as rows, modes as columns, guessing last; left out where there is one world only."""
    worlds = found["by_world"]
    if len(worlds) < 2:
        return ""
    arms = list(found["modes"])
    guessed = found.get("guessing", {}).get("by_world", {})
    rows = [["world", "n", *arms, "guessing"]]
    for world, told in worlds.items():
        count = max(told[arm]["n"] for arm in arms)
        rows.append([
            world, str(count), *(_compact(told[arm]) for arm in arms), percent(guessed.get(world)),
        ])  # fmt: skip
    return columns(rows)


def _difficulty_table(found: dict[str, Any]) -> str:
    arms = found["modes"]
    names = list(dict.fromkeys(name for told in arms.values() for name in told["by_difficulty"]))
    if len(names) < 2:
        return ""
    guessed = found.get("guessing", {}).get("by_difficulty", {})
    rows = [["difficulty", "n", *arms, "guessing"]]
    for name in names:
        told = [arm["by_difficulty"].get(name, {}) for arm in arms.values()]
        count = max(entry.get("n", 0) for entry in told)
        shares = [_compact(entry) for entry in told]
        rows.append([name, str(count), *shares, percent(guessed.get(name))])
    return columns(rows)


def _kind_table(found: dict[str, Any]) -> str:
    """Kinds as rows, modes as columns, with their worlds where there are several; left out where there is one only."""
    arms = found["modes"]
    grouping = "by_kind" if len(found["by_world"]) < 2 else "by_world_kind"
    kinds = sorted({kind for told in arms.values() for kind in told[grouping]})
    if len(kinds) < 2:
        return ""
    rows = [["kind", "n", *arms]]
    for kind in kinds:
        told = [arm[grouping].get(kind, {}) for arm in arms.values()]
        count = max(entry.get("n", 0) for entry in told)
        rows.append([kind, str(count), *(percent(entry.get("accuracy")) for entry in told)])
    return columns(rows)


def _heldout_table(found: dict[str, Any]) -> str:
    """What held-out drawings and wordings cost in points, in all and by world."""
    if "heldout" not in found:
        return ""
    arms = list(found["modes"])
    rows = [["points against the plain worlds", *arms]]
    for variant, told in found["heldout"].items():
        rows.append([f"all {variant}", *(points(told[arm]) for arm in arms)])
        rows += [
            [f"  {world}-{variant}", *(points(told[arm]["by_world"][world]) for arm in arms)]
            for world in told[arms[0]]["by_world"]
        ]
    return columns(rows)


def _scope_table(found: dict[str, Any]) -> str:
    """Refusals where they are due, and where they are not."""
    if "scope" not in found:
        return ""
    rows = [["declined", "of what is out of scope", "95 % interval", "of what is in scope", "95 % interval"]]
    for arm, told in found["scope"].items():
        cells = [(percent(told[name]["accuracy"]), interval(told[name])) for name in _SCOPE_PARTS]
        rows.append([arm, *cells[0], *cells[1]])
    return columns(rows)


_SCOPE_PARTS = ("outside_declined", "inside_declined")


def _notes(found: dict[str, Any]) -> str:
    notes = [
        f"{mode}: {count} x {message}"
        for mode, told in arms_of(found).items()
        for message, count in told["errors"].items()
    ]
    return "failed runs count as wrong:\n  " + "\n  ".join(notes) if notes else ""
