"""`models` and `doctor`: what is here, and whether it is sound."""

from __future__ import annotations

import json

import pytest

from narthex.base import places
from narthex.base.errors import WeightsError
from narthex.cli import doctor, main, models
from narthex.store import Store
from narthex.weights.manifest import MANIFEST_FILE

from .weights_helpers import save


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def tiny(home):
    """A model folder in NARTHEX_HOME/models, opened before: its manifest is written."""
    folder = save(home / "models" / "tiny")
    models.inspect(places.Place("tiny", folder, False))
    assert (folder / MANIFEST_FILE).is_file()
    return folder


def spoil(folder) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def test_a_name_a_path_and_nothing_at_all(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "SHIPPED_NANO", tmp_path / "shipped")
    assert places.find_model("tiny") == tiny
    assert places.find_model(str(tiny)) == tiny
    with pytest.raises(WeightsError, match="no model 'tinny'") as refusal:
        places.find_model("tinny")
    assert refusal.value.hint == "did you mean 'tiny'?"
    with pytest.raises(WeightsError, match="narthex-nano is not in this installation"):
        places.find_model(None)
    (tmp_path / "shipped").mkdir()
    assert places.find_model(None) == places.find_model("narthex-nano") == tmp_path / "shipped"


def test_models_are_listed_with_their_size_and_refused_when_changed(tiny, capsys):
    spoiled = save(tiny.parent / "spoiled")
    models.inspect(places.Place("spoiled", spoiled, False))
    spoil(spoiled)
    capsys.readouterr()
    assert main(["models", "--json"]) == 0
    found = {facts["name"]: facts for facts in json.loads(capsys.readouterr().out)["models"]}
    assert found["tiny"]["problem"] is None
    assert found["tiny"]["parameters"] > found["tiny"]["active_parameters"] > 0
    assert "model.safetensors" in found["spoiled"]["problem"]
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("spoiled") and "refused" in line for line in lines)
    assert any(line.startswith("tiny") and "as hashed" in line for line in lines)


def test_a_sound_machine_passes_and_a_changed_model_does_not(tiny, capsys):
    assert main(["doctor", "-m", "tiny", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert report["ok"] and set(states) >= {"python", "torch", "device", "memory", "store", "model", "sandbox"}
    assert "broken" not in states.values()
    spoil(tiny)
    assert main(["doctor", "-m", "tiny"]) == 1
    assert "\nbroken  model" in capsys.readouterr().out


def test_a_damaged_store_and_a_home_that_cannot_be_written_are_found(tiny, home, monkeypatch):
    def store_check() -> doctor.Check:
        return next(check for check in doctor.examine("tiny") if check.name == "store")

    Store.open(home).close()
    assert store_check().state == "ok" and "0 runs" in store_check().detail
    (home / "narthex.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert store_check().state == "broken"
    (home.parent / "file").write_text("")
    monkeypatch.setenv("NARTHEX_HOME", str(home.parent / "file" / "home"))
    assert doctor._store().state == "broken"
