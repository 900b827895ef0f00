"""The languages of the worlds, read from multilingual_LANGUAGE.txt: how questions are asked, and what words mean.

Sections of such a file; entries of several forms put "|" between them:

    [ask WORLD FORM]   templates, one a line; those behind "~" are held out: never trained on
    [slots]            English word: what stands for it in a template, in the forms that {w}, {w:1}, … take
    [colours] [forms]  the same, with "/" between masculine and feminine; forms begin with their gender, m or f
    [names] …          what word problems tell of: forms of a name; one, few and many of a thing
    [units] [say]      English word: what an answer says, then what else is understood; "*" ends a stem
    [sentences]        whole answers

Slots: {a}; {a:1}, the second form; {c:1f}, its feminine; {a T}, the number a with that many things of the sort T.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

Forms = tuple[str, ...]

_SLOT = re.compile(r"\{(\w+)(?: (\w))?(?::(\d)([mf])?)?\}")
_SORTS = {"T": "things", "U": "things", "H": "holders", "P": "people", "N": "names", "M": "names"}


@dataclass(frozen=True)
class Language:
    """One language. `trained` and `held_out`: templates by (world, form); the rest by English word, or in a list."""

    name: str
    trained: Mapping[tuple[str, str], Forms]
    held_out: Mapping[tuple[str, str], Forms]
    words: Mapping[str, Mapping[str, Forms]] = field(default_factory=dict)
    lists: Mapping[str, tuple[Forms, ...]] = field(default_factory=dict)

    def said(self, english: str) -> str:
        """How an answer says an English word."""
        return self.words["say"][english][0]

    def counted(self, number: int, forms: Forms) -> str:
        """A number with as many things: "3 яблока", "21 livros"."""
        if self.name == "zh":
            return f"{number}{forms[1]}"
        if self.name == "pt":
            return f"{number} {forms[number != 1]}"
        ten, one = number // 10 % 10, number % 10
        few = 2 if ten == 1 or one == 0 or one > 4 else 0 if one == 1 else 1
        return f"{number} {forms[few]}"

    def joined(self, *words: str) -> str:
        return ("" if self.name == "zh" else " ").join(word for word in words if word)

    def coloured(self, colour: str, form: str, case: int) -> str:
        """A thing of a colour, or of any ("" for colour), in one of its forms: "красных кругов"."""
        gender, *cases = self.words["forms"][form]
        noun = _at(tuple(cases), case)
        paint = _gendered(_at(self.words["colours"][colour], min(case, 2)), gender) if colour else ""
        return self.joined(noun, paint) if self.name == "pt" else self.joined(paint, noun)

    def fill(self, template: str, values: Mapping[str, Forms], counts: Mapping[str, int]) -> str:
        """Fill a template. `values`: the forms of each slot; `counts`: the numbers that things are counted by."""

        def replace(match: re.Match[str]) -> str:
            name, sort, case, gender = match.groups()
            if sort:
                return self.counted(counts[name], values[sort])
            if name in _SORTS and case is None and _SORTS[name] != "names":
                return values[name][-1]  # many of them
            text = _at(values[name], int(case or 0))
            return _gendered(text, gender or "m") if name == "c" else text

        return _SLOT.sub(replace, template)

    def draw(self, rng: random.Random) -> dict[str, Forms]:
        """What a word problem tells of: two names, two things, what holds them, and people where there are any."""
        drawn: dict[str, Forms] = {}
        for sort, slots in (("names", "NM"), ("things", "TU"), ("holders", "H"), ("people", "P")):
            if sort in self.lists:
                drawn |= zip(slots, rng.sample(self.lists[sort], len(slots)), strict=True)
        return drawn


def _at(forms: Forms, place: int) -> str:
    """A word in one of its forms; where it has fewer, they are alike."""
    return forms[min(place, len(forms) - 1)]


def _gendered(text: str, gender: str) -> str:
    masculine, _, feminine = text.partition("/")
    return feminine if feminine and gender == "f" else masculine


@cache
def language_of(name: str) -> Language:
    """Read a language by its name, as in "ru"."""
    text = files("narthex.evals.worlds").joinpath(f"multilingual_{name}.txt").read_text(encoding="utf-8")
    trained: dict[tuple[str, str], Forms] = {}
    held_out: dict[tuple[str, str], Forms] = {}
    words: dict[str, dict[str, Forms]] = {}
    lists: dict[str, tuple[Forms, ...]] = {}
    section: list[str] = []
    for line in (raw.strip() for raw in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line[1:-1].split()
        elif section[0] == "ask":
            key, templates = (section[1], section[2]), held_out if line.startswith("~") else trained
            templates[key] = (*templates.get(key, ()), line.lstrip("~ "))
        elif section[0] in _SORTS.values():
            lists[section[0]] = (*lists.get(section[0], ()), _forms(line))
        else:
            english, _, told = line.partition(": ")
            words.setdefault(section[0], {})[english] = _forms(told)
    return Language(name, trained, held_out, words, lists)


def _forms(text: str) -> Forms:
    return tuple(form.strip() for form in text.split("|"))
