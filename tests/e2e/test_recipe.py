"""The recipe runs from nothing to figures: every stage, on a scale of seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.name == "nt", reason="the recipe is a shell script")
def test_every_stage_of_the_recipe_runs(tmp_path):
    out = tmp_path / "smoke"
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), "NARTHEX_HOME": str(tmp_path / "home")}
    command = ["bash", str(ROOT / "recipes" / "panels.sh"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines[0]["stage"] == "tokenizer"
    assert [line["task"] for line in lines if "modes" in line] == ["worlds.panels", "worlds.edge"]
    assert len(log) == 4 and {name.split(".")[0] for name in log[-1]["means"]} >= {"read", "think", "instant"}
    assert (out / "model" / "model.safetensors").is_file()
    assert json.loads((out / "progress.json").read_text(encoding="utf-8"))["sample"] == 1280
