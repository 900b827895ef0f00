"""The warden: a small process of its own that runs one command in the kernel sandbox, watches it and ends it.

It stands between Narthex and code that a model wrote. Sandlock supervises system calls from within the process that
started the command, and whoever it starts is ended with it; so neither is done in the process that holds the model.
Where Narthex is root, `leave_root` goes first, and the warden is somebody who owns nothing.

Run as `python -I warden.py SPEC` (see `Spec`): the standard library and sandlock only. On standard input come eight
bytes of length and the code; after that, the end of input means that Narthex is gone, and all is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, TypedDict

MAX_DEPTH = 32  # of folders in folders; deeper ones are no work but a trap for whoever has to walk them
MAX_UNSEEN = 8  # deleted files that are held by mappings alone: their size cannot be seen, so few may be
POLL_S = 0.05  # how late a limit on memory, disk or time can bind
_KILL_S = 5.0  # a process that is not gone by then hangs in the kernel; nobody can end it
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: what is left of the command comes to the warden, not to init

# What Landlock does not rule on and no code of a model needs: rights, owners and times of files by path (they change
# outside the folder too), memory that no limit counts, signs of other processes, and what only widens the kernel's
# surface. Sandlock's own list (ptrace, mount, namespaces, bpf, io_uring, keys, …) stands beside it.
DENIED = {
    "owners": (
        "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes futimesat utimensat setxattr "
        "lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr mknod mknodat"
    ),
    "memory": "memfd_create memfd_secret",
    "others": (
        "pidfd_open pidfd_getfd pidfd_send_signal process_madvise process_mrelease process_vm_readv kcmp prlimit64 "
        "setrlimit setpriority ioprio_set sched_setaffinity sched_setscheduler sched_setparam sched_setattr "
        "migrate_pages move_pages mq_unlink"
    ),
    "kernel": (
        "chroot inotify_init inotify_init1 fanotify_init syslog mq_open acct quotactl clock_settime clock_adjtime "
        "settimeofday adjtimex statmount listmount open_tree move_mount fsopen fsmount mount_setattr vhangup "
        "modify_ldt io_setup setuid setgid setreuid setregid setresuid setresgid setgroups"
    ),
}


class Spec(TypedDict):
    """What the warden is told. Paths are absolute and without links; `become` is for `leave_root` alone."""

    command: list[str]
    folder: str
    readable: list[str]
    modules: list[str]
    environment: dict[str, str]
    memory_bytes: int
    disk_bytes: int
    files: int
    processes: int
    open_files: int
    wall_s: float
    cpu_s: float
    report_fd: int
    guards: list[str]
    become: int | None
    setpriv: str


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, as /proc has it at the moment."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int(_stat(int(entry))[1])
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def near_descendants(pid: int) -> list[int]:
    """As `descendants`, from the kernel's own lists: far cheaper, but one that has just moved may be missed."""
    found: list[int] = []
    waiting = [pid]
    try:
        while waiting:
            parent = waiting.pop()
            for thread in os.listdir(f"/proc/{parent}/task") if os.path.exists(f"/proc/{parent}/task") else []:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                        below = [int(child) for child in file.read().split()]
                    found.extend(below)
                    waiting.extend(below)
    except OSError:
        return descendants(pid)
    return found


def end_below(pid: int) -> bool:
    """Kill every process below `pid`, and what these start meanwhile. False where some would not go."""
    deadline = time.monotonic() + _KILL_S
    num_empty = 0
    while time.monotonic() < deadline:
        living = [child for child in descendants(pid) if not _is_gone(child)]
        # One whose parent dies while /proc is read is below nobody in that reading, so one empty reading is not enough.
        num_empty = 0 if living else num_empty + 1
        if num_empty == 3:
            return True
        for child in living:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return False


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; the second, a name of the process's choice, may hold any."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _is_gone(pid: int) -> bool:
    try:
        return _stat(pid)[0] in "ZX"
    except (OSError, IndexError):
        return True


class Watch:
    """Looks at the command every `POLL_S` and ends it when a limit is passed; `ended` then says which."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.ended: str | None = None
        self.began = time.monotonic()
        self._reaped_s = _reaped_s()
        # A folder that is over its limits already may be tidied up, but not grow.
        now = disk_use(spec["folder"], [], sys.maxsize - 1)
        self._most_bytes = max(spec["disk_bytes"], now.num_bytes if now else 0)
        self._most_files = max(spec["files"], now.num_files if now else 0)

    def run(self) -> None:
        try:
            while self.ended is None:
                self.ended = self._passed()
                if self.ended is None:
                    time.sleep(POLL_S)
        finally:  # whatever blinds the watch ends the run
            self.ended = self.ended or "signal"
            end_below(os.getpid())

    def _passed(self) -> str | None:
        spec, guards = self.spec, self.spec["guards"]
        if "time" in guards and time.monotonic() - self.began > spec["wall_s"]:
            return "time"
        living = near_descendants(os.getpid())
        if "processes" in guards and len(living) > 2 * spec["processes"]:  # sandlock says no first; zombies count here
            return "processes"
        if "time" in guards and self.cpu_s(living) > spec["cpu_s"]:
            return "cpu"
        if "memory" in guards and _memory_bytes(living, spec["memory_bytes"]) > spec["memory_bytes"]:
            return "memory"
        return self._passed_on_disk(living)

    def _passed_on_disk(self, living: list[int], *, room: int = 0) -> str | None:
        """Which limit on the folder is passed, or would be with `room` bytes more."""
        if "disk" in self.spec["guards"]:
            use = disk_use(self.spec["folder"], living, self._most_files)
            if use is None or use.num_files > self._most_files:
                return "files"
            if use.num_bytes + room > self._most_bytes or use.num_unseen > MAX_UNSEEN:
                return "disk"
        return None

    def why_it_failed(self) -> str | None:
        """The limit on the folder that a command ran into, where it gave up before the watch had looked."""
        return self._passed_on_disk([], room=1)

    def cpu_s(self, living: list[int]) -> float:
        """Processor time of the living, and of the dead since the watch began."""
        ticks = 0
        for pid in living:
            with contextlib.suppress(OSError, ValueError, IndexError):
                ticks += sum(map(int, _stat(pid)[11:15]))  # its own and its reaped children's, user and system
        return ticks / os.sysconf("SC_CLK_TCK") + _reaped_s() - self._reaped_s


def _reaped_s() -> float:
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory_bytes(living: list[int], limit: int) -> int:
    """Memory of the living. Pages shared by a fork are counted once, where it matters: that takes longer to tell."""
    resident = 0
    for pid in living:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident += int(file.read().split()[1])
    resident *= os.sysconf("SC_PAGE_SIZE")
    if resident <= limit:
        return resident
    shared = 0
    for pid in living:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            shared += 1024 * sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return shared


class Found(NamedTuple):
    """A name in a folder: `fd` is the folder's, open while the walk is there; `path` is for people."""

    fd: int
    name: str
    path: str
    stat: os.stat_result


def walk(folder: str, most: int = sys.maxsize) -> Iterator[Found]:
    """The first `most` names below `folder` down to MAX_DEPTH, links not followed, a folder before what it holds.

    Raises: OSError for a folder that cannot be listed; what vanishes meanwhile is passed over.
    """
    yield from itertools.islice(_walk("", os.open(folder, _FOLDER)), most)


def _walk(inside: str, fd: int) -> Iterator[Found]:
    try:
        for name in os.listdir(fd):
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                path = f"{inside}{name}"
                yield Found(fd, name, path, found)
                if not stat.S_ISDIR(found.st_mode) or path.count("/") >= MAX_DEPTH:
                    continue
                below = os.open(name, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                continue
            yield from _walk(f"{path}/", below)
    finally:
        os.close(fd)


class Use(NamedTuple):
    """What a folder takes. `num_unseen` deleted files are held by mappings alone, and their size is not known."""

    num_bytes: int
    num_files: int
    num_unseen: int


def disk_use(folder: str, living: list[int], most: int) -> Use | None:
    """What a folder takes, with files that are deleted but still held by one of the processes.

    None where it cannot be told: a folder in it that may not be listed, or one too deep.
    """
    known: dict[tuple[int, int], int] = {}
    num_files = 0
    try:
        for _, _, path, found in walk(folder, most + 1):
            num_files += 1
            known[found.st_dev, found.st_ino] = found.st_blocks * 512
            if path.count("/") >= MAX_DEPTH:
                return None
    except OSError:
        return None
    home = os.stat(folder).st_dev
    mapped: set[tuple[int, int]] = set()
    for pid in living:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{name}")
                    if found.st_dev == home and found.st_nlink == 0:
                        known[found.st_dev, found.st_ino] = found.st_blocks * 512
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.endswith("(deleted)\n"):
                    device, inode = line.split(None, 5)[3:5]
                    major, minor = device.split(":")
                    mapped.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return Use(sum(known.values()), num_files, len(mapped - known.keys()))


def policy(spec: Spec) -> dict[str, Any]:
    """The sandbox as sandlock wants it described. A guard that is off (tests only) leaves its part wide open."""
    from sandlock import Protection  # type: ignore[import-untyped]

    guards, is_closed = spec["guards"], "files" in spec["guards"]
    denied = [name for guard, names in DENIED.items() if guard in guards for name in names.split()]
    open_network: dict[str, Any] = {
        "net_allow": ["tcp://*:*", "udp://*:*", "icmp://*"],
        "net_allow_bind": ["*"],
        "disable": [Protection.ABSTRACT_UNIX_SOCKET_SCOPE],
    }
    network = {} if "network" in guards else open_network
    if "signals" not in guards:
        network["disable"] = [*network.get("disable", []), Protection.SIGNAL_SCOPE]
    return {
        "fs_readable": [path for path in spec["readable"] if os.path.exists(path)] if is_closed else ["/"],
        "fs_writable": [spec["folder"], "/dev/null"] if is_closed else ["/"],
        "cwd": spec["folder"],
        "clean_env": "environment" in guards,
        "env": spec["environment"],
        "extra_deny_syscalls": denied,
        "max_processes": spec["processes"] if "processes" in guards else None,
        **network,
    }


def supervise(spec: Spec) -> dict[str, Any]:
    """Run the command to its end, or to the end of its limits, and leave no process of it behind."""
    import resource  # here, because Narthex imports this module wherever it runs

    from sandlock import Sandbox, StdioMode

    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    code = _read_exactly(int.from_bytes(_read_exactly(8), "big"))
    watch = Watch(spec)
    threading.Thread(target=_end_with_narthex, daemon=True).start()
    sandbox = Sandbox(**policy(spec))
    process = sandbox.popen(spec["command"], StdioMode.PIPED, StdioMode.INHERIT, StdioMode.INHERIT)
    for guard, kind, most in (
        ("memory", resource.RLIMIT_AS, spec["memory_bytes"]),
        ("disk", resource.RLIMIT_FSIZE, spec["disk_bytes"]),
        ("time", resource.RLIMIT_CPU, int(spec["cpu_s"]) + 1),
        ("disk", resource.RLIMIT_CORE, 0),
        ("processes", resource.RLIMIT_NOFILE, spec["open_files"]),
    ):
        if guard in spec["guards"]:
            resource.prlimit(process.pid, kind, (most, most))
    threading.Thread(target=watch.run, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # it came to its end before it was told what to do
        process.stdin.write(code)  # only now: what limits the command is in place
    process.stdin.close()
    result = process.wait()
    cpu_s = watch.cpu_s(descendants(os.getpid()))
    ended = watch.ended
    watch.ended = ended or "exit"
    end_below(os.getpid())
    _reap()
    killed = int(result.reason) != 0
    if ended is None and not killed and result.exit_code:
        ended = watch.why_it_failed()
    number = result.signal if result.signal and result.signal > 0 else None
    if ended is None and killed:
        ended = "signal"
    seconds = time.monotonic() - watch.began
    return {
        "ended": ended or "exit",
        "exit_code": None if killed else result.exit_code,
        "signal": number,
        "seconds": seconds,
        "cpu_s": cpu_s,
    }


def _read_exactly(num_bytes: int) -> bytes:
    data = b""
    while len(data) < num_bytes:
        more = os.read(0, min(1 << 16, num_bytes - len(data)))
        if not more:
            raise EOFError("Narthex was gone before it had said what to run")
        data += more
    return data


def _reap() -> None:
    """Take note of the dead, so that none is left for an init that a container may not have."""
    deadline = time.monotonic() + 0.5
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)


def _end_with_narthex() -> None:
    while os.read(0, 1):
        pass
    end_below(os.getpid())
    _reap()
    os._exit(1)


def main() -> None:
    """Do what the specification says and report it; ends the process."""
    spec: Spec = json.loads(sys.argv[1])
    sys.path[:0] = spec["modules"]
    try:
        os.set_inheritable(spec["report_fd"], False)  # it is ours, not the command's
        report = supervise(spec)
    except Exception as error:
        end_below(os.getpid())
        report = {"ended": "refused", "why": f"{type(error).__name__}: {error}"}
    os.write(spec["report_fd"], json.dumps(report).encode())
    os._exit(0)  # no thread of the supervisor is waited for


if __name__ == "__main__":
    main()
