"""Reading settings: every problem at once, each with a suggestion, never a key dropped in silence."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from narthex.base.errors import ConfigError

T = TypeVar("T")

_UNION_ORIGINS = (Union, types.UnionType)


class _Mismatch(Exception):
    """Internal: one or more problems found below one value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was most likely meant to be, or None if nothing is near."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    # 0.6 is difflib's own default: one slip in four letters passes, another word does not.
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def read_dataclass(cls: type[T], mapping: Mapping[str, Any], *, where: str) -> T:
    """Build the dataclass `cls` from plain data (JSON, TOML), nested dataclasses included.

    An int is accepted where a float is asked for, a list where a tuple, a string where a Path. A bool is no int.
    `where` names the source in messages, such as "config.json".
    Raises: ConfigError naming every unknown, missing or ill-typed key, not only the first.
    """
    try:
        return _read(cls, mapping, path="")
    except _Mismatch as mismatch:
        count = len(mismatch.problems)
        head = f"{where}: " if count == 1 else f"{where} has {count} problems: "
        raise ConfigError(head + "; ".join(mismatch.problems), hint=f"correct {where} and try again") from None


def _read(cls: type[T], mapping: Any, *, path: str) -> T:
    if not isinstance(mapping, Mapping):
        raise _Mismatch([f"{path or 'the whole'} should be a table of keys, not {_show(mapping)}"])
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in fields:
            guess = did_you_mean(str(key), fields)
            problems.append(f"unknown key '{path}{key}'" + (f" (did you mean '{path}{guess}'?)" if guess else ""))
            continue
        try:
            values[key] = _convert(value, hints[key], path=f"{path}{key}")
        except _Mismatch as mismatch:
            problems.extend(mismatch.problems)
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in mapping and not has_default:
            problems.append(f"missing key '{path}{name}'")
    if problems:
        raise _Mismatch(problems)
    try:
        return cls(**values)
    except ConfigError as error:
        raise _Mismatch([error.message]) from error
    except ValueError as error:
        raise _Mismatch([f"{path}: {error}" if path else str(error)]) from error


def _convert(value: Any, kind: Any, *, path: str) -> Any:
    """`value` as `kind`, or _Mismatch."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in _UNION_ORIGINS:
        return _convert_union(value, arguments, kind, path=path)
    if origin is Literal:
        # `1 == True` in Python, so types are compared too.
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise _Mismatch([_wrong_choice(value, arguments, path)])
    if origin in (list, tuple, Sequence):
        return _convert_sequence(value, origin, arguments, kind, path=path)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _Mismatch([f"'{path}' should be a table of keys, not {_show(value)}"])
        return _convert_table(value, arguments, path=path)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _read(kind, value, path=f"{path}.")
    return _convert_scalar(value, kind, path=path)


def _convert_table(value: Mapping[Any, Any], arguments: tuple[Any, ...], *, path: str) -> dict[Any, Any]:
    problems: list[str] = []
    converted: dict[Any, Any] = {}
    for key, entry in value.items():
        try:
            converted[_convert(key, arguments[0], path=f"{path} (key)")] = _convert(
                entry, arguments[1], path=f"{path}.{key}"
            )
        except _Mismatch as mismatch:
            problems.extend(mismatch.problems)
    if problems:
        raise _Mismatch(problems)
    return converted


def _convert_scalar(value: Any, kind: Any, *, path: str) -> Any:
    if kind is None or kind is type(None):
        if value is None:
            return None
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise _Mismatch([f"'{path}' should be {_name(kind)}, not {_show(value)}"])


def _convert_union(value: Any, choices: tuple[Any, ...], kind: Any, *, path: str) -> Any:
    # An exact type wins over one that would convert: 3 stays an int in `float | int`.
    for choice in choices:
        if isinstance(choice, type) and type(value) is choice:
            return value
    deeper: list[str] = []
    for choice in choices:
        try:
            return _convert(value, choice, path=path)
        except _Mismatch as mismatch:
            if typing.get_origin(choice) is Literal or dataclasses.is_dataclass(choice):
                deeper.extend(mismatch.problems)
    raise _Mismatch(deeper or [f"'{path}' should be {_name(kind)}, not {_show(value)}"])


def _convert_sequence(value: Any, origin: Any, arguments: tuple[Any, ...], kind: Any, *, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _Mismatch([f"'{path}' should be {_name(kind)}, not {_show(value)}"])
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise _Mismatch([f"'{path}' should have {len(arguments)} entries, not {len(value)}"])
        kinds: Sequence[Any] = arguments
    else:
        kinds = [arguments[0]] * len(value)
    problems: list[str] = []
    converted: list[Any] = []
    for index, (entry, entry_kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            converted.append(_convert(entry, entry_kind, path=f"{path}[{index}]"))
        except _Mismatch as mismatch:
            problems.extend(mismatch.problems)
    if problems:
        raise _Mismatch(problems)
    return tuple(converted) if origin is tuple else converted


def _wrong_choice(value: Any, choices: tuple[Any, ...], path: str) -> str:
    text = f"'{path}' should be one of {', '.join(repr(choice) for choice in choices)}, not {_show(value)}"
    guess = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else None
    return text + (f" (did you mean '{guess}'?)" if guess else "")


def _name(kind: Any) -> str:
    plain = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if typing.get_origin(kind) in _UNION_ORIGINS:
        return " or ".join(_name(choice) for choice in typing.get_args(kind))
    if kind in (list, tuple) or typing.get_origin(kind) in (list, tuple, Sequence):
        return "a list"
    return plain.get(kind, getattr(kind, "__name__", str(kind)))


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
