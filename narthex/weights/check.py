"""Does a folder hold exactly the model that its config.json describes? Answered without reading a weight."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from narthex.base.errors import ConfigError, WeightsError
from narthex.model import ModelConfig, Transformer
from narthex.weights.folder import CONFIG_FILE, INDEX_FILE, FolderFiles, scan_folder
from narthex.weights.header import TensorEntry, quoted, read_header
from narthex.weights.manifest import check_manifest, hash_files, sum_hashes, write_manifest
from narthex.weights.names import name_on_disk, tied_names

FLOAT_TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
NUM_NAMED = 3  # of many tensors with the same trouble, so many are named


class Source(NamedTuple):
    """Where a tensor of the model comes from."""

    file: Path
    disk_name: str
    entry: TensorEntry


class CheckedFolder(NamedTuple):
    """A folder that was found whole, safe and as its manifest says.

    `sources` has every tensor of the model but those in `tied` (second name -> first name), which the files may also
    hold; `weight_bytes` is the size of all tensors as stored.
    """

    folder: Path
    config: ModelConfig
    sources: dict[str, Source]
    tied: dict[str, str]
    weight_bytes: int
    manifest_sha256: str


def check_folder(folder: str | os.PathLike[str]) -> CheckedFolder:
    """Everything that `open_model` checks, and no weight loaded.

    Names and links, the manifest (written at the end of the first call), config.json, every safetensors header, and
    each tensor's name, type and shape against the model that the config describes.

    Raises: WeightsError with the first problem.
    """
    files = scan_folder(folder)
    hashes = hash_files(files.counted)
    is_sealed = check_manifest(files.folder, hashes)
    config = _read_config(files)
    headers = {shard.name: read_header(shard).tensors for shard in files.shards}
    found = {
        disk: Source(files.folder / file, disk, entry)
        for file, tensors in headers.items()
        for disk, entry in tensors.items()
    }
    _check_index(files, headers)
    model = meta_model(config)
    sources, tied = _match(model, found, str(files.config["model_type"]))
    if not is_sealed:  # last, so that only a folder that can be opened gets a manifest
        write_manifest(files.folder, hashes)
    weight_bytes = sum(source.entry.end - source.entry.begin for source in found.values())
    return CheckedFolder(files.folder, config, sources, tied, weight_bytes, sum_hashes(hashes))


def meta_model(config: ModelConfig) -> Transformer:
    """The model without memory behind its tensors: shapes only. Raises: WeightsError for sizes no tensor can have."""
    try:
        with torch.device("meta"):
            return Transformer(config)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{CONFIG_FILE} describes a model that cannot be built: {first_line}",
            hint="get config.json again from where the model came",
        ) from None


def _read_config(files: FolderFiles) -> ModelConfig:
    for part in ("text_config", "vision_config"):
        if not isinstance(files.config.get(part) or {}, dict):
            raise WeightsError(f"{CONFIG_FILE}: {part} is not an object", hint="get config.json again")
    try:
        return ModelConfig.from_dict(files.config)
    except ConfigError as error:
        raise WeightsError(f"{files.folder}: {error}", hint=error.hint) from None


def _check_index(files: FolderFiles, headers: Mapping[str, Mapping[str, TensorEntry]]) -> None:
    """An index and its files must name the same tensors, each in one place."""
    if files.weight_map is None:
        return
    for tensor, file in files.weight_map.items():
        if tensor not in headers[file]:
            raise WeightsError(
                f"{INDEX_FILE} puts {quoted(tensor)} into {file}, which does not hold it",
                hint="the index and the files are of different versions; get the folder again",
            )
    for file, tensors in headers.items():
        for tensor in tensors:
            if files.weight_map.get(tensor) != file:
                raise WeightsError(
                    f"{file} holds {quoted(tensor)}, which {INDEX_FILE} does not put there",
                    hint="the index and the files are of different versions; get the folder again",
                )


def _match(
    model: Transformer, found: Mapping[str, Source], model_type: str
) -> tuple[dict[str, Source], dict[str, str]]:
    """Give every tensor of the model its source. Raises: WeightsError for missing, extra and unfitting tensors."""
    tied = tied_names(model)
    wanted = {name_on_disk(name, model_type): (name, tensor) for name, tensor in model.state_dict().items()}
    missing = [disk for disk, (name, _) in wanted.items() if disk not in found and name not in tied]
    if missing:
        raise WeightsError(
            f"the files lack {_some(missing)}, which {CONFIG_FILE} asks for",
            hint="finish the download, or get the config.json that belongs to these weights",
        )
    extra = [disk for disk in found if disk not in wanted]
    if extra:
        raise WeightsError(
            f"the files hold {_some(extra)}, which the model of {CONFIG_FILE} has no place for",
            hint="get the config.json that belongs to these weights",
        )
    for disk, source in found.items():
        expected = tuple(wanted[disk][1].shape)
        if source.entry.shape != expected:
            raise WeightsError(
                f"{disk} has a dimension that does not fit: expected {expected}, found {source.entry.shape}",
                hint="get the config.json that belongs to these weights",
            )
        if source.entry.dtype not in FLOAT_TYPES:
            raise WeightsError(
                f"{disk} is stored as {source.entry.dtype}; only {', '.join(FLOAT_TYPES)} can be opened",
                hint="get the bf16 version of the model",
            )
    return {wanted[disk][0]: source for disk, source in found.items()}, tied


def _some(names: list[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:NUM_NAMED])
    return shown if len(names) <= NUM_NAMED else f"{shown} and {len(names) - NUM_NAMED} more tensors"
