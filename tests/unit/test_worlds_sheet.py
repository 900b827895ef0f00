"""The sheet that several worlds draw on: glyphs where ink is, turned or not, and boxes as demonstrations need them."""

from __future__ import annotations

import random

import pytest
from PIL import ImageChops

from narthex.evals.worlds import Answer, Look
from narthex.evals.worlds.drawing import add_noise
from narthex.evals.worlds.sheet import Sheet, holds, look_box, shortest_first, text_size, thousandths, trace_length


@pytest.mark.parametrize("size", [256, 512, 768])
@pytest.mark.parametrize("angle", [0.0, 4.0, -4.0])
def test_glyphs_stand_where_ink_is_when_the_picture_is_turned(size: int, angle: float) -> None:
    sheet = Sheet(size, (255, 255, 255), angle)
    corners = ((20.0, 20.0), (236.0, 20.0), (20.0, 236.0), (236.0, 236.0))
    for x, y in corners:
        sheet.text("H", "bold", 12, x, y, (0, 0, 0), (0.5, 0.5))
    picture, glyphs = sheet.finish(random.Random(2), 0.0)
    assert len(glyphs) == 4 and {g.char for g in glyphs} == {"H"}
    for glyph in glyphs:
        reach = glyph.height / 2 + 1.5
        box = (glyph.x - reach, glyph.y - reach, glyph.x + reach, glyph.y + reach)
        ink = ImageChops.invert(picture.convert("L")).point([255 if v > 100 else 0 for v in range(256)])
        around = ink.crop(tuple(round(v) for v in box)).getbbox()  # type: ignore[arg-type]
        assert around is not None
        middle = (around[0] + around[2]) / 2 + round(box[0]), (around[1] + around[3]) / 2 + round(box[1])
        assert abs(middle[0] - glyph.x) <= 1.5 and abs(middle[1] - glyph.y) <= 1.5


def test_bounds_of_text_are_those_measured() -> None:
    sheet = Sheet(320, (0, 0, 0))
    x0, y0, x1, y1 = sheet.text("48.5 mm", "regular", 14, 40, 60, (255, 255, 255))
    assert (x1 - x0, y1 - y0) == pytest.approx(text_size("48.5 mm", "regular", 14, 320))
    ink = sheet.finish(random.Random(2), 0.0)[0].convert("L").getbbox()
    assert ink == pytest.approx(tuple(v * 320 / 256 for v in (x0, y0, x1, y1)), abs=1.5)


def test_look_boxes_are_the_smallest_that_hold_a_thing() -> None:
    rng = random.Random(1)
    for _ in range(500):
        x, y, wide, high = (rng.uniform(0, 150) for _ in range(4))
        box, angle = (x, y, min(250, x + wide), min(250, y + high)), rng.choice((0.0, 3.0))
        look = look_box(box, angle)
        side = look[2] - look[0]
        inside = holds((0, 0, 1000, 1000), thousandths(box, angle))
        assert all(v % 50 == 0 and 0 <= v <= 1000 for v in look) and side == look[3] - look[1] >= 250
        if inside:
            assert holds(look, thousandths(box, angle))
            widest = max(thousandths(box, angle)[i + 2] - thousandths(box, angle)[i] for i in (0, 1))
            assert side == 250 or side < widest + 150


def test_demonstrations_are_sorted_and_long_ones_left_out() -> None:
    look = Look("Find C.", (0, 0, 250, 250))
    traces = [
        (look, Answer("C reads 24 bar, as I see it.", "24 bar")), (look, Answer("C 24 bar.", "24 bar")),
        (look, Answer("C 24 bar.", "24 bar")), (look, Answer("x" * 200, "24 bar")),
    ]  # fmt: skip
    shortest, others = shortest_first(traces)  # type: ignore[arg-type]
    assert shortest == traces[1] and others == (traces[0],)
    assert trace_length(shortest) == len("Find C.") + 24 + len("C 24 bar.") + len("24 bar")


def test_grain_comes_last() -> None:
    plain = Sheet(256, (120, 120, 120)).finish(random.Random(4), 0.0)[0]
    grained = Sheet(256, (120, 120, 120)).finish(random.Random(4), 0.1)[0]
    assert plain.tobytes() != grained.tobytes() and grained.size == plain.size
    assert add_noise(plain, 0.1, coloured=False, offset=(0, 0)).size == plain.size
