"""Help is quick because nothing heavy is imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "sqlalchemy",
    "numpy",
    "PIL",
    "tokenizers",
    "jinja2",
    "narthex.chat",
    "narthex.tokens",
    "narthex.reason",
    "narthex.backends",
    "httpx2",
    "rich",
)
LIMIT_S = 0.6  # it takes 0.2; a busy machine lengthens processor time, too; PyTorch alone takes more than 1

# typer brings pydantic when it parses, so that one is looked for after the import alone.
_LIST = """
import json, sys
from narthex.cli import main
imported = sorted(sys.modules)
code = main(sys.argv[1:])
print(json.dumps([code, imported, sorted(sys.modules)]))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    done = subprocess.run([sys.executable, "-c", _LIST, *arguments], capture_output=True, text=True, check=True)
    code, imported, all_of_them = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert {"narthex.cli.ask", "narthex.cli.chat", "narthex.cli.demo"} <= set(imported), "the verbs were not looked at"
    assert not [name for name in (*HEAVY, "pydantic") if name in imported]
    assert not [name for name in HEAVY if name in all_of_them]


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"]])
def test_help_takes_less_than_the_limit(arguments):
    # Processor time of the best of some tries: other work on the machine is not the command's fault.
    taken_s = []
    for _ in range(6):
        before = os.times()
        subprocess.run([sys.executable, "-m", "narthex.cli", *arguments], capture_output=True, check=True)
        after = os.times()
        taken_s.append(after.children_user + after.children_system - before.children_user - before.children_system)
        if taken_s[-1] < LIMIT_S:
            return
    pytest.fail(f"{arguments}: {min(taken_s):.2f} s of {LIMIT_S} s")


def test_the_verbs_are_listed_and_the_hidden_one_is_not(capsys):
    from narthex.cli import main

    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in ("ask", "chat", "trace", "logs", "eval", "models", "doctor"))
    assert "demo" not in shown


def test_version(capsys):
    from narthex import __version__
    from narthex.cli import main

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"narthex {__version__}\n"
