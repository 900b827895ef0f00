"""Folders, devices and logging: what base knows of the machine."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from narthex.base import (
    ConfigError,
    describe_device,
    get_logger,
    narthex_home,
    pick_device,
    setup_logging,
    wants_colour,
)


def test_narthex_home_moves_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "kept"))
    assert narthex_home() == tmp_path / "kept"
    assert not (tmp_path / "kept").exists()


def test_a_relative_narthex_home_does_not_move_with_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NARTHEX_HOME", "kept")
    monkeypatch.chdir(tmp_path)
    assert narthex_home() == tmp_path / "kept"


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [("linux", "XDG_DATA_HOME", "narthex"), ("win32", "LOCALAPPDATA", "Narthex")],
)
def test_the_platform_s_data_folder(monkeypatch, tmp_path, platform, variable, end):
    monkeypatch.delenv("NARTHEX_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert narthex_home() == tmp_path / end


def test_a_relative_xdg_folder_is_ignored(monkeypatch, tmp_path):
    monkeypatch.delenv("NARTHEX_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert narthex_home() == tmp_path / ".local" / "share" / "narthex"


def test_devices_say_why_they_were_chosen():
    assert describe_device("cpu").reason == "asked for"
    automatic = describe_device(None)
    assert automatic.name == pick_device() and automatic.reason.startswith("automatic:")
    assert automatic.num_threads >= 1


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ConfigError) as caught:
        pick_device(name)
    assert caught.value.hint


def test_base_and_chat_do_not_import_torch():
    code = "import sys, narthex.base, narthex.chat; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def clean_logging():
    yield
    root = logging.getLogger("narthex")
    root.handlers.clear()
    root.propagate, root.level = True, logging.NOTSET


@pytest.mark.usefixtures("clean_logging")
def test_logging_goes_to_one_stream_at_the_level_asked_for():
    first, second = io.StringIO(), io.StringIO()
    setup_logging(2, stream=first)
    setup_logging(0, stream=second)
    get_logger("store").info("quiet")
    get_logger("narthex.store").warning("heard")
    assert first.getvalue() == ""
    assert second.getvalue() == "WARNING narthex.store: heard\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_color_wins_over_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal()) and not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
