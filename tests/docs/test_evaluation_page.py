"""docs/evaluation.md: its tasks exist, its commands are ones the program takes, its example runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from narthex.evals import task_names
from narthex.evals.stats import wilson
from narthex.evals.task import MAIN_WORLDS, get_task

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_task_is_named():
    names = set(re.findall(r"`(worlds[\w.-]*)`", PAGE)) - {"worlds.NAME", "worlds.NAME-unseen"}
    assert {"worlds", "worlds.heldout", "worlds.clevr", "worlds.scope", "worlds.edge"} <= names <= set(task_names())
    assert all(world in PAGE for world in MAIN_WORLDS)
    for name, turns in (("worlds", 8), ("worlds.heldout", 24), ("worlds.scope", 16)):
        assert len(get_task(name).sources) == turns and str(turns) in PAGE


def test_widths_of_intervals_are_as_told():
    assert 100 * (wilson(140, 200).high - wilson(140, 200).low) < 14 and "some 13 points" in PAGE
    assert 100 * (wilson(700, 1000).high - wilson(700, 1000).low) < 6.5
    table = json.loads((ROOT / "narthex" / "evals" / "guesses.json").read_text(encoding="utf-8"))["forms"]
    assert table["routes.hops.number"]["answer"] == "2" and 0.7 < table["routes.hops.number"]["share"] < 0.8


def test_the_example_runs_and_the_fields_are_there(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    told: dict = {}
    exec(compile(code, "docs/evaluation.md", "exec"), told)  # noqa: S102  # our own page
    assert len(capsys.readouterr().out.split()) == 2
    listed = re.findall(r"`(\w+)`", PAGE.split("## The object of")[1])
    (head,) = re.findall(r'`(\{"task".*?\})`', PAGE)
    assert set(re.findall(r'"(\w+)"', head)) == set(told["found"])
    assert set(told["found"]["modes"]["instant"]) <= set(listed)
