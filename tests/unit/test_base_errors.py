from __future__ import annotations

import pickle

import pytest

from narthex.base import errors


@pytest.mark.parametrize(
    ("cls", "exit_code", "http_status"),
    [
        (errors.NarthexError, 1, 500),
        (errors.UserError, 2, 400),
        (errors.ConfigError, 2, 400),
        (errors.InputError, 2, 400),
        (errors.WeightsError, 2, 400),
        (errors.ContextOverflowError, 2, 400),
        (errors.BackendError, 3, 502),
    ],
)
def test_each_error_knows_its_exit_code_and_status(cls, exit_code, http_status):
    error = cls("it broke", hint="mend it")
    assert (error.exit_code, error.http_status) == (exit_code, http_status)
    assert (str(error), error.hint) == ("it broke", "mend it")


def test_a_model_mistake_is_no_user_error():
    assert not issubclass(errors.ModelMistake, errors.UserError)


def test_format_is_two_lines_and_one_without_a_hint():
    assert errors.format_error(errors.InputError("no", hint="yes")) == "error: no\nhint: yes"
    assert errors.format_error(errors.InputError("no")) == "error: no"


def test_format_spells_out_what_could_drive_a_terminal():
    shown = errors.format_error(errors.InputError("file '\x1b]0;pwned\x07\nhint: rm -rf' \u202e \x9b"))
    assert shown.count("\n") == 0
    assert not any(ch in shown for ch in "\x1b\x07\u202e\x9b")
    assert "\\x1b" in shown


def test_errors_cross_processes_with_their_hint():
    error = pickle.loads(pickle.dumps(errors.BackendError("gone", hint="start it")))
    assert (type(error), error.message, error.hint) == (errors.BackendError, "gone", "start it")
