"""What every stage of training does alike: its rate over time, its log, and the state that carries it over legs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import safetensors.torch
import torch
from torch import Tensor, nn

STATE, PROGRESS, LOG = "state.safetensors", "progress.json", "log.jsonl"


def rate_at(peak: float, *, left: float, warm: float, decay_share: float) -> float:
    """Learning rate: warm-up after every start, held, then straight down to zero over the last share.

    `left`: the share of the stage still to come; `warm`: steps taken since the start over those of warm-up.
    """
    return peak * min(1.0, warm, max(0.0, left) / decay_share)


def write_line(folder: Path, line: dict[str, Any], out: TextIO) -> None:
    """One line of the log, shown and kept."""
    print(json.dumps(line), file=out, flush=True)
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def save_leg(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write everything a later leg needs, each file whole or not at all. `modules` by the names they are kept under."""
    tensors = {f"{prefix}.{n}": p.detach() for prefix, module in modules.items() for n, p in module.named_parameters()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
    temporary = folder / f"{STATE}.part"
    safetensors.torch.save_file({name: t.contiguous().cpu().clone() for name, t in tensors.items()}, temporary)
    temporary.replace(folder / STATE)
    temporary = folder / f"{PROGRESS}.part"
    temporary.write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / PROGRESS)


def load_leg(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Any] | None:
    """Take up the last checkpoint of a folder, and return its progress; None where there is none."""
    if not (folder / STATE).exists():
        return None
    tensors = safetensors.torch.load_file(folder / STATE, device=str(device))
    for prefix, module in modules.items():
        own = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
        module.load_state_dict(own)
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, number, part = name.split(".")
            state[int(number)][part] = tensor.cpu() if part == "step" else tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(state), "param_groups": groups})
    progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    return progress
