"""A small picture in a terminal: two pixels to a character, one as the ink of a half block, one as its ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from rich.text import Text

MAX_COLUMNS = 64  # fits a terminal of 80 columns, and half a screen


def can_show(console: Console) -> bool:
    """Whether half blocks in colour would look like anything here. Sixteen colours do not."""
    encoding = (console.encoding or "").lower().replace("-", "")
    return console.is_terminal and console.color_system in ("256", "truecolor") and encoding == "utf8"


def half_blocks(image: Image.Image, columns: int = MAX_COLUMNS) -> Text:
    """The picture, at most `columns` wide, as lines of text. Proportions are kept: a character is two pixels high."""
    import numpy as np
    from PIL import Image as Images
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    width = min(columns, image.width)
    height = max(2, round(image.height * width / image.width / 2) * 2)
    small = image.convert("RGB").resize((width, height), Images.Resampling.BOX)
    pixels_HWC = np.asarray(small).tolist()
    lines = []
    for upper, lower in zip(pixels_HWC[::2], pixels_HWC[1::2], strict=True):
        line = Text()
        for above, below in zip(upper, lower, strict=True):
            line.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        lines.append(line)
    return Text("\n").join(lines)
