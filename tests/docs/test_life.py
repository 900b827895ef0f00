"""What the pages say exists, exists: files, rooms, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "docs/life-of-a-question.md", "docs/modes.md"]

# A path in backticks: with a slash, or with one of our endings.
_PATH = re.compile(r"`(\.?[\w.-]+(?:/[\w.-]+)*/?)`")
_ENDINGS = (".py", ".md", ".sh", ".toml")


def paths_in(text: str) -> list[str]:
    return [name for name in _PATH.findall(text) if "/" in name or name.endswith(_ENDINGS)]


def missing(text: str, root: Path = ROOT) -> list[str]:
    """Paths that a page names and that are not there. `evals/worlds` may be short for `narthex/evals/worlds`."""
    return [name for name in paths_in(text) if not (root / name).exists() and not (root / "narthex" / name).exists()]


def rooms() -> set[str]:
    """Rooms that exist: folders with modules, and single modules, of the package."""
    package = ROOT / "narthex"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return folders | {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}


def readme_rooms(text: str) -> set[str]:
    """Rooms in README's tree."""
    tree = text.split("\nnarthex/\n")[1].split("```")[0]
    return {re.split(r"[/.\s]", line.strip())[0] for line in tree.splitlines() if line.strip()}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert paths_in(text), "a page without a path is read wrongly"
    assert missing(text) == []


def test_a_missing_file_is_found(tmp_path):
    (tmp_path / "here.py").touch()
    (tmp_path / "narthex" / "evals").mkdir(parents=True)
    text = "see `here.py`, `evals/`, `gone/away.py`, `gone.md`, `make test`, `run_started`, `.ci/run`"
    assert missing(text, tmp_path) == ["gone/away.py", "gone.md", ".ci/run"]


def test_a_question_lives_through_eight_steps():
    text = (ROOT / "docs/life-of-a-question.md").read_text(encoding="utf-8")
    steps = re.split(r"^(?=\d+\. )", text, flags=re.MULTILINE)[1:]
    assert [step.split(".")[0] for step in steps] == [str(number) for number in range(1, 9)]
    for step in steps:
        assert paths_in(step), f"no file is named in: {step.splitlines()[0]}"


def test_readme_lists_the_rooms_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    to_come = set(re.findall(r"`(\w+)`", text.split("To come:")[1].split("\n\n")[0])) if "To come:" in text else set()
    listed = readme_rooms(text)
    assert listed - rooms() == set(), "in the tree, but not there"
    assert rooms() - listed - to_come == set(), "there, but neither in the tree nor to come"


def test_readme_names_six_files_to_read():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Read these six files")[1].split("\n## ")[0]
    numbered = [line for line in section.splitlines() if re.match(r"\d\. ", line)]
    assert len(numbered) == 6 and all(paths_in(line) for line in numbered)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_is_a_target(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8")
    code = re.findall(r"`+([^`]+)`+", text)
    named = set(re.findall(r"^make (\w+)", "\n".join(code), flags=re.MULTILINE))
    assert named <= targets
    assert page != "README.md" or {"demo", "test"} <= named
