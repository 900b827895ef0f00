"""`narthex doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from narthex import __version__
from narthex.base.errors import NarthexError
from narthex.base.paths import SHIPPED_NANO, narthex_home
from narthex.base.places import Place, find_model
from narthex.cli.models import inspect, short_bytes, short_count

State = Literal["ok", "note", "broken"]

OLDEST_PYTHON = (3, 11)
_SANDBOX_HINT = "docs/tools.md says what it needs; everything else works without"
NEEDED_BYTES = 2 * 2**30  # torch alone takes about 0.5 GiB; below this little else fits


class Check(NamedTuple):
    """One line of the report. "broken" makes the exit code nonzero; a "note" is for knowing."""

    name: str
    state: State
    detail: str
    hint: str | None = None


def command(
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="Check this model, not the shipped one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine offers, and what is missing. Exits with 1 if something essential is broken."""
    checks = examine(model)
    is_sound = all(check.state != "broken" for check in checks)
    if as_json:
        print(json.dumps({"ok": is_sound, "checks": [check._asdict() for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.state:<7} {check.name:<{width}}  {check.detail}")
            if check.hint:
                print(f"{'':<7} {'':<{width}}  hint: {check.hint}")
    if not is_sound:
        raise typer.Exit(1)


def examine(model: str | None = None) -> list[Check]:
    """Every check, in order; one that fails unexpectedly is a broken one, and the others still run."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("narthex", lambda: Check("narthex", "ok", f"{__version__}, {Path(__file__).parents[1]}")),
        ("python", _python),
        ("torch", _torch),
        ("device", _device),
        ("memory", _memory),
        ("store", _store),
        ("model", lambda: _model(model)),
        ("sandbox", _sandbox),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except NarthexError as error:
        return Check(name, "broken", error.message, error.hint)
    except Exception as error:  # a doctor who faints helps nobody
        return Check(name, "broken", f"{type(error).__name__}: {error}", "install Narthex again")


def _python() -> Check:
    detail = f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "broken", detail, "Narthex needs Python 3.11 or newer")
    return Check("python", "ok", detail)


def _torch() -> Check:
    import torch

    total = int(torch.ones(64, 64).matmul(torch.ones(64, 64)).sum())
    if total != 64**3:
        return Check("torch", "broken", f"{torch.__version__} multiplies wrongly", "install torch again")
    return Check("torch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}")


def _device() -> Check:
    from narthex.base.devices import describe_device

    facts = describe_device()
    memory = f", {short_bytes(facts.memory_bytes)}" if facts.memory_bytes else ""
    types = "bfloat16" if facts.has_bfloat16 else "no bfloat16"
    threads = f"{facts.num_threads} thread{'' if facts.num_threads == 1 else 's'}"
    return Check("device", "ok", f"{facts.name}: {facts.title}{memory}, {threads}, {types} ({facts.reason})")


def _memory() -> Check:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Check("memory", "note", "not known on this system")
    detail = f"{short_bytes(total)}, {short_bytes(free)} free"
    if total < NEEDED_BYTES:
        return Check("memory", "note", detail, f"less than {short_bytes(NEEDED_BYTES)}: models may not fit")
    return Check("memory", "ok", detail)


def _store() -> Check:
    """Whether the store can be written and is whole. Looked at only: a store that is not there is not made."""
    home = narthex_home()
    existing = next((path for path in (home, *home.parents) if path.exists()), home)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        hint = "make the folder writable, or set NARTHEX_HOME to another"
        return Check("store", "broken", f"{home} cannot be written: {error.strerror}", hint)
    database = home / "narthex.db"
    if not database.exists():
        return Check("store", "ok", f"{home}, nothing kept yet")
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check("store", "broken", f"{database}: {error}", "move it away; a new one is made with the next run")
    if found != "ok":
        return Check("store", "broken", f"{database} is damaged: {found}", "move it away; a new one is made")
    return Check("store", "ok", f"{home}, {runs} run{'' if runs == 1 else 's'}, database whole")


def _model(name: str | None) -> Check:
    folder = find_model(name)
    facts = inspect(Place(folder.resolve().name, folder, folder == SHIPPED_NANO))
    if facts["problem"] is not None:
        return Check("model", "broken", f"{facts['folder']}: {facts['problem']}", facts["hint"])
    size = f"{short_count(facts['parameters'])} parameters, {short_count(facts['active_parameters'])} active"
    return Check("model", "ok", f"{facts['name']}: {size}, files as hashed ({facts['sha256'][:12]})")


def _sandbox() -> Check:
    """What the kernel allows, and whether code runs in it: seen, not concluded."""
    from narthex.tools import sandbox

    refusal = "the tool python will refuse"
    if sys.platform != "linux":
        return Check("sandbox", "note", f"{platform.system()} has no Landlock; {refusal}")
    parts = [
        f"Landlock ABI {sandbox.landlock_abi() or 'none'}",
        f"seccomp {'with' if sandbox.has_user_notification() else 'without'} supervisor",
    ]
    if sandbox.is_root():
        parts.append(f"root is left by {sandbox.find_setpriv() or 'nothing: no setpriv'}")
    if problem := sandbox.sandbox_problem():
        return Check("sandbox", "note", f"{', '.join(parts)}; {refusal}: {problem}", _SANDBOX_HINT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = asyncio.run(sandbox.run("print(6 * 7)", Path(folder)))
    except sandbox.SandboxError as error:
        return Check("sandbox", "note", f"{', '.join(parts)}; {refusal}: {error.message}", _SANDBOX_HINT)
    if outcome.stdout != "42\n":
        said = (outcome.stderr.strip().splitlines() or [outcome.ended])[-1]
        return Check("sandbox", "note", f"{', '.join(parts)}; the tool python does not work: {said}", _SANDBOX_HINT)
    return Check("sandbox", "ok", f"{', '.join(parts)}; the tool python runs ({outcome.seconds:.1f} s for a sum)")
