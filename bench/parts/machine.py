"""What this machine can do at most, measured: bytes a second from memory or cache, multiplications a second."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]


class Rates(NamedTuple):
    """bytes_per_s for a working set of the size that was asked about; flops_per_s of the fastest float type."""

    bytes_per_s: float
    flops_per_s: float
    flops_dtype: str


def hardware() -> str:
    """The processor in words: name, cores this process may use, vector units that matter here, memory."""
    name, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"model name\s*:\s*(.+)", text)
        name = found[1].strip() if found else name
        known = re.search(r"flags\s*:\s*(.+)", text)
        wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile")
        flags = " ".join(flag for flag in wanted if known and flag in known[1].split())
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    return f"{name}, {num_cores()} cores{memory}" + (f", {flags}" if flags else "")


def num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """The commit that is measured, with a + where files that git knows differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class OthersClock:
    """How many cores everybody else used since this was made; None where the system does not say."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), _busy_s(), time.process_time()

    def cores(self) -> float | None:
        busy = _busy_s()
        if busy is None or self._busy is None:
            return None
        others = busy - self._busy - (time.process_time() - self._own)
        return max(0.0, others / (time.perf_counter() - self._start))


def _busy_s() -> float | None:
    """Seconds that all cores together have worked since the machine started."""
    try:
        numbers = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq = map(int, numbers[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(num_bytes: int) -> Rates:
    """Rates with the best number of threads.

    Bytes: a buffer of `num_bytes` (at most 1 GiB) is copied, which counts what is read and what is written, and summed,
    which counts what is read; the faster of the two. A model that fits the cache is thus held to the cache's rate.
    Multiplications: square matrices of 1,536, float32 and bfloat16; a multiplication and an addition count as two.
    """
    best_bytes, best_flops, best_dtype = 0.0, 0.0, ""
    source = torch.ones(min(num_bytes, 2**30) // 4)
    target = torch.empty_like(source)
    size, before = 1536, torch.get_num_threads()
    try:
        for threads in range(1, num_cores() + 1):
            torch.set_num_threads(threads)
            copied = 2 * source.nbytes / _seconds(lambda: target.copy_(source))
            best_bytes = max(best_bytes, copied, source.nbytes / _seconds(source.sum))
            for dtype in (torch.float32, torch.bfloat16):
                matrix, out = torch.randn(size, size).to(dtype), torch.empty(size, size, dtype=dtype)
                flops = 2 * size**3 / _seconds(partial(torch.mm, matrix, matrix, out=out))
                if flops > best_flops:
                    best_flops, best_dtype = flops, str(dtype).removeprefix("torch.")
    finally:
        torch.set_num_threads(before)
    return Rates(best_bytes, best_flops, best_dtype)


def _seconds(work: Callable[[], object], *, for_s: float = 0.4) -> float:
    """The shortest of repeated runs: what the machine can do when nothing else disturbs it."""
    work()
    best, stop = float("inf"), time.perf_counter() + for_s
    while time.perf_counter() < stop:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
