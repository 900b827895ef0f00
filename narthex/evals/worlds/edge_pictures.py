"""Pictures that are no instrument panels: landscapes, faces, pages, charts, maps, … drawn from a random stream.

Every family is a function (random stream, picture) -> None that draws over the whole picture. The families of the test
split are held out: none of them is seen in training. Several hold letters and digits on purpose, so that print alone
does not make a panel.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from narthex.evals.worlds.drawing import Colour, add_light, add_noise
from narthex.evals.worlds.item import Split

Family = Callable[[random.Random, Image.Image], None]

_SMALLEST, _LARGEST = 256, 512
_WORDS = (
    *("the", "a", "of", "and", "under", "never", "between", "after", "every", "open", "old", "green", "small", "river"),
    *("stone", "letter", "house", "winter", "bridge", "market", "people", "road", "table", "morning", "window", "ship"),
    *("garden", "north", "price", "summer", "paper", "report", "number", "page", "Monday", "city", "water", "light"),
    *("music", "king", "field"),
)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _colour(rng: random.Random, low: int = 0, high: int = 255) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _paper(rng: random.Random) -> tuple[Colour, Colour]:
    """Two colours that can be told apart, paper and ink, light on dark now and then."""
    paper, ink = _colour(rng, 190, 255), _colour(rng, 0, 110)
    return (ink, paper) if rng.random() < 0.3 else (paper, ink)


def _canvas(picture: Image.Image, background: Colour) -> ImageDraw.ImageDraw:
    picture.paste(background, (0, 0, *picture.size))
    return ImageDraw.Draw(picture)


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _fade(picture: Image.Image, top: Colour, bottom: Colour) -> ImageDraw.ImageDraw:
    strip = Image.new("RGB", (1, 2))
    strip.putdata([top, bottom])
    picture.paste(strip.resize(picture.size, Image.Resampling.BILINEAR))
    return ImageDraw.Draw(picture)


def _cloud(rng: random.Random, picture: Image.Image, octaves: tuple[int, ...]) -> None:
    """Sum of enlarged random grids: the look of clouds, marble and things out of focus."""
    mixed: Image.Image | None = None
    for cells in octaves:
        grid = Image.frombytes("RGB", (cells, cells), rng.randbytes(3 * cells * cells))
        layer = grid.resize((128, 128), Image.Resampling.BICUBIC)
        mixed = layer if mixed is None else Image.blend(mixed, layer, 0.35)
    if mixed is not None:
        picture.paste(mixed.resize(picture.size, Image.Resampling.BILINEAR))


# --- families of the train split ---


def _landscape(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _fade(picture, _colour(rng, 60, 220), _colour(rng, 150, 255))
    radius, x, y = width * rng.uniform(0.03, 0.09), rng.uniform(0, width), rng.uniform(0, height * 0.4)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng, 200, 255))
    level = height * rng.uniform(0.35, 0.6)
    for _ in range(rng.randint(2, 5)):
        steps, rough = rng.randint(3, 14), height * rng.uniform(0.03, 0.15)
        ridge = [(width * i / steps, level + rng.uniform(-rough, rough)) for i in range(steps + 1)]
        draw.polygon([(0, height), *ridge, (width, height)], fill=_colour(rng, 10, 170))
        level += height * rng.uniform(0.08, 0.2)
    for _ in range(rng.randint(0, 9)):
        x, y, size = rng.uniform(0, width), height * rng.uniform(0.6, 0.95), height * rng.uniform(0.05, 0.16)
        draw.polygon([(x - size / 3, y), (x, y - size), (x + size / 3, y)], fill=_colour(rng, 0, 120))


def _shapes(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _canvas(picture, _colour(rng))
    for _ in range(rng.randint(1, 24)):
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), width * rng.uniform(0.03, 0.25)
        box, fill = (x - size, y - size * rng.uniform(0.4, 1), x + size, y + size * rng.uniform(0.4, 1)), _colour(rng)
        kind = rng.randrange(4)
        if kind == 0:
            draw.ellipse(box, fill=fill)
        elif kind == 1:
            draw.rectangle(box, fill=fill, outline=_colour(rng), width=rng.randint(1, 6))
        elif kind == 2:
            draw.regular_polygon((x, y, size), rng.randint(3, 8), rotation=rng.randint(0, 90), fill=fill)
        else:
            draw.arc(box, rng.randint(0, 180), rng.randint(180, 360), fill=fill, width=rng.randint(2, 12))


def _texture(rng: random.Random, picture: Image.Image) -> None:
    cells = rng.choice((16, 32, 64, 128))
    grid = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
    how = rng.choice((Image.Resampling.NEAREST, Image.Resampling.BILINEAR))
    stretch = grid.resize((picture.width, picture.height), how, box=(0, 0, cells, cells * rng.uniform(0.1, 1)))
    dark, light = _colour(rng, 0, 140), _colour(rng, 90, 255)
    ramps = [bytes(round(a + (b - a) * v / 255) for v in range(256)) for a, b in zip(dark, light, strict=True)]
    picture.paste(Image.merge("RGB", [stretch.point(list(ramp)) for ramp in ramps]))


def _face(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _canvas(picture, _colour(rng))
    for _ in range(rng.choice((1, 1, 2, 3))):
        x, y, r = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.3, 0.7), width * rng.uniform(0.14, 0.32)
        skin, dark = _colour(rng, 120, 255), _colour(rng, 0, 90)
        draw.ellipse((x - r * 1.1, y - r * 1.4, x + r * 1.1, y + r * 0.6), fill=dark)  # hair
        draw.polygon([(x - r, y + r * 2.6), (x, y + r * 0.9), (x + r, y + r * 2.6)], fill=_colour(rng))  # shoulders
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
            fill=_colour(rng, 60, 160),
            width=max(2, int(r / 12)),
        )


def _page(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    size, margin = rng.randint(9, 26), width * rng.uniform(0.04, 0.14)
    y = margin
    if rng.random() < 0.7:
        draw.text((margin, y), _words(rng, rng.randint(2, 4)).title(), fill=ink, font=_font(round(size * 1.8)))
        y += size * 2.8
    while y < height - margin:
        if rng.random() < 0.12:
            y += size
        else:
            draw.text(
                (margin, y), _words(rng, max(1, int((width - 2 * margin) / size / 3))), fill=ink, font=_font(size)
            )
        y += size * 1.35


def _bars(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    left, base, top, count = width * 0.12, height * 0.86, height * 0.14, rng.randint(3, 11)
    draw.line([(left, top), (left, base), (width * 0.95, base)], fill=ink, width=2)
    for i in range(5):
        y = base - (base - top) * i / 4
        draw.text((left * 0.2, y - 6), str(i * rng.choice((5, 10, 25))), fill=ink, font=_font(12))
        if rng.random() < 0.7:
            draw.line([(left, y), (width * 0.95, y)], fill=ink, width=1)
    one, step = _colour(rng, 30, 220), (width * 0.8) / count
    for i in range(count):
        x, y = left + step * (i + 0.2), base - (base - top) * rng.uniform(0.05, 0.97)
        draw.rectangle((x, y, x + step * 0.6, base - 1), fill=one if i % 2 else _colour(rng, 30, 220))
        draw.text(
            (x, base + 4), rng.choice(_WORDS)[:3] if rng.random() < 0.6 else str(2010 + i), fill=ink, font=_font(11)
        )
    draw.text((left, height * 0.03), _words(rng, 3), fill=ink, font=_font(18))


def _checkers(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    one, two, count = _colour(rng), _colour(rng), rng.randint(3, 16)
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
    draw = _canvas(picture, _colour(rng, 200, 250))
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
        draw.line(road, fill=_colour(rng, 60, 255), width=rng.randint(1, 7), joint="curve")
    for _ in range(rng.randint(0, 8)):
        x, y = rng.uniform(0, width * 0.8), rng.uniform(0, height)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(30, 30, 30))
        draw.text((x + 7, y - 7), rng.choice(_WORDS).title(), fill=(30, 30, 30), font=_font(rng.randint(10, 17)))


def _blobs(rng: random.Random, picture: Image.Image) -> None:
    """A photograph out of focus: soft objects drawn small and enlarged."""
    small = Image.new("RGB", (40, 40))
    _cloud(rng, small, (2, 4, 9))
    draw = ImageDraw.Draw(small)
    for _ in range(rng.randint(2, 10)):
        x, y, w, h = rng.uniform(0, 40), rng.uniform(0, 40), rng.uniform(2, 14), rng.uniform(2, 14)
        draw.ellipse((x - w, y - h, x + w, y + h), fill=_colour(rng))
    picture.paste(small.resize(picture.size, Image.Resampling.BICUBIC))


def _clouds(rng: random.Random, picture: Image.Image) -> None:
    _cloud(rng, picture, rng.choice(((2,), (3, 7), (2, 5, 11, 23), (4, 40), (6, 12, 24, 48, 96))))


def _stripes(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _canvas(picture, _colour(rng))
    step, slope, palette = (
        width * rng.uniform(0.03, 0.2),
        rng.uniform(-1, 1),
        [_colour(rng) for _ in range(rng.randint(1, 3))],
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
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    columns, rows, numbers = rng.randint(4, 10), rng.randint(4, 9), rng.random() < 0.4
    dx, dy = width * 0.9 / columns, height * 0.85 / rows
    font = _font(max(10, round(min(dx, dy) * rng.uniform(0.4, 0.7))))
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
    paper, ink = _paper(rng)
    text = rng.choice(
        (
            _words(rng, 1).upper(),
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
    draw.text((x, y), text, fill=ink, font=_font(round(min(h * 1.1, 2.4 * w / len(text)))), anchor="mm")


# --- families of the test split ---


def _pie(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    r, start, cuts = width * rng.uniform(0.2, 0.36), 0.0, rng.randint(3, 8)
    edges = sorted(rng.uniform(0, 360) for _ in range(cuts - 1)) + [360.0]
    x, y = width * 0.42, height * 0.55
    for i, end in enumerate(edges):
        fill = _colour(rng, 40, 240)
        draw.pieslice((x - r, y - r, x + r, y + r), start, end, fill=fill, outline=ink)
        draw.rectangle((width * 0.82, 30 + 22 * i, width * 0.85, 42 + 22 * i), fill=fill)
        draw.text((width * 0.87, 28 + 22 * i), rng.choice(_WORDS)[:5], fill=ink, font=_font(12))
        start = end


def _curves(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    draw.line(
        [(width * 0.1, height * 0.08), (width * 0.1, height * 0.9), (width * 0.95, height * 0.9)], fill=ink, width=2
    )
    for _ in range(rng.randint(1, 4)):
        a, f, p, m = rng.uniform(0.05, 0.25), rng.uniform(1, 9), rng.uniform(0, 6), rng.uniform(0.3, 0.7)
        line = [
            (width * (0.1 + 0.85 * i / 60), height * (m + a * math.sin(f * i / 60 + p) + rng.gauss(0, 0.01)))
            for i in range(61)
        ]
        draw.line(line, fill=_colour(rng, 20, 220), width=rng.randint(1, 4))
    for i in range(6):
        draw.text((width * (0.1 + 0.16 * i), height * 0.92), str(i * 2), fill=ink, font=_font(12))


def _skyline(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _fade(picture, _colour(rng, 0, 60), _colour(rng, 20, 140))
    for _ in range(rng.randint(20, 90)):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        draw.point([(x, y), (x + 1, y)], fill=(240, 240, 220))
    x = 0.0
    while x < width:
        w, top, wall = width * rng.uniform(0.05, 0.16), height * rng.uniform(0.25, 0.8), _colour(rng, 10, 80)
        draw.rectangle((x, top, x + w, height), fill=wall)
        for i in range(2, int(w) - 5, 9):
            for j in range(int(top) + 5, height, 12):
                if rng.random() < 0.4:
                    draw.rectangle((x + i, j, x + i + 4, j + 6), fill=(250, 220, 120))
        x += w


def _rings(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _canvas(picture, _colour(rng))
    x, y, step = width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7), width * rng.uniform(0.02, 0.08)
    one, two = _colour(rng), _colour(rng)
    for i in range(int(width * 0.8 / step), 0, -1):
        draw.ellipse((x - i * step, y - i * step, x + i * step, y + i * step), fill=one if i % 2 else two)


def _house(rng: random.Random, picture: Image.Image) -> None:
    """A child's drawing: house, tree, fence."""
    width, height = picture.size
    draw = _canvas(picture, _colour(rng, 150, 255))
    ground = height * rng.uniform(0.7, 0.85)
    draw.rectangle((0, ground, width, height), fill=_colour(rng, 60, 180))
    x, w, h = width * rng.uniform(0.1, 0.4), width * rng.uniform(0.25, 0.45), height * rng.uniform(0.25, 0.4)
    draw.rectangle((x, ground - h, x + w, ground), fill=_colour(rng), outline=(40, 40, 40), width=3)
    draw.polygon(
        [(x - 12, ground - h), (x + w / 2, ground - h * 1.7), (x + w + 12, ground - h)],
        fill=_colour(rng),
        outline=(40, 40, 40),
    )
    for share in (0.12, 0.62):
        draw.rectangle(
            (x + w * share, ground - h * 0.8, x + w * (share + 0.24), ground - h * 0.5),
            fill=_colour(rng),
            outline=(40, 40, 40),
        )
    draw.rectangle((x + w * 0.4, ground - h * 0.45, x + w * 0.6, ground), fill=_colour(rng))
    tree, r = width * rng.uniform(0.75, 0.92), width * rng.uniform(0.07, 0.14)
    draw.rectangle((tree - 6, ground - r * 2.4, tree + 6, ground), fill=(110, 70, 30))
    draw.ellipse((tree - r, ground - r * 4, tree + r, ground - r * 1.8), fill=_colour(rng, 20, 190))
    for i in range(0, width, 22):
        draw.rectangle((i, ground - 4, i + 8, ground + height * 0.06), fill=(235, 230, 220))


def _bricks(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = _canvas(picture, _colour(rng, 120, 220))
    w, h, base = width * rng.uniform(0.08, 0.25), height * rng.uniform(0.04, 0.12), _colour(rng, 40, 190)
    for row in range(int(height / h) + 1):
        for column in range(-1, int(width / w) + 2):
            shade = rng.randint(-35, 35)
            x, y = (column + 0.5 * (row % 2)) * w, row * h
            draw.rectangle(
                (x + 2, y + 2, x + w - 2, y + h - 2), fill=(base[0] + shade, base[1] + shade, base[2] + shade)
            )


def _scribble(rng: random.Random, picture: Image.Image) -> None:
    """Handwriting nobody can read."""
    width, height = picture.size
    paper, ink = _paper(rng)
    draw = _canvas(picture, paper)
    y, size = height * 0.1, rng.uniform(6, 16)
    while y < height * 0.95:
        x, line = width * 0.06, []
        while x < width * 0.92:
            line.append((x, y + rng.uniform(-size, size)))
            x += rng.uniform(-0.2, 0.8) * size
            if rng.random() < 0.1 and len(line) > 1:
                draw.line(line, fill=ink, width=2, joint="curve")
                x, line = x + size, []
        y += size * 2.8


def _keyboard(rng: random.Random, picture: Image.Image) -> None:
    """Keys with letters and digits: the closest to a panel, and none."""
    width, height = picture.size
    draw = _canvas(picture, _colour(rng, 20, 200))
    paper, ink = _paper(rng)
    key, y = width / 11.5, height * rng.uniform(0.15, 0.4)
    for row, keys in enumerate(("1234567890", "QWERTZUIOP", "ASDFGHJKL", "YXCVBNM")):
        for i, letter in enumerate(keys):
            x = key * (0.5 + i + 0.3 * row)
            draw.rounded_rectangle((x, y, x + key * 0.88, y + key * 0.88), radius=4, fill=paper)
            draw.text((x + key * 0.44, y + key * 0.44), letter, fill=ink, font=_font(round(key * 0.5)), anchor="mm")
        y += key


FAMILIES: dict[Split, dict[str, Family]] = {
    "train": {
        "landscape": _landscape, "shapes": _shapes, "texture": _texture, "face": _face, "page": _page, "bars": _bars,
        "checkers": _checkers, "map": _map, "blobs": _blobs, "clouds": _clouds, "stripes": _stripes,
        "letter grid": _letter_grid, "sign": _sign,
    },
    "test": {
        "pie": _pie, "curves": _curves, "skyline": _skyline, "rings": _rings, "house": _house, "bricks": _bricks,
        "scribble": _scribble, "keyboard": _keyboard,
    },
}  # fmt: skip


def other_picture(rng: random.Random, split: Split, family: str | None = None) -> Image.Image:
    """Draw a picture that is no panel, RGB, 256 to 512 pixels a side. family: one of FAMILIES[split], or None: any."""
    width = rng.randint(_SMALLEST, _LARGEST)
    height = min(_LARGEST, max(_SMALLEST, round(width * rng.choice((0.67, 0.75, 1, 1, 1.33)))))
    picture = Image.new("RGB", (width, height))
    families = FAMILIES[split]
    families[family or rng.choice(tuple(families))](rng, picture)
    # Grain and uneven light as on panels: neither may tell the two apart.
    if rng.random() < 0.4:
        picture = add_noise(
            picture,
            rng.uniform(0.02, 0.15),
            coloured=rng.random() < 0.5,
            offset=(rng.randrange(128), rng.randrange(128)),
        )
    if rng.random() < 0.3:
        picture = add_light(picture, rng.uniform(0.05, 0.3), turns=rng.randrange(4), window=(0.0, 0.0, 1.0, 1.0))
    return picture
