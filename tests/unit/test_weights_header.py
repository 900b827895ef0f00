"""Every way in which a safetensors header can lie is refused before the file is mapped."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from narthex.base.errors import WeightsError
from narthex.weights.header import ITEM_BYTES, read_header

from .weights_helpers import pack, refused, save, unpack


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model")


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"x": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}}


def entry(begin, end):
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "too short"),
        (b"\x08\x00\x00", "too short"),
        (b"PK\x03\x04" + b"\x00\x01" * 40, "claims a header"),  # a torch pickle under another name
        (struct.pack("<Q", 100_000_001) + b"{}", "over the limit of 100,000,000"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "claims a header"),
        (struct.pack("<Q", 3) + b"{}", "in a file of 10"),
        (pack([]), "list where an object belongs"),
        (pack(b'"x"'), "str where an object belongs"),
        (pack(b"{"), "not readable JSON"),
        (pack(b"\xff\xfe"), "not readable JSON"),
        (pack(b"[" * 200_000), "not readable JSON"),
        (pack(b'{"x": ' + b"9" * 5000 + b"}"), "not readable JSON"),
        (pack(b'{"x": 1, "x": 2}'), "a key appears twice"),
        (pack({"__metadata__": {"format": 1}}), "__metadata__"),
        (pack({"__metadata__": []}), "__metadata__"),
        (pack({"x": 3}), "not described by dtype"),
        (pack(one(extra=1), bytes(8)), "not described by dtype"),
        (pack(one(dtype="F31"), bytes(8)), "unknown type 'F31'"),
        (pack(one(dtype=["F32"]), bytes(8)), "unknown type"),
        (pack(one(shape=[-2]), bytes(8)), "impossible shape"),
        (pack(one(shape=[2.0]), bytes(8)), "impossible shape"),
        (pack(one(shape=[True, 2]), bytes(8)), "impossible shape"),
        (pack(one(shape=[2**63, 0]), bytes(8)), "impossible shape"),
        (pack(one(shape=[1] * 17), bytes(8)), "impossible shape"),
        (pack(one(offsets=[0]), bytes(8)), "impossible data_offsets"),
        (pack(one(offsets=[-8, 0]), bytes(8)), "impossible data_offsets"),
        (pack(one(offsets=[0, 16]), bytes(8)), "data part of 8"),
        (pack(one(offsets=[8, 0]), bytes(8)), "data part of 8"),
        (pack(one(shape=[3]), bytes(8)), "needs 12"),
        (pack(one(shape=[2**62, 4]), bytes(8)), "has 8 bytes"),  # 2^64 elements: zero where 64 bits wrap
        (pack({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "'b' overlaps 'a'"),
        (pack({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8)), "overlaps"),
        (pack({"a": entry(0, 4), "b": entry(6, 8)}, bytes(8)), "bytes 4 to 6 belong to no tensor"),
        (pack({"a": entry(0, 4)}, bytes(8)), "bytes 4 to 8 belong to no tensor"),
        (pack({}, b"x"), "bytes 0 to 1 belong to no tensor"),
    ],
)
def test_a_lying_header_is_refused(folder, raw, words):
    (folder / "model.safetensors").write_bytes(raw)
    refused(folder, "model.safetensors", words)
    assert not (folder / "narthex.sha256.json").exists(), "a refused folder must not be sealed"


def test_a_name_made_to_drive_the_terminal_stays_on_one_line(folder):
    name = "\x1b[2J\nerror: all is well" + "x" * 5000
    (folder / "model.safetensors").write_bytes(pack({name: {"dtype": "?"}}))
    refused(folder, "model.safetensors")


def test_what_safetensors_writes_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"b": torch.zeros(3, 2, dtype=torch.bfloat16), "a": torch.zeros(5), "none": torch.zeros(0, 4)}
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {name: found.shape for name, found in header.tensors.items()} == {"a": (5,), "b": (3, 2), "none": (0, 4)}
    assert header.tensors["b"].dtype == "BF16"
    assert (header.metadata, header.data_bytes) == ({"format": "pt"}, 5 * 4 + 6 * 2)


def test_padding_after_the_json_is_allowed(folder):
    fields, data = unpack(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes(pack(json.dumps(fields).encode() + b" " * 64, data))
    assert read_header(folder / "model.safetensors").tensors


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_spoiled_header_is_refused_or_still_consistent(tmp_path_factory, data):
    """Change one number or byte of an honest header: whatever passes has every tensor inside the file, once."""
    fields = {name: entry(8 * i, 8 * i + 8) for i, name in enumerate("abc")}
    raw = bytearray(pack(fields, bytes(24)))
    raw[data.draw(st.integers(0, len(raw) - 25))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    path.write_bytes(raw)
    try:
        header = read_header(path)
    except WeightsError:
        return
    reached = 0
    for found in header.tensors.values():
        assert found.begin == reached
        assert found.end - found.begin == ITEM_BYTES[found.dtype] * torch.Size(found.shape).numel()
        reached = found.end
    assert reached == header.data_bytes <= len(raw)
