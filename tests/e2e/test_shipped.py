"""The model in the repository, asked as people ask it: what the README shows works."""

from __future__ import annotations

import subprocess
import sys

import pytest

from narthex.backends.local import LocalBackend
from narthex.base.paths import SHIPPED_NANO
from narthex.evals import evaluate


@pytest.fixture(scope="module")
def nano():
    backend = LocalBackend.open(SHIPPED_NANO, device="cpu")
    yield backend
    backend.close()


def test_the_demo_is_right_in_thinking_and_says_what_instant_said(tmp_path, monkeypatch):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path))
    command = [sys.executable, "-m", "narthex.cli", "demo", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    instant, rest = done.stdout.split("\nInstant\n")[1].split("\nThinking\n")
    thinking, contemplating = rest.split("\nContemplating\n")
    assert "right (exact answer" in thinking and "look 1: box" in thinking
    assert "(exact answer" in instant and "right (exact answer" in contemplating
    assert done.stdout.count("\n  ") >= 2, "two commands to go on with"


def test_thinking_reads_what_instant_cannot(nano):
    report = evaluate("worlds.panels", ["instant", "thinking"], limit=60, seed=20_261_122, backend=nano).to_json()
    thinking, instant = report["modes"]["thinking"], report["modes"]["instant"]
    assert thinking["by_print"]["fine"]["low"] > instant["by_print"]["fine"]["high"], "looking is what pays"
    assert thinking["looks_mean"] > 0.3
    assert thinking["failed"] == instant["failed"] == 0


def test_what_nano_cannot_do_it_declines(nano):
    report = evaluate("worlds.edge", ["thinking"], limit=40, seed=20_261_122, backend=nano).to_json()
    assert report["modes"]["thinking"]["declined"] >= 0.75
