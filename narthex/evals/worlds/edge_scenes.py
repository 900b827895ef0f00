"""What pictures that are no panels show, for training: landscapes, faces, pages, charts, maps, price lists, …

Every family is a function (random stream, picture) -> None that draws over the whole picture. Several hold letters and
digits on purpose, so that print alone does not make a panel. The families held out for testing: edge_scenes_unseen.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from narthex.evals.worlds.drawing import Colour

Family = Callable[[random.Random, Image.Image], None]

# Whole words only: a lone "A" beside a number would be a gauge.
WORDS = (
    *("the", "our", "of", "and", "under", "never", "between", "after", "every", "open", "old", "green", "small"),
    *("river", "stone", "letter", "house", "winter", "bridge", "market", "people", "road", "table", "morning"),
    *("window", "ship", "garden", "north", "price", "summer", "paper", "report", "number", "page", "Monday"),
    *("city", "water", "light", "music", "king", "field"),
)


@lru_cache(maxsize=64)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font; size in pixels."""
    return ImageFont.load_default(size)


def colour_between(rng: random.Random, low: int = 0, high: int = 255) -> Colour:
    """Draw a colour whose three parts lie between low and high."""
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def paper_and_ink(rng: random.Random) -> tuple[Colour, Colour]:
    """Two colours that can be told apart, paper and ink, light on dark now and then."""
    paper, ink = colour_between(rng, 190, 255), colour_between(rng, 0, 110)
    return (ink, paper) if rng.random() < 0.3 else (paper, ink)


def canvas(picture: Image.Image, background: Colour) -> ImageDraw.ImageDraw:
    """Paint the picture in one colour and hand out the pen."""
    picture.paste(background, (0, 0, *picture.size))
    return ImageDraw.Draw(picture)


def words(rng: random.Random, count: int) -> str:
    """Draw some words of no meaning together."""
    return " ".join(rng.choice(WORDS) for _ in range(count))


def fade(picture: Image.Image, top: Colour, bottom: Colour) -> ImageDraw.ImageDraw:
    """Paint the picture from one colour at the top to another at the bottom and hand out the pen."""
    strip = Image.new("RGB", (1, 2))
    strip.putdata([top, bottom])
    picture.paste(strip.resize(picture.size, Image.Resampling.BILINEAR))
    return ImageDraw.Draw(picture)


def cloud(rng: random.Random, picture: Image.Image, octaves: tuple[int, ...]) -> None:
    """Sum of enlarged random grids: the look of clouds, marble and things out of focus."""
    mixed: Image.Image | None = None
    for cells in octaves:
        grid = Image.frombytes("RGB", (cells, cells), rng.randbytes(3 * cells * cells))
        layer = grid.resize((128, 128), Image.Resampling.BICUBIC)
        mixed = layer if mixed is None else Image.blend(mixed, layer, 0.35)
    if mixed is not None:
        # A tint over everything: colours in the world keep company, random ones do not.
        tint = Image.new("RGB", mixed.size, colour_between(rng))
        mixed = Image.blend(mixed, tint, rng.uniform(0.1, 0.7))
        picture.paste(mixed.resize(picture.size, Image.Resampling.BILINEAR))


def _landscape(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 60, 220), colour_between(rng, 150, 255))
    radius, x, y = width * rng.uniform(0.03, 0.09), rng.uniform(0, width), rng.uniform(0, height * 0.4)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour_between(rng, 200, 255))
    level = height * rng.uniform(0.35, 0.6)
    for _ in range(rng.randint(2, 5)):
        steps, rough = rng.randint(3, 14), height * rng.uniform(0.03, 0.15)
        ridge = [(width * i / steps, level + rng.uniform(-rough, rough)) for i in range(steps + 1)]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour_between(rng, 10, 170))
        level += height * rng.uniform(0.08, 0.2)
    for _ in range(rng.randint(0, 9)):
        x, y, size = rng.uniform(0, width), height * rng.uniform(0.6, 0.95), height * rng.uniform(0.05, 0.16)
        draw.polygon([(x - size / 3, y), (x, y - size), (x + size / 3, y)], fill=colour_between(rng, 0, 120))


def _shapes(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng))
    for _ in range(rng.randint(1, 24)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), width * rng.uniform(0.03, 0.25)
        box, fill = (
            (x - size, y - size * rng.uniform(0.4, 1), x + size, y + size * rng.uniform(0.4, 1)),
            colour_between(rng),
        )
        kind = rng.randrange(4)
        if kind == 0:
            draw.ellipse(box, fill=fill)
        elif kind == 1:
            draw.rectangle(box, fill=fill, outline=colour_between(rng), width=rng.randint(1, 6))
        elif kind == 2:
            draw.regular_polygon((x, y, size), rng.randint(3, 8), rotation=rng.randint(0, 90), fill=fill)
        else:
            draw.arc(box, rng.randint(0, 180), rng.randint(180, 360), fill=fill, width=rng.randint(2, 12))


def _texture(rng: random.Random, picture: Image.Image) -> None:
    cells = rng.choice((16, 32, 64, 128))
    grid = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
    how = rng.choice((Image.Resampling.NEAREST, Image.Resampling.BILINEAR))
    stretch = grid.resize((picture.width, picture.height), how, box=(0, 0, cells, cells * rng.uniform(0.1, 1)))
    dark, light = colour_between(rng, 0, 140), colour_between(rng, 90, 255)
    ramps = [bytes(round(a + (b - a) * v / 255) for v in range(256)) for a, b in zip(dark, light, strict=True)]
    picture.paste(Image.merge("RGB", [stretch.point(list(ramp)) for ramp in ramps]))


def _face(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng))
    for _ in range(rng.choice((1, 1, 2, 3))):
        x, y, r = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.3, 0.7), width * rng.uniform(0.14, 0.32)
        skin, dark = colour_between(rng, 120, 255), colour_between(rng, 0, 90)
        draw.ellipse((x - r * 1.1, y - r * 1.4, x + r * 1.1, y + r * 0.6), fill=dark)  # hair
        draw.polygon(
            [(x - r, y + r * 2.6), (x, y + r * 0.9), (x + r, y + r * 2.6)], fill=colour_between(rng)
        )  # shoulders
        draw.ellipse((x - r * 0.9, y - r, x + r * 0.9, y + r * 1.15), fill=skin)
        for side in (-1, 1):
            eye, e = x + side * r * 0.36, r * rng.uniform(0.1, 0.18)
            draw.ellipse((eye - e * 1.5, y - r * 0.2 - e, eye + e * 1.5, y - r * 0.2 + e), fill=(250, 250, 250))
            draw.ellipse((eye - e * 0.7, y - r * 0.2 - e * 0.7, eye + e * 0.7, y - r * 0.2 + e * 0.7), fill=dark)
        draw.line(
            [(x, y - r * 0.1), (x - r * 0.1, y + r * 0.25), (x + r * 0.08, y + r * 0.27)],
            fill=dark,
            width=max(1, int(r / 18)),
        )
        mouth = (x - r * 0.4, y + r * 0.2, x + r * 0.4, y + r * 0.75)
        draw.arc(
            mouth,
            *rng.choice(((20, 160), (200, 340), (60, 120))),
            fill=colour_between(rng, 60, 160),
            width=max(2, int(r / 12)),
        )


def _page(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    size, margin = rng.randint(9, 26), width * rng.uniform(0.04, 0.14)
    y = margin
    if rng.random() < 0.7:
        draw.text((margin, y), words(rng, rng.randint(2, 4)).title(), fill=ink, font=font_of(round(size * 1.8)))
        y += size * 2.8
    while y < height - margin:
        if rng.random() < 0.12:
            y += size
        else:
            draw.text(
                (margin, y), words(rng, max(1, int((width - 2 * margin) / size / 3))), fill=ink, font=font_of(size)
            )
        y += size * 1.35


def _bars(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    left, base, top, count = width * 0.12, height * 0.86, height * 0.14, rng.randint(3, 11)
    draw.line([(left, top), (left, base), (width * 0.95, base)], fill=ink, width=2)
    for i in range(5):
        y = base - (base - top) * i / 4
        draw.text((left * 0.2, y - 6), str(i * rng.choice((5, 10, 25))), fill=ink, font=font_of(12))
        if rng.random() < 0.7:
            draw.line([(left, y), (width * 0.95, y)], fill=ink, width=1)
    one, step = colour_between(rng, 30, 220), (width * 0.8) / count
    for i in range(count):
        x, y = left + step * (i + 0.2), base - (base - top) * rng.uniform(0.05, 0.97)
        draw.rectangle((x, y, x + step * 0.6, base - 1), fill=one if i % 2 else colour_between(rng, 30, 220))
        draw.text(
            (x, base + 4), rng.choice(WORDS)[:3] if rng.random() < 0.6 else str(2010 + i), fill=ink, font=font_of(11)
        )
    draw.text((left, height * 0.03), words(rng, 3), fill=ink, font=font_of(18))


def _checkers(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    one, two, count = colour_between(rng), colour_between(rng), rng.randint(3, 16)
    grid = Image.new("RGB", (count, count))
    grid.putdata([one if (i + j) % 2 else two for i in range(count) for j in range(count)])
    picture.paste(grid.resize((width, height), Image.Resampling.NEAREST))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.choice((0, 0, 6, 14))):  # draughtsmen
        x, y, r = (rng.randrange(count) + 0.5) / count, (rng.randrange(count) + 0.5) / count, 0.36 * width / count
        draw.ellipse(
            (x * width - r, y * height - r, x * width + r, y * height + r),
            fill=rng.choice(((20, 20, 20), (240, 235, 220))),
        )


def _map(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng, 200, 250))
    for _ in range(rng.randint(1, 4)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), width * rng.uniform(0.1, 0.3)
        coast = [
            (x + r * rng.uniform(0.6, 1.2) * math.cos(a / 2), y + r * rng.uniform(0.6, 1.2) * math.sin(a / 2))
            for a in range(13)
        ]
        draw.polygon(coast, fill=rng.choice(((170, 205, 235), (185, 220, 175), (225, 215, 190))))
    for _ in range(rng.randint(4, 18)):
        x, y, road = rng.uniform(0, width), rng.uniform(0, height), []
        for _ in range(rng.randint(2, 7)):
            road.append((x, y))
            x, y = x + rng.uniform(-0.3, 0.3) * width, y + rng.uniform(-0.3, 0.3) * height
        draw.line(road, fill=colour_between(rng, 60, 255), width=rng.randint(1, 7), joint="curve")
    for _ in range(rng.randint(0, 8)):
        x, y = rng.uniform(0, width * 0.8), rng.uniform(0, height)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(30, 30, 30))
        draw.text((x + 7, y - 7), rng.choice(WORDS).title(), fill=(30, 30, 30), font=font_of(rng.randint(10, 17)))


def _blobs(rng: random.Random, picture: Image.Image) -> None:
    """A photograph out of focus: soft objects drawn small and enlarged."""
    small = Image.new("RGB", (40, 40))
    cloud(rng, small, (2, 4, 9))
    draw = ImageDraw.Draw(small)
    for _ in range(rng.randint(2, 10)):
        x, y, w, h = rng.uniform(0, 40), rng.uniform(0, 40), rng.uniform(2, 14), rng.uniform(2, 14)
        draw.ellipse((x - w, y - h, x + w, y + h), fill=colour_between(rng))
    small = Image.blend(small, Image.new("RGB", small.size, colour_between(rng, 40, 210)), rng.uniform(0, 0.6))
    picture.paste(small.resize(picture.size, Image.Resampling.BICUBIC))


def _clouds(rng: random.Random, picture: Image.Image) -> None:
    cloud(rng, picture, rng.choice(((2,), (3, 7), (2, 5, 11, 23), (4, 40), (6, 12, 24, 48, 96))))


def _stripes(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng))
    step, slope, palette = (
        width * rng.uniform(0.03, 0.2),
        rng.uniform(-1, 1),
        [colour_between(rng) for _ in range(rng.randint(1, 3))],
    )
    for i in range(-40, 60, 2):
        x = i * step
        if -height <= x <= width + height:
            draw.polygon(
                [(x, 0), (x + step, 0), (x + step + slope * height, height), (x + slope * height, height)],
                fill=palette[i // 2 % len(palette)],
            )


def _letter_grid(rng: random.Random, picture: Image.Image) -> None:
    """A crossword or a calendar sheet: single characters in boxes, and no readings."""
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    columns, rows, numbers = rng.randint(4, 10), rng.randint(4, 9), rng.random() < 0.4
    dx, dy = width * 0.9 / columns, height * 0.85 / rows
    font = font_of(max(10, round(min(dx, dy) * rng.uniform(0.4, 0.7))))
    for i in range(rows):
        for j in range(columns):
            x, y = width * 0.05 + j * dx, height * 0.1 + i * dy
            shut = not numbers and rng.random() < 0.2
            draw.rectangle((x, y, x + dx, y + dy), outline=ink, fill=ink if shut else None)
            if not shut:
                text = str(i * columns + j + 1) if numbers else rng.choice("ABCDEFGHIKLMNOPRSTUVW")
                draw.text((x + dx / 2, y + dy / 2), text, fill=ink, font=font, anchor="mm")


def _sign(rng: random.Random, picture: Image.Image) -> None:
    """A street with a sign or a number plate: one large piece of print."""
    _landscape(rng, picture)
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    text = rng.choice(
        (
            words(rng, 1).upper(),
            str(rng.randint(1, 999)),
            f"{rng.choice('BHKMS')} {rng.choice('ACTX')} {rng.randint(10, 9999)}",
            "STOP",
        )
    )
    w, h = width * rng.uniform(0.25, 0.42), height * rng.uniform(0.08, 0.16)
    x, y = rng.uniform(w, width - w), rng.uniform(height * 0.25, height * 0.75)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x - 4, y, x + 4, height), fill=(90, 90, 90))
    draw.rounded_rectangle((x - w, y - h, x + w, y + h), radius=h / 4, fill=paper, outline=ink, width=3)
    draw.text((x, y), text, fill=ink, font=font_of(round(min(h * 1.1, 2.4 * w / len(text)))), anchor="mm")


def _menu(rng: random.Random, picture: Image.Image) -> None:
    """A price list: words and numbers in pairs, as on a panel, but no gauge has one letter for a name."""
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    size = rng.randint(13, 30)
    draw.text((width / 2, size * 1.2), rng.choice(WORDS).upper(), fill=ink, font=font_of(size + 8), anchor="mm")
    y = size * 3.0
    while y < height - size:
        draw.text((width * 0.08, y), rng.choice(WORDS), fill=ink, font=font_of(size), anchor="lm")
        draw.text((width * 0.92, y), f"{rng.uniform(1, 40):.2f}", fill=ink, font=font_of(size), anchor="rm")
        y += size * rng.choice((1.4, 1.4, 2.4))


def _clock(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, colour_between(rng))
    x, y, r = (
        width * rng.uniform(0.4, 0.6),
        height * rng.uniform(0.4, 0.6),
        min(width, height) * rng.uniform(0.25, 0.42),
    )
    draw.ellipse((x - r, y - r, x + r, y + r), fill=paper, outline=ink, width=max(2, int(r / 20)))
    for hour in range(1, 13):
        a = math.radians(30 * hour - 90)
        place = (x + 0.8 * r * math.cos(a), y + 0.8 * r * math.sin(a))
        draw.text(place, str(hour), fill=ink, font=font_of(max(8, round(r / 6))), anchor="mm")
    for length in (0.5, 0.7):
        a = rng.uniform(0, 2 * math.pi)
        tip = (x + length * r * math.cos(a), y + length * r * math.sin(a))
        draw.line([(x, y), tip], fill=ink, width=max(2, int(r / 22)))


def _buttons(rng: random.Random, picture: Image.Image) -> None:
    """A screen of buttons that bear whole words."""
    width, height = picture.size
    draw = canvas(picture, colour_between(rng))
    paper, ink = paper_and_ink(rng)
    columns, rows = rng.randint(1, 4), rng.randint(2, 7)
    dx, dy = width / columns, height / rows
    font = font_of(max(9, round(min(dx / 5, dy / 2.5))))
    for i in range(rows):
        for j in range(columns):
            x, y = j * dx, i * dy
            draw.rounded_rectangle((x + 5, y + 5, x + dx - 5, y + dy - 5), radius=rng.choice((2, 8)), fill=paper)
            draw.text((x + dx / 2, y + dy / 2), rng.choice(WORDS), fill=ink, font=font, anchor="mm")


TRAIN_FAMILIES: dict[str, Family] = {
    "landscape": _landscape, "shapes": _shapes, "texture": _texture, "face": _face, "page": _page, "bars": _bars,
    "checkers": _checkers, "map": _map, "blobs": _blobs, "clouds": _clouds, "stripes": _stripes,
    "letter grid": _letter_grid, "sign": _sign, "menu": _menu, "clock": _clock, "buttons": _buttons,
}  # fmt: skip
