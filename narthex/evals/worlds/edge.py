"""The edge of narthex-nano: everything it must decline in one honest sentence, as data to train and to measure on.

nano reads instrument panels. Three kinds of input lie outside: text with no picture, panel questions about other
pictures, and other questions about any picture. Nothing here runs at answering time: there is no list of forbidden
words, the model learns the border.

Templates and fillers stand in edge_questions.txt, pictures in edge_pictures.py; both keep train and test apart.
Glyphs are given for panels only: other pictures may hold print that is not listed, so a loss on glyphs must leave out
the items whose `glyphs` are empty.
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
from narthex.evals.worlds.item import Answer, Glyph, Item, Split, stream

_LARGER_MODEL = "for anything else, connect a larger model: `narthex ask -m FOLDER`."
DECLINE = f"I only read gauges on pictures of instrument panels; {_LARGER_MODEL}"
NEED_PICTURE = f"I need a picture of an instrument panel (`--image FILE`); {_LARGER_MODEL}"

# Shares of text alone and of panel questions about other pictures; the rest are other questions about any picture.
_TEXT_SHARE, _OTHER_PICTURE_SHARE = 0.30, 0.35
_SECTIONS = ("text", "lookalike", "gauge", "picture")
# Panels lent for their pictures and questions: a seed apart from training runs' small ones, and few enough indices to
# remember their questions, because a panel is drawn to get one.
_PANEL_SEED = 7_340_033
_QUESTION_POOL = 16_384
_SLOT = re.compile(r"\{([a-z]+?)(\d?)\}")
_NOT_WORDS = re.compile(r"[^a-z0-9]+")
_SYLLABLES = "ba ki lo mur zen tra plo fi gub nar so wex quil ond ju rab ty heff".split()  # noqa: SIM905


class Questions(NamedTuple):
    """The templates of one split by section, and the fillers of their slots."""

    templates: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]


@lru_cache(maxsize=2)
def questions(split: Split) -> Questions:
    """Read the templates and fillers of one split from edge_questions.txt."""
    text = files("narthex.evals.worlds").joinpath("edge_questions.txt").read_text(encoding="utf-8")
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
    """Fill a template's slots; {name} and {name2} get different fillers."""
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        key, name = match.group(0), match.group(1)
        while key not in chosen:
            value = _filler(rng, name, slots)
            if value not in chosen.values():
                chosen[key] = value
        return chosen[key]

    return _SLOT.sub(replace, template)


def carelessly(text: str, rng: random.Random) -> str:
    """Type a question as people do: now and then with a small first letter or without its last mark.

    For panel questions in training, too: otherwise carelessness alone would tell the model to decline.
    """
    if len(text) > 3 and rng.random() < 0.1 and text[1].islower():  # a gauge's lone capital stays one
        text = text[0].lower() + text[1:]
    if len(text) > 3 and rng.random() < 0.1:
        text = text.rstrip("?.!") or text
    return text


def _ask(rng: random.Random, split: Split, *sections: str) -> str:
    """Draw a question from the named sections, each template equally likely."""
    found = questions(split)
    lines = [line for name in sections for line in found.templates[name]]
    return carelessly(fill(rng.choice(lines), rng, found.slots), rng)


@lru_cache(maxsize=2 * _QUESTION_POOL)
def _panel_question(index: int, split: Split) -> str:
    """A question in the very words of the panels world, so that its wording says nothing about the picture."""
    return get_world("panels").item(_PANEL_SEED, index, split=split).question


def _text_question(rng: random.Random, split: Split) -> tuple[str, bool]:
    """Draw a question that comes without a picture; also whether it is one that a panel could answer."""
    if rng.random() < 0.25:
        if rng.random() < 0.5:
            return carelessly(_panel_question(rng.randrange(_QUESTION_POOL), split), rng), True
        return _ask(rng, split, "gauge"), True
    return (_ask(rng, split, "picture") if rng.random() < 0.12 else _ask(rng, split, "text", "lookalike")), False


class EdgeWorld:
    """Inputs that narthex-nano must decline. Difficulty has no meaning here; it is kept as given (0 if None)."""

    name = "edge"

    def item(self, seed: int, index: int, *, difficulty: float | None = None, split: Split = "train") -> Item:
        """Make one item: text alone, a panel question about another picture, or another question about any picture."""
        rng = stream(self.name, split, seed, index)
        picture: Image.Image | None = None
        glyphs: tuple[Glyph, ...] = ()
        thought, answer, share = "Not about gauges.", DECLINE, rng.random()
        if share < _TEXT_SHARE:
            question, is_panel_question = _text_question(rng, split)
            if is_panel_question:
                thought, answer = "No picture.", NEED_PICTURE
        elif share < _TEXT_SHARE + _OTHER_PICTURE_SHARE:
            thought, picture = "No panel.", other_picture(rng, split)
            question = carelessly(_panel_question(rng.randrange(_QUESTION_POOL), split), rng)
        else:
            question = _ask(rng, split, "picture") if rng.random() < 0.6 else _ask(rng, split, "text", "lookalike")
            if rng.random() < 0.65:
                panel = get_world("panels").item(_PANEL_SEED, rng.getrandbits(40), split=split)
                picture, glyphs = panel.picture, panel.glyphs
            else:
                picture = other_picture(rng, split)
        return Item(
            world=self.name, kind="edge", picture=picture, question=question, answer=answer, legible=True,
            difficulty=difficulty or 0.0, glyphs=glyphs, trace=(Answer(thought, answer),), seed=seed,
        )  # fmt: skip

    def check(self, item: Item, answer: str) -> bool:
        """Right is either sentence of refusal, whichever the item holds."""
        return is_decline(answer)


def _normal(text: str) -> str:
    return _NOT_WORDS.sub(" ", text.lower()).strip()


_DECLINES = frozenset(_normal(sentence) for sentence in (DECLINE, NEED_PICTURE))


def is_decline(answer: str) -> bool:
    """Say whether an answer is one of the known refusals; letter case, punctuation and spacing do not count."""
    return _normal(answer) in _DECLINES


EDGE = EdgeWorld()
