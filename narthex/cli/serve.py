"""`narthex serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from narthex.base.errors import InputError
from narthex.cli.choices import DeviceName, ModelName, SaveChoice, UpstreamName

MAX_PORT = 65535


def command(
    model: ModelName = None,
    upstream: UpstreamName = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Of this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Default: 8000; 0 takes any that is free.")] = 8000,
    device: DeviceName = None,
    save: SaveChoice = None,
) -> None:
    """Answer OpenAI's clients: chat completions in all three modes, streaming or not.

    It listens on this machine alone, and says where. Ctrl-C ends it.
    """
    if not 0 <= port <= MAX_PORT:
        raise InputError(f"--port is {port}", hint=f"a whole number from 0 to {MAX_PORT}")
    if upstream is not None and device is not None:
        raise InputError("--device is for models that run here, not for a server's", hint="leave one of them out")
    from narthex.cli.ask import reach
    from narthex.cli.logs import are_kept
    from narthex.cli.session import Manner
    from narthex.serve import Service, listen, serve
    from narthex.serve.server import address_of

    with listen(host, port) as taken:  # before the model is read: a port that is taken is told at once
        reached = reach(Manner(model=model, upstream=upstream), device)
        keeps_runs = are_kept() if save is None else save
        service = Service({reached.backend.name: reached.backend}, keeps_runs=keeps_runs)
        if reached.ceiling is not None:
            service.ceiling = reached.ceiling
        url, name = address_of(taken), reached.backend.name
        serve(service, taken, on_ready=lambda: _greet(url, name, is_kept=keeps_runs))


def _greet(url: str, name: str, *, is_kept: bool) -> None:
    message = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "What can you do?"}}]}}'
    kept = "kept: narthex logs lists them" if is_kept else "not kept"
    lines = (
        f"{name} at {url}/v1, for programs of this machine; runs are {kept}",
        f"curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{message}'",
    )
    print(*lines, sep="\n", file=sys.stderr, flush=True)
