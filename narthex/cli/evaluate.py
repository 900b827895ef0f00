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


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="For example worlds.panels.")],
    mode: Annotated[str, typer.Option("--mode", metavar="A,B", help="Modes to compare.")] = "instant,thinking",
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Number of items.")] = 100,
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
    as_json: AsJson = False,
) -> None:
    """Measure a model on a task whose answers are known exactly. Ctrl-C ends it with a report of what is done."""
    from narthex.chat import parse_mode
    from narthex.cli.ask import check_manner, reach
    from narthex.cli.session import Manner
    from narthex.evals import evaluate, get_task

    # The cheap refusals come before the model is opened.
    get_task(task)
    modes = [parse_mode(name.strip()) for name in mode.split(",") if name.strip()]
    options = parse_options(option or (), seed=seed, max_think=max_think)
    if options.top_p is not None:
        raise InputError("an evaluation has no top_p", hint="leave it out; temperature can be set")
    manner = Manner(model=model, upstream=upstream)
    check_manner(manner, options, device)
    reached = reach(manner, device)
    report = evaluate(
        task,
        modes,
        limit=limit,
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        backend=reached.backend,
        ceiling=reached.ceiling,
        temperature=options.temperature or 0.0,
        budget=options.budget(),
        progress=_progress(),
    )
    if items is not None:
        report.write_items(items)
    print(json.dumps(report.to_json(), allow_nan=False) if as_json else report.table().rstrip())
    if report.partial:
        raise typer.Exit(EXIT_INTERRUPTED)


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
