"""Ways out of the sandbox, one per property. Each is seen to lead out once what closes it is off.

`without` takes one guard off and leaves the others; `bare` runs the same code with no sandbox at all, for what sandlock
closes unconditionally. The code prints LEAK where it got what it should not have, and HELD where it was refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from narthex.base.errors import ModelMistake
from narthex.chat import FilePart, ImagePart, TextPart
from narthex.tools import leave_root, prelude, python, sandbox, warden
from narthex.tools.sandbox import GUARDS, Limits, Outcome, SandboxError

PROBLEM = sandbox.sandbox_problem()
needs_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox on this machine: {PROBLEM}")
as_root = pytest.mark.skipif(not sandbox.is_root(), reason="only root has another user to become")

SMALL = Limits(
    wall_s=10, cpu_s=10, memory_bytes=2**28, processes=8, disk_bytes=10_000_000, files=100, open_files=64,
    output_bytes=4000,
)  # fmt: skip
SECRET = "prometheus-7431"

TRY = """
import ctypes, os, signal, socket, struct, sys, time
def attempt(way, name=""):
    try:
        print("LEAK", name, way(), flush=True)
    except OSError as error:
        print("HELD", name, error, flush=True)
"""


@pytest.fixture
def folder():
    """A conversation's folder, below nothing that only its owner may pass."""
    place = Path(tempfile.mkdtemp(prefix="narthex-test-"))
    place.chmod(0o755)
    yield place / "folder"
    shutil.rmtree(place)


@pytest.fixture
def outside():
    """A folder that is open to everybody on this machine, and that code in the sandbox has no business with."""
    place = Path(tempfile.mkdtemp(prefix="narthex-test-"))
    place.chmod(0o777)
    (place / "secret").write_text(SECRET)
    (place / "secret").chmod(0o666)
    yield place
    shutil.rmtree(place)


async def run(code: str, folder: Path, limits: Limits = SMALL, without: str = "") -> Outcome:
    return await sandbox.run(TRY + code, folder, limits, guards=GUARDS - set(without.split()))


async def holds_only_with(guard: str, code: str, folder: Path, limits: Limits = SMALL, times: int = 1) -> None:
    """The code is held, and gets out once the guard is off. Two runs at once, each in a folder of its own."""
    held, out = await asyncio.gather(run(code, folder, limits), run(code, folder.with_name("open"), limits, guard))
    assert (held.stdout.count("HELD"), held.stdout.count("LEAK")) == (times, 0), held
    assert out.stdout.count("LEAK") == times, out


def bare(code: str, folder: Path, **more) -> str:
    """What the same code prints with no sandbox around it."""
    folder.mkdir(exist_ok=True)
    told = json.dumps({"code": TRY + code, "path": sys.path})
    command = [sys.executable, "-I", "-B", "-c", Path(prelude.__file__).read_text(encoding="utf-8")]
    done = subprocess.run(command, input=told, capture_output=True, text=True, cwd=folder, timeout=30, **more)
    return done.stdout


async def holds_only_inside(code: str, folder: Path, times: int = 1) -> None:
    """The code is held, and gets out where there is no sandbox."""
    held = await run(code, folder)
    assert (held.stdout.count("HELD"), held.stdout.count("LEAK")) == (times, 0), held
    out = bare(code, folder)
    assert out.count("LEAK") == times, out


# Files


@needs_sandbox
async def test_files_outside_cannot_be_read(folder, outside):
    await holds_only_with("files", f"attempt(lambda: open({str(outside / 'secret')!r}).read())", folder)


@needs_sandbox
async def test_files_outside_cannot_be_written(folder, outside):
    victim = outside / "secret"
    code = f"attempt(lambda: open({str(victim)!r}, 'a').write('!'))"
    assert "HELD" in (await run(code, folder)).stdout
    assert victim.read_text() == SECRET
    await run(code, folder, without="files")
    assert victim.read_text() == SECRET + "!"


@needs_sandbox
async def test_nothing_outside_can_be_listed_made_moved_or_removed(folder, outside):
    deeds = (
        "os.listdir(there)", "os.mkdir(there + '/new')", "os.unlink(there + '/old')",
        "os.symlink('x', there + '/link')", "os.truncate(there + '/secret', 0)", "os.link(there + '/secret', 'mine')",
        "os.rmdir(there + '/gone')", "os.rename(there + '/secret', 'moved')",
    )  # fmt: skip
    (outside / "old").touch()
    (outside / "gone").mkdir()
    if sandbox.is_root():  # a hard link to another's file is refused by the kernel in any case
        os.chown(outside / "secret", sandbox.SANDBOX_USER, sandbox.SANDBOX_USER)
    code = f"there = {str(outside)!r}\n" + "\n".join(f"attempt(lambda: {deed}, {deed!r})" for deed in deeds)
    held = await run(code, folder)
    assert held.stdout.count("HELD") == len(deeds), held.stdout
    out = await run(code, folder, without="files")
    assert out.stdout.count("LEAK") == len(deeds), out.stdout


@needs_sandbox
async def test_rights_and_labels_of_files_outside_stay_as_they_are(folder, outside):
    """Landlock does not rule on these. The kernel is asked: the prelude makes `os.chmod` forgiving."""
    victim = outside / "secret"
    if sandbox.is_root():
        os.chown(victim, sandbox.SANDBOX_USER, sandbox.SANDBOX_USER)
    code = f"""
libc = ctypes.CDLL(None, use_errno=True)
victim = {os.fsencode(victim)!r}
print('LEAK' if libc.chmod(victim, 0o640) == 0 else 'HELD', 'chmod')
print('LEAK' if libc.utimensat(-100, victim, None, 0) == 0 else 'HELD', 'utimensat')
print('LEAK' if libc.setxattr(victim, b'user.a', b'1', 1, 0) == 0 else 'HELD', 'setxattr')
print('LEAK' if libc.chown(victim, os.getuid(), os.getgid()) == 0 else 'HELD', 'chown')
"""
    held = await run(code, folder)
    assert held.stdout.count("HELD") == 4, held.stdout
    out = await run(code, folder, without="owners")
    assert out.stdout.count("LEAK") == 4, out.stdout


@needs_sandbox
async def test_a_link_out_of_the_folder_leads_nowhere(folder, outside):
    for place in (folder, folder.with_name("open")):
        sandbox.prepare(place)
        (place / "planted").symlink_to(outside)  # by an earlier run, say
    code = f"os.symlink({str(outside / 'secret')!r}, 'link')\nattempt(lambda: open('link').read())\n"
    await holds_only_with("files", code + "attempt(lambda: open('planted/secret').read())", folder, times=2)


@needs_sandbox
async def test_of_other_processes_proc_says_nothing(folder):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", SECRET])
    try:
        code = f"for name in ('{other.pid}/cmdline', f'{{os.getppid()}}/cmdline', 'self/environ'):\n"
        code += " attempt(lambda: open('/proc/' + name).read().isascii(), name)"
        await holds_only_inside(code, folder, times=3)
    finally:
        other.kill()
        other.wait()


@needs_sandbox
async def test_home_and_settings_are_not_there_to_be_read(folder, tmp_path):
    database = tmp_path / "narthex.db"
    database.write_text(SECRET)
    code = f"""
for path in ({str(database)!r}, {str(Path.home())!r}, '/etc/passwd', '/tmp', '/'):
    attempt(lambda: os.listdir(path) if os.path.isdir(path) else open(path).read(), path)
"""
    held = await run(code, folder)
    assert held.stdout.count("HELD") == 5 and "LEAK" not in held.stdout, held
    assert bare(code, folder).count("LEAK") == 5


# What our own side reads afterwards


class Table:
    """A ToolContext over one folder that keeps what comes back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: list[Image.Image] = []
        self.files: dict[str, bytes] = {}

    @property
    def num_pictures(self) -> int:
        return len(self.pictures)

    def open_picture(self, index: int) -> Image.Image:
        if index >= len(self.pictures):
            raise ModelMistake(f"there is no picture {index}")
        return self.pictures[index]

    def keep_picture(self, image: Image.Image) -> ImagePart:
        self.pictures.append(image)
        return ImagePart(sha256="0" * 64, media_type="image/png", width=image.width, height=image.height)

    def keep_file(self, path: Path) -> FilePart:
        self.files[path.name] = path.read_bytes()
        return FilePart(sha256="0" * 64, name=path.name, num_bytes=path.stat().st_size)


@needs_sandbox
async def test_a_planted_link_does_not_make_us_read_what_it_points_to(folder, outside):
    table = Table(folder)
    (outside / "picture.png").write_bytes(b"no picture, but a secret")
    (outside / "secret").chmod(0o600)  # ours alone
    parts = await python.call(table, {"code": f"""
import os
os.symlink({str(outside / "secret")!r}, 'answer.txt')
os.symlink({str(outside / "picture.png")!r}, 'figure.png')
os.symlink({str(outside)!r}, 'results')
open('honest.txt', 'w').write('fine')
"""})  # fmt: skip
    assert table.files == {"honest.txt": b"fine"}, parts
    assert SECRET not in "".join(part.text for part in parts if isinstance(part, TextPart))
    assert (folder / "answer.txt").read_text() == SECRET, "whoever follows the link does read it"
    later = await python.call(table, {"code": "open('more.txt', 'w').write('also fine')"})
    assert set(table.files) == {"honest.txt", "more.txt"}, later


@needs_sandbox
async def test_a_planted_link_does_not_make_us_write_or_give_away_what_it_points_to(folder, outside):
    table = Table(folder)
    table.pictures.append(Image.new("RGB", (8, 8), "red"))
    victim = outside / "secret"
    victim.chmod(0o600)
    owner = victim.stat().st_uid
    await python.call(table, {"code": f"import os; os.symlink({str(victim)!r}, 'picture-0.png')"})
    (text, *_) = await python.call(
        table, {"code": "from PIL import Image; Image.open('picture-0.png').getpixel((0, 0))", "pictures": [0]}
    )
    assert text.text == "(255, 0, 0)"
    assert victim.read_text() == SECRET and victim.stat().st_uid == owner
    assert not (folder / "picture-0.png").is_symlink()


@needs_sandbox
async def test_a_link_in_place_of_the_hidden_home_does_not_make_us_write_elsewhere(folder, outside):
    code = f"import shutil; shutil.rmtree('.home'); os.symlink({str(outside)!r}, '.home')"
    await run(code, folder)
    assert (folder / ".home").is_symlink(), "planted"
    assert (await run("print(os.path.islink('.home'), os.listdir('.home'))", folder)).stdout == "False ['tmp']\n"
    assert sorted(os.listdir(outside)) == ["secret"]


# Network


@needs_sandbox
async def test_tcp_reaches_nobody(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"attempt(lambda: socket.create_connection({server.getsockname()!r}, 5))\n"
        code += "attempt(lambda: socket.create_server(('127.0.0.1', 0)))"
        await holds_only_with("network", code, folder, times=2)


@needs_sandbox
async def test_udp_reaches_nobody(folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        code = f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {server.getsockname()!r})"
        await holds_only_with("network", f"attempt(lambda: {code})", folder)
        assert server.recv(10) == b"x", "it arrived, from the run without the guard"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(10)


@needs_sandbox
async def test_unix_sockets_reach_nobody_by_abstract_name_or_by_path(folder, outside):
    code = "pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"  # which is there for another use
    abstract = ""
    with contextlib.ExitStack() as servers:
        for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
            for address in (f"\0narthex-test-{os.getpid()}-{kind}", str(outside / kind)):
                server = servers.enter_context(socket.socket(socket.AF_UNIX, getattr(socket, kind)))
                server.bind(address)
                if kind == "SOCK_STREAM":
                    server.listen(8)
                line = f"attempt(lambda: socket.socket(socket.AF_UNIX, socket.{kind}).connect({address!r}))\n"
                if kind == "SOCK_DGRAM":
                    line += f"attempt(lambda: pair[0].sendto(b'x', {address!r}))\n"
                code += line
                abstract += line.partition("\n")[0] + "\n" if address[0] == "\0" else ""
        for path in outside.iterdir():
            path.chmod(0o777)
        await holds_only_inside(code, folder, times=6)
        await holds_only_with("network", abstract, folder, times=2)


@needs_sandbox
async def test_netlink_tells_nothing_of_the_host(folder):
    """Sandlock answers questions about routes itself, so that libraries start; the kernel is never asked."""
    await holds_only_inside("attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15))", folder)  # uevents
    ask = """
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.send(struct.pack('IHHIIBxHiII', 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0))  # RTM_GETLINK, dump
"""
    known = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not known:
        pytest.skip("this machine has no network interface that could leak")
    code = ask + f"data = s.recv(65536); print('LEAK' if any(n.encode() in data for n in {known!r}) else 'HELD')"
    await holds_only_inside(code, folder)


@needs_sandbox
@pytest.mark.skipif(not sandbox.is_root(), reason="only root gets a raw socket without the sandbox too")
async def test_raw_sockets_cannot_be_had(folder):
    code = "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))"
    await holds_only_inside(code, folder)
    assert "HELD" in (await run(code, folder, without="user")).stdout, "not even as root"


# Processes, memory, disk, time


@needs_sandbox
async def test_no_more_processes_than_allowed(folder):
    code = """
try:
    for number in range(12):
        if os.fork() == 0:
            time.sleep(2); os._exit(0)
    print('LEAK')
except OSError as error:
    print('HELD', number)
"""
    await holds_only_with("processes", code, folder)


@needs_sandbox
async def test_a_fork_bomb_ends_and_leaves_nothing(folder):
    bomb = "while True:\n try: os.fork()\n except OSError: pass"
    outcome = await run(bomb, folder, Limits(**{**vars(SMALL), "wall_s": 1.5}))
    assert outcome.ended in ("time", "processes") and outcome.seconds < 5
    assert living_in(folder) == []


def living_in(folder: Path) -> list[int]:
    """Processes that are at work in a folder, whoever their parent is by now."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(folder.resolve()) and not warden._is_gone(pid):
                found.append(pid)
    return found


@needs_sandbox
async def test_no_more_memory_than_allowed(folder):
    ask = "try: x = bytearray(400_000_000); print('LEAK')\nexcept MemoryError: print('HELD')"
    await holds_only_with("memory", ask, folder)


@needs_sandbox
async def test_memory_is_counted_over_all_processes(folder):
    code = """
x = bytearray(100_000_000)
for number in range(5):
    if os.fork() == 0:
        for i in range(0, len(x), 4096): x[i] = 1
        time.sleep(1.5); os._exit(0)
time.sleep(1); print('LEAK')
"""
    held, out = await asyncio.gather(run(code, folder), run(code, folder.with_name("open"), without="memory"))
    assert held.ended == "memory" and "LEAK" not in held.stdout, held
    assert "LEAK" in out.stdout, out


@needs_sandbox
async def test_memory_cannot_hide_in_a_file_without_a_name(folder):
    await holds_only_with("memory", "attempt(lambda: os.memfd_create('x'))", folder)


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("open('one', 'wb').write(bytes(20_000_000))", "disk"),
        ("for n in range(4): open(str(n), 'wb').write(bytes(4_000_000))", "disk"),
        ("kept = [open(str(n), 'wb') for n in range(4)]\nfor f in kept: os.unlink(f.name); f.write(bytes(4_000_000))",
         "disk"),
        ("for n in range(200): open(str(n), 'w').close()", "files"),
        ("for n in range(200): os.mkdir(str(n))", "files"),
    ],
    ids=["one file", "many files", "deleted but open", "too many", "too many folders"],
)  # fmt: skip
async def test_no_more_disk_than_allowed(folder, code, ended):
    wait = "\ntime.sleep(0.6); print('LEAK')"
    held, out = await asyncio.gather(
        run(code + wait, folder), run(code + wait, folder.with_name("open"), without="disk")
    )
    assert held.ended == ended and "LEAK" not in held.stdout, held
    assert "LEAK" in out.stdout, out


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("os.mkdir('d', 0o300)\nfor n in range(4): open(f'd/{n}', 'wb').write(bytes(4_000_000))", "files"),
        ("for n in range(60): os.mkdir('d'); os.chdir('d')", "files"),
        ("""
import mmap
for n in range(12):
    with open('x', 'w+b') as f: f.write(bytes(1_000_000)); globals()[f'm{n}'] = mmap.mmap(f.fileno(), 1)
    os.unlink('x')
""", "disk"),
    ],
    ids=["a folder that cannot be listed", "a deep one", "deleted but mapped"],
)  # fmt: skip
async def test_disk_cannot_be_hidden_from_the_watch(folder, code, ended):
    wait = "\ntime.sleep(0.6); print('LEAK')"
    held, out = await asyncio.gather(
        run(code + wait, folder), run(code + wait, folder.with_name("open"), without="disk")
    )
    assert held.ended == ended and "LEAK" not in held.stdout, held
    assert "LEAK" in out.stdout, out
    tidy = "import shutil\nfor name in os.listdir(): shutil.rmtree(name, ignore_errors=True)\ntime.sleep(0.2)"
    assert (await run(tidy, folder)).ended == "exit", "it can be mended from inside"
    assert not [name for name in os.listdir(folder) if name.startswith("d")]


@needs_sandbox
async def test_no_more_time_than_allowed(folder):
    short = Limits(**{**vars(SMALL), "wall_s": 1.0})
    code = "time.sleep(1.5); print('LEAK')"
    held, out = await asyncio.gather(run(code, folder, short), run(code, folder.with_name("open"), short, "time"))
    assert (held.ended, held.stdout) == ("time", "")
    assert "LEAK" in out.stdout, out


@needs_sandbox
async def test_no_more_processor_than_allowed(folder):
    short = Limits(**{**vars(SMALL), "cpu_s": 0.4})
    code = "if os.fork() == 0:\n while time.process_time() < 0.3: pass\n os._exit(0)\n"  # in two that share the limit
    code += "while time.process_time() < 0.3: pass\nos.wait(); print('LEAK')"
    held, out = await asyncio.gather(run(code, folder, short), run(code, folder.with_name("open"), short, "time"))
    assert (held.ended, held.stdout) == ("cpu", "")
    assert "LEAK" in out.stdout, out


# System calls

NUMBERS = {
    "x86_64": {"ptrace": 101, "process_vm_readv": 310, "unshare": 272, "io_uring_setup": 425, "personality": 135,
               "pidfd_open": 434, "shmget": 29, "setpriority": 141, "inotify_init1": 294, "prlimit64": 302},
    "aarch64": {"ptrace": 117, "process_vm_readv": 270, "unshare": 97, "io_uring_setup": 425, "personality": 92,
                "pidfd_open": 434, "shmget": 194, "setpriority": 140, "inotify_init1": 26, "prlimit64": 261},
}  # fmt: skip


@needs_sandbox
async def test_system_calls_through_ctypes_are_refused(folder):
    """Reached without Python's help; bare, each gets past the gate, whatever it then thinks of its arguments."""
    calls = {
        "ptrace": "0, 0, 0, 0", "process_vm_readv": "os.getpid(), 0, 0, 0, 0, 0", "unshare": "0",
        "io_uring_setup": "1, 0", "personality": "0xffffffff", "pidfd_open": "os.getpid(), 0",
        "shmget": "0, 4096, 0o1600", "setpriority": "0, 0, 1", "inotify_init1": "0", "prlimit64": "0, 7, 0, 0",
    }  # fmt: skip
    numbers = NUMBERS[os.uname().machine]
    code = "libc = ctypes.CDLL(None, use_errno=True)\n" + "".join(
        f"got = libc.syscall({numbers[name]}, {arguments})\n"
        f"print('HELD' if got == -1 and ctypes.get_errno() == 1 else 'LEAK', {name!r})\n"
        for name, arguments in calls.items()
    )
    held = (await run(code, folder)).stdout
    assert held.count("HELD") == len(calls) and "LEAK" not in held, held
    out = bare(code, folder)
    allowed = Path("/proc/sys/kernel/io_uring_disabled")
    off = {"io_uring_setup"} if allowed.exists() and allowed.read_text().strip() != "0" else set()
    assert {line.split()[1] for line in out.splitlines() if line.startswith("LEAK")} >= calls.keys() - off, out


@needs_sandbox
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only this processor has a second door")
async def test_the_door_for_32_bit_programs_is_shut(folder):
    """Its numbers are other ones, so that a list of numbers says nothing: what is `unlink` there is `chmod` here."""
    code = """
import mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes([0x53, 0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0x5B, 0xC3]))  # push rbx; getpid by int 0x80; pop rbx; ret
door = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print('LEAK' if door() == os.getpid() else 'HELD')
"""
    held = await run(code, folder)
    assert (held.ended, held.signal, held.stdout) == ("signal", signal.SIGSYS, ""), held
    if "LEAK" not in bare(code, folder):
        pytest.skip("this kernel has no such door")


@needs_sandbox
async def test_no_process_can_be_traced(folder):
    code = f"""
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    time.sleep(2); os._exit(0)
got = libc.syscall({NUMBERS[os.uname().machine]["ptrace"]}, 0x4206, child, 0, 0)  # PTRACE_SEIZE
print('LEAK' if got == 0 else 'HELD', ctypes.get_errno(), flush=True)
os.kill(child, 9)
"""
    await holds_only_inside(code, folder)


@needs_sandbox
async def test_no_signal_leaves_the_sandbox(folder):
    user = {"user": sandbox.SANDBOX_USER} if sandbox.is_root() else {}
    other = subprocess.Popen(["/bin/sleep", "60"], **user)
    try:
        await holds_only_with("signals", f"attempt(lambda: os.kill({other.pid}, 0))", folder)
        assert "HELD" in (await run("attempt(lambda: os.kill(os.getppid(), signal.SIGKILL))", folder)).stdout
    finally:
        other.kill()
        other.wait()


@needs_sandbox
async def test_limits_of_others_cannot_be_changed(folder):
    user = {"user": sandbox.SANDBOX_USER} if sandbox.is_root() else {}
    other = subprocess.Popen(["/bin/sleep", "60"], **user)
    try:
        await holds_only_with("others", f"attempt(lambda: os.setpriority(os.PRIO_PROCESS, {other.pid}, 19))", folder)
    finally:
        other.kill()
        other.wait()


@needs_sandbox
@as_root
async def test_root_is_left_before_anything_runs(folder, outside):
    (outside / "secret").chmod(0o600)
    code = f"attempt(lambda: open({str(outside / 'secret')!r}).read())\nprint(os.getuid(), os.getgroups())"
    held = await run(code, folder, without="files")  # so that only the user stands between
    assert "HELD" in held.stdout and f"{sandbox.SANDBOX_USER} []" in held.stdout, held
    out = await run(code, folder, without="files user")
    assert SECRET in out.stdout, out


@needs_sandbox
@as_root
async def test_below_what_only_root_may_enter_there_is_the_folder_and_nothing_else(outside):
    outside.chmod(0o700)
    code = "print(os.path.exists('../secret'), os.getuid())"
    held = await run(f"open('made', 'w').write('x'); {code}", outside / "folder")
    assert held.stdout == f"False {sandbox.SANDBOX_USER}\n", held
    assert (outside / "folder" / "made").read_text() == "x"
    assert sorted(os.listdir(outside)) == ["folder", "secret"], "seen from here, all is as it was"
    out = await run(code, outside / "folder", without="user")
    assert out.stdout == "True 0\n"


@needs_sandbox
@as_root
def test_a_root_that_cannot_make_a_way_in_refuses(outside):
    """As in many containers. The folder is below what only root may enter."""
    outside.chmod(0o700)
    code = f"""
import asyncio, pathlib
from narthex.tools import sandbox
try:
    asyncio.run(sandbox.run("open('ran', 'w')", pathlib.Path({str(outside / "folder")!r})))
except sandbox.SandboxError as error:
    print(error)
"""
    weaker = [sandbox.find_setpriv(), "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    done = subprocess.run([*weaker, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "only root may enter" in done.stdout and str(outside) in done.stdout, done
    assert not (outside / "folder" / "ran").exists()


# What leaks from us


@needs_sandbox
async def test_our_environment_stays_ours(folder, monkeypatch):
    monkeypatch.setenv("NARTHEX_TEST_KEY", SECRET)
    code = "print('LEAK' if 'NARTHEX_TEST_KEY' in os.environ else 'HELD')"
    await holds_only_with("environment", code, folder)


@needs_sandbox
async def test_our_descriptors_stay_ours(folder, outside):
    with open(outside / "secret") as file:
        os.set_inheritable(file.fileno(), True)
        code = f"attempt(lambda: os.pread({file.fileno()}, 20, 0))"
        assert "HELD" in (await run(code, folder)).stdout
        assert SECRET in bare(code, folder, close_fds=False)


# Nothing lives on, and nothing runs where it cannot be held


@needs_sandbox
async def test_what_the_code_leaves_behind_is_ended_with_it(folder):
    daemon = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
time.sleep(0.2); print('started')
"""
    outcome = await run(daemon, folder)
    assert (outcome.ended, outcome.stdout) == ("exit", "started\n")
    assert living_in(folder) == []


@needs_sandbox
async def test_cancelling_ends_all_within_a_second(folder):
    code = "for n in range(3):\n if os.fork() == 0: os.setsid(); break\n"
    code += "open(f'on-{os.getpid()}', 'w')\nwhile True: pass"
    task = asyncio.create_task(run(code, folder))
    while len(list(folder.glob("on-*"))) < 4:
        await asyncio.sleep(0.05)
        assert not task.done(), task.result()
    assert len(living_in(folder)) == 4
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    assert living_in(folder) == []


@needs_sandbox
def test_where_narthex_is_killed_its_code_ends_too(folder):
    script = f"""
import asyncio, pathlib
from narthex.tools import sandbox
asyncio.run(sandbox.run("open('on', 'w')\\nwhile True: pass", pathlib.Path({str(folder)!r})))
"""
    ours = subprocess.Popen([sys.executable, "-c", script])
    while not (folder / "on").exists():
        time.sleep(0.05)
        assert ours.poll() is None
    theirs = warden.descendants(ours.pid)
    assert len(theirs) >= 2
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    deadline = time.monotonic() + 3
    while living := [pid for pid in theirs if not warden._is_gone(pid)]:
        assert time.monotonic() < deadline, living
        time.sleep(0.02)


@needs_sandbox
async def test_many_run_at_once_and_none_in_the_event_loop(folder):
    ticks = []
    stop = threading.Event()

    async def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            await asyncio.sleep(0.02)

    ticking = asyncio.create_task(tick())
    outcomes = await asyncio.gather(*(run(f"time.sleep(0.5); print({n})", folder / str(n)) for n in range(4)))
    stop.set()
    await ticking
    assert [outcome.stdout for outcome in outcomes] == ["0\n", "1\n", "2\n", "3\n"]
    assert max(b - a for a, b in itertools.pairwise(ticks)) < 0.5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("landlock_abi", lambda: None, "no Landlock"),
        ("landlock_abi", lambda: 5, "Landlock ABI 5, of 6 needed"),
        ("has_user_notification", lambda: False, "user_notif"),
        pytest.param("find_setpriv", lambda: None, "no setpriv", marks=as_root),
    ],
)
@pytest.mark.skipif(sys.platform != "linux" or (PROBLEM or "").startswith("the package"), reason=f"says why: {PROBLEM}")
async def test_a_machine_that_cannot_hold_code_refuses_it(folder, monkeypatch, name, value, words):
    monkeypatch.setattr(sandbox, name, value)
    for found, places in (("landlock_abi", 6), ("has_user_notification", True)):
        if found != name:
            monkeypatch.setattr(sandbox, found, lambda places=places: places)
    with pytest.raises(SandboxError, match=words) as caught:
        await run("open('ran', 'w')", folder)
    assert caught.value.hint
    with pytest.raises(ModelMistake, match=words):
        await python.call(Table(folder), {"code": "open('ran', 'w')"})
    assert not (folder / "ran").exists()


@needs_sandbox
async def test_what_cannot_be_confined_is_not_started(folder, monkeypatch):
    """Sandlock refuses to deny what it handles itself: the run fails closed, and says so."""
    for module in (warden, leave_root):
        source = Path(module.__file__).read_text(encoding="utf-8")
        broken = folder.parent / Path(module.__file__).name
        broken.write_text(source.replace('"memory": "memfd_create', '"memory": "socket memfd_create'))
        monkeypatch.setattr(module, "__file__", str(broken))
    with pytest.raises(SandboxError, match="could not be set up"):
        await run("open('ran', 'w')", folder)
    assert not (folder / "ran").exists()
