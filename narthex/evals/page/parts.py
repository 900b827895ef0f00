"""Words and tables of a page."""

from __future__ import annotations

from html import escape
from typing import Any

from narthex.evals.page import svg
from narthex.evals.table import arms_of, interval, points
from narthex.evals.text import percent

_ENOUGH = 5  # questions of a kind, to speak of it


def heading(over: str, title: str) -> str:
    """The page's head."""
    return f'<header><p class="over">Narthex · {escape(over)}</p><h1>{escape(title)}</h1></header>'


def lead(found: dict[str, Any]) -> str:
    """What was found, in one sentence, and whether the steps of the ladder lie apart."""
    modes = found["modes"]
    told = [f'<b class="{mode}">{svg.name_of(mode)}</b> {_whole(entry)}' for mode, entry in modes.items()]
    guessed = found.get("guessing", {}).get("accuracy")
    if guessed is not None:
        told.append(f"guessing without the picture {100 * guessed:.0f} %")
    said = f"Right answers: {', '.join(told)}."
    for lower, upper in (("instant", "thinking"), ("thinking", "contemplating")):
        if lower in modes and upper in modes:
            said += " " + _step(modes[lower], modes[upper], svg.name_of(lower), svg.name_of(upper))
    return f'<p class="lead">{said}</p>'


def partial(found: dict[str, Any]) -> str:
    """A warning where an evaluation was stopped."""
    if not found["partial"]:
        return ""
    return f'<p class="warn">Stopped after {found["n"]} of {found["limit"]} questions.</p>'


def headline(found: dict[str, Any]) -> str:
    """Accuracy with intervals and what it cost, a row for each mode and baseline."""
    costs = ["tokens", "looks", "tool calls", "agents", "seconds", "critical path"]
    head = ["", "right", "95 % interval", "legible", "fine", *costs]
    rows = []
    for arm, told in arms_of(found).items():
        prints = told["by_print"]
        cells = [
            f"{100 * told['low']:.1f} to {100 * told['high']:.1f}",
            percent(prints.get("legible", {}).get("accuracy")), percent(prints.get("fine", {}).get("accuracy")),
            f"{told['tokens_mean']:.0f}", f"{told['looks_mean']:.2f}", f"{told['tool_calls_mean']:.2f}",
            f"{told['agents_mean']:.1f}", f"{told['seconds_mean']:.2f}", f"{told['critical_path_s_mean']:.2f} s",
        ]  # fmt: skip
        css = "" if arm in svg.MODES else ' class="base"'
        key = f'<span class="key {svg.css_class(arm)}" style="background: var(--c)"></span>'
        rows.append(
            f"<tr{css}><td>{key}{svg.name_of(arm)}</td><td class=big>{percent(told['accuracy'])}</td>"
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return _table(head, rows)


def worst_kinds(found: dict[str, Any], most: int) -> str:
    """The kinds of question that the best mode does worst on."""
    modes = found["modes"]
    best = max(modes, key=lambda mode: modes[mode]["accuracy"])
    asked = modes[best]["by_world_kind"].items()
    enough = [pair for pair in asked if pair[1]["n"] >= _ENOUGH] or asked
    kinds = sorted(enough, key=lambda pair: (pair[1]["accuracy"], -pair[1]["n"]))[:most]
    if len(kinds) < 2:
        return ""
    guessed = found.get("guessing", {}).get("by_world_kind", {})
    rows = []
    for kind, told in kinds:
        rest = [percent(modes[mode]["by_world_kind"].get(kind, {}).get("accuracy")) for mode in modes if mode != best]
        cells = [percent(told["accuracy"]), interval(told), *rest, percent(guessed.get(kind)), str(told["n"])]
        rows.append(_row(kind.replace(".", " · "), cells))
    others = [svg.name_of(mode) for mode in modes if mode != best]
    head = ["", svg.name_of(best), "95 % interval", *others, "guessing", "questions"]
    return f"<section><h2>Where it fails most</h2>{_table(head, rows)}</section>"


def heldout(found: dict[str, Any]) -> str:
    """What held-out drawings and wordings cost."""
    if "heldout" not in found:
        return ""
    arms = list(found["modes"])
    rows = []
    for variant, told in found["heldout"].items():
        rows.append(_row(f"all {variant}", [points(told[arm]) for arm in arms]))
        rows += [
            _row(f"{world}-{variant}", [points(told[arm]["by_world"][world]) for arm in arms])
            for world in told[arms[0]]["by_world"]
        ]
    note = "Points against the plain worlds, measured beside them, with 95 % intervals."
    table = _table(["", *map(svg.name_of, arms)], rows)
    return f"<section><h2>Drawings and wordings never trained on</h2><p class=note>{note}</p>{table}</section>"


def scope(found: dict[str, Any]) -> str:
    """Refusals where they are due, and where they are not."""
    if "scope" not in found:
        return ""
    rows = []
    for arm, told in found["scope"].items():
        cells = [
            text for part in ("outside_declined", "inside_declined")
            for text in (percent(told[part]["accuracy"]), interval(told[part]))
        ]  # fmt: skip
        rows.append(_row(svg.name_of(arm), cells))
    head = ["", "declined out of scope", "95 % interval", "declined in scope", "95 % interval"]
    return f"<section><h2>What it declines</h2>{_table(head, rows)}</section>"


def side_by_side(told: dict[str, Any], names: tuple[str, str]) -> str:
    """Both reports' modes and baselines, with what changed. told: what `comparison` says."""
    rows = []
    for arm, entry in told["arms"].items():
        one, two, change = entry["one"], entry["two"], entry["tokens_change"]
        spent = "" if change is None else f" ({100 * change:+.0f} %)"
        cells = [
            _short(one), _short(two), points(entry), f"{one['tokens_mean']:.0f} to {two['tokens_mean']:.0f}{spent}",
            f"{one['looks_mean']:.2f} to {two['looks_mean']:.2f}",
        ]  # fmt: skip
        rows.append(_row(svg.name_of(arm), cells))
    return _table(["", *names, "points", "tokens", "looks"], rows)


def caution(one: dict[str, Any], two: dict[str, Any], told: dict[str, Any]) -> str:
    """Whether two reports are of the same questions."""
    if told["same_questions"]:
        return '<p class="lead">The same questions, asked of both.</p>'
    apart = ", ".join(f"{name} {one[name]} and {two[name]}" for name in told["differs_in"])
    return f'<p class="warn">Not the same questions: {escape(apart)}.</p>'


def failures(found: dict[str, Any]) -> str:
    """Runs that failed, with their reasons."""
    told = [
        f"<li>{svg.name_of(arm)}: {count} × {escape(message)}</li>"
        for arm, entry in arms_of(found).items()
        for message, count in entry["errors"].items()
    ]
    if not told:
        return ""
    return f"<section><h2>Failed runs</h2><p class=note>They count as wrong.</p><ul>{''.join(told)}</ul></section>"


def footer(found: dict[str, Any]) -> str:
    """How all this was measured."""
    modes = ",".join(found["modes"])
    command = f"narthex eval {found['task']} --mode {modes} --limit {found['limit']} --seed {found['seed']}"
    notes = {
        "Again": f"<code>{escape(command)}</code>",
        "Questions": "Drawn from the seed when asked for; nobody can have memorised them. Answers are checked exactly.",
        "Intervals": "95 %, Wilson's score interval; differences: Newcombe's method 10.",
        "Tokens": "Thought and answer together, mean over the questions, of all agents.",
    }
    if "guessing" in found:
        notes["Guessing"] = escape(found["guessing"]["how"][0].upper() + found["guessing"]["how"][1:] + ".")
    if any(told.get("flops_mean") for told in arms_of(found).values()):
        notes["Operations"] = (
            "Two for each active parameter of the decoder and token, as the engine counts. What the agents of one way "
            "of answering have in common is counted once; the ways share nothing."
        )
    if found["baselines"]:
        notes["Baselines"] = (
            "Vote at equal tokens: the most frequent answer of as many Thinking runs as cost what Contemplating did. "
            "Long thinking: one run with room for as much thought. All agents: Contemplating that never stops early."
        )
    return f"<footer><dl>{''.join(f'<dt>{name}</dt><dd>{told}</dd>' for name, told in notes.items())}</dl></footer>"


def _step(lower: dict[str, Any], upper: dict[str, Any], below: str, above: str) -> str:
    if upper["low"] > lower["high"]:
        return f"{above}'s interval lies above {below}'s."
    if upper["high"] < lower["low"]:
        return f"{above}'s interval lies below {below}'s: it does not pay here."
    return f"{above} and {below} cannot be told apart on so many questions."


def _short(told: dict[str, Any]) -> str:
    return f"{percent(told['accuracy'])} ({100 * told['low']:.1f} to {100 * told['high']:.1f})"


def _whole(told: dict[str, Any]) -> str:
    return f"{100 * told['accuracy']:.0f} %"


def _row(name: str, cells: list[str]) -> str:
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _table(head: list[str], rows: list[str]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
