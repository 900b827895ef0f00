"""`narthex ask`: one question, one run, shown as it happens."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from narthex.base.errors import InputError, NarthexError
from narthex.cli.inputs import STDIN, Options, add_pictures, parse_options, read_question, require_text

if TYPE_CHECKING:
    from narthex.backends.base import Backend
    from narthex.chat import Conversation, Event, Mode, RunFailed, RunFinished, RunStarted
    from narthex.cli.keeping import RunBlobs

DEFAULT_MODE = "thinking"


class Request(NamedTuple):
    """All that a run needs; pictures are in `blobs`."""

    conversation: Conversation
    mode: Mode
    options: Options
    blobs: RunBlobs


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
    mode: Annotated[str, typer.Option("--mode", metavar="MODE", help="instant or thinking.")] = DEFAULT_MODE,
    max_think: Annotated[
        str | None, typer.Option("--max-think", metavar="N", help="At most N tokens of thought.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|FOLDER", help="The model to ask. Default: narthex-nano."),
    ] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="A system prompt.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="KEY VALUE",
            help="Again for more: temperature, top_p, seed, think_tokens, answer_tokens, tool_calls, wall_s.",
        ),
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="N", help="For draws above temperature 0; greedy needs none.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    events: Annotated[bool, typer.Option("--events", help="With --json: all events of the run too.")] = False,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Keep the run in NARTHEX_HOME.")] = True,
) -> None:
    """Answer a question, with or without pictures.

    The answer goes to stdout; thought, looks and what it took go to stderr.
    """
    if events and not as_json:
        raise InputError("--events is a part of --json", hint="add --json")
    options = parse_options(option or (), seed=seed, max_think=max_think)
    request, show, warn = prepare(question, image or [], mode, system, options, quiet=as_json)
    backend = open_backend(model, device)
    finished = asyncio.run(answer(request, backend, show, warn, save=save))
    if as_json:
        from narthex.cli.show import result_json

        found = result_json(finished.start, finished.end, finished.events if events else None)
        is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        print(json.dumps(found, ensure_ascii=not is_utf8, allow_nan=False))


def prepare(
    question: str | None, images: list[str], mode: str, system: str | None, options: Options, *, quiet: bool
) -> tuple[Request, Callable[[Event], None], Callable[[str], None]]:
    """Check all that was said and attached, and make the means to show it. Raises: InputError."""
    from narthex.chat import Conversation, Message, parse_mode
    from narthex.cli.keeping import RunBlobs
    from narthex.cli.show import Teller
    from narthex.tokens.gallery import Gallery

    chosen = parse_mode(mode)
    if chosen == "instant" and options.think_tokens:
        raise InputError(
            f"Instant does not think, so it has no use for {options.think_tokens} tokens of thought",
            hint="leave the limit out, or use --mode thinking",
        )
    asked = read_question(question, is_stdin_taken=STDIN in images)
    teller = Teller(sys.stdout, sys.stderr)
    blobs = RunBlobs(teller.warn)
    pictures = add_pictures(Gallery(blobs), images)
    said = [Message.of("system", require_text(system, "the system prompt"))] if system else []
    conversation = Conversation(messages=(*said, Message.of("user", asked, *pictures)))
    return Request(conversation, chosen, options, blobs), _nothing if quiet else teller.show, teller.warn


def open_backend(model: str | None, device: str | None) -> Backend:
    """Find and open a model. Raises: WeightsError, ConfigError."""
    from narthex.cli.models import find_model

    folder = find_model(model)
    from narthex.backends.local import LocalBackend  # torch comes with it: after all that can be refused without

    return LocalBackend.open(folder, device=device)


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
    events = run(
        request.conversation, request.mode, options.budget(), backend, gallery=Gallery(request.blobs),
        seed=options.seed, temperature=options.temperature or 0.0,
        top_p=1.0 if options.top_p is None else options.top_p,
    )  # fmt: skip
    seen: list[Event] = []
    async with aclosing(kept(events, request.blobs, warn) if save else events) as stream:
        async for event in stream:
            seen.append(event)
            show(event)
    first, last = seen[0], seen[-1]
    if last.type == "run_failed":
        raise _as_error(last)
    if first.type != "run_started" or last.type != "run_finished":
        raise RuntimeError(f"a run went from {first.type} to {last.type}")
    return Finished(first, last, seen)


def _as_error(event: RunFailed) -> NarthexError:
    error = NarthexError(event.message, hint=event.hint)
    error.exit_code, error.http_status = event.exit_code, event.http_status
    return error


def _nothing(_: Event) -> None:
    """Shows nothing: with --json, stdout has one object and stderr only trouble."""
