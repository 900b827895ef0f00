"""Open a model folder: check it, map its files, and let the model's parameters be those mapped bytes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from narthex.base.errors import WeightsError
from narthex.model import ModelConfig, Transformer
from narthex.weights.check import FLOAT_TYPES, CheckedFolder, Source, check_folder, meta_model


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run, and where it came from. `manifest_sha256` names its exact files."""

    model: Transformer
    config: ModelConfig
    folder: Path
    manifest_sha256: str


def open_model(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> OpenedModel:
    """Open a folder in the published Llama 4 format.

    On the CPU and in the stored type the parameters *are* the mapped files: nothing is read until it is used, and there
    is no second copy. Pages are private to the process, so writing to a parameter (training) never changes a file.
    Another device or dtype makes one copy, tensor by tensor. dtype None keeps the stored type; where files mix types,
    the narrowest that holds them all.

    Raises: WeightsError for every reason not to open it (see `check_folder`).
    """
    checked = check_folder(folder)
    target = dtype or _stored_type(checked.sources.values())
    model = meta_model(checked.config)
    state = _load(checked, torch.device(device), target)
    _check_tied(checked, state)
    # Both names of a tied parameter must be one object again: assigning gives each its own.
    state.update({name: state[first] for name, first in checked.tied.items()})
    model.load_state_dict(state, strict=True, assign=True)
    for name, first in checked.tied.items():
        _set_parameter(model, name, model.get_parameter(first))
    return OpenedModel(model.eval(), checked.config, checked.folder, checked.manifest_sha256)


def _stored_type(sources: Iterable[Source]) -> torch.dtype:
    return functools.reduce(torch.promote_types, sorted({FLOAT_TYPES[s.entry.dtype] for s in sources}, key=str))


def _load(checked: CheckedFolder, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every stored tensor by the model's name for it, file by file."""
    state: dict[str, Tensor] = {}
    for file in sorted({source.file for source in checked.sources.values()}):
        try:
            with safe_open(file, framework="pt", device="cpu") as mapped:
                for name, source in checked.sources.items():
                    if source.file == file:
                        state[name] = mapped.get_tensor(source.disk_name).to(device=device, dtype=dtype)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file} cannot be mapped: {error}", hint="get the file again") from None
    return state


def _check_tied(checked: CheckedFolder, state: dict[str, Tensor]) -> None:
    for name, first in checked.tied.items():
        if name in state and not torch.equal(state[name], state[first]):
            raise WeightsError(
                f"config.json ties {name} to {first}, and the files hold different values for them",
                hint="get the config.json that belongs to these weights",
            )


def _set_parameter(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    module, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(module), leaf, parameter)
