"""What is saved opens bit for bit, mapped and not copied, and a save cut short never opens as something else."""

from __future__ import annotations

import json
import os
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from narthex.base.errors import WeightsError
from narthex.weights import open_model, save_model

from .weights_helpers import TINY, TINY_TEXT, build, refused, save


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return list(first) == list(second) and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize("config", [TINY, TINY_TEXT, {**TINY, "tie_word_embeddings": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("max_shard_bytes", [10**9, 3000])
def test_save_and_open_give_the_same_bits(tmp_path, config, dtype, max_shard_bytes):
    model = build(config).to(dtype)
    opened = open_model(save_model(model, tmp_path / "m", dtype=dtype, max_shard_bytes=max_shard_bytes))
    assert same(model, opened.model)
    assert opened.config == model.config
    assert not opened.model.training
    assert not any(parameter.is_meta for parameter in opened.model.parameters())


def test_the_folder_has_the_published_form(tmp_path):
    folder = save(tmp_path / "m", max_shard_bytes=3000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert shards == [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    stored = {}
    for shard in shards:
        with safe_open(folder / shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
        tensors = load_file(folder / shard)
        assert all(index["weight_map"][name] == shard for name in tensors)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= 3000
        stored.update(tensors)
    assert stored.keys() == build().state_dict().keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in stored.values())
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert {p.name for p in folder.iterdir()} == {*shards, "config.json", "model.safetensors.index.json"}


def test_a_text_only_model_has_the_text_only_names(tmp_path):
    names = load_file(save(tmp_path / "m", TINY_TEXT) / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {"model", "lm_head"}


def test_a_tied_model_stores_its_table_once_and_opens_tied(tmp_path):
    folder = save(tmp_path / "m", {**TINY, "tie_word_embeddings": True})
    assert "language_model.lm_head.weight" not in load_file(folder / "model.safetensors")
    language = open_model(folder, dtype=torch.float32).model.language_model
    assert language.lm_head.weight is language.model.embed_tokens.weight


def test_dtype_is_as_stored_or_as_asked(tmp_path):
    folder = save(tmp_path / "m")
    assert open_model(folder).model.dtype == torch.bfloat16
    wide = open_model(folder, dtype=torch.float32).model
    assert {p.dtype for p in wide.parameters()} == {torch.float32}
    assert same(wide.to(torch.bfloat16), open_model(folder).model)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_parameters_are_the_mapped_file_and_writing_leaves_the_file_alone(tmp_path):
    folder = save(tmp_path / "m", dtype=torch.float32)
    model = open_model(folder).model
    path = (folder / "model.safetensors").resolve()
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(str(path))]
    mapped = [range(int(low, 16), int(high, 16)) for low, high in spans]
    for name, parameter in model.named_parameters():
        assert any(parameter.data_ptr() in span for span in mapped), f"{name} is a copy"
    before = path.read_bytes()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert path.read_bytes() == before


def test_an_opened_model_can_be_trained(tmp_path):
    model = open_model(save(tmp_path / "m", dtype=torch.float32)).model.train()
    model(torch.tensor([[1, 2, 7]])).logits_BTV.sum().backward()
    assert model.language_model.lm_head.weight.grad is not None


def test_saving_over_an_opened_model_leaves_the_opened_one_whole(tmp_path):
    folder = save(tmp_path / "m", dtype=torch.float32)
    opened = open_model(folder).model
    save_model(build(seed=1), folder, dtype=torch.float32)
    assert same(opened, build(seed=0))
    assert same(open_model(folder).model, build(seed=1))


def test_a_smaller_number_of_files_leaves_no_old_ones_and_keeps_those_of_others(tmp_path):
    folder = save(tmp_path / "m", max_shard_bytes=3000)
    (folder / "tokenizer.json").write_text("{}")
    save_model(build(), folder)
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_save_that_fails_early_changes_nothing(tmp_path, monkeypatch):
    folder = save(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text("{}")

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("narthex.weights.save.save_file", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_model(build(seed=1), folder)
    with pytest.raises(WeightsError, match="No space left"):
        save_model(build(seed=1), tmp_path / "new")
    assert same(open_model(folder).model, build().to(torch.bfloat16))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "model.safetensors", "narthex.sha256.json", "tokenizer.json"
    }  # fmt: skip


def test_a_save_cut_in_the_middle_leaves_a_folder_that_is_refused(tmp_path, monkeypatch):
    folder = save(tmp_path / "m", max_shard_bytes=3000)
    replace, moved = os.replace, []

    def dying(source, target):
        moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("narthex.weights.save.os.replace", dying)
    with pytest.raises(KeyboardInterrupt):
        save_model(build(seed=1), folder, max_shard_bytes=3000)
    monkeypatch.undo()
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    refused(folder, "has no config.json")


def test_whole_numbers_cannot_be_saved(tmp_path):
    with pytest.raises(WeightsError, match="int8"):
        save_model(build(), tmp_path / "m", dtype=torch.int8)
    assert not (tmp_path / "m").exists()
