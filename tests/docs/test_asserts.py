"""Nothing depends on `assert`: under `python -O` they are gone. Those there are only tell a type checker a type."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "narthex"


def says_a_type(test: ast.expr) -> bool:
    """`x is not None`, `isinstance(x, T)`, or several of them; of plain names and attributes, so nothing is done."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(says_a_type(value) for value in test.values)
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot):
        right = test.comparators[0]
        return is_plain(test.left) and isinstance(right, ast.Constant) and right.value is None
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "isinstance":
        return is_plain(test.args[0])
    return False


def is_plain(value: ast.expr) -> bool:
    while isinstance(value, ast.Attribute):
        value = value.value
    return isinstance(value, ast.Name)


def checks_in(source: str) -> list[int]:
    """Lines with an assert that checks something."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return [node.lineno for node in found if not says_a_type(node.test)]


def test_no_check_of_the_product_is_an_assert():
    wrong = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line in checks_in(path.read_text(encoding="utf-8"))
    }
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("source", "is_fine"),
    [
        ("assert a is not None", True), ("assert a.b is not None and isinstance(c, int)", True), ("assert a", False),
        ("assert f() is not None", False), ("assert isinstance(g.pop(), int)", False), ("assert a == 1", False),
        ("assert a is not None or b", False), ("assert x > 0, 'no'", False),
    ],
)  # fmt: skip
def test_what_counts_as_one(source, is_fine):
    assert (checks_in(source) == []) is is_fine
