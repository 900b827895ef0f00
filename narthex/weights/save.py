"""Save a model in the published format: what `open_model`, transformers and the converters of others read."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from narthex.base.errors import WeightsError
from narthex.model import Transformer
from narthex.weights.folder import CONFIG_FILE, INDEX_FILE, SINGLE_FILE
from narthex.weights.manifest import forget_manifests
from narthex.weights.names import name_on_disk, tied_names

MAX_SHARD_BYTES = 5 * 10**9  # the size that hubs and older file systems are comfortable with
_OWN_FILES = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")
_TEMPORARY = ".narthex-save-"


def save_model(
    model: Transformer,
    folder: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Path:
    """Write config.json and the weights; returns the folder.

    A new folder appears whole or not at all. In an existing one other files stay; config.json goes away first and comes
    back last, so that a save cut short leaves a folder that is refused, never a mixture that opens. The manifest of an
    earlier state is removed: the next opening writes a new one. One tensor larger than `max_shard_bytes` gets a file of
    its own. Raises: WeightsError where the folder cannot be written or the dtype is no float.
    """
    if not dtype.is_floating_point or max_shard_bytes < 1:
        raise WeightsError(f"cannot save as {dtype} in files of {max_shard_bytes} bytes", hint="save as bfloat16")
    target = Path(folder).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target if target.is_dir() else target.parent))
        try:
            work.chmod(0o755)  # mkdtemp makes it private, and it may become the folder
            _write_files(model, work, dtype, max_shard_bytes)
            if target.is_dir():
                _move_in(work, target)
            else:
                forget_manifests(target)
                os.rename(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise WeightsError(
            f"cannot save to {target}: {error.strerror}", hint="check the path, the space left and the permissions"
        ) from None
    return target


def _write_files(model: Transformer, folder: Path, dtype: torch.dtype, max_shard_bytes: int) -> None:
    config = {**model.config.to_dict(), "dtype": str(dtype).removeprefix("torch.")}
    tied = tied_names(model)
    tensors = {
        name_on_disk(name, config["model_type"]): tensor.detach()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    groups = _group(tensors, dtype.itemsize, max_shard_bytes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(groups, start=1):
        file = SINGLE_FILE if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        weight_map.update(dict.fromkeys(names, file))
        # contiguous clones: safetensors refuses views that share memory, and `.to` may return the tensor itself
        shard = {name: tensors[name].to("cpu", dtype, copy=True).contiguous() for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
        _flush(folder / file)
    if len(groups) > 1:
        sizes = {
            "total_parameters": sum(tensor.numel() for tensor in tensors.values()),
            "total_size": sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize,
        }
        _write_json(folder / INDEX_FILE, {"metadata": sizes, "weight_map": dict(sorted(weight_map.items()))})
    _write_json(folder / CONFIG_FILE, config)


def _group(tensors: dict[str, Tensor], item_bytes: int, max_shard_bytes: int) -> list[list[str]]:
    """Names in file-sized groups, in the model's order."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * item_bytes
        if groups[-1] and filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def _move_in(work: Path, target: Path) -> None:
    """Exchange the model files of an existing folder for those in `work`; config.json is the sign that all is there."""
    (target / CONFIG_FILE).unlink(missing_ok=True)
    forget_manifests(target)
    new = {path.name for path in work.iterdir()}
    for path in target.iterdir():
        if _OWN_FILES.fullmatch(path.name) and path.name not in new:
            path.unlink()
    for name in sorted(new - {CONFIG_FILE}):
        os.replace(work / name, target / name)
    _flush(target)
    os.replace(work / CONFIG_FILE, target / CONFIG_FILE)
    _flush(target)
    _remove_leftovers(path for path in target.iterdir() if path.name.startswith(_TEMPORARY) and path != work)


def _remove_leftovers(paths: Iterable[Path]) -> None:
    """Folders of saves that were killed before they could tidy up."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    _flush(path)


def _flush(path: Path) -> None:
    """Have the disk keep what was written: file contents, or a folder's names where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
