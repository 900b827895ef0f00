"""What stands before a model's code in the sandbox: reads it, runs it as a notebook's cell, and keeps its figures.

Run as `python -I -B -c THIS`, with JSON on standard input: {"code", "path"}. Nothing here guards anything; all that
must hold holds outside.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import traceback
from typing import Any

NAME = "<code>"


def main() -> int:
    """Run the code; the exit code is Python's: 1 for an uncaught error."""
    told = json.loads(sys.stdin.buffer.read())
    # What is installed beside Narthex comes before what the bare interpreter has.
    own = [path for path in sys.path if not path.endswith(("site-packages", "dist-packages"))]
    sys.path[:] = [*dict.fromkeys([*own, *told["path"]]), os.getcwd()]
    for name in ("chmod", "fchmod", "lchmod", "chown", "fchown", "lchown", "utime", "setxattr", "removexattr"):
        if hasattr(os, name):
            setattr(os, name, _or_nothing(getattr(os, name)))
    module = type(sys)("__main__")
    sys.modules["__main__"] = module  # so that classes of the code can be pickled
    code = told["code"]
    linecache.cache[NAME] = (len(code), None, code.splitlines(keepends=True), NAME)
    status = 0
    before = _pictures()
    try:
        value = run_cell(code, module.__dict__)
        _show(value)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException as error:
        _tell(error)
        status = 1
    _save_figures(only_if=_pictures() == before)
    return status


def run_cell(code: str, names: dict[str, Any]) -> object:
    """Run `code` in `names`; the value of its last statement where that is an expression, else None."""
    tree = ast.parse(code, NAME)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, NAME, "exec"), names)  # noqa: S102 - this is the sandbox
        return None
    exec(compile(ast.Module(tree.body[:-1], tree.type_ignores), NAME, "exec"), names)  # noqa: S102
    return eval(compile(ast.Expression(last.value), NAME, "eval"), names)  # noqa: S307


def _or_nothing(function: Any) -> Any:
    """Rights and times of files cannot be changed in the sandbox; copying a file should not fail for that."""

    def tolerant(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except PermissionError:
            return None

    return tolerant


def _show(value: object) -> None:
    if value is None:
        return
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        value.save(_free_name("image"))
    print(repr(value))


def _tell(error: BaseException) -> None:
    """The traceback from the code's own first line on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != NAME:
        frames = frames.tb_next
    sys.stdout.flush()
    traceback.print_exception(type(error), error, frames)


def _pictures() -> set[tuple[str, int]]:
    return {(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir() if entry.name.lower().endswith(".png")}


def _free_name(stem: str) -> str:
    number = 1
    while os.path.exists(f"{stem}-{number}.png"):
        number += 1
    return f"{stem}-{number}.png"


def _save_figures(*, only_if: bool) -> None:
    """Figures left open become files, unless the code saved pictures itself."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not only_if:
        return
    for number in pyplot.get_fignums():
        try:
            pyplot.figure(number).savefig(_free_name("figure"))
        except Exception as error:
            print(f"figure {number} could not be drawn: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
