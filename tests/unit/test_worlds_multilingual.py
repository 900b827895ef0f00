"""Worlds in other languages: the same tasks, asked and answered in the asker's words, checked by the world itself."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from narthex.base.errors import ConfigError
from narthex.evals import get_task
from narthex.evals.worlds import Call, Look, get_world, multilingual_names
from narthex.evals.worlds.item import Item
from narthex.evals.worlds.multilingual import (
    LANGUAGES,
    TranslatedItem,
    _forms_of,
    _has_all,
    answer_like,
    question_in,
)
from narthex.evals.worlds.multilingual_parse import WORLDS, asked_of, forms_of, readings
from narthex.evals.worlds.multilingual_text import language_of

CASES = [(world, language) for world in WORLDS for language in LANGUAGES]
NUM_ITEMS = 120
_ENGLISH: dict[str, list[Item]] = {}
_OWN = {"ru": "а-яё", "uk": "а-яєіїґ", "pt": "a-zà-ÿ", "zh": "\u4e00-\u9fff"}


def english(world: str) -> list[Item]:
    """Items of a world as it is, drawn once."""
    if world not in _ENGLISH:
        _ENGLISH[world] = [get_world(world).item(21, index, split="test") for index in range(NUM_ITEMS)]
    return _ENGLISH[world]


def told(item: Item, language: str, name: str) -> TranslatedItem:
    return get_world(name)._translated(item, language_of(language), random.Random(item.question))


def plain(template: str) -> str:
    """A template's words alone."""
    return "".join(char for char in re.sub(r"\{[^}]*\}", "", template).casefold() if char.isalpha())


@pytest.mark.parametrize("world", WORLDS)
def test_every_english_question_is_understood_in_one_way(world: str) -> None:
    seen = set()
    for item in english(world):
        (asked,) = readings(item)
        seen.add(asked.form)
    assert seen <= set(forms_of(world)) and len(seen) > 0.7 * len(forms_of(world))


def test_a_question_of_no_template_is_refused() -> None:
    with pytest.raises(ValueError, match="no template of panels makes the question"):
        asked_of(replace(english("panels")[0], question="Who are you?"))


@pytest.mark.parametrize(("world", "language"), CASES)
def test_every_form_has_wordings_and_others_held_out(world: str, language: str) -> None:
    found = language_of(language)
    for form in forms_of(world):
        trained, held = found.trained[world, form], found.held_out[world, form]
        assert len(trained) >= 2 and held
        assert not {plain(line) for line in trained} & {plain(line) for line in held}
    asked = {key for key in (*found.trained, *found.held_out) if key[0] == world}
    assert asked == {(world, form) for form in forms_of(world)}, "a section that no question leads to"


def test_no_wording_is_of_two_languages() -> None:
    for one, two in combinations(LANGUAGES, 2):
        lines = [
            {plain(line) for part in (language_of(name).trained, language_of(name).held_out) for lines in part.values()
             for line in lines} - {""}
            for name in (one, two)
        ]  # fmt: skip
        assert not {line for line in lines[0] & lines[1] if len(line) > 3}, (one, two)


@pytest.mark.parametrize(("world", "language"), CASES)
def test_the_same_task_asked_anew(world: str, language: str) -> None:
    name = f"{world}-{language}"
    asked = 0
    for item in english(world):
        other = told(item, language, name)
        assert other.picture is item.picture and other.glyphs == item.glyphs and other.kind == item.kind
        assert other.world == name and other.language == language and other.original is item
        assert [step.thought for step in other.trace] == [step.thought for step in item.trace], "thoughts stay English"
        assert other.trace[-1].text == other.answer and all(trace[-1].text == other.answer for trace in other.others)
        assert [s for s in other.trace if isinstance(s, Look | Call)] == [
            s for s in item.trace if isinstance(s, Look | Call)
        ]
        assert "{" not in other.question and "/" not in re.sub(r"\w+/\w+", "", other.question)
        asked += bool(re.search(f"[{_OWN[language]}]", other.question, re.IGNORECASE))
        if world != "words":  # of which names and things are told anew
            labels = [text.split()[-1] for slot, text in asked_of(item).slots.items() if slot in "abrs"]
            assert all(label in other.question for label in labels if not label.islower())
        numbers = re.findall(r"\d+", item.question)
        assert sorted(numbers) == sorted(re.findall(r"\d+", other.question)), (item.question, other.question)
    assert asked > 0.85 * NUM_ITEMS  # the others are as short as "C?"


@pytest.mark.parametrize(("world", "language"), CASES)
def test_answers_are_right_in_their_own_language_and_wrong_ones_wrong(world: str, language: str) -> None:
    name = f"{world}-{language}"
    place = get_world(name)
    items = [told(item, language, name) for item in english(world)]
    by_kind: dict[str, list[TranslatedItem]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
        assert place.check(item, item.answer), (item.question, item.answer)
        assert not place.check(item, "") and not place.check(item, "?")
        if item.answer != item.original.answer and world != "words" and language != "pt":
            assert not place.check(item, item.original.answer), "the asker did not ask in English"
    for kind, found in by_kind.items():
        for one, two in pairwise(found):
            # Another answer of the kind is wrong wherever the world itself calls it wrong.
            expected = get_world(world).check(one.original, two.original.answer)
            assert place.check(one, two.answer) is expected, (kind, one.answer, two.answer)


@pytest.mark.parametrize(
    ("world", "language", "kind", "answer", "said"),
    [
        ("charts", "ru", "trend", "rising", ("Растёт.", "растет", "Идёт вверх", "возрастает")),
        ("charts", "uk", "trend", "falling", ("Спадає.", "падає", "йде вниз")),
        ("charts", "pt", "trend", "rising", ("Sobe.", "Está subindo", "aumenta")),
        ("charts", "zh", "trend", "flat", ("平稳。", "没变", "基本持平")),
        ("dials", "ru", "zone", "green", ("зелёный", "В зелёной зоне.", "зеленая")),
        ("dials", "pt", "zone", "red", ("vermelho", "Na zona vermelha.")),
        ("shapes", "uk", "count", "3", ("3", "три", "Їх три.")),
        ("shapes", "zh", "count", "3", ("3", "三", "有3个。", "三个")),
        ("shapes", "pt", "nonrelational", "cross", ()),
        ("shapes", "ru", "relational", "circle", ("круг", "Это круг.", "Кругу")),
        ("forms", "ru", "range", "in range", ("в норме", "Значение в пределах нормы.")),
        ("forms", "pt", "range", "low", ("baixo", "Está abaixo da faixa")),
        ("forms", "zh", "range", "high", ("偏高", "高于范围")),
        ("routes", "ru", "reach", "no", ("нет", "Нет, нельзя.", "Нельзя")),
        ("routes", "zh", "reach", "yes", ("能", "可以。", "是的")),
        ("routes", "uk", "reach", "yes", ("так", "Так, можна.")),
    ],
)
def test_what_people_say(world: str, language: str, kind: str, answer: str, said: tuple[str, ...]) -> None:
    place = get_world(f"{world}-{language}")
    found = (place.item(5, index, kind=kind) for index in range(400))
    item = next((item for item in found if item.original.answer == answer), None)
    assert item is not None or not said
    for words in said:
        assert place.check(item, words), words
    for other in ("рост и падение", "зелёный и красный", "sim e não", "круг и квадрат", "偏高偏低", "能，不能"):
        assert item is None or not place.check(item, other)


@pytest.mark.parametrize(
    ("language", "said", "unsaid"),
    [
        ("ru", ("{n} км", "{n}", "Это {n} километров.", "= {n} км"), ("{n} кг", "{n} м", "один")),
        ("uk", ("{n} км", "{n} кілометрів"), ("{n} год", "{n} м")),
        ("pt", ("{n} km", "São {n} quilômetros."), ("{n} kg", "{n} m")),
        ("zh", ("{n}公里", "一共{n}千米。", "{n} km"), ("{n}公斤", "{n}米")),
    ],
)
def test_units_are_said_in_words(language: str, said: tuple[str, ...], unsaid: tuple[str, ...]) -> None:
    place = get_world(f"words-{language}")
    found = (place.item(5, index) for index in range(400))
    item = next(item for item in found if item.original.answer.endswith(" km"))
    number = item.original.answer.split()[0]
    assert all(place.check(item, words.format(n=number)) for words in said)
    assert not any(place.check(item, words.format(n=number)) for words in unsaid)


def test_a_unit_that_is_printed_may_be_said_and_a_letter_typed_in_cyrillic() -> None:
    place = get_world("panels-ru")
    found = [place.item(5, index, split="test") for index in range(300)]
    watt = next(item for item in found if item.kind == "read" and item.answer.endswith(" W"))
    number = watt.answer.split()[0]
    assert place.check(watt, f"{number} Вт") and place.check(watt, f"Там {number.replace('.', ',')} ватт.")
    assert not place.check(watt, f"{number} В")
    letter = next(item for item in found if item.kind == "compare" and item.answer in "ABEKMHOPCT")
    assert place.check(letter, letter.answer.translate(str.maketrans("ABEKMHOPCT", "АВЕКМНОРСТ")))
    absent = next(item for item in found if item.kind == "absent")
    assert place.check(absent, "Такого прибора нет.") and not place.check(absent, "Прибор есть.")


def test_an_article_is_no_label_and_a_label_no_article() -> None:
    place = get_world("panels-pt")
    found = [place.item(5, index, kind="compare") for index in range(300)]
    named = next(item for item in found if item.answer == "A")
    assert place.check(named, "A é maior.") and place.check(named, "A")
    beside = (item for item in found if "A" in re.findall(r"\b[A-Z]\b", item.original.question))
    asked = next(item for item in beside if item.answer != "A")
    assert place.check(asked, f"A leitura de {asked.answer} ganha.") and not place.check(asked, "A marca mais.")
    read = next(item for item in (place.item(5, k, kind="read") for k in range(300)) if "." in item.answer)
    number, unit = read.answer.split(" ")
    assert place.check(read, f"O medidor marca {number.replace('.', ',')} {unit} no painel.")
    assert not place.check(read, f"O medidor marca {number} metros.")


@pytest.mark.parametrize(("world", "language"), CASES)
def test_every_template_asks_what_the_question_asked(world: str, language: str) -> None:
    """Each can be filled from some item, and none has a slot that no question of its form fills."""
    found = language_of(language)
    slots: dict[str, set[str]] = {}
    for item in english(world):
        asked = asked_of(item)
        slots.setdefault(asked.form, set()).update(asked.slots)
        for slot, text in asked.slots.items():
            assert all(_forms_of(found, world, slot, text)), (slot, text)
    for form, known in slots.items():
        known |= set(found.draw(random.Random(0))) if world == "words" else set()
        for line in (*found.trained[world, form], *found.held_out[world, form]):
            used = {part for slot in re.findall(r"\{([^}:]*)", line) for part in slot.split(" ")}
            assert used <= known, line


def test_a_template_whose_slot_is_not_told_is_not_taken() -> None:
    item = next(item for item in english("charts") if item.kind == "read" and "{u}" not in item.question)
    asked = asked_of(item)
    assert "u" not in asked.slots and not _has_all("Сколько {u} у {a}?", asked)
    questions = {question_in(language_of("ru"), item, random.Random(seed)) for seed in range(60)}
    assert len(questions) >= 5 and all("{" not in question for question in questions)


def test_wrong_answers_of_others_are_told_in_the_items_language_too() -> None:
    item = next(i for i in (get_world("panels-ru").item(5, k) for k in range(200)) if i.kind == "absent")
    assert answer_like(item, item.original.answer) == item.answer
    assert answer_like(item, "347 bar") == "347 bar"
    trend = next(i for i in (get_world("charts-zh").item(5, k) for k in range(200)) if i.kind == "trend")
    wrong = next(word for word in ("rising", "falling") if word != trend.original.answer)
    assert not get_world("charts-zh").check(trend, answer_like(trend, wrong))


def test_tasks_take_all_worlds_in_turn() -> None:
    for ending in ("multilingual", "multilingual-reworded", *LANGUAGES):
        task = get_task(f"worlds.{ending}")
        items = [task.item(3, index) for index in range(len(WORLDS))]
        assert {item.world for item in items} == {f"{world}-{ending}" for world in WORLDS}
        assert all(task.check(item, item.answer) for item in items)


def test_names_and_streams() -> None:
    assert len(multilingual_names()) == len(WORLDS) * (len(LANGUAGES) + 2)
    assert multilingual_names("dials") == tuple(
        f"dials-{end}" for end in (*LANGUAGES, "multilingual", "multilingual-reworded")
    )
    for name in ("panels-multilingual", "words-multilingual-reworded", "tables-zh"):
        place = get_world(name)
        assert place.name == name and place.item(3, 4).question == place.item(3, 4).question
    with pytest.raises(ConfigError, match="there is no world"):
        get_world("panels-fr")
    drawn = [get_world("forms-multilingual").item(3, index) for index in range(80)]
    assert {item.language for item in drawn} == set(LANGUAGES)
    base = [get_world("forms").item(3, index) for index in range(80)]
    assert [item.original.question for item in drawn] == [item.question for item in base]


def test_reworded_asks_in_words_of_its_own() -> None:
    trained, held = (get_world(f"panels-multilingual{end}") for end in ("", "-reworded"))
    known = {plain(line) for name in LANGUAGES for line in language_of(name).trained["panels", "read"]}
    for index in range(60):
        for place, expected in ((trained, True), (held, False)):
            item = place.item(9, index, kind="read")
            words = "".join(c for c in item.question.casefold() if c.isalpha() and not re.match("[a-z]", c))
            if item.language != "pt":
                assert any(words == re.sub("[a-z]", "", line) for line in known) is expected, item.question
