"""The kernel sandbox: run Python that a model wrote where it can read its folder, write its folder, and nothing else.

What holds: Landlock (files, signals, abstract sockets) and seccomp (system calls), set up by sandlock in a process of
its own (`warden`), which also watches memory, disk, processor and clock, and ends everything. As root the warden first
becomes a user who owns nothing but the folder. Where any of this cannot be had, the run is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import importlib.util
import itertools
import json
import os
import shutil
import site
import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from narthex.base.errors import UserError
from narthex.tools import leave_root, prelude, warden

LANDLOCK_ABI = 6  # the first that keeps signals and abstract sockets inside (Linux 6.12)
SANDBOX_USER = 60999  # owns nothing anywhere: between systemd's ranges, below what it hands out
HOME = ".home"  # inside the folder: where libraries put caches and temporary files
GUARDS = frozenset(
    ("files", "network", "signals", "owners", "others", "kernel", "memory", "processes", "disk", "time")
    + ("environment", "user")
)

_LANDLOCK_CREATE_RULESET = 444  # the same number on every Linux architecture that torch runs on
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_SHARED = ("/usr/share/zoneinfo", "/usr/share/fonts", "/dev/null", "/dev/urandom", "/dev/random")
_NOT_STARTED = 127  # sandlock's exit code where it could not confine what it was to start
_END_S = 0.5  # for the warden to end all when it is told; it needs a tenth of that
_GRACE_S = 5.0  # beyond the limit on time, for the warden's own start and end

Ended = Literal["exit", "signal", "time", "cpu", "memory", "disk", "files", "processes"]


@dataclass(frozen=True)
class Limits:
    """What one run may take. Memory and processes are of all its processes together; disk is of the whole folder."""

    wall_s: float = 60.0
    cpu_s: float = 60.0
    memory_bytes: int = 2**30
    processes: int = 16
    disk_bytes: int = 2**28
    files: int = 2000
    open_files: int = 128
    output_bytes: int = 16 * 1024  # kept of each stream: half from its head, half from its tail


class Outcome(NamedTuple):
    """How a run went. `exit_code` is None where it was killed; then `ended` or `signal` says why."""

    ended: Ended
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    seconds: float
    cpu_s: float


class SandboxError(UserError):
    """Code cannot be run here, because nothing here could hold it."""


def landlock_abi() -> int | None:
    """The kernel's Landlock version, asked for by the call that exists for that; None where there is none.

    Source: landlock(7), LANDLOCK_CREATE_RULESET_VERSION.
    """
    try:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError, TypeError):
        return None
    syscall.restype = ctypes.c_long
    found = int(syscall(ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    return found if found > 0 else None


def has_user_notification() -> bool:
    """Whether seccomp can ask a supervisor about a system call. True where the kernel does not say."""
    try:
        return "user_notif" in Path("/proc/sys/kernel/seccomp/actions_avail").read_text(encoding="ascii").split()
    except OSError:
        return True


def is_root() -> bool:
    """Whether root would be left before anything runs."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def find_setpriv() -> str | None:
    """The program that leaves root for good (util-linux)."""
    return shutil.which("setpriv", path=_PATH)


def sandbox_problem() -> str | None:
    """Why no code can be run on this machine, in a few words, or None. Cheap; what only a run shows, `run` raises."""
    if sys.platform != "linux":
        return f"{sys.platform} has no Landlock"
    if importlib.util.find_spec("sandlock") is None:
        return "the package sandlock is not installed"
    if not os.path.isfile(sys.executable or ""):
        return "this Python does not know where its own program is"
    abi = landlock_abi()
    if abi is None:
        return "this kernel has no Landlock, or it is off"
    if abi < LANDLOCK_ABI:
        return f"Landlock ABI {abi}, of {LANDLOCK_ABI} needed (Linux 6.12)"
    if not has_user_notification():
        return "seccomp here cannot ask a supervisor (no user_notif)"
    if is_root():
        if find_setpriv() is None:
            return "running as root, and there is no setpriv (util-linux) to leave root with"
        for place in (Path(_interpreter()), *map(Path, _library_folders())):
            if place.exists() and place.stat().st_mode & 0o004 == 0:
                return f"running as root, and nobody else may read {place}"
    return None


async def run(
    code: str, folder: Path, limits: Limits | None = None, *, guards: frozenset[str] = GUARDS
) -> Outcome:
    """Run Python code in `folder`, in a process of its own that ends with this call, cancelled or not.

    `guards` is for the tests alone: they show that what each guard stops is stopped by that guard.
    Raises: SandboxError where it cannot be done safely; nothing has run then.
    """
    if problem := sandbox_problem():
        raise SandboxError(f"no code can be run here: {problem}", hint="narthex doctor says what this machine allows")
    limits = limits or Limits()
    folder = folder.resolve()
    await asyncio.to_thread(prepare, folder, guards)
    told = json.dumps({"code": code, "path": _library_folders()}).encode("utf-8", "surrogatepass")
    report_in, report_out = os.pipe()
    try:
        spec = _spec(folder, limits, guards, report_out)
        first = str((warden if spec["become"] is None else leave_root).__file__)
        process = await asyncio.create_subprocess_exec(
            _interpreter(), "-I", "-B", first, json.dumps(spec),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd="/",
            env=_warden_environment(guards), start_new_session=True, pass_fds=(report_out,),
        )  # fmt: skip
        os.close(report_out)
        report_out = -1
        stdout, stderr = await _follow(process, len(told).to_bytes(8, "big") + told, limits)
        report = _read_report(report_in)
    finally:
        with contextlib.suppress(OSError):
            mend(folder)
        os.close(report_in)
        if report_out >= 0:
            os.close(report_out)
    if report is None or report["ended"] == "refused":
        said = stderr.strip().splitlines()
        why = (report or {}).get("why") or (said[-1] if said else f"exit code {process.returncode}")
        raise SandboxError(f"the sandbox could not be set up: {why}", hint="narthex doctor says what is missing")
    if report["exit_code"] == _NOT_STARTED and stderr.startswith("sandlock child:"):
        raise SandboxError(f"the sandbox could not be set up: {stderr.strip()}", hint="narthex doctor says more")
    return Outcome(
        report["ended"], report["exit_code"], report["signal"], stdout, stderr, report["seconds"], report["cpu_s"]
    )


async def _follow(process: asyncio.subprocess.Process, told: bytes, limits: Limits) -> tuple[str, str]:
    """Feed the warden, keep head and tail of what comes out, and see to it that all is over when this returns."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    readers = [asyncio.ensure_future(_keep(stream, limits.output_bytes)) for stream in (process.stdout, process.stderr)]
    try:
        process.stdin.write(told)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), limits.wall_s + _GRACE_S)
        if process.returncode is not None:
            # All that could write is gone; a moment for what is still in the pipes.
            await asyncio.wait(readers, timeout=2.0)
    finally:
        process.stdin.close()  # which tells the warden to end all
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_S)
        finally:
            if process.returncode is None:  # it hangs, so it is ended from here: it is the parent of all, and goes last
                warden.end_below(process.pid)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            for reader in readers:
                reader.cancel()
    return tuple("" if reader.cancelled() or not reader.done() else reader.result() for reader in readers)  # type: ignore[return-value]


async def _keep(stream: asyncio.StreamReader, num_bytes: int) -> str:
    """The text of a stream: all of it, or its head and tail with a line between that says what was left out."""
    half = num_bytes // 2
    head, tail, dropped = b"", b"", 0
    while data := await stream.read(1 << 16):
        room = half - len(head)
        head, tail = head + data[:room] if room > 0 else head, tail + data[max(0, room) :]
        dropped += max(0, len(tail) - half)
        tail = tail[-half:]
    if not dropped:
        return (head + tail).decode("utf-8", "replace")
    return f"{head.decode('utf-8', 'replace')}\n[… {dropped} bytes left out …]\n{tail.decode('utf-8', 'replace')}"


def _read_report(fd: int) -> dict[str, Any] | None:
    os.set_blocking(fd, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(fd, 1 << 16):
            data += more
    return json.loads(data) if data else None


def _spec(folder: Path, limits: Limits, guards: frozenset[str], report_fd: int) -> warden.Spec:
    home = f"{folder}/{HOME}"
    environment = {
        "HOME": home, "TMPDIR": f"{home}/tmp", "MPLCONFIGDIR": f"{home}/matplotlib", "MPLBACKEND": "Agg",
        "PATH": "", "LANG": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    source = Path(prelude.__file__).read_text(encoding="utf-8")
    return {
        "command": [_interpreter(), "-I", "-B", "-X", "utf8", "-c", source],
        "folder": str(folder),
        "readable": _readable(),
        "modules": _library_folders(),
        "environment": environment,
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "files": limits.files,
        "processes": limits.processes,
        "open_files": limits.open_files,
        "wall_s": limits.wall_s,
        "cpu_s": limits.cpu_s,
        "report_fd": report_fd,
        "guards": sorted(guards),
        "become": _owner(guards),
        "setpriv": find_setpriv() or "setpriv",
    }


def _warden_environment(guards: frozenset[str]) -> dict[str, str]:
    own = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/"}  # sandlock asks for a home, and needs none
    return own if "environment" in guards else {**os.environ, **own}


def _interpreter() -> str:
    """The program itself, past every link: what it imports is told it (`_library_folders`), not found by its place."""
    return str(Path(sys.executable).resolve())


@functools.cache
def _library_folders() -> list[str]:
    """Where this interpreter finds modules: its standard library, what is installed beside it, and wherever else the
    packages are that a run needs (a user's own, say)."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += site.getsitepackages()
    for name in ("sandlock", "numpy", "PIL", "matplotlib"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            paths.append(str(Path(spec.origin).parents[1]))
    return list(dict.fromkeys(str(Path(path).resolve()) for path in paths if path))


@functools.cache
def _readable() -> list[str]:
    """What code may read beside its folder: the interpreter, its libraries and the system's; no home, /proc or /etc."""
    own = [_interpreter(), f"{sys.base_prefix}/lib"]  # libpython is there, where there is one
    paths = [*own, *_library_folders(), *_SYSTEM, *_SHARED]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]


def _owner(guards: frozenset[str]) -> int | None:
    """Who the code runs as, where not as who we are."""
    return SANDBOX_USER if is_root() and "user" in guards else None


def prepare(folder: Path, guards: frozenset[str] = GUARDS) -> None:
    """Make the folder and its hidden home; as root, both become the sandbox's user's with all in them.

    What is there may have been left by code that meant to be in the way, so nothing is reached by following a link.
    """
    owner = _owner(guards)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mend(folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        home = _own_folder(HOME, fd)
        os.close(_own_folder("tmp", home))
        os.close(home)
        if owner is not None:
            os.chown(fd, owner, owner)
    finally:
        os.close(fd)
    if owner is None:
        return
    for inside, name, _, found in warden.walk(str(folder)):
        # What is the user's already keeps its times; what has another name elsewhere is not ours to give away.
        if found.st_uid != owner and (not stat.S_ISREG(found.st_mode) or found.st_nlink == 1):
            os.chown(name, owner, owner, dir_fd=inside, follow_symlinks=False)


def _own_folder(name: str, inside: int) -> int:
    """A descriptor of the real folder `name` in the one open as `inside`, made in place of whatever else it is."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
    except FileNotFoundError:
        pass
    except (NotADirectoryError, OSError):  # a link is either, by system
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=inside)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=inside)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)


def mend(folder: Path) -> None:
    """Make a folder one that can be walked again: code can leave folders in it that nobody may list, or chains of
    them that are deeper than any walk goes (those move to the top, as `deep-1` and so on). Raises: OSError."""
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        num_moved = 1
        while num_moved:
            num_moved = 0
            for inside, name, path, found in warden.walk(str(folder)):
                if not stat.S_ISDIR(found.st_mode):
                    continue
                if found.st_mode & 0o700 != 0o700:  # before the walk goes into it
                    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=inside)
                    try:
                        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(found.st_mode) | 0o700)
                    finally:
                        os.close(fd)
                if path.count("/") == warden.MAX_DEPTH:
                    taken = set(os.listdir(top))
                    free = next(f"deep-{n}" for n in itertools.count(1) if f"deep-{n}" not in taken)
                    os.rename(name, free, src_dir_fd=inside, dst_dir_fd=top)
                    num_moved += 1
    finally:
        os.close(top)
