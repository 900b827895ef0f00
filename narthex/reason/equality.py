"""When two answers are the same: equal numbers, choices, sets, JSON values, or text but for what does not count.

A task that knows better hands its own `Same` to the run. Texts too long for this are compared by asking a model
(`contemplating.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Same = Callable[[str, str], bool]

MAX_EXACT_CHARS = 120  # longer answers say the same thing in different words
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_STATED = re.compile(r"(?:^|\n)[^\n]*\banswer\b(?:\s+is)?\s*[:=]?\s*\**([^\n]+?)\**\s*$", re.IGNORECASE)
_QUANTITY = re.compile(r"([-+\u2212]?\d+(?:,\d{3})*(?:\.\d+)?)\s*([^\d\s,;.!?]*(?:\s?/\s?\w+)?)[.!]?")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?[.:)]?")
_BREAKS = re.compile(r"\s*(?:,|;|\band\b)\s*")
_PUNCTUATION = re.compile(r"[^\w%°+\-./\u2212 ]")


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are equal by their kind. A number without a unit equals the same number with one."""
    return _agree(_value(core(one)), _value(core(other)))


def core(answer: str) -> str:
    r"""The part of an answer that counts: what stands in \boxed{…} or after "the answer is" at the end, else all."""
    boxed = _BOXED.findall(answer)
    if boxed:
        return str(boxed[-1])
    stated = _STATED.search(answer.strip())
    return stated[1] if stated and "\n" in answer.strip() else answer.strip()


def is_exact(answer: str) -> bool:
    """Whether an answer is short enough, or of a kind, that its words can be compared."""
    found = core(answer)
    return len(found) <= MAX_EXACT_CHARS or _as_json(found) is not None


def _agree(one: Any, other: Any) -> bool:
    if one[0] == other[0] == "quantity":
        return bool(one[1] == other[1] and (one[2] == other[2] or not one[2] or not other[2]))
    return bool(one == other)


def _value(text: str) -> tuple[Any, ...]:
    """What a text stands for, by the first kind that fits."""
    structure = _as_json(text)
    if structure is not None:
        return "json", structure
    plain = text.strip().strip("*_`\"'").strip()
    if found := _QUANTITY.fullmatch(plain):
        return "quantity", Decimal(found[1].replace(",", "").replace("\u2212", "-")), found[2].casefold()
    if found := _CHOICE.fullmatch(plain):
        return "choice", found[1].upper()
    parts = [part for part in _BREAKS.split(plain) if part]
    if len(parts) > 1 and all(len(part.split()) <= 3 for part in parts):
        return "set", frozenset(_normalised(part) for part in parts)
    return "text", _normalised(plain)


def _as_json(text: str) -> str | None:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _normalised(text: str) -> str:
    return " ".join(_PUNCTUATION.sub(" ", text.casefold()).split()).rstrip(".")
