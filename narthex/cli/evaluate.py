"""`narthex eval`: a task, its modes, a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from narthex.base.errors import InputError
from narthex.cli.choices import AsJson, DeviceName, MaxThink, ModelName, UpstreamName
from narthex.cli.inputs import parse_options

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_SEED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


COMPARE = "compare"
DEFAULT_MODES, DEFAULT_LIMIT = "instant,thinking", 100


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="For example worlds, worlds.panels; or: compare.")],
    reports: Annotated[
        list[Path] | None, typer.Argument(metavar="[A.json B.json]", help="With compare: two reports of --json.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", metavar="A,B", help="Modes to compare. Default: instant,thinking.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Number of items. Default: 100.")] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="S", help="Which items; another seed, fresh ones. Default: 1.")
    ] = None,
    model: ModelName = None,
    upstream: UpstreamName = None,
    max_think: MaxThink = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="KEY VALUE",
            help="Again for more: temperature, think_tokens, answer_tokens, agents, rounds, tool_calls, wall_s.",
        ),
    ] = None,
    device: DeviceName = None,
    items: Annotated[
        Path | None, typer.Option("--items", metavar="FILE", help="Write every answer there, a JSON object a line.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page there: tables, figures, examples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a task whose answers are known exactly. Ctrl-C ends it with a report of what is done."""
    from narthex.chat import parse_mode
    from narthex.cli.ask import check_manner, reach
    from narthex.cli.session import Manner
    from narthex.evals import evaluate, get_task
    from narthex.evals.report import check_writable, write_text

    for path in (items, html):
        if path is not None:
            check_writable(path)
    if task == COMPARE:
        if any(given is not None for given in (mode, limit, seed, model, upstream, max_think, option, device, items)):
            raise InputError("compare reads two reports and asks no model", hint="give it --html and --json only")
        _compare(reports or [], html, as_json=as_json)
        return
    if reports:
        raise InputError(f"one task at a time: {reports[0]} is one too many", hint="put commas between modes only")
    # The cheap refusals come before the model is opened.
    get_task(task)
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", hint="give a limit of 1 or more")
    modes = [parse_mode(name.strip()) for name in (mode or DEFAULT_MODES).split(",") if name.strip()]
    options = parse_options(option or (), seed=seed, max_think=max_think)
    if options.top_p is not None:
        raise InputError("an evaluation has no top_p", hint="leave it out; temperature can be set")
    manner = Manner(model=model, upstream=upstream)
    check_manner(manner, options, device)
    reached = reach(manner, device)
    report = evaluate(
        task,
        modes,
        limit=DEFAULT_LIMIT if limit is None else limit,
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        backend=reached.backend,
        ceiling=reached.ceiling,
        temperature=options.temperature or 0.0,
        budget=options.budget(),
        progress=_progress(),
    )
    print(json.dumps(report.to_json(), allow_nan=False) if as_json else report.table().rstrip())
    if items is not None:
        report.write_items(items)
    if html is not None:
        write_text(html, report.page())
    if report.partial:
        raise typer.Exit(EXIT_INTERRUPTED)


def _compare(paths: list[Path], html: Path | None, *, as_json: bool) -> None:
    """Two reports that are files, as a table, as JSON and as a page."""
    from narthex.evals.compare import comparison, comparison_table, load_report, names_of
    from narthex.evals.page import compare_page
    from narthex.evals.report import write_text

    if len(paths) != 2:
        raise InputError(f"compare takes two reports, not {len(paths)}", hint="narthex eval compare A.json B.json")
    one, two = (load_report(path) for path in paths)
    names = names_of((paths[0], paths[1]), one, two)
    told = comparison(one, two)
    print(json.dumps({"names": names, **told}) if as_json else comparison_table(told, names))
    if html is not None:
        write_text(html, compare_page(one, two, names))


def _progress() -> Callable[[str, int, int], None] | None:
    """One line on a terminal, written over; nothing in a log."""
    if not sys.stderr.isatty():
        return None
    done: dict[str, str] = {}

    def show(mode: str, number: int, total: int) -> None:
        done[mode] = f"{mode} {number}/{total}"
        is_over = number == total
        print("\r" + "   ".join(done.values()), end="\n" if is_over else "", file=sys.stderr, flush=True)

    return show
