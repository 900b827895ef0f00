"""mark and ground: what is drawn where, and which replies of a model count."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from narthex.base.errors import ModelMistake
from narthex.chat.boxes import Box
from narthex.tools import ground, mark
from narthex.tools.ground import Grounded, read_reply
from narthex.tools.mark import COLOURS, MAX_MARKS, draw_marks

from .tools_helpers import Table


def paper(width: int = 800, height: int = 600, colour: str = "white") -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def colour_of(number: int) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[number][1:]))


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """bool (height, width): which pixels are not as they were."""
    assert before.size == after.size
    return (np.asarray(before) != np.asarray(after)).any(axis=2)


async def test_a_box_is_drawn_where_it_is_and_the_rest_stays():
    table = Table(paper(), paper(colour="black"))
    (part,) = await mark.call(table, {"boxes": [[250, 500, 500, 750]], "labels": [""], "image": 1})
    assert table.num_pictures == 3 and (part.width, part.height) == (800, 600)
    marked = table.open_picture(2)
    area = changed(table.open_picture(1), marked)
    ys, xs = np.nonzero(area)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (200, 399, 300, 449)
    assert not area[310:440, 210:390].any(), "what the box holds can still be seen"
    assert colour_of(0) in {marked.getpixel((x, 375)) for x in range(200, 210)}


@pytest.mark.parametrize("ground_colour", ["white", "black", COLOURS[0], "#808080"])
@pytest.mark.parametrize("size", [(40, 30), (800, 600), (2400, 1800), (3000, 60)])
def test_marks_show_on_any_ground_at_any_size(size, ground_colour):
    before = paper(*size, colour=ground_colour)
    after = draw_marks(before, [Box(100, 200, 600, 900)], [(800, 500)], ["box", "point"])
    scale = after.width // before.width
    assert after.size == (size[0] * scale, size[1] * scale)
    assert scale == {40: 8, 800: 1, 2400: 1, 3000: 1}[size[0]]
    greys = np.asarray(after).astype(int).sum(axis=2)[(np.asarray(after) != before.getpixel((0, 0))).any(axis=2)]
    assert greys.min() < 60 and greys.max() > 705, "a dark and a light line, whatever is below"
    share = len(greys) / (after.width * after.height)
    assert 0.002 < share < 0.35, share


def test_labels_stand_in_the_picture_and_number_what_has_none():
    before = paper()
    corners = [(0, 0), (1000, 0), (0, 1000), (1000, 1000)]
    numbered = draw_marks(before, [], corners)
    named = draw_marks(before, [], corners, ["a much longer label 123"] * 4)
    unlabelled = draw_marks(before, [], corners, [""] * 4)
    small, large = changed(unlabelled, numbered).sum(), changed(unlabelled, named).sum()
    assert 0 < small < large / 4
    assert not changed(numbered, draw_marks(before, [], corners, ["1", "2", "3", "4"])).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "nothing to draw"),
        ({"boxes": [[500, 0, 500, 10]]}, "is empty"),
        ({"boxes": [[0, 0, 10]]}, "boxes.0"),
        ({"boxes": [[0, 0, 10, 1001]]}, "less than or equal to 1000"),
        ({"points": [[0, -1]]}, "greater than or equal to 0"),
        ({"points": [[1, 1]], "labels": ["a", "b"]}, "2 labels for 1 marks"),
        ({"points": [[1, 1]], "labels": ["a" * 25]}, "at most 24"),
        ({"points": [[1, 1]] * (MAX_MARKS + 1)}, "at most 50"),
        ({"points": [[1, 1]] * 30, "boxes": [[0, 0, 9, 9]] * 30}, "60 marks are too many"),
        ({"points": [[1, 1]], "image": 1}, "there is no picture 1"),
        ({"point": [[1, 1]]}, "did you mean points?"),
    ],
)
async def test_marks_that_cannot_be_drawn_are_refused_in_one_line(arguments, words):
    table = Table(paper())
    with pytest.raises(ModelMistake) as caught:
        await mark.call(table, arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert table.num_pictures == 1


async def test_ground_asks_aside_and_brings_what_was_found():
    reply = 'Two.\n```json\n{"boxes": [[100, 100, 300, 400], [500, 500, 700, 800]], "points": [], "count": 2}\n```'
    table = Table(paper(), paper(), reply=reply)
    text, picture = await ground.call(table, {"what": "red gauges", "image": 1})
    assert json.loads(text.text) == {"boxes": [[100, 100, 300, 400], [500, 500, 700, 800]], "points": [], "count": 2}
    ((question, pictures),) = table.asked
    assert "red gauges" in question and pictures == (1,)
    area = changed(table.open_picture(1), table.gallery.load(picture))
    assert area[60:240, 80:240].any() and area[300:480, 400:560].any()
    assert not area[60:240, 400:560].any()


async def test_where_there_is_nothing_no_picture_comes_back():
    table = Table(paper(), reply='{"boxes": [], "points": [], "count": 0}')
    (text,) = await ground.call(table, {"what": "a {unicorn}"})
    assert json.loads(text.text)["count"] == 0 and table.num_pictures == 1
    assert "a {unicorn}" in table.asked[0][0]


FOUND = Grounded((Box(1, 2, 30, 40),), (), 1)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('{"boxes": [[1, 2, 30, 40]], "points": [], "count": 1}', FOUND),
        ('{"boxes": [[1, 2, 30, 40]]}', FOUND),
        ('{"boxes": [1, 2, 30, 40]}', FOUND),
        ('{"box": [1, 2, 30, 40]}', FOUND),
        ("[[1, 2, 30, 40]]", FOUND),
        ("It is at [1, 2, 30, 40].", FOUND),
        ('```\n{"boxes": [[1.2, 1.9, 29.6, 40]], "count": 1.0}\n```', FOUND),
        ('Format: {"boxes": …}. Mine: {"boxes": [[1, 2, 30, 40]], "count": 1}', FOUND),
        ('{"thought": "hm"} {"boxes": [[1, 2, 30, 40]]} {"boxes": []}', FOUND),
        ('{"points": [[5, 1000]], "count": 1}', Grounded((), ((5, 1000),), 1)),
        ('{"count": 17}', Grounded((), (), 17)),
        ('{"boxes": null, "points": [[0, 0], [9, 9]]}', Grounded((), ((0, 0), (9, 9)), 2)),
        ('{"boxes": [[0, 0, 9, 2000]]} no, wait: {"boxes": [[1, 2, 30, 40]]}', FOUND),
    ],
)
def test_replies_that_count(reply, found):
    assert read_reply(reply) == found


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", "held no boxes"),
        ("There are three of them, at the left.", "held no boxes"),
        ('{"boxes": [[1, 2, 30, 40]', "held no boxes"),
        ('{"boxes": [[1, 2, 300, 4000]]}', "leaves 0..1000"),
        ('{"boxes": [[30, 2, 1, 40]]}', "is empty"),
        ('{"points": [[1, -2]]}', "leaves 0..1000"),
        ('{"boxes": [[1, 2, 3]]}', "is no box"),
        ('{"boxes": [[1, 2, 3, true]]}', "is no box"),
        ('{"boxes": [["1", "2", "3", "4"]]}', "is no box"),
        ('{"boxes": "none"}', "not a list"),
        ('{"boxes": [[NaN, 2, 3, 4]]}', "held no boxes"),
        ('{"boxes": [[1e999, 2, 3, 4]]}', "is no box"),
        ('{"count": -1}', "the count is -1"),
        ('{"count": 1.5}', "the count is 1.5"),
        ('{"count": "many\\nmore"}', "the count is"),
        ('{"boxes": ' + str([[1, 2, 3, 4]] * 51) + "}", "more than 50"),
        ("[" * 100_000, "held no boxes"),
    ],
)
def test_replies_that_do_not_count_are_mistakes_in_one_line(reply, words):
    with pytest.raises(ModelMistake) as caught:
        read_reply(reply)
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@given(st.text(alphabet='{}[]",:0123456789.eE-boxespintcu \n`', max_size=200))
def test_whatever_a_model_says_is_an_answer_or_a_mistake(reply):
    try:
        found = read_reply(reply)
    except ModelMistake:
        return
    assert all(box.problem() is None for box in found.boxes) and found.number >= 0
