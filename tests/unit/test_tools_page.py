"""docs/tools.md says what the tools are and what holds them."""

from __future__ import annotations

import re
from pathlib import Path

from narthex.tools import TOOLS, sandbox, warden
from narthex.tools.python import MAX_FILE_BYTES, MAX_FILES, MAX_PICTURES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")


def test_every_tool_stands_there_with_its_parameters():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|.*\| (yes|no) \|$", PAGE, flags=re.MULTILINE)
    told = {name: (re.findall(r"`(\w+)`", parameters), asks == "yes") for name, parameters, asks in rows}
    assert told == {
        name: (list(each.spec.parameters["properties"]), each.needs_approval) for name, each in TOOLS.items()
    }


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    # Hints are looked up in the module a function was defined in, so this needs one.
    exec(compile(code, "docs/tools.md", "exec"), {"__name__": "docs_tools"})  # noqa: S102  # our own page
    assert capsys.readouterr().out == "['text'] 5.0\n"


def test_limits_are_those_of_the_code():
    limits = sandbox.Limits()
    for words in (
        f"| {limits.memory_bytes >> 20} MiB |",
        f"| {limits.disk_bytes >> 20} MiB, {limits.files} files |",
        f"| {limits.processes} |",
        f"| {limits.wall_s:g} s, {limits.cpu_s:g} s |",
        f"| {limits.output_bytes >> 10} KiB |",
        f"at most {MAX_FILE_BYTES >> 20} MiB",
        f"| {MAX_PICTURES} pictures, {MAX_FILES} files |",
        f"Landlock ABI {sandbox.LANDLOCK_ABI}",
        f"number {sandbox.SANDBOX_USER}",
        f"every {warden.POLL_S:g} s",
    ):
        assert words in PAGE, words
    for path in re.findall(r"`((?:narthex|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).exists(), path
