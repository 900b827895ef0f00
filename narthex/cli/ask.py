"""`narthex ask`: one question, one run, shown as it happens."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from narthex.base.errors import InputError
from narthex.cli.choices import (
    ApproveChoice,
    AsJson,
    DeviceName,
    MaxThink,
    ModelName,
    ModeName,
    OptionPairs,
    SaveChoice,
    SeedNumber,
    SystemPrompt,
    ToolNames,
    UpstreamName,
)
from narthex.cli.inputs import STDIN, Options, add_pictures, parse_options, read_question, require_text

if TYPE_CHECKING:
    from pathlib import Path

    from narthex.backends.base import Backend
    from narthex.chat import Budget, Conversation, Event, Message, Mode, RunFinished, RunStarted
    from narthex.cli.keeping import KeptTurn, RunBlobs
    from narthex.cli.session import Manner, Session
    from narthex.cli.stage import Stage
    from narthex.reason.approvals import Approve
    from narthex.tools import Tool


class Request(NamedTuple):
    """All that a run needs; pictures are in `blobs`. `tools` None: the mode's own; `folder` None: gone with the run.

    `ceiling` is what the settings allow at most; `turn` keeps the run as a part of its conversation.
    """

    conversation: Conversation
    mode: Mode
    options: Options
    blobs: RunBlobs
    tools: Sequence[Tool] | None = None
    approve: Approve | None = None
    folder: Path | None = None
    ceiling: Budget | None = None
    turn: KeptTurn | None = None


class Finished(NamedTuple):
    """A run that ended well, and its events from first to last."""

    start: RunStarted
    end: RunFinished
    events: list[Event]


def command(
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="What to ask. Text piped in comes after it, or is it.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", "-a", "--attachment", metavar="FILE", help="A picture; again for more. - is stdin."),
    ] = None,
    mode: ModeName = None,
    max_think: MaxThink = None,
    model: ModelName = None,
    upstream: UpstreamName = None,
    system: SystemPrompt = None,
    tool: ToolNames = None,
    approve: ApproveChoice = None,
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last conversation.")] = False,
    option: OptionPairs = None,
    seed: SeedNumber = None,
    device: DeviceName = None,
    as_json: AsJson = False,
    events: Annotated[bool, typer.Option("--events", help="With --json: all events of the run too.")] = False,
    save: SaveChoice = None,
) -> None:
    """Answer a question, with or without pictures.

    The answer goes to stdout; thought, looks and what it took go to stderr.
    """
    if events and not as_json:
        raise InputError("--events is a part of --json", hint="add --json")
    options = parse_options(option or (), seed=seed, max_think=max_think)
    from narthex.cli.approve import approver, parse_approve, warn_of_refusals
    from narthex.cli.logs import are_kept
    from narthex.cli.session import Session
    from narthex.cli.stage import Stage

    chosen, is_kept = parse_approve(approve), are_kept() if save is None else save
    stage = Stage(sys.stdout, sys.stderr, is_quiet=as_json)
    session = Session.resume(None, stage.warn) if go_on else Session.new(stage.warn)
    session.manner = session.manner.changed(mode=mode, model=model, upstream=upstream, tools=tool)
    check_manner(session.manner, options, device)
    tools = tools_of(session.manner)
    text = read_question(question, is_stdin_taken=STDIN in (image or []))
    pictures = add_pictures(session.gallery, image or [])
    asked = session.question(text, pictures, require_text(system, "the system prompt") if system else None)
    warn_of_refusals(chosen, approve is not None, tools, stage.warn)
    if go_on and upstream is None and session.manner.upstream is not None:
        stage.warn(f"this conversation is with {session.manner.upstream}, and goes on there")
    reached = reach(session.manner, device)
    request = turn_request(
        session, asked, options, tools=tools, approve=approver(chosen, stage), ceiling=reached.ceiling, is_kept=is_kept
    )
    stage.folder = request.folder
    finished = asyncio.run(_answer_and_close(request, reached.backend, stage, save=is_kept))
    if as_json:
        from narthex.cli.show import result_json

        found = result_json(finished.start, finished.end, finished.events if events else None)
        if is_kept:
            found["conversation_id"] = session.id
        is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        print(json.dumps(found, ensure_ascii=not is_utf8, allow_nan=False))


def check_manner(manner: Manner, options: Options, device: str | None) -> None:
    """Refuse what contradicts itself. Raises: InputError."""
    if manner.mode == "instant" and options.think_tokens:
        raise InputError(
            f"Instant does not think, so it has no use for {options.think_tokens} tokens of thought",
            hint="leave the limit out, or use --mode thinking",
        )
    if manner.upstream is not None and device is not None:
        raise InputError("--device is for models that run here, not for a server's", hint="leave one of them out")


def tools_of(manner: Manner) -> list[Tool]:
    """The mode's own tools, then those asked for by name. Raises: InputError for a name that is none."""
    from narthex.reason import default_tools
    from narthex.tools import get_tool

    tools = {tool.spec.name: tool for tool in (*default_tools(manner.mode), *map(get_tool, manner.tools))}
    return list(tools.values())


def turn_request(
    session: Session, asked: Sequence[Message], options: Options, *, tools: Sequence[Tool], approve: Approve,
    ceiling: Budget | None, is_kept: bool, replaces: str | None = None,
) -> Request:  # fmt: skip
    """The next run of a conversation. What is not kept leaves no files of its tools either."""
    return Request(
        conversation=session.conversation.with_messages(*asked), mode=session.manner.mode, options=options,
        blobs=session.blobs, tools=tools, approve=approve, folder=session.folder if is_kept else None, ceiling=ceiling,
        turn=session.kept_turn(asked, replaces=replaces) if is_kept else None,
    )  # fmt: skip


class Reached(NamedTuple):
    """A model that can be asked, and what the settings let a run spend at most (None: they say nothing)."""

    backend: Backend
    ceiling: Budget | None


def reach(manner: Manner, device: str | None) -> Reached:
    """Open the model here, or the way to one behind a server. Raises: WeightsError, ConfigError, InputError."""
    from narthex.backends.settings import load_settings, open_upstream

    settings = load_settings()
    if manner.upstream is None:
        return Reached(open_backend(manner.model, device), settings.ceiling)
    return Reached(open_upstream(manner.upstream, settings, model=manner.model), settings.ceiling)


def open_backend(model: str | None, device: str | None) -> Backend:
    """Find and open a model. Raises: WeightsError, ConfigError."""
    from narthex.base.places import find_model

    folder = find_model(model)
    from narthex.backends.local import LocalBackend  # torch comes with it: after all that can be refused without

    return LocalBackend.open(folder, device=device)


async def close_backend(backend: Backend) -> None:
    """Let go of connections, where there are any."""
    aclose = getattr(backend, "aclose", None)
    if aclose is not None:
        await aclose()


async def _answer_and_close(request: Request, backend: Backend, stage: Stage, *, save: bool) -> Finished:
    try:
        return await answer(request, backend, stage.show, stage.warn, save=save)
    except asyncio.CancelledError:
        stage.close()
        stage.note(cut_line(stage, save=save))
        raise
    finally:
        stage.close()
        await close_backend(backend)


def cut_line(stage: Stage, *, save: bool) -> str:
    """What an interrupted run leaves behind."""
    from narthex.cli.logs import SHORT_ID

    if stage.run_id is None or not save:
        return "cut; nothing of it is kept"
    return f"cut; what there is of it is kept: narthex trace {stage.run_id[:SHORT_ID]}"


async def answer(
    request: Request,
    backend: Backend,
    show: Callable[[Event], None],
    warn: Callable[[str], None],
    *,
    save: bool,
) -> Finished:
    """Run, keep (if `save`) and show. Raises: NarthexError where the run fails, with the exit code it asks for."""
    from narthex.cli.keeping import kept
    from narthex.reason import run
    from narthex.tokens.gallery import Gallery

    options = request.options
    _say_ceiling(request, warn)
    events = run(
        request.conversation, request.mode, options.budget(), backend, request.tools,
        gallery=Gallery(request.blobs), seed=options.seed, temperature=options.temperature or 0.0,
        top_p=1.0 if options.top_p is None else options.top_p, approve=request.approve, folder=request.folder,
        ceiling=request.ceiling,
    )  # fmt: skip
    seen: list[Event] = []
    async with aclosing(kept(events, request.blobs, warn, request.turn) if save else events) as stream:
        async for event in stream:
            seen.append(event)
            show(event)
    first, last = seen[0], seen[-1]
    if last.type == "run_failed":
        raise last.error()
    if first.type != "run_started" or last.type != "run_finished":
        raise RuntimeError(f"a run went from {first.type} to {last.type}")
    return Finished(first, last, seen)


def _say_ceiling(request: Request, warn: Callable[[str], None]) -> None:
    """Say which of the limits that were asked for the settings lower."""
    if request.ceiling is None:
        return
    ceiling = request.ceiling.model_dump(exclude_none=True)
    for name, value in request.options.budget().model_dump(exclude_none=True).items():
        if ceiling.get(name, value) < value:
            warn(f"{name} is {ceiling[name]:g}, not {value:g}: the settings allow no more")
