"""python: what comes back of a run, and how its files are taken. The ways out are in tests/e2e/test_sandbox.py."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from narthex.base.errors import ModelMistake
from narthex.chat import FilePart, ImagePart, TextPart
from narthex.tools import harvest, prelude, python, sandbox
from narthex.tools.python import MAX_FILE_BYTES, MAX_FILES, MAX_PICTURES, _decode, _shown, describe
from narthex.tools.sandbox import Outcome

from .tools_helpers import Table

PROBLEM = sandbox.sandbox_problem()
needs_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox on this machine: {PROBLEM}")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="files are taken by descriptors of folders")


def parts_of(parts: tuple) -> tuple[str, list[ImagePart], list[FilePart]]:
    text, *rest = parts
    assert isinstance(text, TextPart)
    return (
        text.text,
        [part for part in rest if isinstance(part, ImagePart)],
        [part for part in rest if isinstance(part, FilePart)],
    )


async def ask(table: Table, code: str, **more) -> tuple[str, list[ImagePart], list[FilePart]]:
    return parts_of(await python.call(table, {"code": code, **more}))


# With a sandbox


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("6 * 7", "42"),
        ("x = 6 * 7", "[no output]"),
        ("print('a'); 'b'", "a\n'b'"),
        ("import sys; print('out'); print('err', file=sys.stderr)", "out\nerr"),
        ("import sys; sys.exit(3)", "[exit code 3]"),
        ("raise SystemExit('enough')", "enough\n[exit code 1]"),
        ("None", "[no output]"),
        ("input()", "EOFError"),
        ("def f(:", "SyntaxError"),
        ("import os; os.kill(os.getpid(), 11)", "[killed by signal 11]"),
        ("import os; os.write(1, b'a\\xff\\x00b')", "a\ufffd\x00b4"),
        ("import numpy as np; np.arange(3).sum()", "np.int64(3)"),
        ("import shutil; open('a', 'w').write('x'); shutil.copy2('a', 'b'); open('b').read()", "'x'"),
        ("import tempfile; open(tempfile.mkstemp()[1], 'w').write('x')", "1"),
        ("class A: pass\nimport pickle; type(pickle.loads(pickle.dumps(A()))).__name__", "'A'"),
        ("import asyncio; asyncio.run(asyncio.sleep(0, 'slept'))", "'slept'"),
        ("__name__", "'__main__'"),
    ],
)
async def test_what_a_cell_says(tmp_path, code, text):
    said, pictures, _ = await ask(Table(folder=tmp_path / "folder"), code)
    assert text in said if "Error" in text else said == text
    assert not pictures


@needs_sandbox
async def test_an_error_is_shown_from_the_codes_own_line_on(tmp_path):
    code = "def deep():\n    return 1 / 0\n\nprint('before')\ndeep()\n"
    said, _, _ = await ask(Table(folder=tmp_path / "folder"), code)
    head = "before\nTraceback (most recent call last):\n"
    assert said.startswith(head + '  File "<code>", line 5, in <module>\n    deep()')
    assert said.endswith("ZeroDivisionError: division by zero\n[exit code 1]")
    assert "return 1 / 0" in said and "prelude" not in said and "exec(" not in said


@needs_sandbox
async def test_files_survive_from_call_to_call_and_names_do_not(tmp_path):
    table = Table(folder=tmp_path / "folder")
    _, _, files = await ask(table, "open('notes.txt', 'w').write('hello'); x = 1")
    assert [file.name for file in files] == ["notes.txt"] and table.files["notes.txt"] == b"hello"
    said, _, files = await ask(table, "print(open('notes.txt').read(), 'x' in globals())")
    assert (said, files) == ("hello False", []), "what did not change does not come back"
    _, _, files = await ask(table, "open('notes.txt', 'a').write('!')")
    assert [file.name for file in files] == ["notes.txt"] and table.files["notes.txt"] == b"hello!"


@needs_sandbox
async def test_pictures_go_in_and_come_out(tmp_path):
    table = Table(Image.new("RGB", (30, 20), "red"), Image.new("RGB", (8, 8), "blue"), folder=tmp_path / "folder")
    code = """
from PIL import Image
a, b = Image.open('picture-0.png'), Image.open('picture-1.png')
print(a.size, a.getpixel((0, 0)), b.getpixel((0, 0)))
a.resize((60, 40)).save('large.png')
Image.new('RGBA', (4, 4)).save('clear.png')
b.rotate(90)
"""
    said, pictures, files = await ask(table, code, pictures=[0, 1])
    assert said.splitlines()[0] == "(30, 20) (255, 0, 0) (0, 0, 255)"
    assert [(picture.width, picture.height) for picture in pictures] == [(60, 40), (4, 4), (8, 8)]
    assert table.open_picture(3).getpixel((0, 0)) == (255, 255, 255), "what is transparent is paper"
    assert not files
    with pytest.raises(ModelMistake, match="there is no picture 9"):
        await ask(table, "1", pictures=[9])


@needs_sandbox
@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
async def test_a_figure_left_open_comes_back(tmp_path):
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3]); plt.title('t')\nNone"
    _, pictures, _ = await ask(Table(folder=tmp_path / "folder"), code)
    assert len(pictures) == 1 and pictures[0].width > 100


@needs_sandbox
async def test_no_more_comes_back_than_may(tmp_path):
    table = Table(folder=tmp_path / "folder")
    said, pictures, files = await ask(table, f"""
from PIL import Image
for n in range(10): Image.new('RGB', (2, 2)).save(f'p{{n}}.png')
for n in range(20): open(f'f{{n:02}}.txt', 'w').write('x')
open('broken.png', 'w').write('no picture')
open('big.bin', 'wb').write(bytes({MAX_FILE_BYTES + 1}))
""")  # fmt: skip
    assert len(pictures) == MAX_PICTURES and len(files) <= MAX_FILES
    assert "\n[left in the folder: p8.png, p9.png, " in said and said.endswith("broken.png, big.bin]")
    said, _, files = await ask(table, "print('x' * 100_000)\nopen('broken.png', 'a').write('!')")
    assert len(said) < 20_000 and "bytes left out" in said
    assert [file.name for file in files] == ["broken.png"], "what calls itself a picture and is none is a file"


@needs_sandbox
async def test_agents_of_one_conversation_take_turns_in_its_folder(tmp_path):
    import asyncio

    table, code = Table(folder=tmp_path / "folder"), "import time; time.sleep(0.3); open('{0}', 'w').write('{0}')"
    results = await asyncio.gather(*(ask(table, code.format(name)) for name in "ab"))
    assert [[file.name for file in files] for _, _, files in results] == [["a"], ["b"]]


# Without one


def outcome(**more) -> Outcome:
    values = {"ended": "exit", "exit_code": 0, "signal": None, "stdout": "", "stderr": "", "seconds": 0.1, "cpu_s": 0.1}
    return Outcome(**{**values, **more})


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "[no output]"),
        ({"ended": "time", "exit_code": None, "stdout": "so far\n"}, "so far\n[stopped after 60 seconds]"),
        ({"ended": "memory", "exit_code": None}, "[stopped: more than 1024 MiB of memory]"),
        ({"ended": "disk", "exit_code": None}, "[stopped: more than 256 MiB in the folder; delete what is not needed]"),
        ({"ended": "processes", "exit_code": None}, "[stopped: more than 16 processes]"),
        ({"ended": "cpu", "exit_code": None}, "[stopped after 60 seconds of processor time]"),
        ({"ended": "signal", "exit_code": None}, "[killed by signal 9]"),
    ],
)
def test_how_a_run_ended_is_said(more, text):
    assert describe(outcome(**more)) == text


def test_what_stays_in_the_folder_is_named_but_not_endlessly():
    said = describe(outcome(stdout="x"), [f"f{n}" for n in range(40)])
    assert said.startswith("x\n[left in the folder: f0, f1, ") and said.endswith("f15 and 24 more]")


@needs_posix
def test_only_plain_files_are_seen_and_taken(tmp_path):
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    (folder / "in").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    secret.write_text("secret")
    (folder / "in" / "a.txt").write_text("a")
    (folder / ".hidden" / "b.txt").write_text("b")
    (folder / "link").symlink_to(secret)
    (folder / "there").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    assert list(harvest.stamps(folder)) == ["in/a.txt"]
    assert harvest.take(folder, "in/a.txt", 10) == b"a"
    assert harvest.take(folder, "in/a.txt", 0) is None
    for name in ("link", "there/secret", "pipe", "in", "none", "in/../in/../../secret"):
        taken = harvest.take(folder, name, 10)
        assert taken is None or ".." in name, name
    assert (folder / "link").read_text() == (folder / "there" / "secret").read_text() == "secret", "by the naive way"


@needs_posix
def test_a_change_shows_even_where_its_time_and_size_are_put_back(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    before = harvest.stamps(tmp_path)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    assert harvest.changed(before, harvest.stamps(tmp_path)) == []
    file.write_text("two")
    os.utime(file, ns=times)
    (tmp_path / "b").write_text("new")
    assert harvest.changed(before, harvest.stamps(tmp_path)) == ["a", "b"]


@needs_posix
def test_what_is_put_in_goes_to_no_other_place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "folder" / "p.png").symlink_to(tmp_path / "victim")
    harvest.put(tmp_path / "folder", "p.png", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "folder" / "p.png").read_bytes() == b"new" and not (tmp_path / "folder" / "p.png").is_symlink()


def test_a_picture_is_one_by_its_name_and_its_bytes():
    buffer = io.BytesIO()
    Image.new("P", (5, 3)).save(buffer, "PNG")
    good = buffer.getvalue()
    assert _decode("a.PNG", good).size == (5, 3)
    assert _decode("a.txt", good) is None and _decode("a.jpg", good) is None, "neither by bytes nor by name alone"
    assert _decode("a.png", good[:40]) is None and _decode("a.png", b"") is None
    huge = good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:]
    assert _decode("a.png", huge) is None


def test_names_are_shown_in_one_printable_line():
    assert _shown("a\nb\x1b[31m\udcff.txt") == "a_b_[31m_.txt"
    assert len(_shown("x" * 300 + ".csv")) <= 100 and _shown("x" * 300 + ".csv").endswith(".csv")
    assert len(_shown("x" * 300)) <= 100


def test_the_prelude_runs_by_itself(tmp_path):
    """Outside any sandbox, as a program on standard input: nothing in it depends on where it stands."""
    command = [sys.executable, "-I", "-B", "-c", Path(prelude.__file__).read_text(encoding="utf-8")]
    done = subprocess.run(
        command, input='{"code": "1 + 1", "path": []}', capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


async def test_where_no_code_can_be_held_the_tool_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "sandbox_problem", lambda: "the kernel is too old")
    table = Table(folder=tmp_path / "folder")
    with pytest.raises(ModelMistake, match="no code can be run here: the kernel is too old"):
        await ask(table, "open('ran', 'w')")
    assert not (tmp_path / "folder").exists()
