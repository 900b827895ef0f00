"""The numbers of docs/modes.md are the code's, and its program runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from narthex.chat import EFFORT_THINK_TOKENS
from narthex.reason import DEFAULTS
from narthex.reason.contemplating import GROUP, PROPOSE_TEMPERATURE, SAFE, WALL_SHARE
from narthex.reason.quiet import QUIET_S
from narthex.reason.run import MAX_AGENTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "modes.md").read_text(encoding="utf-8")


def rows(head):
    """The rows of the table that begins with `head`."""
    body = PAGE.split(head)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in body]


def test_efforts():
    told = {name: None if tokens.startswith("the context") else int(tokens) for name, tokens in rows("| effort |")}
    assert told == EFFORT_THINK_TOKENS


def test_defaults():
    for mode, *cells in rows("| mode | thought |"):
        budget = DEFAULTS[mode]
        told = [int(cell) if cell else None for cell in cells]
        assert told == [budget.think_tokens, budget.tool_calls, budget.agents, budget.rounds], mode


def test_constants():
    assert (GROUP, MAX_AGENTS, PROPOSE_TEMPERATURE, SAFE, WALL_SHARE, QUIET_S) == (4, 16, 0.8, 0.95, 0.7, 2.0)
    told = "Four agents", "temperature 0.8", "all 16 votes", "probability of 0.95", "three tenths", "two seconds"
    for words in told:
        assert words in PAGE


def test_the_program_runs():
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".+ \d+ \d+\n", done.stdout), done.stdout
