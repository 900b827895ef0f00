"""What a safetensors file claims to hold, checked before anything else touches it.

A safetensors file is eight bytes (the header's length, little endian), a JSON header, and the tensors' bytes one after
another. The header is written by strangers, so every number in it is compared with the file before it is believed.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from narthex.base.errors import WeightsError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the bound of the safetensors library itself
MAX_JSON_BYTES = 64 * 1024**2  # config, index and manifest: the largest published index is about 10 MiB
MAX_DIMENSIONS = 16
MAX_COUNT = 2**63  # no size or offset reaches it; above it lie numbers made to overflow whoever reads them

# Whole-byte types only: the packed 4 and 6 bit ones do not divide into addressable elements.
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}

_HINT = "the file is damaged or was made to mislead; get it again from where it came"


class TensorEntry(NamedTuple):
    """One tensor of a file: its type by safetensors' name, its shape, and where its bytes lie in the data part."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """A checked header: tensors by the name they have on disk, in the order of their bytes."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_bytes: int


def quoted(name: object) -> str:
    """A stranger's text for an error message: on one line, escaped, and short."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    return short.repr(name)


def parse_json_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`. Raises: WeightsError when it is anything else, or names a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key appears twice")
        return found

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{what} is not readable JSON: {error}", hint=_HINT) from None
    if not isinstance(value, dict):
        raise WeightsError(f"{what} holds a JSON {type(value).__name__} where an object belongs", hint=_HINT)
    return value


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a small file of the folder. Raises: WeightsError, also for a file too large to be one."""
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise WeightsError(f"{path.name} has {size:,} bytes; no published one has over {MAX_JSON_BYTES:,}", hint=_HINT)
    return parse_json_object(path.read_bytes(), path.name)


def read_header(path: Path) -> Header:
    """Read and check the header of one safetensors file, without touching its data.

    Every byte of the data part must belong to exactly one tensor, and every tensor must have as many bytes as its type
    and shape say. Raises: WeightsError with the first thing that is wrong.
    """
    with path.open("rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        start = file.read(LENGTH_BYTES)
        if len(start) < LENGTH_BYTES:
            raise WeightsError(f"{path.name} has {file_bytes} bytes: too short for a safetensors file", hint=_HINT)
        header_bytes = int.from_bytes(start, "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise WeightsError(
                f"{path.name} claims a header of {header_bytes:,} bytes, over the limit of {MAX_HEADER_BYTES:,}",
                hint="it is no safetensors file, or a damaged one; get it again from where it came",
            )
        if LENGTH_BYTES + header_bytes > file_bytes:
            raise WeightsError(
                f"{path.name} claims a header of {header_bytes:,} bytes in a file of {file_bytes:,}", hint=_HINT
            )
        raw = file.read(header_bytes)
    data_bytes = file_bytes - LENGTH_BYTES - header_bytes
    fields = parse_json_object(raw, f"the header of {path.name}")
    metadata = _read_metadata(fields.pop("__metadata__", {}), path.name)
    tensors = {name: _read_entry(name, entry, data_bytes, path.name) for name, entry in fields.items()}
    return Header(_in_order(tensors, data_bytes, path.name), metadata, data_bytes)


def _read_metadata(raw: object, file: str) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise WeightsError(f"{file}: __metadata__ is not an object of strings", hint=_HINT)
    return raw


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _read_entry(name: str, raw: object, data_bytes: int, file: str) -> TensorEntry:
    where = f"{file}: tensor {quoted(name)}"
    if not isinstance(raw, dict) or set(raw) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"{where} is not described by dtype, shape and data_offsets", hint=_HINT)
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise WeightsError(f"{where} has the unknown type {quoted(dtype)}", hint=f"known: {', '.join(ITEM_BYTES)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_count, shape)):
        raise WeightsError(f"{where} has the impossible shape {quoted(shape)}", hint=_HINT)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise WeightsError(f"{where} has the impossible data_offsets {quoted(offsets)}", hint=_HINT)
    begin, end = offsets
    if not begin <= end <= data_bytes:
        raise WeightsError(
            f"{where} lies at bytes {quoted(begin)} to {quoted(end)} of a data part of {data_bytes:,}", hint=_HINT
        )
    needed = math.prod(shape) * ITEM_BYTES[dtype]
    if needed != end - begin:
        raise WeightsError(
            f"{where} has {end - begin:,} bytes, and {dtype} {quoted(shape)} needs {quoted(needed)}", hint=_HINT
        )
    return TensorEntry(dtype, tuple(shape), begin, end)


def _in_order(tensors: Mapping[str, TensorEntry], data_bytes: int, file: str) -> dict[str, TensorEntry]:
    """The tensors by place, after checking that they fill the data part without overlap or gap."""
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    reached, before = 0, "the header"
    for name, entry in ordered.items():
        if entry.begin < reached:
            raise WeightsError(
                f"{file}: tensor {quoted(name)} overlaps {before}: it starts at byte {entry.begin:,}, not {reached:,}",
                hint=_HINT,
            )
        if entry.begin > reached:
            raise WeightsError(f"{file}: bytes {reached:,} to {entry.begin:,} belong to no tensor", hint=_HINT)
        reached, before = entry.end, quoted(name)
    if reached != data_bytes:
        raise WeightsError(f"{file}: bytes {reached:,} to {data_bytes:,} belong to no tensor", hint=_HINT)
    return ordered


PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


def is_plain_name(name: object) -> bool:
    """Whether a file name from a stranger stays in its folder: no path, no leading dot."""
    return isinstance(name, str) and PLAIN_NAME.fullmatch(name) is not None
