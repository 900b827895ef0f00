"""The first opening notes every file's hash; later ones hold the folder to it."""

from __future__ import annotations

import hashlib
import json
import logging
import os

import pytest

from narthex.base.errors import WeightsError
from narthex.weights import manifest, open_model, save_model

from .weights_helpers import build, refused, save

MANIFEST = "narthex.sha256.json"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    folder = save(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def read_only(folder, monkeypatch):
    """A folder that refuses to be written to, also for root, who may write everywhere."""
    write = manifest._write_whole

    def guarded(path, text):
        if path.parent == folder:
            raise PermissionError(13, "Permission denied")
        write(path, text)

    monkeypatch.setattr(manifest, "_write_whole", guarded)
    return folder


def test_the_first_opening_writes_the_manifest_and_says_so(folder, caplog):
    with caplog.at_level(logging.WARNING, "narthex"):
        opened = open_model(folder)
    assert f"first opening of {folder}" in caplog.text
    assert MANIFEST in caplog.text
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    for name, digest in files.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "narthex"):
        assert open_model(folder).manifest_sha256 == opened.manifest_sha256
    assert caplog.text == ""


def test_one_changed_bit_of_a_weight_is_refused_though_size_and_date_are_kept(folder):
    open_model(folder)
    path = folder / "model.safetensors"
    before, raw = path.stat(), bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused(folder, "model.safetensors has another hash", hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_changed_file_beside_the_weights_is_refused(folder, name):
    open_model(folder)
    (folder / name).write_text((folder / name).read_text() + " ")
    refused(folder, f"{name} has another hash")


def test_an_added_file_is_refused(folder):
    open_model(folder)
    (folder / "generation_config.json").write_text("{}")
    refused(folder, "generation_config.json was added")


def test_a_removed_file_is_refused(folder):
    open_model(folder)
    (folder / "tokenizer.json").unlink()
    refused(folder, "'tokenizer.json'", "is gone")


def test_what_is_never_read_may_come_and_go(folder):
    open_model(folder)
    (folder / "README.md").write_text("a card")
    (folder / "checkpoints").mkdir()
    open_model(folder)


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"version": 2, "files": {}}', '{"version": 1, "files": []}'])
def test_a_manifest_that_is_none(folder, content):
    (folder / MANIFEST).write_text(content)
    refused(folder, MANIFEST)


def test_a_manifest_for_nothing_protects_nothing_and_is_refused(folder):
    (folder / MANIFEST).write_text('{"version": 1, "files": {}}')
    refused(folder, "was added")


def test_a_folder_that_cannot_be_written_to_has_its_manifest_at_home(read_only, home):
    first = open_model(read_only)
    assert not (read_only / MANIFEST).exists()
    (kept,) = (home / "manifests").iterdir()
    assert json.loads(kept.read_text())["folder"] == str(read_only)
    assert open_model(read_only).manifest_sha256 == first.manifest_sha256
    (read_only / "config.json").write_text((read_only / "config.json").read_text() + " ")
    refused(read_only, "config.json has another hash", str(kept))


def test_a_manifest_put_into_the_folder_later_does_not_replace_the_one_at_home(read_only):
    open_model(read_only)
    (read_only / "tokenizer.json").write_text('{"changed": true}')
    names = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
    hashes = manifest.hash_files([read_only / name for name in names])
    (read_only / MANIFEST).write_text(json.dumps({"version": 1, "files": hashes}))
    refused(read_only, "tokenizer.json has another hash")


def test_nowhere_to_write_is_said(read_only, home):
    home.write_text("a file where the home should be")
    with pytest.raises(WeightsError, match="neither there nor"):
        open_model(read_only)


def test_the_manifest_names_content_not_place(folder, tmp_path):
    other = save(tmp_path / "other")
    for name in ("tokenizer.json", "chat_template.jinja"):
        (other / name).write_bytes((folder / name).read_bytes())
    assert open_model(other).manifest_sha256 == open_model(folder).manifest_sha256


def test_saving_anew_forgets_the_old_manifest(folder):
    first = open_model(folder).manifest_sha256
    save_model(build(seed=1), folder)
    assert not (folder / MANIFEST).exists()
    assert open_model(folder).manifest_sha256 != first


def test_a_manifest_leaves_no_temporary_file(folder):
    open_model(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
