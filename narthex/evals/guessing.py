"""What guessing scores for one who sees no picture: the best fixed answer to each form of question.

The guesser knows the question's form (a gauge's reading, which of two named bars is higher, a zone's colour) and how
the world draws, and gives every question of that form the one answer that is right most often; "{0}" and "{1}" stand
for the labels that the question names. In a text it works nothing out. Which answers those are, and how often they are
right, was counted on drawn items and stands in guesses.json (scripts/guesses.py writes it).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from narthex.evals.worlds import Item
from narthex.evals.worlds.labels import FAMILIES

GUESS_HOW = (
    "mean over the questions of how often the best fixed answer to a question of that form is right, for one who sees "
    "no picture and works nothing out; counted on other items of the same worlds"
)

_LABELS = frozenset(label for family in FAMILIES.values() for label in family)
_LABEL_FORM = re.compile(r"['\u2019]\d\d\b|(?<![\w'\u2019°])[A-Za-z][A-Za-z0-9]*(?!['\u2019\w])")
_NUMBER = re.compile(r"[-\u2212]?\d")
# Words of one group are alternatives to each other: the question says which group it asks for.
_GROUPS = (("left", "right"), ("top", "bottom"))
# Asked in the words of another kind: only the picture tells them apart.
_ALIKE = {"absent": "read"}


class Guess(NamedTuple):
    """The best fixed answer to a form of question, how often it is right, and on how many items that was counted."""

    answer: str
    share: float
    n: int


def form_of(item: Item) -> str:
    """The form of a question, such as "charts.compare.named": all of it can be told from the question alone."""
    kind = _ALIKE.get(item.kind, item.kind)
    return f"{item.world.partition('-')[0]}.{kind}.{_asks_for(item)}"


def labels_of(question: str) -> list[str]:
    """The labels that a question names, each once, in its order."""
    return list(dict.fromkeys(word for word in _LABEL_FORM.findall(question) if word in _LABELS))


def in_terms_of(question: str, answer: str) -> str:
    """An answer with the question's labels replaced by their places: "K" is "{1}" where J and K are asked about."""
    places = {label: f"{{{place}}}" for place, label in enumerate(labels_of(question))}
    return _LABEL_FORM.sub(lambda found: places.get(found[0], found[0]), answer)


def fill_in(question: str, template: str) -> str:
    """The answer that a template comes to for a question."""
    answer = template
    for place, label in enumerate(labels_of(question)):
        answer = answer.replace(f"{{{place}}}", label)
    return answer


def guess(item: Item) -> Guess | None:
    """What the guesser says to an item and how often that is right; None where nothing was counted."""
    found = _guesses().get(form_of(item))
    return None if found is None else found._replace(answer=fill_in(item.question, found.answer))


def _asks_for(item: Item) -> str:
    """What kind of answer a question asks for."""
    if item.kind == "absent":
        return "number"
    if item.kind == "field":
        return "entry"
    if item.kind == "trend":
        return "between" if labels_of(item.question) else "whole"
    if re.match(r"\d{1,2}:\d\d$", item.answer):
        return "time"
    if _NUMBER.match(item.answer):
        return "number"
    for group in _GROUPS:
        if item.answer in group:
            return "-".join(group)
    return "named" if item.answer in labels_of(item.question) else "word"


@lru_cache(maxsize=1)
def _guesses() -> dict[str, Guess]:
    text = files("narthex.evals").joinpath("guesses.json").read_text(encoding="utf-8")
    return {form: Guess(**entry) for form, entry in json.loads(text)["forms"].items()}
