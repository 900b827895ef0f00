"""The recipe runs from nothing to figures: every stage, on a scale of minutes, and ends better than chance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 1500  # on two idle cores it takes three minutes


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the recipe is a shell script")
def test_every_stage_of_the_recipe_runs_and_ends_better_than_chance(tmp_path):
    out = tmp_path / "smoke"
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), "NARTHEX_HOME": str(tmp_path / "home")}
    command = ["bash", str(ROOT / "recipes" / "nano.sh"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    assert lines[0]["stage"] == "tokenizer"
    supervised = log_of(out)
    tasks = {name.split(".")[0] for line in supervised for name in line["means"]}
    assert tasks == {"read", "find", "think", "instant", "edge"}
    assert progress_of(out)["sample"] == supervised[-1]["of"]

    reinforced = log_of(out / "rl")
    steps = [line for line in reinforced if "reward" in line]
    assert len(steps) == 4 and any("held_out" in line for line in reinforced)
    assert progress_of(out / "rl")["rollout"] == steps[-1]["of"] == 96

    assert [line["task"] for line in lines if "modes" in line] == ["worlds", "worlds.scope"]
    verdict = lines[-1]
    assert verdict["stage"] == "verdict" and verdict["of"] == 128 and verdict["p"] < 0.01
    assert (out / "rl" / "model" / "model.safetensors").is_file()
    for name in ("report.html", "worlds.html", "worlds.scope.html"):
        assert "<svg" in (out / name).read_text(encoding="utf-8")


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def progress_of(folder: Path) -> dict:
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))
