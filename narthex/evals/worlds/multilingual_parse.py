"""What an English question of a world asks: its form and what stands in its slots, found by the world's own templates.

A question is one template filled, so nothing is guessed: a template whose shape fits is filled again, and has to come
out as the question. Where two templates fit (tests watch that they say the same), the first is taken.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from narthex.evals.worlds import (
    chart_words,
    dials,
    forms,
    panels,
    route_scene,
    routes,
    shape_scene,
    shapes,
    table_scene,
    table_words,
    word_forms,
    word_texts,
)
from narthex.evals.worlds.form_scene import NAMES
from narthex.evals.worlds.item import Item, Kind
from narthex.evals.worlds.labels import FAMILIES


class Asked(NamedTuple):
    """`form`: how it is asked, finer than the item's kind. `slots`: what fills the template, by slot."""

    form: str
    slots: dict[str, str]


Templates = tuple[str, ...]
# Of each world and kind, the ways to ask. Absent instruments are asked about as if they were there.
_FORMS: dict[str, dict[Kind, dict[str, Templates]]] = {
    "panels": {
        "read": {"read": panels._READ}, "absent": {"read": panels._READ}, "compare": {"compare": panels._COMPARE},
        "sum": {"sum": panels._SUM},
    },
    "charts": {
        "read": {"read": chart_words.TRAINED["read"]},
        "compare": {form: chart_words.TRAINED[form] for form in ("pair", "best")},
        "difference": {"difference": chart_words.TRAINED["difference"]},
        "trend": {form: chart_words.TRAINED[form] for form in ("change", "overall")},
    },
    "tables": {
        "lookup": {"lookup": table_words.TRAINED["lookup"]},
        "filter": {form: table_words.TRAINED[form] for form in ("most", "count", "which")},
        "aggregate": {form: table_words.TRAINED[form] for form in ("together", "total", "mean")},
    },
    "dials": {
        "read": {"read": dials._READ, "time": dials._TIME}, "absent": {"read": dials._READ},
        "compare": {"compare": dials._COMPARE}, "difference": {"difference": dials._DIFFERENCE},
        "zone": {"zone": dials._ZONE},
    },
    "shapes": {
        "nonrelational": {"form": shapes._FORM, "side": shapes._SIDE, "height": shapes._HEIGHT},
        "relational": {"nearest": shapes._NEAREST, "farthest": shapes._FARTHEST, "same": shapes._SAME},
        "count": {"count": shapes._COUNT}, "point": {"point": shapes._POINT}, "box": {"box": shapes._BOX},
        "detail": {"tiny": shapes._TINY, "number": shapes._NUMBER},
    },
    "forms": {
        "read": {"read": forms._READ}, "range": {"range": forms._RANGE}, "outlier": {"outlier": forms._OUTLIER},
        "count": {"count": forms._COUNT}, "field": {"field": forms._FIELD},
    },
    "words": {
        kind: {form: word_texts.TRAINED[form] for form, problem in word_forms.FORMS.items() if problem.kind == kind}
        for kind in ("arithmetic", "units")
    },
    "routes": {
        "hops": {"hops": routes._HOPS}, "way": {"way": routes._WAY}, "reach": {"reach": routes._REACH},
        "shortest": {"shortest": routes._SHORTEST}, "next": {"next": routes._NEXT, "further": routes._FURTHER},
    },
}  # fmt: skip
WORLDS = tuple(_FORMS)


def forms_of(world: str) -> tuple[str, ...]:
    """The names of all forms of a world, each once."""
    return tuple(dict.fromkeys(form for ways in _FORMS[world].values() for form in ways))


def _any(*words: str) -> str:
    return "|".join(re.escape(word) for word in sorted(set(words), key=len, reverse=True))


_DIAL = r"(?:the )?(?:gauge|clock|thermometer|syringe)(?: [A-Z])?|[A-Z]"
_SHAPE = _any(*shape_scene.COLOURS)
_SHAPES = _any("object", "objects", *shape_scene.FORMS, *(shapes._plural(form) for form in shape_scene.FORMS))
_COMPARED = _any("higher", "lower", "larger", "smaller", "greater")
_MEASURED = {"big": _any(*(m[0] for m in word_forms.MEASURES)), "small": _any(*(m[1] for m in word_forms.MEASURES))}
# What may stand in a slot, by world.
_SLOTS: dict[str, dict[str, str]] = {
    "panels": {"a": "[A-Z]", "b": "[A-Z]", "u": r"\S+", "w": _COMPARED},
    "charts": {
        "a": r"[A-Z'][^\s:,.?]*", "b": r"[A-Z'][^\s:,.?]*", "u": r"\S+", "n": _any(*chart_words.NOUNS.values()),
        "w": _any(*chart_words.SUPERLATIVES, *chart_words.SUPERLATIVES.values()),
    },
    "tables": {
        "r": r"[A-Z'][^\s:,.?]*", "s": r"[A-Z'][^\s:,.?]*",
        "c": _any(*(head for head, _ in table_scene.HEADS)), "t": r"\d+",
        "w": _any(*table_words.MOST, *table_words.LEAST), "p": _any(*table_words.OVER, *table_words.UNDER),
    },
    "dials": {"a": _DIAL, "b": _DIAL, "u": r"\S+", "w": _COMPARED},
    "shapes": {
        "c": _SHAPE, "f": _any(*shape_scene.FORMS), "t": rf"(?:(?:{_SHAPE}) )?(?:{_SHAPES})",
    },
    "forms": {"a": _any(*NAMES), "f": _any(*forms._CAPTIONS.values())},
    "words": {
        **dict.fromkeys("abcd", r"\d+"), **dict.fromkeys("NM", _any(*FAMILIES["name"])),
        **dict.fromkeys("TU", _any(*word_texts.THINGS)), "H": _any(*word_texts.HOLDERS),
        "P": _any(*word_texts.PEOPLE), **_MEASURED,
    },
    "routes": {
        "a": "[A-Z]", "b": "[A-Z]", "u": r"\S+", "c": _any(*route_scene.LINE_COLOURS), "n": _any(*routes._NUMBERS),
    },
}  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


@cache
def _shape_of(world: str, template: str) -> re.Pattern[str]:
    """A pattern that fits every filling of a template, with a group for each slot."""
    seen: set[str] = set()
    parts = []
    for place, part in enumerate(_SLOT.split(template)):
        if place % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            seen.add(part)
            parts.append(f"(?P<{part}>{_SLOTS[world][part]})")
    return re.compile("".join(parts))


def readings(item: Item) -> list[Asked]:
    """Every way to take an item's question, in the order of the templates; one is enough."""
    found = []
    for form, templates in _FORMS[item.world][item.kind].items():
        if item.world == "dials" and (form == "time") != (":" in item.answer):
            continue
        for template in templates:
            for text in (item.question, item.question[0].lower() + item.question[1:]):
                match = _shape_of(item.world, template).fullmatch(text)
                asked = Asked(form, match.groupdict()) if match else None
                if asked is not None and asked not in found and _is_sound(item.world, asked.slots):
                    found.append(asked)
    return found


def _is_sound(world: str, slots: dict[str, str]) -> bool:
    """Whether two units belong to one measure."""
    pairs = {measure[:2] for measure in word_forms.MEASURES}
    return world != "words" or "big" not in slots or (slots["big"], slots["small"]) in pairs


def asked_of(item: Item) -> Asked:
    """How and about what an item of one of WORLDS asks.

    Raises: ValueError if no template of the world makes its question: it was not drawn from the world itself.
    """
    found = readings(item)
    if not found:
        raise ValueError(f"no template of {item.world} makes the question {item.question!r}")
    return found[0]
