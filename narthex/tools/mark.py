"""mark: draw boxes, points and short labels on a picture. The marked picture comes back as a new one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from narthex.base.errors import ModelMistake
from narthex.chat import ImagePart
from narthex.chat.boxes import SIDE, Box
from narthex.tools.contract import ToolContext, tool

MAX_MARKS = 50  # more hide the picture
MAX_LABEL_CHARS = 24
MIN_SIDE_PX, MAX_SCALE = 320, 8  # a small picture is enlarged, or its marks would hide what they mark

# Told apart by most people who see few colours (Okabe and Ito), on the dark and light lines that go with them.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_DARK, _LIGHT = "#101010", "#ffffff"

_Edge = Annotated[int, Field(ge=0, le=SIDE)]
_Label = Annotated[str, Field(max_length=MAX_LABEL_CHARS)]


@tool
def mark(
    context: ToolContext,
    boxes: Annotated[
        tuple[tuple[_Edge, _Edge, _Edge, _Edge], ...],
        Field(max_length=MAX_MARKS, description="boxes to draw, each left, top, right, bottom; 0..1000 of the sides"),
    ] = (),
    points: Annotated[
        tuple[tuple[_Edge, _Edge], ...],
        Field(max_length=MAX_MARKS, description="points to draw, each x, y; 0..1000 of the sides"),
    ] = (),
    labels: Annotated[
        tuple[_Label, ...],
        Field(max_length=2 * MAX_MARKS, description="short texts for the boxes, then the points; else 1, 2, 3 …"),
    ] = (),
    image: Annotated[int, Field(ge=0, description="which picture, counted from 0 in order of appearance")] = 0,
) -> list[ImagePart]:
    """Draw boxes and points with short labels on a picture: the marked picture comes back as a new one."""
    picture = context.open_picture(image)
    count = len(boxes) + len(points)
    if count == 0:
        raise ModelMistake("mark: there is nothing to draw; give boxes or points")
    if count > MAX_MARKS:
        raise ModelMistake(f"mark: {count} marks are too many; {MAX_MARKS} at most")
    if labels and len(labels) != count:
        raise ModelMistake(f"mark: {len(labels)} labels for {count} marks; one for each, or none")
    for box in boxes:
        if problem := Box(*box).problem():
            raise ModelMistake(f"mark: {problem}")
    return [context.keep_picture(draw_marks(picture, [Box(*box) for box in boxes], points, labels))]


def draw_marks(
    picture: Image.Image,
    boxes: Sequence[Box],
    points: Sequence[tuple[int, int]] = (),
    labels: Sequence[str] = (),
) -> Image.Image:
    """A copy of `picture` with marks on it, enlarged where it is small. Boxes come before points; each has a colour.

    Every line has a dark and a light side and every label a plate of its own, so that they show on any ground.
    """
    canvas = _enlarged(picture)
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    thick = max(2, round(math.sqrt(width * height) / 220))
    font = ImageFont.load_default(size=max(14.0, math.sqrt(width * height) / 30))
    plates: list[tuple[tuple[float, float], str, str]] = []
    for number, box in enumerate(boxes):
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = box.pixels(width, height)
        _frame(draw, (left, top, right - 1, bottom - 1), colour, thick)
        plates.append(((left, top), _label(labels, number), colour))
    for number, (x, y) in enumerate(points, start=len(boxes)):
        colour = COLOURS[number % len(COLOURS)]
        at = (min(x * width / SIDE, width - 1), min(y * height / SIDE, height - 1))
        for radius, fill in ((3 * thick, _DARK), (2.5 * thick, _LIGHT), (2 * thick, colour)):
            draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=fill)
        plates.append(((at[0] + 3 * thick, at[1] + 3 * thick), _label(labels, number), colour))
    for at, text, colour in plates:  # last, so that no line runs through a label
        _plate(draw, at, text, colour, thick, font, canvas.size)
    return canvas


def _enlarged(picture: Image.Image) -> Image.Image:
    shorter, longer = sorted(picture.size)
    scale = min(MAX_SCALE, math.ceil(MIN_SIDE_PX / shorter), max(1, 2000 // longer))
    if scale <= 1:
        return picture.convert("RGB") if picture.mode != "RGB" else picture.copy()
    return picture.convert("RGB").resize((picture.width * scale, picture.height * scale), Image.Resampling.LANCZOS)


def _label(labels: Sequence[str], number: int) -> str:
    return " ".join(labels[number].split()) if labels else str(number + 1)


def _frame(draw: ImageDraw.ImageDraw, edges: tuple[int, int, int, int], colour: str, thick: int) -> None:
    """A coloured frame between a dark and a light line, all inside the box so that its edges can be seen."""
    left, top, right, bottom = edges
    step = max(1, thick // 3)
    for inset, fill, line in ((0, _DARK, step), (step, colour, thick), (step + thick, _LIGHT, step)):
        if right - left > 2 * (inset + line) and bottom - top > 2 * (inset + line):
            draw.rectangle((left + inset, top + inset, right - inset, bottom - inset), outline=fill, width=line)
        elif inset == 0:  # too small for a frame: what it holds must stay visible, so one line has to do
            draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour)


def _plate(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: str,
    thick: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Light text on a dark plate edged in the mark's colour, above `at` where there is room, always in the picture."""
    if not text:
        return
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = thick + 1
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0.0, at[0]), max(0.0, size[0] - width))
    y = at[1] - height if at[1] >= height else at[1]
    y = min(max(0.0, y), max(0.0, size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=_DARK, outline=colour, width=max(1, thick // 2))
    draw.text((x + pad - left, y + pad - top), text, fill=_LIGHT, font=font)
