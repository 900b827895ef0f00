"""Whatever is wrong with a request: one line, one hint, exit code 2, and nothing left behind."""

from __future__ import annotations

import io

import pytest

from narthex.cli import main
from narthex.cli.inputs import Options, parse_options

from .cli_helpers import bomb_png, require_refusal


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder to stand in, with some files, and a home that must not appear."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NARTHEX_DEBUG", raising=False)
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "notes.png").write_text("no picture at all")
    (tmp_path / "bomb.png").write_bytes(bomb_png())
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["ask", "  "], "the question is empty", "for example: narthex ask"),
        (["ask", "q", "--image", "notes.png"], r"notes\.png: .*not a picture", "PNG, JPEG"),
        (["ask", "q", "--image", "notse.png"], r"no file 'notse\.png'", r"did you mean 'notes\.png'"),
        (["ask", "q", "--image", "folder"], "is a folder", "name a file"),
        (["ask", "q", "-a", "bomb.png"], r"bomb\.png: the picture declares .*limit", "scale it down"),
        (["ask", "q", "-a", "-", "-a", "-"], "stdin can hold one picture", "files"),
        (["ask", "q", "--mode", "thinkin"], "unknown mode 'thinkin'", "did you mean 'thinking'"),
        (["ask", "q", "--mode", "instant", "--max-think", "9"], "Instant does not think", "--mode thinking"),
        (["ask", "q", "-m", "./folder"], "no config.json", "published format"),
        (["ask", "q", "-m", "./nowhere"], "nowhere does not exist", "config.json"),
        (["ask", "q", "-m", "narthex-nono"], "no model 'narthex-nono'", ".+"),
        (["ask", "q", "-o", "temprature", "1"], "unknown option 'temprature'", "did you mean 'temperature'"),
        (["ask", "q", "-o", "temperature"], "-o temperature lacks a value", "-o temperature 0.7"),
        (["ask", "q", "-o", "temperature", "warm"], "should be a number, not 'warm'", "from 0 to 2"),
        (["ask", "q", "-o", "top_p", "0"], "out of range", "above 0"),
        (["ask", "q", "-o", "temperature", "nan"], "out of range", "from 0 to 2"),
        (["ask", "q", "--seed", "-1"], "--seed is -1", "from 0"),
        (["ask", "q", "--seed", "one"], "should be a whole number, not 'one'", "from 0"),
        (["ask", "q", "--seed", "1", "-o", "seed", "2"], "seed is given twice", "leave one"),
        (["ask", "q", "--events"], "--events is a part of --json", "add --json"),
        (["ask", "q", "--imag", "x"], "no such option: --imag", "narthex ask --help"),
        (["ask", "q", "more"], "extra argument", "narthex ask --help"),
        (["ask", "q", "--approve", "allways"], "--approve is 'allways'", "did you mean 'always'"),
        (["ask", "q", "--approve", "ask"], "nobody can be asked here", "always, or never"),
        (["ask", "q", "-T", "pyhton"], "no tool 'pyhton'", "did you mean python"),
        (["ask", "q", "--upstream", "nobody"], "no upstream 'nobody'", "narthex.toml"),
        (["ask", "q", "--upstream", "http://localhost:1/v1", "--device", "cpu"], "--device is for models", "leave one"),
        (["ask", "q", "-o", "agents", "0"], "out of range", "from 1"),
        (["ask", "-c", "q"], "no conversation to go on with", "ask something first"),
        (["chat", "abc"], "is said with -c", "narthex chat -c abc"),
        (["chat", "--mode", "fast"], "unknown mode 'fast'", "instant, thinking"),
        (["chat", "-T", "pyhton"], "no tool 'pyhton'", "did you mean python"),
        (["chat", "-m", "./nowhere"], "nowhere does not exist", "config.json"),
        (["eval", "worlds.panels", "--upstream", "x", "--device", "cpu"], "--device is for models", "leave one"),
        (["aks", "q"], "no such command 'aks'", "narthex --help"),
        (["ask", "q\udcff"], "the question is not UTF-8", "encoding"),
        (["eval", "worlds.panel"], "worlds.panel", "worlds.panels"),
        (["eval", "worlds.panels", "--mode", "fast"], "unknown mode 'fast'", "instant, thinking"),
        (["eval", "worlds.panels", "--seed", "x"], "whole number", "from 0"),
        (["eval", "worlds.panels", "-o", "top_p", "0.5"], "no top_p", "temperature"),
        (["eval", "worlds.panels", "--limit", "0", "-m", "./nowhere"], "limit is 0", "1 or more"),
        (["eval", "worlds.panels", "-m", "./nowhere"], "nowhere does not exist", "config"),
        (["demo", "--seed", "-3"], "out of range", "from 0"),
    ],
)
def test_bad_requests_are_refused_in_two_lines(arguments, error, hint, capsys, place):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    require_refusal(shown.err, error=error, hint=hint)
    assert not (place / "home").exists()


def test_a_pipe_that_is_no_text_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\x89PNG\xff")))
    assert main(["ask", "q"]) == 2
    require_refusal(capsys.readouterr().err, error="stdin is not UTF-8", hint="--image -")


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more(monkeypatch, capsys):
    monkeypatch.setattr("narthex.cli.ask.parse_options", lambda *_, **__: {}["missing"])
    assert main(["ask", "q"]) == 1
    require_refusal(capsys.readouterr().err, error="KeyError: 'missing'", hint="NARTHEX_DEBUG=1")
    monkeypatch.setenv("NARTHEX_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["ask", "q"])


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("narthex.cli.ask.parse_options", interrupted)
    assert main(["ask", "q"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_options_come_from_flags_and_pairs():
    assert parse_options(["temperature=0.5", "top_p=1", "seed=7"], seed="7", max_think="9") == Options(
        temperature=0.5, top_p=1.0, seed=7, think_tokens=9
    )
    assert parse_options([]) == Options()
