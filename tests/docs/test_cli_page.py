"""`docs/cli.md` lists every verb, option and command as the program has it. Run this file to print the lists anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from narthex.cli.app import app
from narthex.cli.approve import CHOICES
from narthex.cli.chat import COMMANDS, END_OF_MULTI
from narthex.tools import TOOLS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
VERBS = {name: verb for name, verb in typer.main.get_command(app).commands.items() if not verb.hidden}
_OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*|-[A-Z])\b", re.IGNORECASE)


def options_of(verb: str) -> list[str]:
    """One line for each option, as the page has it."""
    lines = []
    for each in VERBS[verb].params:
        if each.param_type_name == "option" and "--help" not in each.opts:
            names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
            value = f" `{each.metavar}`" if each.metavar else ""
            lines.append(f"- {names}{value}: {each.help}")
    return lines


def section(verb: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n## narthex {verb}\n" in text, f"{verb} has no section"
    return text.split(f"\n## narthex {verb}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_there_with_its_help(verb):
    found = [line for line in section(verb).splitlines() if line.startswith("- `-")]
    assert found == options_of(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_no_example_uses_an_option_that_is_not_there(verb):
    known = {name for each in VERBS[verb].params for name in (*each.opts, *each.secondary_opts)}
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    examples = [line.split("#")[0] for line in lines if line.startswith(f"narthex {verb}")]
    used = {name for example in examples for name in _OPTION.findall(example)}
    assert examples and used <= known, used - known


def test_the_commands_of_a_talk_are_listed():
    text = section("chat")
    assert all(f"    {line}\n" in text for line in COMMANDS.values()) and END_OF_MULTI in text


def test_help_names_the_tools_and_choices_there_are():
    help_of = {each.opts[-1] if len(each.opts) == 1 else each.opts[0]: each for each in VERBS["ask"].params}
    named = re.findall(r"\w+", help_of["--tool"].help.split(":")[1].split(";")[0])
    assert set(named) - {"or"} == set(TOOLS)
    assert help_of["--approve"].metavar.split("|") == list(CHOICES)


if __name__ == "__main__":
    for name in VERBS:
        print(f"\n## narthex {name}\n", *options_of(name), sep="\n")
