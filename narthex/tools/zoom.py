"""zoom: look closely at a part of a picture. The crop comes back as a new picture."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from narthex.base.errors import ModelMistake
from narthex.chat import ImagePart
from narthex.chat.boxes import SIDE, Box
from narthex.tools.contract import ToolContext, tool

_Edge = Annotated[int, Field(ge=0, le=SIDE)]
_Edges = tuple[_Edge, _Edge, _Edge, _Edge]
MIN_SIDE_PX = 2  # less than this shows nothing, and a picture must have pixels


@tool
def zoom(
    context: ToolContext,
    box: Annotated[_Edges, Field(description="left, top, right, bottom; 0..1000 of the picture's sides")],
    image: Annotated[int, Field(ge=0, description="which picture, counted from 0 in order of appearance")] = 0,
) -> list[ImagePart]:
    """Look closely at a part of a picture: the part comes back as a new picture in full detail."""
    picture = context.open_picture(image)
    wanted = Box(*box)
    if problem := wanted.problem():
        raise ModelMistake(f"zoom: {problem}")
    left, top, right, bottom = wanted.pixels(picture.width, picture.height)
    if right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
        raise ModelMistake(f"zoom: box {list(box)} holds {right - left} x {bottom - top} pixels; take a larger one")
    return [context.keep_picture(picture.crop((left, top, right, bottom)))]
