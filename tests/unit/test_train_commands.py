"""`python -m narthex.train`: verdicts by the numbers, and what is refused is refused before anything is opened."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from narthex.train.__main__ import app


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("declined_outside", "declined_inside", "num_right"),
    [(1.0, 0.0, 128), (0.5, 0.1, 90), (1.0, 1.0, 64), (0.0, 0.0, 64), (0.5, 0.5, 64), (0.6, 0.45, 74)],
)
def test_a_verdict_counts_what_is_told_apart(tmp_path, declined_outside, declined_inside, num_right):
    outside, inside = ({"accuracy": share, "n": 64} for share in (declined_outside, declined_inside))
    told = {"scope": {"instant": {"outside_declined": outside, "inside_declined": inside}}}
    path = tmp_path / "scope.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    done = run("verdict", path)
    found = json.loads(done.stdout)
    assert (found["right"], found["of"]) == (num_right, 128)
    assert done.exit_code == (0 if found["p"] < 0.01 else 1) == (0 if num_right > 77 else 1)


def test_what_cannot_be_is_refused(tmp_path):
    done = run("rl", tmp_path / "out", "--start-from", tmp_path, "--worlds", "panels,moons")
    assert done.exit_code == 2 and "moons" in done.output and not (tmp_path / "out").exists()
    done = run("report", tmp_path)
    assert done.exit_code == 2 and "log.jsonl" in done.output and not (tmp_path / "report.html").exists()
