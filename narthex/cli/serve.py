"""`narthex serve`: an OpenAI-compatible server, for this machine alone or for all who have a key."""

from __future__ import annotations

import sys
import webbrowser
from typing import Annotated

import typer

from narthex.base.errors import ConfigError, InputError
from narthex.cli.choices import DeviceName, ModelName, SaveChoice, UpstreamName

MAX_PORT = 65535


def command(
    model: ModelName = None,
    upstream: UpstreamName = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; beyond this machine only with keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Default: 8000; 0 takes any that is free.")] = 8000,
    device: DeviceName = None,
    save: SaveChoice = None,
    opens: Annotated[bool, typer.Option("--open", help="Show the page in a browser; build it first, once.")] = False,
) -> None:
    """Answer OpenAI's clients: chat completions in all three modes, streaming or not.

    It listens on this machine alone, and says where; once there are users (narthex users), all who have a key may ask,
    and --host may name another address. Ctrl-C ends it.
    """
    if not 0 <= port <= MAX_PORT:
        raise InputError(f"--port is {port}", hint=f"a whole number from 0 to {MAX_PORT}")
    if upstream is not None and device is not None:
        raise InputError("--device is for models that run here, not for a server's", hint="leave one of them out")
    from narthex.backends.settings import load_settings
    from narthex.cli.ask import reach
    from narthex.cli.logs import are_kept
    from narthex.cli.people import standing
    from narthex.cli.session import Manner
    from narthex.serve import Service, listen, serve
    from narthex.serve.gate import is_loopback
    from narthex.serve.page import build, is_built
    from narthex.serve.server import address_of
    from narthex.serve.settings import read_serve_settings, unmatched
    from narthex.tools import TOOLS

    settings, people = read_serve_settings(load_settings().serve), standing()
    # Before the model is read: a port that is taken is told at once.
    with listen(host, port, has_keys=people.has_keys) as taken:
        reached = reach(Manner(model=model, upstream=upstream), device)
        keeps_runs = are_kept() if save is None else save
        service = Service(
            {reached.backend.name: reached.backend}, settings=settings, keeps_runs=keeps_runs,
            is_open_wide=not is_loopback(taken.getsockname()[0]),
        )  # fmt: skip
        if reached.ceiling is not None:
            service.ceiling = reached.ceiling
        known = {"user": people.users, "group": people.groups, "model": service.backends, "tool": TOOLS}
        for line in unmatched(settings, known):
            _say(f"warning: {line}")
        if opens and not is_built():
            try:
                build(_say)
            except ConfigError as error:  # the API works all the same
                _say(f"warning: {error.message} (hint: {error.hint})")
        url, name = address_of(taken), reached.backend.name

        def on_ready() -> None:
            _greet(url, name, is_kept=keeps_runs, asks_keys=bool(people.users))
            if opens and is_built():
                webbrowser.open(url)

        serve(service, taken, on_ready=on_ready)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _greet(url: str, name: str, *, is_kept: bool, asks_keys: bool) -> None:
    message = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "What can you do?"}}]}}'
    kept = "kept: narthex logs lists them" if is_kept else "not kept"
    key = " -H 'authorization: Bearer KEY'" if asks_keys else ""
    lines = [
        f"{name} at {url}/v1, for {'all who have a key' if asks_keys else 'programs of this machine'}; runs are {kept}",
        f"the page: {url}",
        f"curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{message}'",
    ]
    if not url.startswith(("http://127.", "http://[::1]")):
        lines.append("keys and answers travel in the clear: put TLS before it (docs/serving-a-team.md)")
    print(*lines, sep="\n", file=sys.stderr, flush=True)
