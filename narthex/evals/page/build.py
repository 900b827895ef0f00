"""A page put together: what was found, in one sentence, in one table, and in figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from narthex.evals.compare import comparison
from narthex.evals.page import figures, parts, svg
from narthex.evals.page.examples import Example, example_card
from narthex.evals.page.figures import Point
from narthex.evals.page.style import STYLE

_MAX_WORST = 10
# Nothing may be fetched or run, whatever a model wrote into its answers.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report_page(found: dict[str, Any], examples: Sequence[Example] = ()) -> str:
    """The page of one report. found: what `Report.to_json` says; examples: `examples_of(report)`."""
    body = [
        parts.heading(f"{found['task']} · seed {found['seed']} · {found['n']} questions", found["model"]),
        parts.lead(found), parts.partial(found), parts.headline(found),
        _by_world(found), _compute([("", found)]), _by_difficulty(found), parts.heldout(found), parts.scope(found),
        parts.worst_kinds(found, _MAX_WORST), _examples(examples), parts.failures(found), parts.footer(found),
    ]  # fmt: skip
    return _page(f"{found['model']} on {found['task']}", body)


def compare_page(one: dict[str, Any], two: dict[str, Any], names: tuple[str, str]) -> str:
    """Two reports on one page: before and after, or two models. names: what they are called."""
    told = comparison(one, two)
    body = [
        parts.heading(f"{one['task']} · {one['n']} and {two['n']} questions", f"{names[0]} and {names[1]}"),
        parts.caution(one, two, told), parts.side_by_side(told, names),
        _dumbbells(one, two, names), _compute([(names[0], one), (names[1], two)]), parts.footer(two),
    ]  # fmt: skip
    return _page(f"{names[0]} and {names[1]}", body)


def _page(title: str, body: Sequence[str]) -> str:
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>{STYLE}</style></head>\n'
    )
    return head + "<body><main>\n" + "\n".join(part for part in body if part) + "\n</main></body></html>\n"


def _figure(title: str, note: str, *drawn: str) -> str:
    shown = [f"<figure>{one}</figure>" for one in drawn if one]
    if not shown:
        return ""
    inside = shown[0] if len(shown) == 1 else f'<div class="pair">{"".join(shown)}</div>'
    return f"<section><h2>{escape(title)}</h2><p class=note>{escape(note)}</p>{inside}</section>"


def _by_world(found: dict[str, Any]) -> str:
    worlds = found["by_world"]
    if len(worlds) < 2:
        return ""
    modes = list(found["modes"])
    guesses = found.get("guessing", {}).get("by_world", {})
    groups = [(world, {mode: told[mode] for mode in modes}) for world, told in worlds.items()]
    drawn = figures.legend(modes, has_guess=bool(guesses)) + figures.bars(groups, guesses, label=_label_room(worlds))
    return _figure("By world", "Right answers; lines are 95 % intervals.", drawn)


def _by_difficulty(found: dict[str, Any]) -> str:
    modes = found["modes"]
    names = list(dict.fromkeys(name for told in modes.values() for name in told["by_difficulty"]))
    if len(names) < 2:
        return ""
    guesses = found.get("guessing", {}).get("by_difficulty", {})
    groups = [(name, {mode: told["by_difficulty"].get(name, {}) for mode, told in modes.items()}) for name in names]
    prints = [
        (told, {mode: entry["by_print"].get(name, {}) for mode, entry in modes.items()})
        for name, told in (("legible", "legible at once"), ("fine", "needs a look"))
    ]
    legend, plain = (figures.legend(list(modes), has_guess=has) for has in (bool(guesses), False))
    note = "Left: thirds of the worlds' dial. Right: what can be answered at a glance, and what takes a look or a step."
    left = figures.bars(groups, guesses, width=figures.HALF_WIDTH, label=72)
    right = figures.bars(prints, {}, width=figures.HALF_WIDTH, label=120)
    return _figure("By difficulty", note, legend + left, plain + right)


def _compute(reports: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Accuracy against tokens and, where they are known, against floating point operations."""
    guess = reports[0][1].get("guessing", {}).get("accuracy")
    drawn = []
    for field, what in (("tokens_mean", "tokens a question"), ("flops_mean", "floating point operations a question")):
        if len(reports) == 1:
            found = reports[0][1]
            series, apart = [_points(found["modes"], "", field)], _points(found["baselines"], "", field, is_hollow=True)
        else:
            pairs = enumerate(reports)
            series = [_points(found["modes"], name, field, is_hollow=not place) for place, (name, found) in pairs]
            apart = []
        if all(series):
            drawn.append(figures.cost_curve(series, apart, what, guess))
    told = ("baselines, the same compute spent more simply", reports[0][0])[len(reports) > 1]
    note = f"Up and to the left is better. Hollow: {told}."
    return _figure("What thinking buys", note, *drawn)


def _points(arms: dict[str, Any], name: str, field: str, *, is_hollow: bool = False) -> list[Point]:
    suffix = f", {name}" if name else ""
    return [
        Point(arm, svg.name_of(arm) + suffix, told[field], told, is_hollow)
        for arm, told in arms.items()
        if told.get(field) and told["n"]
    ]


def _dumbbells(one: dict[str, Any], two: dict[str, Any], names: tuple[str, str]) -> str:
    modes = [mode for mode in one["modes"] if mode in two["modes"]]
    rows = [
        (f"{world}, {svg.name_of(mode)}", mode, one["by_world"][world][mode], two["by_world"][world][mode])
        for world in one["by_world"]
        if world in two["by_world"]
        for mode in modes
    ]
    note = f"Hollow: {names[0]}. Full: {names[1]}."
    return _figure("By world", note, figures.dumbbells(rows)) if rows else ""


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    mode = svg.name_of(examples[0].record.mode)
    note = f"{mode}'s thought and looks. Chosen by rule: right and wrong by turns, of every world, most looks first."
    cards = "".join(example_card(example) for example in examples)
    return f'<section><h2>Examples</h2><p class=note>{escape(note)}</p><div class="examples">{cards}</div></section>'


def _label_room(names: Sequence[str] | dict[str, Any]) -> float:
    return 24 + 8.2 * max(len(name) for name in names)

