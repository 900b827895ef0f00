"""Which files of a model folder count, and which folders are not opened at all.

A folder counts with the files that Narthex may read: `config.json` and the other `.json` and `.jinja` files beside it,
and the safetensors files that hold the weights. Everything else in it is neither read nor trusted.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from narthex.base.errors import WeightsError
from narthex.weights.header import is_plain_name, quoted, read_json_object

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MANIFEST_FILE = "narthex.sha256.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
READ_SUFFIXES = (".json", ".jinja")
# The files in which published models ask for Python of their own to be run.
CODE_ASKING_FILES = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


class FolderFiles(NamedTuple):
    """A folder whose names were checked. `weight_map` gives each tensor's file, or is None for a single file."""

    folder: Path
    config: dict[str, Any]
    shards: tuple[Path, ...]
    weight_map: dict[str, str] | None
    counted: tuple[Path, ...]  # every file that the manifest answers for, the shards included, by name


def scan_folder(folder: str | os.PathLike[str]) -> FolderFiles:
    """Look at a folder's names and its small files. No weight is read.

    The folder itself may be a link (the user named it); what is in it may not. Raises: WeightsError when it is no model
    folder, or one that could lead outside itself or ask for code to be run.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        what = "is a file, not a folder" if place.exists() else "does not exist"
        raise WeightsError(f"{place} {what}", hint="name a folder with config.json and model.safetensors in it")
    place = place.resolve()
    names = _regular_names(place)
    if CONFIG_FILE not in names:
        raise WeightsError(
            f"{place} has no {CONFIG_FILE}, so it is no model folder",
            hint="a folder saved in the published format has one; a save that was cut short leaves none",
        )
    for name in CODE_ASKING_FILES:
        if name in names:
            _refuse_code(read_json_object(place / name), name)
    config = read_json_object(place / CONFIG_FILE)
    if config.get("quantization_config"):
        raise WeightsError(
            f"{CONFIG_FILE} says that the weights are quantised, and only unpacked ones can be opened",
            hint="get the bf16 version of the model",
        )
    shards, weight_map = _find_shards(place, names)
    read = [name for name in names if name.endswith(READ_SUFFIXES) and name != MANIFEST_FILE]
    counted = sorted({*read, *(shard.name for shard in shards)})
    return FolderFiles(place, config, shards, weight_map, tuple(place / name for name in counted))


def _regular_names(folder: Path) -> set[str]:
    """Names of the regular files of a folder, hidden ones left out. Raises: WeightsError for links and devices."""
    names: set[str] = set()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise WeightsError(f"{folder} cannot be listed: {error.strerror}", hint="check its permissions") from None
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise WeightsError(
                f"{folder} holds the symbolic link {quoted(entry.name)}, which could lead anywhere",
                hint="copy the folder with its links resolved, as `cp -rL` does, and open the copy",
            )
        if entry.name.startswith(".") or stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise WeightsError(f"{folder}: {quoted(entry.name)} is not a plain file", hint="remove it from the folder")
        names.add(entry.name)
    return names


def _refuse_code(value: object, file: str) -> None:
    """Raise WeightsError where a published JSON file asks, at any depth, for code of its own to be loaded."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "auto_map" in found:
                raise WeightsError(
                    f"{file} has an auto_map: the model wants Python of its own to be run, which Narthex never does",
                    hint="use a model whose architecture is built in, or serve this one elsewhere as an upstream",
                )
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _find_shards(folder: Path, names: set[str]) -> tuple[tuple[Path, ...], dict[str, str] | None]:
    if SINGLE_FILE in names and INDEX_FILE in names:
        raise WeightsError(
            f"{folder} holds both {SINGLE_FILE} and {INDEX_FILE}, so it is unclear which weights are meant",
            hint="remove the one that is out of date",
        )
    if SINGLE_FILE in names:
        return (folder / SINGLE_FILE,), None
    if INDEX_FILE in names:
        weight_map = _read_index(folder, names)
        return tuple(folder / name for name in sorted(set(weight_map.values()))), weight_map
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
    if pickles:
        raise WeightsError(
            f"{folder} holds its weights as pickles only ({quoted(pickles[0])}), and opening a pickle runs its code",
            hint="get the model as safetensors; most publishers offer both",
        )
    if any(name.endswith(".safetensors") for name in names):
        raise WeightsError(
            f"{folder} holds safetensors files, but neither {SINGLE_FILE} nor {INDEX_FILE}",
            hint=f"a model in several files needs its {INDEX_FILE}; a single file is called {SINGLE_FILE}",
        )
    raise WeightsError(f"{folder} holds no weights", hint=f"it should contain {SINGLE_FILE} or {INDEX_FILE}")


def _read_index(folder: Path, names: set[str]) -> dict[str, str]:
    """The index of a model in several files: tensor name -> file name, each a plain name that is there."""
    weight_map = read_json_object(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{INDEX_FILE} has no weight_map", hint="get the index again from where the model came")
    for tensor, file in weight_map.items():
        if not is_plain_name(file) or not file.endswith(".safetensors"):
            raise WeightsError(
                f"{INDEX_FILE} puts {quoted(tensor)} into {quoted(file)}, which is no safetensors file of the folder",
                hint="names in an index have no folder part and end in .safetensors",
            )
        if file not in names:
            raise WeightsError(f"{INDEX_FILE} names {file}, which is not there", hint="finish the download")
    return weight_map
