"""Which lone letters, or how many of something, an answer names; and whether it says "none"."""

from __future__ import annotations

import re

_LONE_LETTER = re.compile(r"(?<![A-Za-z°º'])[A-Z](?![A-Za-z'])")
# "A gauge", "I cannot": a word, not a label.
_WORD_A_OR_I = re.compile(
    r"\b[AI]\s+(?!(?:reads|is|shows|has|says|or|and|with|because|at|to|then|comes|points)\b)(?=[a-z])"
)
_UNIT_LETTER = re.compile(r"(\d)\s*(?:°C|°F|[VAWLCFs])(?![A-Za-z])")
_NONE = re.compile(r"\b(no|not|none|nothing|absent|missing|without|isn't|doesn't|cannot|can't)\b", re.IGNORECASE)

NUMBER_WORDS = {
    "no": "0", "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13",
    "fourteen": "14",
}  # fmt: skip


def counts_in(text: str) -> set[int]:
    """The whole numbers a text states, in figures or words; after an equals sign only what follows counts."""
    words = re.findall(r"[a-z]+|\d+", text.lower().rsplit("=", 1)[-1])
    return {int(found) for word in words if (found := NUMBER_WORDS.get(word, word)).isdigit()}


def letters_in(text: str) -> list[str]:
    """The labels a text names, in order; a unit behind a number is none, and neither are the words A and I."""
    text = text.strip()
    if len(text.strip(".!")) == 1:
        return _LONE_LETTER.findall(text.upper())
    return _LONE_LETTER.findall(_UNIT_LETTER.sub(r"\1", _WORD_A_OR_I.sub("", text)))


def labels_in(question: str) -> set[str]:
    """The labels of a question, where a lone capital is always one."""
    return set(_LONE_LETTER.findall(question))


def named_letters(question: str, answer: str) -> set[str]:
    """Which of the labels that a question asks about an answer names."""
    return set(letters_in(answer)) & labels_in(question)


def says_none(question: str, answer: str) -> bool:
    """Whether an answer says that the label asked for is not there, and neither gives a number nor names another."""
    others = set(_LONE_LETTER.findall(answer)) - labels_in(question) - {"A", "I"}
    return bool(_NONE.search(answer)) and not re.search(r"\d", answer) and not others
