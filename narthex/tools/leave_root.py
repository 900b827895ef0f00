"""Leaving root: what stands before the warden where Narthex runs as root. It ends as the warden of another user.

Run as `python -I leave_root.py SPEC` (see `warden.Spec`): the standard library only. That user may have to work below
folders that only root may pass (root's own home holds the interpreter, the data folder the conversation). For those,
this process takes a view of the file system of its own in which nothing else is there.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

_NEW_MOUNTS, _PRIVATE, _BIND = 0x00020000, 0x40000 | 0x4000, 0x1000  # CLONE_NEWNS; MS_PRIVATE | MS_REC; MS_BIND
_NO_SETUID_NO_DEVICES = 2 | 4  # MS_NOSUID | MS_NODEV


def blocked_at(path: str) -> str | None:
    """The first folder on the way to `path` that a stranger may not pass, or None."""
    steps = [path]
    while steps[-1] != "/":
        steps.append(os.path.dirname(steps[-1]))
    for step in reversed(steps[1:]):
        if not os.stat(step).st_mode & 0o001:
            return step
    return None


def open_the_way(paths: list[str]) -> None:
    """In a view of the file system of this process's own, put an empty folder over each one that a stranger may not
    pass, with nothing in it but the way to `paths`. Nobody else sees a change. Raises: OSError."""
    blocked: dict[str, list[str]] = {}
    for path in paths:
        if (gate := blocked_at(path)) is not None:
            blocked.setdefault(gate, []).append(path)
    if not blocked:
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    try:
        call("unshare", _NEW_MOUNTS)
    except OSError as error:
        raise OSError(error.errno, f"only root may enter {' and '.join(blocked)}, and this root may not make a way in "
                      f"for another user ({error.strerror})") from None  # fmt: skip
    call("mount", None, b"/", None, ctypes.c_ulong(_PRIVATE), None)
    for gate, wanted in blocked.items():
        held = {path: os.open(path, os.O_PATH) for path in wanted}
        options = (ctypes.c_ulong(_NO_SETUID_NO_DEVICES), b"mode=755,size=1m")
        call("mount", b"narthex", os.fsencode(gate), b"tmpfs", *options)
        for path, fd in sorted(held.items()):
            if os.path.exists(path):  # inside one that is back already
                continue
            os.makedirs(path if _is_folder(fd) else os.path.dirname(path), mode=0o755, exist_ok=True)
            if not _is_folder(fd):
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
            call("mount", b"/proc/self/fd/%d" % fd, os.fsencode(path), None, ctypes.c_ulong(_BIND), None)
        for fd in held.values():
            os.close(fd)


def _is_folder(fd: int) -> bool:
    return os.stat(f"/proc/self/fd/{fd}").st_mode & 0o170000 == 0o040000


def become_user(spec: dict[str, Any]) -> None:
    """Leave root for good: this process goes on as the warden, and as the user `spec["become"]`. Does not return."""
    user = spec["become"]
    open_the_way([spec["folder"], *spec["readable"]])
    source = Path(__file__).with_name("warden.py").read_text(encoding="utf-8")  # that user may not be able to read it
    leave = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--clear-groups"]
    who = [f"--reuid={user}", f"--regid={user}"]
    os.chdir("/")
    command = [spec["setpriv"], *who, *leave, "--", sys.executable, "-I", "-B", "-c", source, json.dumps(spec)]
    os.execv(command[0], command)


def main() -> None:
    """Do what the specification says; where that fails, report it as the warden would."""
    spec = json.loads(sys.argv[1])
    try:
        become_user(spec)
    except Exception as error:
        report = {"ended": "refused", "why": f"{type(error).__name__}: {error}"}
        os.write(spec["report_fd"], json.dumps(report).encode())


if __name__ == "__main__":
    main()
