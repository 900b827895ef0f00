"""What bars, rows and the like are called, and which of those names an answer says."""

from __future__ import annotations

import re

from narthex.evals.worlds.panel_scene import LETTERS

FAMILIES: dict[str, tuple[str, ...]] = {
    "letter": tuple(LETTERS),
    "month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "day": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "quarter": ("Q1", "Q2", "Q3", "Q4"),
    "year": tuple(f"'{year:02}" for year in range(5, 31)),
    "word": (
        "Tea", "Oil", "Gas", "Rice", "Corn", "Milk", "Salt", "Wood", "Iron", "Coal", "Fish", "Wool", "Silk", "Zinc",
        "Rye", "Oats", "Hay", "Beef", "Figs", "Nuts", "Wine", "Lead", "Jute", "Hemp",
    ),
    "name": (
        "Ann", "Bob", "Eva", "Leo", "Mia", "Tom", "Ida", "Max", "Zoe", "Kai", "Amy", "Dan", "Ben", "Una", "Ivo", "Liv",
        "Sam", "Kim", "Joe", "Lea", "Noa", "Ray", "Ada", "Gus",
    ),
}  # fmt: skip
_FULL_NAMES = frozenset((
    "january", "february", "march", "april", "june", "july", "august", "september", "sept", "october", "november",
    "december", "monday", "tuesday", "tues", "wednesday", "thursday", "thurs", "friday", "saturday", "sunday",
))  # fmt: skip
# "A bar", "I cannot": words, not letters that name something.
_WORD_A_OR_I = re.compile(r"\b[AI]\s+(?!(?:reads|is|shows|has|and|or|with|because|at)\b)(?=[a-z])")
_LONE_LETTER = re.compile(r"(?<![A-Za-z'\u2019])[A-Z](?![A-Za-z'\u2019])")
_QUANTITY = re.compile(r"\d[\d.,]*\s*[A-Za-z°%]+")  # "20 W" names no W
_YEAR = re.compile(r"(?<!\d)(?:20|['\u2019])?(\d\d)(?!\d)")


def family_of(label: str) -> str:
    """The family that a label belongs to; no label is of two."""
    return next(family for family, labels in FAMILIES.items() if label in labels)


def named_labels(answer: str, family: str) -> set[str]:
    """Which labels of a family an answer names; months and days also in full, years also with their century."""
    if family == "letter":
        text = _WORD_A_OR_I.sub("", _QUANTITY.sub("", answer).strip())
        return {text[0].upper()} if len(text.strip(".! ")) == 1 else set(_LONE_LETTER.findall(text))
    if family == "year":
        return {f"'{digits}" for digits in _YEAR.findall(answer)}
    words = re.findall(r"[a-z]+\d?", answer.casefold())
    if family in ("month", "day"):  # three letters are enough, and more must be the rest of the name
        starts = {label.casefold(): label for label in FAMILIES[family]}
        return {starts[word[:3]] for word in words if word[:3] in starts and (word in starts or word in _FULL_NAMES)}
    return {label for label in FAMILIES[family] if label.casefold() in words}
