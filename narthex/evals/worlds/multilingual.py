"""The worlds in other languages: the same pictures and answers, asked for in Russian, Ukrainian, Portuguese or Chinese.

"panels-ru" is the world "panels" asked in Russian: item for item the same picture, the same split and the same thought,
which stays terse English. Question and answer are told anew: labels, numbers and units that are printed stay as
printed; what is not (a colour, a form, "rising", "none", the units of word problems) comes in the asker's words, and
word problems tell of the language's own names and things. "panels-multilingual" draws one of the four languages for
each item, and behind "-reworded" both ask in words that training never uses.

What counts as right is what counts in the world itself: an answer's words are put into English, then the world checks
it, with all its rules. English streams are untouched: nothing here draws from theirs.
"""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from narthex.evals.worlds import get_world
from narthex.evals.worlds.item import Answer, Item, Kind, Split, Step, stream
from narthex.evals.worlds.multilingual_parse import Asked, asked_of
from narthex.evals.worlds.multilingual_text import Forms, Language, language_of

LANGUAGES = ("ru", "uk", "pt", "zh")
_ABSENT = re.compile(r"There is no (gauge )?([A-Z]) here\.")
_DIAL = re.compile(r"(?:the )?([a-z]*) ?([A-Z]?)")
_NUMBERS = tuple("0123456789")
_SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
# Which English words an answer may come to, by kind; "count" and the like may also say a number in words.
_SAID: dict[Kind, tuple[str, ...]] = {
    "absent": ("no", "not", "none"), "trend": ("rising", "falling", "flat", "not"), "zone": ("green", "yellow", "red"),
    "nonrelational": (*_SHAPES, "left", "right", "top", "bottom"), "relational": (*_SHAPES, *_NUMBERS),
    "detail": (*_SHAPES, *_NUMBERS), "count": _NUMBERS, "hops": _NUMBERS, "filter": _NUMBERS,
    "range": ("low", "high", "in range", "out of range", "not"),
    "outlier": ("none", "no"), "reach": ("yes", "no", "not"),
}  # fmt: skip
_PORTUGUESE_ARTICLE = re.compile(r"(?:^|(?<=[.!?] ))[AOE]s? (?=(?!é\b|está|mostra|marca|fica|tem|e\b|ou\b)[a-zà-ÿ])")
_SMALL_WORDS = frozenset("no na nos nas em e de do da ou a o as os agora aqui que por cada".split())  # noqa: SIM905
_LOOKALIKES = str.maketrans("АВЕКМНОРСТХУІ", "ABEKMHOPCTXYI")
_KEPT = "°º−µ€%"  # signs beyond ASCII that a number may stand with


@dataclass(frozen=True)
class TranslatedItem(Item):
    """An item in another language. `original`: the English item of the world that its picture comes from."""

    original: Item | None = None
    language: str = ""


class Multilingual:
    """A world in one other language, or in all of them by turns of chance (`language` None).

    `reworded`: questions that training never asks.
    """

    def __init__(self, base: str, language: str | None = None, *, reworded: bool = False) -> None:
        self.name = f"{base}-{language or 'multilingual'}{'-reworded' if reworded else ''}"
        self._base, self._language, self._reworded = base, language, reworded

    def item(
        self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train", **wanted: Any
    ) -> TranslatedItem:
        """Make one item; see `World.item`. `wanted`: what the world itself can be asked for, such as a kind."""
        base: Any = get_world(self._base)
        original = base.item(seed, index, difficulty=difficulty, split=split, **wanted)
        rng = stream(self.name, split, seed, index)
        language = language_of(self._language or rng.choice(LANGUAGES))
        return self._translated(original, language, rng)

    def _translated(self, original: Item, language: Language, rng: random.Random) -> TranslatedItem:
        answer = answer_in(language, original)
        kept = {entry.name: getattr(original, entry.name) for entry in fields(Item)}
        kept |= {
            "world": self.name, "question": question_in(language, original, rng, reworded=self._reworded),
            "answer": answer, "trace": _ending(original.trace, answer),
            "others": tuple(_ending(trace, answer) for trace in original.others),
        }  # fmt: skip
        return TranslatedItem(**kept, original=original, language=language.name)

    def check(self, item: Item, answer: str) -> bool:
        """Say whether `answer` is right: in its own language, by the rules of the world itself."""
        assert isinstance(item, TranslatedItem) and item.original is not None
        base = get_world(self._base)
        return base.check(item.original, in_english(language_of(item.language), item.original, answer))


def _ending(trace: tuple[Step, ...], answer: str) -> tuple[Step, ...]:
    """A demonstration that ends with another answer."""
    return tuple(step._replace(text=answer) if isinstance(step, Answer) else step for step in trace)


def question_in(language: Language, item: Item, rng: random.Random, *, reworded: bool = False) -> str:
    """Ask in a language what an English item asks; `reworded`: in words held out."""
    asked = asked_of(item)
    templates = (language.held_out if reworded else language.trained)[item.world, asked.form]
    template = rng.choice([line for line in templates if _has_all(line, asked)])
    drawn = language.draw(rng) if item.world == "words" else {}
    kept = {slot: text for slot, text in asked.slots.items() if slot not in (*drawn, "N", "M", "T", "U", "H", "P")}
    values = drawn | {slot: _forms_of(language, item.world, slot, text) for slot, text in kept.items()}
    counts = {slot: int(text) for slot, text in asked.slots.items() if text.isdigit()}
    text = language.fill(template, values, counts)
    if item.world in ("panels", "charts", "tables", "forms") and template.startswith(("{a}", "{c}", "{r}")):
        return text  # begins with what is printed
    return text[0].upper() + text[1:]


def _has_all(template: str, asked: Asked) -> bool:
    """Whether a question tells all that a template asks about: it may leave out a unit, or what kind of mark it is."""
    return all(slot in asked.slots for slot in re.findall(r"\{([a-z]+)[ :}]", template))


def _forms_of(language: Language, world: str, slot: str, text: str) -> Forms:
    """What stands in a slot, in all its forms."""
    slots, colours = language.words["slots"], language.words["colours"]
    if world == "dials" and slot in "ab":
        return _dial(language, text)
    if world == "shapes" and slot == "t":
        return _shapes(language, text)
    if world in ("shapes", "routes") and slot == "c":
        return colours[text]
    if world == "shapes" and slot == "f":
        return language.words["forms"][text][1:]
    if world == "words" and slot in ("big", "small"):
        return language.words["units"][text][:1]
    if slot in ("w", "p", "n") or (world == "forms" and slot == "f"):
        return slots[text]
    return (text,)


def _dial(language: Language, text: str) -> Forms:
    """An instrument: "gauge T", "the clock", or a bare letter."""
    found = _DIAL.fullmatch(text)
    assert found is not None
    noun, letter = found.groups()
    if not noun:
        return tuple(form.format(x=letter) for form in language.words["slots"]["bare"])
    return tuple(language.joined(form, letter) for form in language.words["slots"][noun])


def _shapes(language: Language, text: str) -> Forms:
    """What is counted or pointed at, as in "red circles", in all cases."""
    *colour, form = text.split(" ")
    form = form if form in language.words["forms"] else form.removesuffix("s")
    form = form if form in language.words["forms"] else form.removesuffix("e")
    return tuple(language.coloured(colour[0] if colour else "", form, case) for case in range(4))


def answer_like(item: TranslatedItem, english: str) -> str:
    """What an English answer to the item, right or wrong, is in its language; others' proposals are told with it."""
    assert item.original is not None
    return answer_in(language_of(item.language), replace(item.original, answer=english))


def answer_in(language: Language, item: Item) -> str:
    """An English item's answer in a language."""
    answer, said = item.answer, language.words["say"]
    if found := _ABSENT.fullmatch(answer):
        sentence = "no gauge" if found[1] else "no instrument"
        return language.words["sentences"][sentence][0].format(a=found[2])
    if item.world == "words":
        number, _, unit = answer.partition(" ")
        return language.joined(number, language.words["units"][unit][0]) if unit else answer
    return language.said(answer) if item.kind in _SAID and answer in said and not answer.isdigit() else answer


def in_english(language: Language, item: Item, answer: str) -> str:
    """Put an answer's words into English, as far as answers to an item may use them; drop what means nothing here."""
    text = answer.replace("\u2019", "'")
    if len(text.strip(" .!")) == 1:
        text = text.translate(_LOOKALIKES)  # typed on a Cyrillic keyboard
    if item.kind not in ("point", "box"):
        text = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", text)
    text = _put(language, item.kind, _with_units(language, text))
    text = unicodedata.normalize("NFD", text) if language.name == "pt" else text
    return "".join(char if char.isascii() or char in _KEPT else " " for char in text if not unicodedata.combining(char))


@cache
def _unit_pattern(language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What stands for a unit behind a number, and the English of each in small letters, a stem by its stem."""
    english = {form.rstrip("*"): unit for unit, forms in language_of(language).words["units"].items() for form in forms}
    ways = sorted((form for forms in language_of(language).words["units"].values() for form in forms), key=len)
    end = "" if language == "zh" else r"(?!\w)"
    either = "|".join(_stemmed(way) for way in reversed(ways))
    return re.compile(rf"(?<=\d)\s*(?:{either}){end}"), english


def _with_units(language: Language, text: str) -> str:
    pattern, english = _unit_pattern(language.name)
    return pattern.sub(lambda found: f" {english[found[found.lastindex or 0]]} ", text)


@cache
def _said_pattern(language: str, kind: Kind) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What may be said in answer to a kind of question, the longest first, and the English of each group."""
    say = language_of(language).words["say"]
    known = [(form, word) for word in _SAID.get(kind, ()) for form in say.get(word, ())]
    known.sort(key=lambda pair: -len(pair[0]))
    either = "|".join(_stemmed(form) for form, _ in known) or "(?!)"  # the last matches nothing
    whole = either if language == "zh" else rf"(?<!\w)(?:{either})(?!\w)"
    return re.compile(whole, re.IGNORECASE), tuple(word for _, word in known)


def _stemmed(form: str) -> str:
    """A pattern with a group for a word, or for a stem and then any ending."""
    return f"({re.escape(form.rstrip('*'))})" + (r"\w*" if form.endswith("*") else "")


def _put(language: Language, kind: Kind, text: str) -> str:
    """Put the words that an answer may consist of into English. English ones do not count."""
    pattern, english = _said_pattern(language.name, kind)
    if language.name == "pt":
        text = _PORTUGUESE_ARTICLE.sub("", text)
    parts, last = [], 0
    for found in pattern.finditer(text):
        parts += [_cleared(language, kind, text, last, found.start()), f" {english[(found.lastindex or 1) - 1]} "]
        last = found.end()
    return "".join([*parts, _cleared(language, kind, text, last, len(text))])


def _cleared(language: Language, kind: Kind, text: str, start: int, end: int) -> str:
    """A stretch of an answer without words in small Latin letters, which say nothing here unless behind a number."""

    def keep(found: re.Match[str]) -> str:
        is_counted = text[: start + found.start()].rstrip()[-1:].isdigit() and found[0] not in _SMALL_WORDS
        is_label = language.name != "pt" and (kind not in _SAID or kind == "filter")  # written small
        return found[0] if is_counted or is_label else " "

    return re.sub(r"(?<!\w)[a-zà-ÿ]+(?!\w)", keep, text[start:end])


@cache
def world_of(name: str) -> Multilingual:
    """The world of a name that `multilingual_names` lists."""
    base, _, rest = name.partition("-")
    language, _, ending = rest.partition("-")
    return Multilingual(base, None if language == "multilingual" else language, reworded=bool(ending))
