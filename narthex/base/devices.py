"""What there is to compute on, and which of it was chosen and why. torch is imported only when asked."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from narthex.base.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DeviceFacts:
    """One device. `name` is what torch calls it; `memory_bytes` is its total, None where unknown."""

    name: str
    title: str
    memory_bytes: int | None
    num_threads: int
    has_bfloat16: bool
    reason: str


def pick_device(name: str | None = None) -> str:
    """The torch name of the device to use: the one asked for, else CUDA, else the CPU.

    Apple's MPS is used only when asked for: nothing here has been measured on it.
    Raises: ConfigError if the device asked for is unknown or not there.
    """
    return describe_device(name).name


def describe_device(name: str | None = None) -> DeviceFacts:
    """Facts of the device that `pick_device(name)` picks, with the reason for the choice."""
    import torch

    if name is None or name == "auto":
        if torch.cuda.is_available():
            return _cuda_facts(torch.device("cuda"), "automatic: a CUDA device is there")
        return _cpu_facts("automatic: no CUDA device is there")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}'", hint="use cpu, cuda, cuda:0, … or mps") from None
    if device.type == "cpu":
        return _cpu_facts("asked for")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(f"no device '{name}': {count} CUDA devices found", hint="use --device cpu")
        return _cuda_facts(device, "asked for")
    if device.type == "mps" and torch.backends.mps.is_available():
        return DeviceFacts("mps", "Apple GPU", None, torch.get_num_threads(), True, "asked for")
    raise ConfigError(f"device '{name}' is not available here", hint="use --device cpu")


def _cuda_facts(device: torch.device, reason: str) -> DeviceFacts:
    import torch

    properties = torch.cuda.get_device_properties(device)
    return DeviceFacts(
        name=str(device),
        title=properties.name,
        memory_bytes=properties.total_memory,
        num_threads=torch.get_num_threads(),
        has_bfloat16=torch.cuda.is_bf16_supported(),
        reason=reason,
    )


def _cpu_facts(reason: str) -> DeviceFacts:
    import torch

    # Every CPU torch runs on computes bfloat16, some of them slowly.
    title = f"{platform.machine() or 'CPU'}, {os.cpu_count() or 1} cores"
    return DeviceFacts("cpu", title, _physical_memory(), torch.get_num_threads(), True, reason)


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
