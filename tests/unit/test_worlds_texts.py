"""A vocabulary of all worlds and languages: English keeps its own, others cost not much more, readings stay apart."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from narthex.evals.worlds import get_world
from narthex.evals.worlds.multilingual import LANGUAGES
from narthex.evals.worlds.multilingual_parse import WORLDS
from narthex.evals.worlds.texts import other_texts
from narthex.tokens.train import train_tokenizer

NUM_ITEMS = 60


def _length(tokenizer: Tokenizer, texts: list[str]) -> float:
    return sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts) / len(texts)


@pytest.fixture(scope="module")
def english() -> list[str]:
    texts = []
    for world in WORLDS:
        for index in range(NUM_ITEMS):
            item = get_world(world).item(5, index)
            texts += [item.question, item.answer, *(step.thought for step in item.trace)]
    return texts


@pytest.fixture(scope="module")
def vocabulary(english: list[str]) -> Tokenizer:
    return train_tokenizer([*english, *other_texts(5, NUM_ITEMS)])


def test_no_language_is_spelled_out_and_english_hardly_grows(english: list[str], vocabulary: Tokenizer) -> None:
    alone = train_tokenizer(english)
    asked = {name: [get_world(f"{w}{name}").item(6, k, split="test").question for w in WORLDS for k in range(12)]
             for name in ("", *(f"-{language}" for language in LANGUAGES))}  # fmt: skip
    plain = _length(alone, asked[""])
    assert _length(vocabulary, asked[""]) < 1.12 * plain
    for language in LANGUAGES:
        questions = asked[f"-{language}"]
        assert _length(vocabulary, questions) < 0.75 * _length(alone, questions)
        assert _length(vocabulary, questions) < 2 * plain


def test_what_is_copied_stays_in_single_tokens(vocabulary: Tokenizer) -> None:
    for text in ("347", "AB", "X1", "Q4.5", "R和S", "на W 12"):
        pieces = [vocabulary.decode([id_]) for id_ in vocabulary.encode(text, add_special_tokens=False).ids]
        for char in text:
            assert not (char.isdigit() or "A" <= char <= "Z") or char in pieces, (text, pieces)


def test_texts_are_the_same_each_time() -> None:
    assert list(other_texts(3, 4)) == list(other_texts(3, 4)) != list(other_texts(4, 4))
