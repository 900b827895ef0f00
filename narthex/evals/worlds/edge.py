"""The edge of narthex-nano: everything it must decline in one honest sentence, as data to train and to measure on.

nano reads the pictures of seven worlds and does the sums of an eighth. Outside lie: other questions, alone or beside
any picture, those of the worlds included; the worlds' questions about pictures that are none of theirs; and the same
questions with no picture at all. More than half are in English, the others in four more languages in equal shares, and
the sentence is to be in the asker's. Nothing here runs at answering time: there is no list of forbidden words, the
model learns the border.

Templates and the words that fill them stand in edge_questions.txt and its translations, pictures in edge_pictures.py,
the sentences in edge_sentences.py; templates, fillers and pictures keep train and test apart. Glyphs are given for
pictures of worlds only: other pictures may hold print that is not listed, so a loss on glyphs must leave out the items
whose `glyphs` are empty.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from PIL import Image

from narthex.evals.worlds import get_world
from narthex.evals.worlds.edge_pictures import other_picture
from narthex.evals.worlds.edge_sentences import DECLINES, LANGUAGES, NEED_PICTURES, is_decline, language_of_decline
from narthex.evals.worlds.item import Answer, Glyph, Item, Split, stream

DECLINE, NEED_PICTURE = DECLINES["en"], NEED_PICTURES["en"]
NOTHING_TO_READ = "Nothing to read."  # the thought before a picture that belongs to no world

_LANGUAGE_WEIGHTS = (0.55, 0.1125, 0.1125, 0.1125, 0.1125)
# Shares of text alone and of worlds' questions about other pictures; the rest are other questions about any picture.
_TEXT_SHARE, _OTHER_PICTURE_SHARE = 0.34, 0.24
_SECTIONS = ("text", "lookalike", "asked", "picture")
_WORLDS = ("panels", "charts", "tables", "dials", "shapes", "forms", "routes")  # those with pictures
# Items lent for their pictures and questions: a seed apart from training runs' small ones, and few enough indices to
# remember their questions, because a picture is drawn to get one.
_LENT_SEED = 7_340_033
_QUESTION_POOL = 4096
_SLOT = re.compile(r"\{([a-z]+?)(\d?)\}")
_SYLLABLES = "ba ki lo mur zen tra plo fi gub nar so wex quil ond ju rab ty heff".split()  # noqa: SIM905


class Questions(NamedTuple):
    """The templates of one split by section, and the fillers of their slots."""

    templates: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]


@lru_cache(maxsize=2 * len(LANGUAGES))
def questions(split: Split, language: str = "en") -> Questions:
    """Read the templates and fillers of one split, in one of LANGUAGES."""
    name = "edge_questions.txt" if language == "en" else f"edge_questions_{language}.txt"
    text = files("narthex.evals.worlds").joinpath(name).read_text(encoding="utf-8")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    slots: dict[str, tuple[str, ...]] = {}
    for line in sections[f"{split}.slots"]:
        name, _, values = line.partition(":")
        slots[name] = tuple(value.strip() for value in values.split(";"))
    return Questions({name: tuple(sections[f"{split}.{name}"]) for name in _SECTIONS}, slots)


def _filler(rng: random.Random, name: str, slots: dict[str, tuple[str, ...]]) -> str:
    if name == "n":
        return str(rng.randint(2, 99))
    if name == "big":
        return str(rng.randint(100, 99_999))
    if name == "letter":
        return rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if name == "nonsense":
        return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 4)))
    return rng.choice(slots[name])


def fill(template: str, rng: random.Random, slots: dict[str, tuple[str, ...]]) -> str:
    """Fill a template's slots; {name} and {name2} get different fillers. A question begins with a capital."""
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        key, name = match.group(0), match.group(1)
        while key not in chosen:
            value = _filler(rng, name, slots)
            if value not in chosen.values():
                chosen[key] = value
        return chosen[key]

    text = _SLOT.sub(replace, template)
    return text[0].upper() + text[1:] if template.startswith("{") and template.endswith("?") else text


def carelessly(text: str, rng: random.Random) -> str:
    """Type a question as people do: now and then with a small first letter or without its last mark.

    For the worlds' own questions in training, too: otherwise carelessness alone would tell the model to decline.
    """
    if len(text) > 3 and rng.random() < 0.1 and text[1].islower():  # a gauge's lone capital stays one
        text = text[0].lower() + text[1:]
    if len(text) > 3 and rng.random() < 0.1:
        text = text.rstrip("?.!？。！") or text
    return text


def _ask(rng: random.Random, split: Split, language: str, *sections: str) -> str:
    """Draw a question from the named sections, each template equally likely."""
    found = questions(split, language)
    lines = [line for name in sections for line in found.templates[name]]
    return carelessly(fill(rng.choice(lines), rng, found.slots), rng)


@lru_cache(maxsize=4 * _QUESTION_POOL)
def _lent_question(world: str, index: int, split: Split) -> str:
    return get_world(world).item(_LENT_SEED, index, split=split).question


def _asked(rng: random.Random, split: Split, language: str) -> str:
    """A question in a world's very words, so that its wording says nothing about the picture."""
    world = rng.choice(_WORLDS) if language == "en" else f"{rng.choice(_WORLDS)}-{language}"
    return carelessly(_lent_question(world, rng.randrange(_QUESTION_POOL), split), rng)


class EdgeWorld:
    """Inputs that narthex-nano must decline. Difficulty has no meaning here; it is kept as given (0 if None)."""

    name = "edge"

    def item(self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train") -> Item:
        """Make one item: text alone, a world's question about another picture, or another question about any."""
        rng = stream(self.name, split, seed, index)
        picture: Image.Image | None = None
        glyphs: tuple[Glyph, ...] = ()
        language = rng.choices(LANGUAGES, _LANGUAGE_WEIGHTS)[0]
        thought, answer, share = "Out of scope.", DECLINES[language], rng.random()
        if share < _TEXT_SHARE:
            if rng.random() < 0.3:
                question = _asked(rng, split, language) if rng.random() < 0.6 else _ask(rng, split, language, "asked")
                thought, answer = "No picture.", NEED_PICTURES[language]
            elif rng.random() < 0.1:
                question = _ask(rng, split, language, "picture")
            else:
                question = _ask(rng, split, language, "text", "lookalike")
        elif share < _TEXT_SHARE + _OTHER_PICTURE_SHARE:
            thought, picture = NOTHING_TO_READ, other_picture(rng, split)
            question = _asked(rng, split, language)
        else:
            sections = ("picture",) if rng.random() < 0.6 else ("text", "lookalike")
            question = _ask(rng, split, language, *sections)
            if rng.random() < 0.65:
                lent = get_world(rng.choice(_WORLDS)).item(_LENT_SEED, rng.getrandbits(40), split=split)
                picture, glyphs = lent.picture, lent.glyphs
            else:
                picture = other_picture(rng, split, lookalikes=True)
        return Item(
            world=self.name, kind="edge", picture=picture, question=question, answer=answer, legible=True,
            difficulty=difficulty or 0.0, glyphs=glyphs, trace=(Answer(thought, answer),), seed=seed,
        )  # fmt: skip

    def check(self, item: Item, answer: str) -> bool:
        """Right is either sentence of refusal in the asker's language, whichever of the two the item holds."""
        return language_of_decline(answer) == language_of_decline(item.answer)


EDGE = EdgeWorld()

__all__ = [
    "DECLINE", "DECLINES", "EDGE", "LANGUAGES", "NEED_PICTURE", "NEED_PICTURES", "NOTHING_TO_READ", "EdgeWorld",
    "Questions", "carelessly", "fill", "is_decline", "questions",
]  # fmt: skip
