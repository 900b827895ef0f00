from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from narthex.base import ConfigError, did_you_mean, read_dataclass


@dataclass(frozen=True)
class Rope:
    theta: float
    kind: Literal["llama3", "none"] = "none"


@dataclass(frozen=True)
class Settings:
    hidden_size: int
    rope: Rope
    eps: float = 1e-5
    name: str | None = None
    is_tied: bool = False
    layers: tuple[int, ...] = ()
    size: tuple[int, int] = (1, 1)
    folder: Path | None = None
    factors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hidden_size % 2:
            raise ValueError("hidden_size must be even")


def test_reads_nested_data_and_converts_what_is_safe():
    settings = read_dataclass(
        Settings,
        {"hidden_size": 4, "rope": {"theta": 10}, "layers": [1, 2], "size": [3, 4], "folder": "a/b",
         "factors": {"low": 1}, "name": None},
        where="config.json",
    )
    assert settings == Settings(4, Rope(10.0), layers=(1, 2), size=(3, 4), folder=Path("a/b"), factors={"low": 1.0})
    assert isinstance(settings.rope.theta, float)


def test_all_problems_come_at_once_each_with_its_place():
    with pytest.raises(ConfigError) as caught:
        read_dataclass(
            Settings,
            {"hiden_size": 4, "rope": {"tehta": 1.0, "kind": "lama3"}, "eps": "small", "layers": [1, "x"], "size": [1],
             "is_tied": 1, "zzz": 0},
            where="config.json",
        )
    message = caught.value.message
    for part in (
        "config.json has 10 problems",
        "unknown key 'hiden_size' (did you mean 'hidden_size'?)",
        "missing key 'hidden_size'",
        "unknown key 'rope.tehta' (did you mean 'rope.theta'?)",
        "missing key 'rope.theta'",
        "'rope.kind' should be one of 'llama3', 'none', not 'lama3' (did you mean 'llama3'?)",
        "'eps' should be a number, not 'small'",
        "'layers[1]' should be a whole number, not 'x'",
        "'size' should have 2 entries, not 1",
        "'is_tied' should be true or false, not 1",
        "unknown key 'zzz';",
    ):
        assert part in message + ";"
    assert caught.value.hint


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_only_a_whole_number_is_a_whole_number(value):
    with pytest.raises(ConfigError, match="'hidden_size' should be a whole number"):
        read_dataclass(Settings, {"hidden_size": value, "rope": {"theta": 1.0}}, where="x")


def test_the_class_s_own_checks_are_reported_the_same_way():
    with pytest.raises(ConfigError, match=r"^x: hidden_size must be even$"):
        read_dataclass(Settings, {"hidden_size": 3, "rope": {"theta": 1.0}}, where="x")


@pytest.mark.parametrize("mapping", [[], "text", None, {"hidden_size": 2, "rope": 7}])
def test_something_that_is_no_table(mapping):
    with pytest.raises(ConfigError, match="table of keys"):
        read_dataclass(Settings, mapping, where="x")


def test_did_you_mean():
    assert did_you_mean("Thinkng", ["instant", "thinking"]) == "thinking"
    assert did_you_mean("banana", ["instant", "thinking"]) is None
