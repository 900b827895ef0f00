"""One hostile or broken folder per test, each refused with one line and a hint."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from narthex.weights import check_folder, open_model

from .weights_helpers import TINY, edit_json, refused, save

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    folder = save(tmp_path / "sharded", max_shard_bytes=4000)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def edit_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def edit_index(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "does not exist")


def test_a_file_in_place_of_a_folder(folder):
    refused(folder / WEIGHTS, "is a file, not a folder")


def test_no_config(folder):
    (folder / "config.json").unlink()
    refused(folder, "has no config.json")


def test_a_config_that_is_no_object(folder):
    (folder / "config.json").write_text("[]")
    refused(folder, "config.json", "list where an object belongs")


def test_a_config_of_another_family(folder):
    edit_json(folder / "config.json", model_type="gpt2")
    refused(folder, "gpt2")


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_config_whose_part_is_no_object(folder, part):
    edit_json(folder / "config.json", **{part: [1]})
    refused(folder, f"{part} is not an object")


def test_a_config_larger_than_any(folder, monkeypatch):
    monkeypatch.setattr("narthex.weights.header.MAX_JSON_BYTES", 100)
    refused(folder, "config.json has", "bytes")


def test_a_config_of_sizes_that_no_tensor_has(folder):
    edit_json(folder / "config.json", text_config={**TINY["text_config"], "vocab_size": 10**30})
    refused(folder, "cannot be built")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_auto_map(folder, file):
    (folder / file).touch()
    content = json.loads((folder / file).read_text() or "{}")
    (folder / file).write_text(json.dumps({**content, "auto_map": {"AutoModel": "evil.Evil"}}))
    refused(folder, file, "auto_map")


def test_auto_map_inside_a_part(folder):
    edit_json(folder / "config.json", extra=[{"auto_map": {}}])
    refused(folder, "auto_map")


def test_quantised_weights_of_others(folder):
    edit_json(folder / "config.json", quantization_config={"quant_method": "fp8"})
    refused(folder, "quantised")


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth"])
def test_only_pickles(folder, suffix):
    (folder / WEIGHTS).unlink()
    (folder / f"pytorch_model.{suffix}").write_bytes(pickle.dumps({"x": 1}))
    refused(folder, "pickle", f"pytorch_model.{suffix}")


def test_a_pickle_beside_safetensors_is_never_opened(folder):
    (folder / "optimizer.pt").write_bytes(b"not even a pickle")
    assert open_model(folder).model is not None


def test_no_weights(folder):
    (folder / WEIGHTS).unlink()
    refused(folder, "holds no weights")


def test_a_link_among_the_files(folder, tmp_path):
    os.replace(folder / WEIGHTS, tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    refused(folder, "symbolic link", WEIGHTS)


def test_a_link_that_no_one_reads(folder):
    (folder / "notes").symlink_to("/etc")
    refused(folder, "symbolic link", "notes")


def test_the_user_may_name_the_folder_by_a_link(folder, tmp_path):
    (tmp_path / "latest").symlink_to(folder)
    assert open_model(tmp_path / "latest").folder == folder.resolve()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_a_file(folder):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)  # opening it would wait for ever
    refused(folder, "not a plain file")


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "..", "sub/x.safetensors", "a\\b.safetensors", "C:x.safetensors",
     ".hidden.safetensors", "x\x00.safetensors", "config.json", "", 7, None],
)  # fmt: skip
def test_an_index_that_leads_elsewhere(sharded, name):
    edit_index(sharded, lambda names: names.update(dict.fromkeys(list(names)[:1], name)))
    refused(sharded, INDEX, "no safetensors file of the folder")


def test_an_index_that_names_a_missing_file(sharded):
    edit_index(sharded, lambda names: names.update(dict.fromkeys(list(names)[:1], "model-00009-of-00009.safetensors")))
    refused(sharded, "model-00009-of-00009.safetensors", "not there")


def test_an_index_that_puts_a_tensor_into_the_wrong_file(sharded):
    edit_index(sharded, lambda names: names.update({next(iter(names)): sorted(set(names.values()))[-1]}))
    refused(sharded, INDEX, "does not hold it")


def test_a_tensor_the_index_does_not_know(sharded):
    edit_index(sharded, lambda names: names.pop(next(iter(names))))
    refused(sharded, "does not put there")


def test_the_same_tensor_in_two_files(sharded):
    first, second = sorted(sharded.glob("model-*.safetensors"))[:2]
    save_file({**load_file(second), **load_file(first)}, second)
    refused(sharded, "does not put there")


def test_an_empty_index(sharded):
    (sharded / INDEX).write_text('{"weight_map": {}}')
    refused(sharded, "no weight_map")


def test_shards_without_an_index(sharded):
    (sharded / INDEX).unlink()
    refused(sharded, "neither model.safetensors nor")


def test_a_single_file_and_an_index(sharded):
    save_file({"x": torch.zeros(1)}, sharded / WEIGHTS)
    refused(sharded, "holds both")


def test_a_missing_tensor(folder):
    edit_weights(folder, lambda tensors: tensors.pop("language_model.model.norm.weight"))
    refused(folder, "lack", "language_model.model.norm.weight")


def test_many_missing_tensors_are_counted(folder):
    edit_weights(folder, dict.clear)
    refused(folder, "lack", "more tensors")


def test_an_extra_tensor(folder):
    edit_weights(folder, lambda tensors: tensors.update(intruder=torch.zeros(1)))
    refused(folder, "hold", "'intruder'")


def test_a_dimension_that_does_not_fit(folder):
    edit_weights(folder, lambda tensors: tensors.update({"multi_modal_projector.linear_1.weight": torch.zeros(16, 13)}))
    refused(folder, "multi_modal_projector.linear_1.weight", "expected (16, 12), found (16, 13)")


def test_a_tensor_of_whole_numbers(folder):
    name = "language_model.model.norm.weight"
    edit_weights(folder, lambda tensors: tensors.update({name: torch.zeros(16, dtype=torch.int8)}))
    refused(folder, name, "I8")


def test_tied_weights_that_differ(tmp_path):
    folder = save(tmp_path / "tied", {**TINY, "tie_word_embeddings": True})
    name = "language_model.lm_head.weight"
    edit_weights(folder, lambda tensors: tensors.update({name: torch.ones(32, 16, dtype=torch.bfloat16)}))
    refused(folder, "ties", "different values")


def test_checking_alone_loads_nothing(folder):
    checked = check_folder(folder)
    assert checked.config.text.hidden_size == 16
    assert checked.weight_bytes == sum(t.nbytes for t in load_file(folder / WEIGHTS).values())
    assert checked.manifest_sha256 == open_model(folder).manifest_sha256
