"""Imports go down only. Every module is parsed, functions included, and the offending line is shown.

A room may import from its own and from rooms on lower floors; two rooms on one floor do not know each other.
`narthex` itself (the version) is the ground, open to all.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "narthex"

FLOORS = {
    "cli": 9,
    "train": 8,
    "serve": 7,
    "evals": 7,
    "reason": 6,
    "backends": 5,
    "engine": 4,
    "weights": 3,
    "model": 2,
    "tokens": 2,
    "tools": 2,
    "store": 2,
    "chat": 1,
    "base": 0,
}


class Import(NamedTuple):
    """One imported module or name, absolute, such as `narthex.chat.events`."""

    target: str
    line: int


def imports_of(tree: ast.AST, module: str, *, is_package: bool) -> list[Import]:
    """Every import of our package in a module, wherever it stands; relative ones made absolute."""
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=is_package)
            # `from narthex import chat` names a room as `import narthex.chat` does.
            found.extend(Import(f"{base}.{alias.name}" if base else alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and (target := _named_at_run_time(node)):
            found.append(Import(target, node.lineno))
    return [entry for entry in found if entry.target.split(".")[0] == "narthex"]


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    steps = module.split(".")
    up = node.level - 1 if is_package else node.level
    return ".".join(steps[: len(steps) - up] + ([node.module] if node.module else []))


def _named_at_run_time(node: ast.Call) -> str | None:
    """The name given to `import_module` or `__import__`, where it stands there as a string."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    first = node.args[0] if node.args else None
    is_named = called in ("import_module", "__import__") and isinstance(first, ast.Constant)
    return first.value if is_named and isinstance(first.value, str) else None


def violations(package: Path) -> list[str]:
    """One line for every import that goes up or sideways: file:line, why, and the line itself."""
    wrong: list[str] = []
    for path in sorted(package.rglob("*.py")):
        steps = ["narthex", *path.relative_to(package).with_suffix("").parts]
        is_package = steps[-1] == "__init__"
        module = ".".join(steps[:-1] if is_package else steps)
        room = module.split(".")[1] if "." in module else "narthex"
        if room not in FLOORS and room not in ("narthex", "__main__"):
            wrong.append(f"{path}:1: room '{room}' has no floor in {Path(__file__).name}")
            continue
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        for target, line in imports_of(ast.parse(source, str(path)), module, is_package=is_package):
            problem = _problem(room, target)
            if problem:
                wrong.append(f"{path}:{line}: {problem}: {lines[line - 1].strip()}")
    return wrong


def _problem(room: str, target: str) -> str | None:
    steps = target.split(".")
    other = steps[1] if len(steps) > 1 else "narthex"
    if other == room or other not in FLOORS:  # a name of the package itself, such as __version__
        return None
    if room == "__main__":
        return None if other == "cli" else f"__main__ may import cli only, not {other}"
    if room == "narthex":
        return f"narthex/__init__.py imports no room, but {other}"
    if FLOORS[other] >= FLOORS[room]:
        return f"{room} (floor {FLOORS[room]}) may not import {other} (floor {FLOORS[other]})"
    return None


def test_imports_go_down_only():
    assert list(PACKAGE.rglob("*.py")), "found no modules to check"
    wrong = violations(PACKAGE)
    assert not wrong, "\n" + "\n".join(wrong)


def build(package: Path, **files: str) -> Path:
    for name, source in files.items():
        path = package.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("where", "source", "why"),
    [
        ("chat__messages", "from narthex.tokens import template", "chat (floor 1) may not import tokens (floor 2)"),
        ("chat__messages", "import narthex.engine.runner as r", "chat (floor 1) may not import engine (floor 4)"),
        ("model__rope", "from narthex import tokens", "model (floor 2) may not import tokens (floor 2)"),
        ("model__rope", "from ..tools.zoom import Zoom", "model (floor 2) may not import tools (floor 2)"),
        ("model__rope", "from .. import store", "model (floor 2) may not import store (floor 2)"),
        ("base__log", "def f():\n    from narthex.chat import Event", "base (floor 0) may not import chat (floor 1)"),
        ("base__log", "class A:\n  if 1:\n    import narthex.cli", "base (floor 0) may not import cli (floor 9)"),
        ("evals__run", "from narthex.serve import app", "evals (floor 7) may not import serve (floor 7)"),
        ("tools__deep__zoom", "from ...reason import run", "tools (floor 2) may not import reason (floor 6)"),
        ("weights__open", "import importlib\nimportlib.import_module('narthex.train')", "weights (floor 3) may not"),
        ("kitchen__stove", "x = 1", "room 'kitchen' has no floor"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(tmp_path, where, source, why):
    (found,) = violations(build(tmp_path / "narthex", **{where: source}))
    line = len(source.splitlines()) if "no floor" not in why else 1
    assert why in found and f"{Path(*where.split('__'))}.py:{line}:" in found
    assert "no floor" in why or source.splitlines()[-1].strip() in found


def test_the_root_imports_no_room(tmp_path):
    (tmp_path / "__init__.py").write_text("from narthex.base import errors\n", encoding="utf-8")
    (found,) = violations(tmp_path)
    assert "imports no room" in found


def test_what_goes_down_or_stays_is_allowed(tmp_path):
    package = build(
        tmp_path / "narthex",
        cli="def main():\n    from narthex.serve import app\n    from narthex.train import sft",
        reason__loop="from narthex.backends import Backend\nfrom . import events\nfrom .events import x\nimport json",
        chat__events="from narthex.base.errors import UserError\nfrom .. import __version__\nimport narthex",
        chat__messages="import narthexample.cli",
        engine__run="from narthex.model import Transformer",
    )
    going_down = "from .events import Event\nfrom ..base import errors"
    (package / "chat" / "__init__.py").write_text(going_down, encoding="utf-8")
    assert violations(package) == []
