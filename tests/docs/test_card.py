"""The model card says what the reports beside it say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from narthex.base.paths import SHIPPED_NANO

FIGURES = Path(__file__).parents[2] / "dev" / "figures"
CARD = " ".join((SHIPPED_NANO / "README.md").read_text(encoding="utf-8").split())


def report(name: str) -> dict:
    return json.loads((FIGURES / f"nano-v0-{name}.json").read_text(encoding="utf-8"))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def test_accuracies_are_the_measured_ones():
    panels, edge = report("panels"), report("edge")
    for mode in ("thinking", "instant"):
        found = panels["modes"][mode]
        for entry in (found, *found["by_kind"].values(), *found["by_print"].values()):
            stated = f"{percent(entry['accuracy'])} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"
            assert stated in CARD
        assert percent(edge["modes"][mode]["accuracy"]) in CARD
        assert percent(found["declined"]) in CARD
    assert f"--limit {panels['n']} --seed {panels['seed']}" in CARD


def test_the_weights_are_those_that_were_measured():
    digest = hashlib.sha256((SHIPPED_NANO / "model.safetensors").read_bytes()).hexdigest()
    assert report("experts")["sha256"] == digest and digest[:16] in CARD


def test_contemplating_stands_beside_what_it_must_be_compared_with():
    found = report("contemplating")
    assert {"vote_equal_tokens", "long_thinking", "all_agents"} == set(found["baselines"])
    for entry in (*found["modes"].values(), *found["baselines"].values()):
        share = f"{percent(entry['accuracy'])} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"
        assert f"{share} | {entry['tokens_mean']:.0f} | {entry['agents_mean']:.1f} |" in CARD
    assert f"--limit {found['n']} --seed {found['seed']}" in CARD
