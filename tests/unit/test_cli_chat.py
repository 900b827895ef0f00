"""`chat` and `ask -c` over a model that follows a script: what is said, kept, resumed, cut and asked again."""

from __future__ import annotations

import asyncio
import io
import json
import signal

import pytest
from PIL import Image

from narthex.backends.base import TurnDelta
from narthex.backends.fake import Said, ScriptedBackend
from narthex.base.errors import BackendError
from narthex.chat import ToolCall
from narthex.cli import main
from narthex.store import Store

from .cli_helpers import looks_once, require_refusal


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stdin", None)
    Image.new("RGB", (256, 256), "navy").save(tmp_path / "panel.png")
    Image.new("RGB", (64, 32), "red").save(tmp_path / "a b.png")
    return tmp_path / "home"


@pytest.fixture
def answering(monkeypatch):
    """Give `narthex` a model that does as its script says."""

    def use(script) -> ScriptedBackend:
        backend = ScriptedBackend(script, name="scripted")
        monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: backend)
        return backend

    return use


@pytest.fixture
def type_in(monkeypatch, capsys):
    """Run `narthex chat …` with these lines from a pipe; returns exit code, stdout and stderr."""

    def run(*lines: str, arguments: tuple[str, ...] = ()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode())))
        code = main(["chat", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def counting(request) -> Said:
    """Says how many messages it got, and the last of them."""
    return Said(text=f"{len(request.messages)}: {request.messages[-1].text}")


def said_to(backend, turn=-1):
    return [(message.role, message.text) for message in backend.requests[turn].messages]


def test_every_turn_reads_those_before_it(answering, type_in, home):
    backend = answering(counting)
    code, out, _ = type_in("one", "", "two", arguments=("-s", "Be brief."))
    assert (code, out) == (0, "2: one\n4: two\n")
    assert said_to(backend) == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "2: one"), ("user", "two")
    ]  # fmt: skip
    with Store.open(home) as store:
        (record,) = store.conversations.latest()
        assert (record.title, record.num_turns) == ("one", 2)
        assert [run.question for run in store.runs()] == ["two", "one"]


def test_it_is_resumed_with_its_pictures_and_its_looks(answering, type_in, home):
    answering(looks_once("347 bar"))
    assert type_in("!image panel.png", "C?")[:2] == (0, "347 bar\n")
    again = answering(counting)
    code, out, _ = type_in("!image a b.png", "And D?", arguments=("-c",))
    assert (code, out) == (0, "5: And D?\n")
    (request,) = again.requests
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "assistant", "user"]
    pictures = [picture for message in request.messages for picture in message.pictures]
    assert [(picture.width, picture.height) for picture in pictures] == [(256, 256), (64, 64), (64, 32)]
    assert [request.load_image(picture).size for picture in pictures] == [(256, 256), (64, 64), (64, 32)]
    assert not any(message.thought for message in request.messages), "thought is for one run"


def test_ask_goes_on_with_what_was_asked_last_and_as_it_was_asked(answering, capsys, home):
    backend = answering(counting)
    assert main(["ask", "one", "--mode", "instant", "-T", "mark"]) == 0
    assert main(["ask", "-c", "two", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["answer"], found["mode"]) == ("3: two", "instant")
    assert [tool.name for tool in backend.requests[-1].tools] == ["mark"]
    with Store.open(home) as store:
        assert [(record.id, record.num_turns) for record in store.conversations.latest()] == [
            (found["conversation_id"], 2)
        ]
    assert main(["ask", "-c", "three", "-s", "Be brief."]) == 2
    require_refusal(capsys.readouterr().err, error="system prompt stands at the beginning", hint="new one")


def test_which_conversation_is_said_by_the_beginning_of_its_id(answering, type_in, home, capsys):
    answering(counting)
    for text in ("first", "second"):
        type_in(text)
    with Store.open(home) as store:
        second, first = store.conversations.latest()
    assert type_in("more", arguments=("-c", first.id[:12]))[1] == "3: more\n"
    assert type_in("more", arguments=("-c",))[1] == "5: more\n", "the one that went on last"
    assert main(["chat", "-c", "nothing"]) == 2
    require_refusal(capsys.readouterr().err, error="no conversation 'nothing'", hint="narthex logs")
    assert main(["chat", "-c", ""]) == 2
    require_refusal(capsys.readouterr().err, error="2 conversations begin", hint=f"{first.id[:8]}")
    assert main(["chat", second.id]) == 2
    require_refusal(capsys.readouterr().err, error="with -c", hint=f"chat -c {second.id}")


@pytest.mark.parametrize("arguments", [["chat", "-c"], ["ask", "-c", "more"], ["trace"]])
def test_with_nothing_kept_there_is_nothing_to_go_on_with(arguments, capsys, home):
    assert main(arguments) == 2
    require_refusal(capsys.readouterr().err, error="no (conversation|run)", hint="ask something first")
    assert not home.exists()


def test_a_turn_that_fails_leaves_the_conversation_as_before(answering, type_in, home):
    def script(request) -> Said:
        if request.messages[-1].text == "break":
            raise BackendError("the server went away", hint="start it again")
        return counting(request)

    backend = answering(script)
    code, out, err = type_in("one", "!image panel.png", "break", "two")
    assert (code, out) == (0, "1: one\n3: two\n")
    assert "error: the server went away (start it again)\n" in err
    assert [picture.width for picture in backend.requests[-1].messages[-1].pictures] == [256], "still attached"
    assert type_in("three", arguments=("-c",))[1] == "5: three\n"
    assert type_in("break", arguments=("-c",))[0] == 3, "a script is told that its last line failed"
    answering(script)
    assert type_in("break")[0] == 3
    with Store.open(home) as store:
        assert len(store.conversations.latest()) == 1, "a conversation in which nothing was answered is none"
        assert [run.status for run in store.runs()][:2] == ["failed", "failed"]


class Interrupted(ScriptedBackend):
    """Gets Ctrl-C while it thinks about "stop", as from a keyboard."""

    async def turn(self, request):
        if request.messages[-1].text == "stop":
            yield TurnDelta("thought", "Hm.")
            await asyncio.sleep(0.2)  # until what began is on disk
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        async for step in super().turn(request):
            yield step


def test_a_turn_that_was_cut_is_asked_again_now_or_later(answering, type_in, home, monkeypatch):
    backend = Interrupted(counting)
    monkeypatch.setattr("narthex.cli.ask.open_backend", lambda *_: backend)
    code, out, err = type_in("one", "!image panel.png", "stop", "two")
    assert (code, out) == (0, "1: one\n3: two\n") and "narthex trace" in err and "!again asks once more" in err
    assert not backend.requests[-1].messages[-1].pictures, "the picture went with the question that was cut"
    type_in("!image panel.png", "stop", arguments=("-c",))
    again = answering(counting)
    code, out, _ = type_in("!again", "!again", arguments=("-c",))
    assert (code, out) == (2, "5: stop\n"), "asked once, and then there is nothing to ask again"
    (request,) = again.requests
    assert request.load_image(request.messages[-1].pictures[0]).size == (256, 256)
    with Store.open(home) as store:
        turns = store.conversations.turns(store.conversations.latest()[0].id)
        assert [store.run(turn.run_id).status for turn in turns] == ["done", "cut", "done", "done"]
    assert [(turn.asked[-1].text, turn.replied is None) for turn in turns] == [
        ("one", False), ("stop", True), ("two", False), ("stop", False)
    ]  # fmt: skip


def test_commands_change_how_the_next_turn_is_asked(answering, type_in):
    backend = answering(lambda _: Said(text="ok"))
    lines = ("!mode instant", "!tool mark", "one", "!tool mark", "!mode THINKING", "two", "!tool", "!quit", "three")
    code, _, err = type_in(*lines)
    assert code == 0 and len(backend.requests) == 2
    first, second = backend.requests
    assert (first.thinking, [tool.name for tool in first.tools]) == (False, ["mark"])
    assert (second.thinking, [tool.name for tool in second.tools]) == (True, ["zoom"])
    assert "mode: instant" in err and "tools: mark" in err and "tools: zoom" in err


def test_text_of_several_lines_is_one_question_and_switches_nothing_on(answering, type_in):
    backend = answering(counting)
    lines = ("!multi", "Read this:", "", "!mode instant", "!end", "!multi X", "!end", "!end X", "two")
    type_in(*lines)
    assert [said_to(backend, turn)[-1][1] for turn in range(3)] == ["Read this:\n\n!mode instant", "!end", "two"]
    assert all(request.thinking for request in backend.requests)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (("!imgae panel.png",), "unknown command !imgae (did you mean !image?"),
        (("!image",), "which picture?"),
        (("!image nothing.png",), "there is no file 'nothing.png'"),
        (("!mode fast",), "unknown mode 'fast'"),
        (("!tool pyhton",), "there is no tool 'pyhton' (did you mean python?)"),
        (("!again",), "no question was cut"),
        (("!multi", "never ends"), "the text ended without !end"),
    ],
)
def test_a_wrong_command_is_one_line_and_the_talk_goes_on(answering, type_in, lines, error):
    answering(counting)
    code, out, err = type_in(*lines)
    assert code == 2 and out == ""
    assert f"error: {error}" in err
    if lines[0] != "!multi":
        assert type_in(*lines, "one")[:2] == (0, "1: one\n")


def test_help_names_every_command(answering, type_in):
    answering(counting)
    err = type_in("!help")[2]
    assert all(name in err for name in ("!mode", "!image", "!multi", "!end", "!tool", "!again", "!help", "!quit"))


def test_what_is_not_kept_is_nowhere_and_still_remembered_while_it_lasts(answering, type_in, home):
    answering(counting)
    assert type_in("one", "two", arguments=("--no-save",))[1] == "1: one\n3: two\n"
    assert not home.exists()


def test_several_agents_leave_their_answer_alone(answering, type_in):
    backend = answering(looks_once("347 bar"))
    type_in("!image panel.png", "C?", "!mode instant", "D?", arguments=("--mode", "contemplating", "-o", "agents=2"))
    assert [message.role for message in backend.requests[-1].messages] == ["user", "assistant", "user"]


def test_a_tool_s_files_stay_in_the_conversation_s_folder(answering, type_in, home):
    def script(request) -> Said:
        if request.messages[-1].role == "user":
            code = "import glob; print(glob.glob('*.txt')); open('kept.txt', 'w').write('x')"
            return Said(calls=(ToolCall(id="1", name="python", arguments={"code": code}),))
        return Said(text=request.messages[-1].text.split("\n")[0])

    answering(script)
    code, out, err = type_in("one", arguments=("-T", "python", "--approve", "always"))
    if "refused" in err:
        pytest.skip(f"no sandbox here: {err}")
    assert (code, out) == (0, "[]\n")
    assert type_in("two", arguments=("-c", "--approve", "always"))[1] == "['kept.txt']\n"
    with Store.open(home) as store:
        (record,) = store.conversations.latest()
    assert (home / "folders" / record.id / "kept.txt").read_text() == "x"
