"""What only a real terminal shows: a person asked about a call, Ctrl-C, a line edited. Run in a pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time

import pytest

from narthex.store import Store

from .cli_helpers import screen_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

PATIENCE_S = 30.0

# A model that follows a script, behind the real command line.
PROGRAM = """
import asyncio, fcntl, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)  # even where the tests were started in the background
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C is for whoever has the terminal
import narthex.cli.ask
from narthex.backends.base import TurnDelta
from narthex.backends.fake import Said, ScriptedBackend
from narthex.chat import ToolCall
from narthex.cli import main

class Scripted(ScriptedBackend):
    async def turn(self, request):
        if request.messages[-1].text == "endless":
            while True:
                yield TurnDelta("thought", "more ")
                await asyncio.sleep(0.01)
        async for step in super().turn(request):
            yield step

def script(request):
    last = request.messages[-1]
    if last.role == "tool":
        return Said(text="got " + last.text)
    if any(tool.name == "sums" for tool in request.tools):
        code = "print(1)\\nprint(2)  \\x1b[2J"
        calls = last.text.count("call")
        return Said(thought="Hm.", calls=tuple(ToolCall(id=str(n), name="sums", arguments={"code": code})
                                               for n in range(calls)))
    return Said(text="heard " + last.text)

from typing import Annotated
from pydantic import Field
import narthex.tools
from narthex.chat import TextPart
from narthex.tools import tool

@tool(needs_approval=True)
def sums(context, code: Annotated[str, Field(description="what to run")]) -> list[TextPart]:
    "Run something."
    return [TextPart(text="3")]

narthex.tools.get_tool = lambda name: sums
narthex.cli.ask.open_backend = lambda *_: Scripted(script)
sys.exit(main(sys.argv[1:]))
"""


class Typist:
    """Somebody at a terminal of 80 columns: reads until something is there, types, and says how it ended."""

    def __init__(self, home, *arguments: str) -> None:
        self.written = ""
        self._place = 0
        self._terminal, other = os.openpty()
        variables = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdin=other, stdout=other, stderr=other,
            env={**os.environ, **variables, "NARTHEX_HOME": str(home)}, start_new_session=True,
        )  # fmt: skip
        os.close(other)

    def wait_for(self, text: str) -> Typist:
        """Until it is written, after what was waited for before."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.written[self._place :]:
            assert self._read(until), f"{text!r} never came: {self.written}"
        self._place = self.written.index(text, self._place) + len(text)
        return self

    def type(self, text: str) -> Typist:
        # A person's pause: Ctrl-C in the instant between a prompt and its reading is held back until the next key.
        time.sleep(0.2)
        os.write(self._terminal, text.encode())
        return self

    def end(self) -> int:
        """The exit code; the terminal is read to its end."""
        until = time.monotonic() + PATIENCE_S
        while self._read(until):
            pass
        os.close(self._terminal)
        with self._process:
            return self._process.wait(PATIENCE_S)

    def _read(self, until: float) -> bool:
        left = until - time.monotonic()
        if left <= 0 or not select.select([self._terminal], [], [], left)[0]:
            return False
        try:
            found = os.read(self._terminal, 1 << 16)
        except OSError:  # Linux: the other end is closed
            return False
        self.written += found.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(found)


PROMPT = "a always for sums: "


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_a_person_sees_all_of_a_call_and_says_yes(home):
    typist = Typist(home, "ask", "call", "-T", "sums").wait_for(PROMPT).type("what?\n").wait_for(PROMPT).type("y\n")
    typist.wait_for("got 3")
    assert typist.end() == 0
    assert "sums is about to run:\n  code:\n    print(1)\n    print(2)  [2J\n" in typist.written


def test_no_with_a_reason_is_what_the_model_is_told(home):
    typist = Typist(home, "ask", "call", "-T", "sums").wait_for(PROMPT).type("n use your head\n")
    typist.wait_for("got error: sums was not allowed: use your head")
    assert typist.end() == 0


@pytest.mark.slow
def test_always_is_for_the_tool_and_as_long_as_the_talk_lasts(home):
    typist = Typist(home, "chat", "-T", "sums").wait_for("thinking> ").type("call call\n").wait_for(PROMPT).type("a\n")
    typist.wait_for("got 3").wait_for("thinking> ").type("call\n").wait_for("got 3").wait_for("> ").type("\x04")
    assert typist.end() == 0
    assert typist.written.count("is about to run") == 1


def test_calls_side_by_side_are_asked_about_one_after_another(home):
    typist = Typist(home, "ask", "call call", "-T", "sums", "--mode", "contemplating", "-o", "agents=2")
    for _ in range(4):
        typist.wait_for(PROMPT).type("y\n")
    typist.wait_for("2 agents")
    assert typist.end() == 0
    questions = re.findall(r"\nsums is about to run:\n.*?always for sums: y\n", typist.written, re.DOTALL)
    assert len(questions) == 4 and not any("agent-" in question for question in questions), "the board stood still"


def test_what_was_typed_before_the_question_is_no_answer_to_it(home):
    typist = Typist(home, "chat", "-T", "sums").wait_for("thinking> ").type("call\ny\n").wait_for(PROMPT)
    time.sleep(0.3)
    typist._read(time.monotonic() + 0.1)
    assert "got 3" not in typist.written
    typist.type("n\n").wait_for("got error").wait_for("> ").type("\x04")
    assert typist.end() == 0


def test_ctrl_c_at_the_question_ends_the_run_and_says_what_is_kept(home):
    typist = Typist(home, "ask", "call", "-T", "sums").wait_for(PROMPT).type("\x03").wait_for("\ninterrupted")
    assert typist.end() == 130
    assert "\ncut; what there is of it is kept: narthex trace " in typist.written
    with Store.open(home) as store:
        (run,) = store.runs()
        assert run.status == "cut"


@pytest.mark.parametrize("mode", ["thinking", "contemplating"])
def test_ctrl_c_is_answered_within_a_second(home, mode):
    typist = Typist(home, "ask", "endless", "--mode", mode).wait_for("more " if mode == "thinking" else "thinking")
    began = time.monotonic()
    typist.type("\x03").wait_for("interrupted")
    assert time.monotonic() - began < 5
    assert typist.end() == 130
    lines = [line for line in screen_of(typist.written.replace("^C", "")) if line]
    assert lines[-2].startswith("cut; what there is of it is kept: narthex trace ") and lines[-1] == "interrupted"
    if mode == "contemplating":
        assert all("cut while thinking" in line for line in lines if line.startswith("agent-"))


def test_ctrl_c_in_a_talk_cuts_the_turn_and_not_the_talk(home):
    typist = Typist(home, "chat").wait_for("thinking> ").type("endless\n").wait_for("more ").type("\x03")
    typist.wait_for("!again asks once more").wait_for("thinking> ").type("\x03").wait_for("Ctrl-D").wait_for("> ")
    typist.type("one\n").wait_for("heard one").wait_for("> ").type("\x04").wait_for("kept: narthex chat -c ")
    assert typist.end() == 0
    typist = Typist(home, "chat", "-c").wait_for("> one").wait_for("heard one").wait_for("thinking> ").type("!quit\n")
    assert typist.end() == 0


def test_a_question_survives_the_death_of_the_process(home):
    typist = Typist(home, "chat").wait_for("thinking> ").type("endless\n").wait_for("more ")
    typist._process.kill()
    assert typist.end() < 0
    typist = Typist(home, "chat", "-c").wait_for('the last question was cut: "endless"').wait_for("thinking> ")
    typist.type("!again\n").wait_for("more ").type("\x03").wait_for("> ").type("\x04")
    assert typist.end() == 0
    with Store.open(home) as store:
        assert [run.status for run in store.runs()] == ["cut", "cut"]
        assert len(store.conversations.turns(store.conversations.latest()[0].id)) == 1, "asked again, not twice"


@pytest.mark.slow
def test_lines_are_edited_and_remembered(home):
    pytest.importorskip("readline")

    def talk(typed: str, heard: str, *arguments: str) -> None:
        typist = Typist(home, "chat", *arguments).wait_for("thinking> ").type(typed).wait_for(heard)
        assert typist.wait_for("thinking> ").type("\x04").end() == 0

    talk("oen\x7f\x7fne\n", "heard one")
    talk("\x1b[A\n", "heard one")
    assert (home / "history").stat().st_mode & 0o077 == 0, "questions are private"
    talk("secret\n", "heard secret", "--no-save")
    assert "secret" not in (home / "history").read_text()
