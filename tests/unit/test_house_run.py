"""scripts/run.py: what it says when something is missing, and when it skips the installation."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "run.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script as a module, working on a made-up repository."""
    spec = importlib.util.spec_from_file_location("house_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for name, value in {"ROOT": tmp_path, "VENV": tmp_path / ".venv", "PYTHON": python}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "narthex-setup.json")
    return module


@pytest.fixture
def pip(script, monkeypatch):
    """Stands in for commands of the virtual environment: notes them, answers with `pip.code`."""

    class Pip:
        code = 0
        calls: list[tuple[str, ...]] = []  # noqa: RUF012

        def __call__(self, *arguments: str) -> int:
            self.calls = [*self.calls, arguments]
            return self.code

    fake = Pip()
    monkeypatch.setattr(script, "run", fake)
    return fake


def test_it_installs_once_and_again_when_pyproject_changes(script, pip, tmp_path):
    script.set_up(extra=None)
    script.set_up(extra=None)
    assert [call[-1] for call in pip.calls] == ["."]
    script.set_up(extra="dev")
    script.set_up(extra="dev")
    script.set_up(extra=None)
    assert [call[-1] for call in pip.calls] == [".", ".[dev]"]
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    script.set_up(extra="dev")
    assert len(pip.calls) == 3


def test_an_installation_that_failed_is_tried_again(script, pip, capsys):
    pip.code = 1
    with pytest.raises(SystemExit) as stopped:
        script.set_up(extra=None)
    assert stopped.value.code == 2
    assert "hint: is there a network" in capsys.readouterr().err
    pip.code = 0
    script.set_up(extra=None)
    assert len(pip.calls) == 2


@pytest.mark.parametrize("stamp", ["", "[]", "null", '{"pyproject": 1}'])
def test_a_damaged_stamp_is_no_installation(script, stamp):
    script.STAMP.write_text(stamp)
    assert not script.is_installed({"pyproject": script.fingerprint(), "extra": None})
    script.STAMP.write_text(json.dumps({"pyproject": script.fingerprint(), "extra": None}))
    assert script.is_installed({"pyproject": script.fingerprint(), "extra": None})


def test_it_says_what_it_will_fetch(script, pip, capsys, monkeypatch):
    monkeypatch.setattr(script.shutil, "which", lambda _: None)
    monkeypatch.setattr(script.sys, "platform", "linux")
    script.set_up(extra="dev")
    said = capsys.readouterr().err
    assert f"about {script.TORCH_CPU_MB + script.RUNTIME_MB + script.DEV_MB} MB" in said
    assert "CUDA" in said


def test_a_python_without_ensurepip_is_told_plainly(script, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    with pytest.raises(SystemExit):
        script.make_venv()
    said = capsys.readouterr().err
    assert "has no ensurepip" in said
    assert f"hint: on Debian or Ubuntu: sudo apt install python3.{sys.version_info[1]}-venv" in said


def test_an_old_python_is_told_plainly(script, capsys, monkeypatch):
    monkeypatch.setattr(script.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(script.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit):
        script.use_new_enough_python()
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seed"), [("7", 7), (" 12 ", 12), ("007", 7)])
def test_the_seed_comes_from_the_environment(script, monkeypatch, text, seed):
    monkeypatch.setenv("SEED", text)
    assert script.chosen_seed() == seed


def test_without_a_seed_all_see_the_same_and_a_wrong_one_is_told(script, monkeypatch, capsys):
    monkeypatch.setenv("SEED", "")
    assert script.chosen_seed() == script.DEMO_SEED
    monkeypatch.setenv("SEED", "-3")
    with pytest.raises(SystemExit):
        script.chosen_seed()
    assert "'-3'" in capsys.readouterr().err


def test_the_pages_tests_say_what_they_need(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NARTHEX_CHROMIUM", raising=False)
    with pytest.raises(SystemExit) as ended:
        script.test_page(is_optional=False)
    assert ended.value.code == 2 and "need Node 20 and Chromium" in capsys.readouterr().err
    assert script.test_page(is_optional=True) == 0
    assert "not tested here: no Node 20, no Chromium" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        script.build_page()
    assert ended.value.code == 2 and "Node 20" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "is_enough"), [("v20.19.0", True), ("v24.1.0", True), ("v18.20.1", False)])
def test_an_old_node_is_none(script, tmp_path, monkeypatch, version, is_enough):
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script.has_node() is is_enough
