"""The edge world: same numbers, same items; train and test share nothing; the checker knows a refusal."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from narthex.evals.worlds import edge, get_world
from narthex.evals.worlds.edge_pictures import FAMILIES, other_picture
from narthex.evals.worlds.edge_scenes import WORDS
from narthex.evals.worlds.item import Split

SPLITS: tuple[Split, ...] = ("train", "test")
WORLD = get_world("edge")


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


def test_templates_and_fillers_of_the_splits_are_disjoint_and_many() -> None:
    train, test = edge.questions("train"), edge.questions("test")
    lines = {split: [line for part in edge.questions(split).templates.values() for line in part] for split in SPLITS}
    assert len(set(lines["train"])) == len(lines["train"]) >= 350
    assert len(set(lines["test"])) == len(lines["test"]) >= 120
    plain = {split: {_letters(edge._SLOT.sub("", line)) for line in lines[split]} - {""} for split in SPLITS}
    assert not plain["train"] & plain["test"]
    assert not set(train.slots) & set(test.slots)
    words = [{value.casefold() for values in q.slots.values() for value in values} for q in (train, test)]
    assert not words[0] & words[1]


@pytest.mark.parametrize("split", SPLITS)
def test_every_template_can_be_filled(split: Split) -> None:
    found = edge.questions(split)
    for name, lines in found.templates.items():
        for line in lines:
            text = edge.fill(line, random.Random(1), found.slots)
            assert not edge._SLOT.search(text), (name, line)


def test_second_filler_differs() -> None:
    found = edge.questions("train")
    for seed in range(200):
        one, two = edge.fill("{day}|{day2}", random.Random(seed), found.slots).split("|")
        assert one != two


def test_questions_hardly_repeat() -> None:
    rng = random.Random(3)
    drawn = [edge._ask(rng, "train", "text", "lookalike", "picture") for _ in range(5000)]
    assert len(set(drawn)) > 3000
    filled = [edge.fill("{big} {n} {animal}", rng, edge.questions("train").slots) for _ in range(2000)]
    assert len(set(filled)) > 1990


def test_kinds_come_in_their_shares_and_with_the_right_sentence() -> None:
    items = [WORLD.item(1, i) for i in range(400)]
    alone = [i for i in items if i.picture is None]
    assert 0.2 < len(alone) / len(items) < 0.4
    assert {i.answer for i in alone} == {edge.DECLINE, edge.NEED_PICTURE}
    assert all(i.answer == edge.DECLINE for i in items if i.picture is not None)
    assert any(i.glyphs for i in items) and all(i.picture is not None for i in items if i.glyphs)
    for item in items:
        assert item.kind == "edge" and item.legible and item.question
        assert item.trace[-1].text == item.answer and len(item.trace) == 1
        assert WORLD.check(item, item.answer)
        if item.picture is not None:
            assert item.picture.mode == "RGB" and min(item.picture.size) >= 64


def test_sentences_are_short_and_say_how_to_go_on() -> None:
    for sentence in (edge.DECLINE, edge.NEED_PICTURE):
        assert len(sentence.split()) <= 25
        assert "`narthex ask -m FOLDER`" in sentence and "instrument panel" in sentence
        assert sentence.count(".") == 1 and sentence.endswith(".")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (edge.DECLINE, True),
        (edge.NEED_PICTURE.upper(), True),
        ("  " + edge.DECLINE.replace(";", ",").rstrip("."), True),
        ("", False),
        ("347 bar", False),
        ("There is no gauge C here.", False),
        ("I only read gauges.", False),
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


def test_no_print_can_pass_for_a_gauge_label() -> None:
    assert all(len(word) > 1 for word in WORDS)


def test_most_other_pictures_are_square_as_panels_are() -> None:
    sizes = [other_picture(random.Random(seed), "train", "stripes").size for seed in range(100)]
    assert 60 <= sum(width == height for width, height in sizes) <= 90
