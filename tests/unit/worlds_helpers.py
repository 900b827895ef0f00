"""What the tests of worlds share: where a demonstration's numbers stand, and how high print is in the small view."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

from narthex.evals.worlds import Glyph, Item, Look
from narthex.evals.worlds.item import Step

# Runs each piece of code as the python tool does: what it prints, and the value of its last expression.
_CELLS = """
import ast, contextlib, io, json, sys
for code in json.load(sys.stdin):
    *first, last = ast.parse(code).body
    said, names = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(first, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        value is None or print(repr(value))
    print(json.dumps(said.getvalue().strip()))
"""
VIEW = 96  # pixels a side: all that narthex-nano sees of a picture without a look


def occurrences(glyphs: tuple[Glyph, ...], text: str) -> list[tuple[Glyph, ...]]:
    """Every place where `text` was printed, as runs of glyphs drawn one after the other."""
    chars = "".join(glyph.char for glyph in glyphs)
    wanted = text.replace(" ", "")
    found = [glyphs[at : at + len(wanted)] for at in range(len(chars)) if chars.startswith(wanted, at)]
    return [run for run in found if all(_follows(one, two) for one, two in pairwise(run))]


def _follows(one: Glyph, two: Glyph) -> bool:
    """Whether two characters drawn one after the other belong to one word: side by side, at most a space apart."""
    height = max(one.height, two.height)
    return 0 < two.x - one.x < 2.2 * height and abs(two.y - one.y) < height


def shown(item: Item, box: tuple[int, int, int, int], text: str) -> bool:
    """Whether a look at `box` shows `text`, every character of it with all its ink."""
    assert item.picture is not None
    x0, y0, x1, y1 = (edge * item.picture.width / 1000 for edge in box)
    return any(
        all(x0 < g.x < x1 and y0 <= g.y - g.height / 2 and g.y + g.height / 2 <= y1 for g in run)
        for run in occurrences(item.glyphs, text)
    )


def view_height(item: Item, text: str) -> float:
    """How high `text` stands at most in the small view, in its pixels."""
    assert item.picture is not None
    runs = occurrences(item.glyphs, text)
    return max(max(g.height for g in run) for run in runs) * VIEW / item.picture.width


def told_after_looks(trace: tuple[Step, ...]) -> list[tuple[tuple[int, int, int, int], str]]:
    """Each look's box with the thought that follows it."""
    return [(step.box, after.thought) for step, after in pairwise(trace) if isinstance(step, Look)]


def run_cells(codes: Sequence[str]) -> list[str]:
    """What Python says to each piece of code, run for real in a process of its own."""
    command, given = [sys.executable, "-c", _CELLS], json.dumps(codes)
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]
