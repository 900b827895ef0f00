"""The command `narthex`: its verbs, and the one place where every error becomes a line, a hint and an exit code.

Exit codes: 0 done; 1 something went wrong; 2 the request can be mended by whoever made it; 3 what runs the model
failed; 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from narthex import __version__
from narthex.base.errors import NarthexError, UserError, format_error
from narthex.base.log import setup_logging
from narthex.cli.ask import command as ask
from narthex.cli.chat import command as chat
from narthex.cli.demo import command as demo
from narthex.cli.doctor import command as doctor
from narthex.cli.evaluate import EXIT_INTERRUPTED
from narthex.cli.evaluate import command as evaluate
from narthex.cli.logs import command as logs
from narthex.cli.models import command as models
from narthex.cli.people import keys, users
from narthex.cli.serve import command as serve
from narthex.cli.trace import command as trace

EXIT_BUG = 1

_PAIRED = ("-o", "--option")

# Plain help: it needs no rich, so it is there sooner, and it reads the same in a pipe.
app = typer.Typer(
    name="narthex",
    help="A multimodal reasoning system that runs on your own machine. Nothing leaves it.",
    epilog="NARTHEX_HOME moves every file that Narthex keeps; NARTHEX_DEBUG=1 shows tracebacks.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("ask", short_help="Answer a question, with or without pictures.")(ask)
app.command("chat", short_help="Talk: a conversation, turn by turn.")(chat)
app.command("serve", short_help="Answer OpenAI's clients, on this machine.")(serve)
app.command("users", short_help="Say who may ask the server.")(users)
app.command("keys", short_help="Make and revoke the keys of users.")(keys)
app.command("trace", short_help="Show what a kept run did: agents, calls, tokens, seconds.")(trace)
app.command("logs", short_help="Say whether runs are kept, and list the last ones.")(logs)
app.command("eval", short_help="Measure a model on a task with exact answers.")(evaluate)
app.command("models", short_help="List the models that are here, and check their files.")(models)
app.command("doctor", short_help="Say what this machine offers, and what is missing.")(doctor)
app.command("demo", hidden=True)(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"narthex {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. Nothing is raised but SystemExit.

    Without arguments it is this process's own, and where torch was loaded the process ends here.
    """
    code = _run(arguments)
    # Python would take torch down piece by piece: half a second of work for nothing, before the prompt is back.
    if arguments is None and "torch" in sys.modules and not os.environ.get("NARTHEX_DEBUG"):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    is_debug = os.environ.get("NARTHEX_DEBUG", "") not in ("", "0")
    setup_logging(2 if is_debug else 0)
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a sign shows another instead of ending the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        given = _join_pairs(list(sys.argv[1:] if arguments is None else arguments))
        code = typer.main.get_command(app).main(given or ["--help"], prog_name="narthex", standalone_mode=False)
        sys.stdout.flush()
        # Some versions of typer turn Ctrl-C into this exit code, others let it through.
        return _interrupted() if code == EXIT_INTERRUPTED else code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`). Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BUG
    except NarthexError as error:
        if is_debug:
            raise
        print(format_error(error), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if is_debug:
            raise
        told, code = _told(error)
        print(format_error(told), file=sys.stderr)
        return code


def _interrupted() -> int:
    print("\ninterrupted", file=sys.stderr)
    return EXIT_INTERRUPTED


def _told(error: Exception) -> tuple[NarthexError, int]:
    """An error that no room raised on purpose: a wrong command line, or a fault of ours."""
    # Which package the parser's errors come from depends on typer's version; all of them can say what is wrong.
    describe = getattr(error, "format_message", None)
    if describe is None:
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return NarthexError(
            message, hint="this should not happen; NARTHEX_DEBUG=1 shows where it did, which belongs in a report"
        ), EXIT_BUG
    text = str(describe()).rstrip(".")
    where = getattr(getattr(error, "ctx", None), "command_path", "") or "narthex"
    return UserError(text[:1].lower() + text[1:], hint=f"{where} --help lists what it takes"), UserError.exit_code


def _join_pairs(arguments: list[str]) -> list[str]:
    """Turn `-o KEY VALUE` into `-o KEY=VALUE`, which the parser can repeat; `-o KEY=VALUE` stays.

    Raises: UserError where the value is missing.
    """
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "--":
            break
        if argument in _PAIRED:
            key = next(rest, None)
            value = key if key is None or "=" in key else next(rest, None)
            if key is None or value is None:
                shown = argument if key is None else f"{argument} {key}"
                raise UserError(f"{shown} lacks a value", hint="for example: -o temperature 0.7")
            joined.append(key if "=" in key else f"{key}={value}")
    return joined + list(rest)
