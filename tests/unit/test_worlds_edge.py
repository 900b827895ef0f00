"""The edge world: same numbers, same items; train and test share nothing; the checker knows a refusal."""

from __future__ import annotations

import random
import re

import pytest
from PIL import Image

from narthex.evals.worlds import edge, get_world
from narthex.evals.worlds.edge_pictures import FAMILIES, LOOKALIKES, other_picture
from narthex.evals.worlds.edge_scenes import WORDS
from narthex.evals.worlds.edge_sentences import DECLINES, LANGUAGES, NEED_PICTURES, language_of_decline
from narthex.evals.worlds.item import Split

SPLITS: tuple[Split, ...] = ("train", "test")
WORLD = get_world("edge")
_OTHERS = tuple(language for language in LANGUAGES if language != "en")
_PICTURED = ("panels", "charts", "tables", "dials", "shapes", "forms", "routes")


def _asked_of(name: str) -> list[str]:
    """What a world asks, in its training words, without the letters and numbers it asks about."""
    found = [get_world(name).item(1, index).question for index in range(150)]
    return [re.sub(r"\b[A-Z][0-9]?\b|\d", "", line) for line in found]


def _pixels(picture: Image.Image | None) -> bytes | None:
    return None if picture is None else picture.tobytes()


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalpha())


def test_item_depends_on_seed_index_and_split_only() -> None:
    for index in range(40):
        one, two = WORLD.item(5, index), WORLD.item(5, index)
        assert (one.question, one.answer, one.trace) == (two.question, two.answer, two.trace)
        assert _pixels(one.picture) == _pixels(two.picture)
    first = [WORLD.item(5, i).question for i in range(30)]
    assert first != [WORLD.item(6, i).question for i in range(30)]
    assert first != [WORLD.item(5, i, split="test").question for i in range(30)]


def _lines(split: Split, language: str) -> list[str]:
    return [line for part in edge.questions(split, language).templates.values() for line in part]


@pytest.mark.parametrize(("language", "num_train", "num_test"), [("en", 600, 230), *((s, 220, 95) for s in _OTHERS)])
def test_templates_and_fillers_of_the_splits_are_disjoint_and_many(
    language: str, num_train: int, num_test: int
) -> None:
    train, test = edge.questions("train", language), edge.questions("test", language)
    lines = {split: _lines(split, language) for split in SPLITS}
    assert len(set(lines["train"])) == len(lines["train"]) >= num_train
    assert len(set(lines["test"])) == len(lines["test"]) >= num_test
    plain = {split: {_letters(edge._SLOT.sub("", line)) for line in lines[split]} - {""} for split in SPLITS}
    assert not plain["train"] & plain["test"]
    assert not set(train.slots) & set(test.slots)
    words = [{value.casefold() for values in q.slots.values() for value in values} for q in (train, test)]
    assert not words[0] & words[1]


def test_no_wording_is_of_two_languages() -> None:
    seen: dict[str, str] = {}
    for language in LANGUAGES:
        for line in (line for split in SPLITS for line in _lines(split, language)):
            plain = _letters(edge._SLOT.sub("", line))
            assert not plain or seen.setdefault(plain, language) == language, line


@pytest.mark.parametrize(("language", "letters"), [("ru", "а-яё"), ("uk", "а-щьюяґєії"), ("zh", "\u4e00-\u9fff")])
def test_each_language_is_written_in_its_own_letters(language: str, letters: str) -> None:
    for split in SPLITS:
        for line in _lines(split, language):
            plain = edge._SLOT.sub("", line)
            assert not _letters(plain) or re.search(f"[{letters}]", plain, re.IGNORECASE), line
            assert language == "zh" or not re.search(rf"(?![{letters}])[а-яёіїєґ]", plain, re.IGNORECASE), line


@pytest.mark.parametrize(("split", "language"), [(split, language) for split in SPLITS for language in LANGUAGES])
def test_every_template_can_be_filled(split: Split, language: str) -> None:
    found = edge.questions(split, language)
    used = set()
    for name, lines in found.templates.items():
        for line in lines:
            text = edge.fill(line, random.Random(1), found.slots)
            assert not edge._SLOT.search(text), (name, line)
            used |= {slot for slot, _ in edge._SLOT.findall(line)}
    assert set(found.slots) <= used, "a list of fillers that no template uses"


_SUMS = re.compile(r"\{(?:n|big)2?\} ?(?:[-+*/]|plus|minus|times|percent|divided|mal|por) ?\{(?:n|big)", re.IGNORECASE)
_UNIT = re.compile(r"\{(?:n|big)2?\} (?:metres|kilos? in|seconds|minutes in)", re.IGNORECASE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_words_answers_is_not_declined(language: str) -> None:
    for split in SPLITS:
        for line in _lines(split, language):
            assert not _SUMS.search(line) and not _UNIT.search(line), line


def test_what_worlds_ask_is_declined_only_where_there_is_nothing_to_read() -> None:
    """What worlds ask, without the letters asked about, against the questions that name nothing else either."""
    asked = {_letters(line) for name in _PICTURED for line in _asked_of(name)}
    assert len(asked) > 150
    for split in SPLITS:
        templates = edge.questions(split).templates
        for line in (*templates["text"], *templates["lookalike"], *templates["picture"]):
            if all(name == "letter" for name, _ in edge._SLOT.findall(line)):
                assert _letters(edge._SLOT.sub("", line)) not in asked - {""}, line


def test_second_filler_differs() -> None:
    found = edge.questions("train")
    for seed in range(200):
        one, two = edge.fill("{day}|{day2}", random.Random(seed), found.slots).split("|")
        assert one != two


def test_questions_hardly_repeat() -> None:
    rng = random.Random(3)
    drawn = [edge._ask(rng, "train", "en", "text", "lookalike", "picture") for _ in range(5000)]
    assert len(set(drawn)) > 3000
    filled = [edge.fill("{big} {n} {animal}", rng, edge.questions("train").slots) for _ in range(2000)]
    assert len(set(filled)) > 1990


def test_kinds_come_in_their_shares_and_with_the_right_sentence() -> None:
    items = [WORLD.item(1, i) for i in range(400)]
    alone = [i for i in items if i.picture is None]
    assert 0.25 < len(alone) / len(items) < 0.45
    assert {i.answer for i in alone} == {*DECLINES.values(), *NEED_PICTURES.values()}
    assert all(i.answer in DECLINES.values() for i in items if i.picture is not None)
    english = sum(language_of_decline(i.answer) == "en" for i in items)
    assert 0.48 < english / len(items) < 0.62
    for language in _OTHERS:
        assert 0.06 < sum(language_of_decline(i.answer) == language for i in items) / len(items) < 0.17
    assert any(i.glyphs for i in items) and all(i.picture is not None for i in items if i.glyphs)
    for item in items:
        assert item.kind == "edge" and item.legible and item.question
        assert item.trace[-1].text == item.answer and len(item.trace) == 1
        assert WORLD.check(item, item.answer)
        if item.picture is not None:
            assert item.picture.mode == "RGB" and min(item.picture.size) >= 64


def test_only_the_askers_language_will_do() -> None:
    items = {language_of_decline(item.answer): item for item in (WORLD.item(2, i) for i in range(120))}
    assert set(items) == set(LANGUAGES)
    for one in LANGUAGES:
        for other in LANGUAGES:
            assert WORLD.check(items[one], DECLINES[other]) is (one == other)
            assert WORLD.check(items[one], NEED_PICTURES[other]) is (one == other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_short_and_say_how_to_go_on(language: str) -> None:
    for sentence in (DECLINES[language], NEED_PICTURES[language]):
        assert len(sentence.split()) <= 30 and "`narthex ask -m FOLDER`" in sentence
        assert len(re.findall(r"[.。!?]", sentence)) == 1 and sentence[-1] in ".。"
        assert len(re.findall("[,、]|(?: and | or | и | й | e |和)", sentence)) >= 6, "seven kinds of pictures"
    assert "--image FILE" in NEED_PICTURES[language]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (edge.DECLINE, True),
        (edge.NEED_PICTURE.upper(), True),
        ("  " + edge.DECLINE.replace(";", ",").rstrip("."), True),
        *((sentence.lower().rstrip(".。"), True) for sentence in DECLINES.values()),
        *((sentence, True) for sentence in NEED_PICTURES.values()),
        *((DECLINES[language].split(";")[0].split("；")[0], False) for language in LANGUAGES),
        (
            "I only read gauges on pictures of instrument panels; for anything else, connect a larger model: "
            "`narthex ask -m FOLDER`.",
            True,
        ),
        ("", False),
        ("347 bar", False),
        ("There is no gauge C here.", False),
        ("I only read gauges.", False),
        ("`narthex ask -m FOLDER`", False),
        (edge.DECLINE + " C reads 347 bar.", False),
    ],
)
def test_refusals_are_known(answer: str, expected: bool) -> None:
    assert edge.is_decline(answer) is expected


def test_careless_typing_keeps_the_words() -> None:
    rng, text = random.Random(0), "What does gauge C read?"
    typed = {edge.carelessly(text, rng) for _ in range(500)}
    assert typed == {text, text[:-1], "w" + text[1:], "w" + text[1:-1]}
    assert all(edge.carelessly("C or D, which is higher?", rng).startswith("C or D") for _ in range(200))


@pytest.mark.parametrize(("split", "family"), [(s, f) for s in SPLITS for f in FAMILIES[s]])
def test_every_family_draws_something(split: Split, family: str) -> None:
    seen = set()
    for seed in range(6):
        picture = other_picture(random.Random(seed), split, family)
        assert picture.mode == "RGB" and all(256 <= side <= 512 for side in picture.size)
        assert max(high - low for low, high in picture.getextrema()) > 10
        seen.add(picture.tobytes())
    assert len(seen) == 6


def test_families_of_the_splits_are_disjoint() -> None:
    assert not set(FAMILIES["train"]) & set(FAMILIES["test"])
    assert not set(FAMILIES["train"].values()) & set(FAMILIES["test"].values())


def test_lookalikes_come_only_when_asked_for() -> None:
    assert set().union(*FAMILIES.values()) > LOOKALIKES
    drawn = {split: set() for split in SPLITS}
    for split in SPLITS:
        families = {name: _note(drawn[split], name) for name in FAMILIES[split]}
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(FAMILIES, split, families)
            for seed in range(200):
                other_picture(random.Random(seed), split)
            assert drawn[split] == set(families) - LOOKALIKES
            for seed in range(200):
                other_picture(random.Random(seed), split, lookalikes=True)
            assert drawn[split] == set(families)


def _note(drawn: set[str], name: str):
    return lambda rng, picture: drawn.add(name)


def test_no_print_can_pass_for_a_gauge_label() -> None:
    assert all(len(word) > 1 for word in WORDS)


def test_most_other_pictures_are_square_as_panels_are() -> None:
    sizes = [other_picture(random.Random(seed), "train", "stripes").size for seed in range(100)]
    assert 60 <= sum(width == height for width, height in sizes) <= 90
