"""Families of pictures that are no panels, held out for the test split: none of them is drawn in training."""

from __future__ import annotations

import math
import random

from PIL import Image

from narthex.evals.worlds.edge_scenes import WORDS, Family, canvas, colour_between, fade, font_of, paper_and_ink


def _pie(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    r, start, cuts = width * rng.uniform(0.2, 0.36), 0.0, rng.randint(3, 8)
    edges = sorted(rng.uniform(0, 360) for _ in range(cuts - 1)) + [360.0]
    x, y = width * 0.42, height * 0.55
    for i, end in enumerate(edges):
        fill = colour_between(rng, 40, 240)
        draw.pieslice((x - r, y - r, x + r, y + r), start, end, fill=fill, outline=ink)
        draw.rectangle((width * 0.82, 30 + 22 * i, width * 0.85, 42 + 22 * i), fill=fill)
        draw.text((width * 0.87, 28 + 22 * i), rng.choice(WORDS)[:5], fill=ink, font=font_of(12))
        start = end


def _curves(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
    draw.line(
        [(width * 0.1, height * 0.08), (width * 0.1, height * 0.9), (width * 0.95, height * 0.9)], fill=ink, width=2
    )
    for _ in range(rng.randint(1, 4)):
        a, f, p, m = rng.uniform(0.05, 0.25), rng.uniform(1, 9), rng.uniform(0, 6), rng.uniform(0.3, 0.7)
        line = [
            (width * (0.1 + 0.85 * i / 60), height * (m + a * math.sin(f * i / 60 + p) + rng.gauss(0, 0.01)))
            for i in range(61)
        ]
        draw.line(line, fill=colour_between(rng, 20, 220), width=rng.randint(1, 4))
    for i in range(6):
        draw.text((width * (0.1 + 0.16 * i), height * 0.92), str(i * 2), fill=ink, font=font_of(12))


def _skyline(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 0, 60), colour_between(rng, 20, 140))
    for _ in range(rng.randint(20, 90)):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.6)
        draw.point([(x, y), (x + 1, y)], fill=(240, 240, 220))
    x = 0.0
    while x < width:
        w, top, wall = width * rng.uniform(0.05, 0.16), height * rng.uniform(0.25, 0.8), colour_between(rng, 10, 80)
        draw.rectangle((x, top, x + w, height), fill=wall)
        for i in range(2, int(w) - 5, 9):
            for j in range(int(top) + 5, height, 12):
                if rng.random() < 0.4:
                    draw.rectangle((x + i, j, x + i + 4, j + 6), fill=(250, 220, 120))
        x += w


def _rings(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng))
    x, y, step = width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7), width * rng.uniform(0.02, 0.08)
    one, two = colour_between(rng), colour_between(rng)
    for i in range(int(width * 0.8 / step), 0, -1):
        draw.ellipse((x - i * step, y - i * step, x + i * step, y + i * step), fill=one if i % 2 else two)


def _house(rng: random.Random, picture: Image.Image) -> None:
    """A child's drawing: house, tree, fence."""
    width, height = picture.size
    draw = canvas(picture, colour_between(rng, 150, 255))
    ground = height * rng.uniform(0.7, 0.85)
    draw.rectangle((0, ground, width, height), fill=colour_between(rng, 60, 180))
    x, w, h = width * rng.uniform(0.1, 0.4), width * rng.uniform(0.25, 0.45), height * rng.uniform(0.25, 0.4)
    draw.rectangle((x, ground - h, x + w, ground), fill=colour_between(rng), outline=(40, 40, 40), width=3)
    draw.polygon(
        [(x - 12, ground - h), (x + w / 2, ground - h * 1.7), (x + w + 12, ground - h)],
        fill=colour_between(rng),
        outline=(40, 40, 40),
    )
    for share in (0.12, 0.62):
        draw.rectangle(
            (x + w * share, ground - h * 0.8, x + w * (share + 0.24), ground - h * 0.5),
            fill=colour_between(rng),
            outline=(40, 40, 40),
        )
    draw.rectangle((x + w * 0.4, ground - h * 0.45, x + w * 0.6, ground), fill=colour_between(rng))
    tree, r = width * rng.uniform(0.75, 0.92), width * rng.uniform(0.07, 0.14)
    draw.rectangle((tree - 6, ground - r * 2.4, tree + 6, ground), fill=(110, 70, 30))
    draw.ellipse((tree - r, ground - r * 4, tree + r, ground - r * 1.8), fill=colour_between(rng, 20, 190))
    for i in range(0, width, 22):
        draw.rectangle((i, ground - 4, i + 8, ground + height * 0.06), fill=(235, 230, 220))


def _bricks(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = canvas(picture, colour_between(rng, 120, 220))
    w, h, base = width * rng.uniform(0.08, 0.25), height * rng.uniform(0.04, 0.12), colour_between(rng, 40, 190)
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
    paper, ink = paper_and_ink(rng)
    draw = canvas(picture, paper)
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
    draw = canvas(picture, colour_between(rng, 20, 200))
    paper, ink = paper_and_ink(rng)
    key, y = width / 11.5, height * rng.uniform(0.15, 0.4)
    for row, keys in enumerate(("1234567890", "QWERTZUIOP", "ASDFGHJKL", "YXCVBNM")):
        for i, letter in enumerate(keys):
            x = key * (0.5 + i + 0.3 * row)
            draw.rounded_rectangle((x, y, x + key * 0.88, y + key * 0.88), radius=4, fill=paper)
            draw.text((x + key * 0.44, y + key * 0.44), letter, fill=ink, font=font_of(round(key * 0.5)), anchor="mm")
        y += key


def _scoreboard(rng: random.Random, picture: Image.Image) -> None:
    """Names and points, light on dark."""
    width, height = picture.size
    draw = canvas(picture, colour_between(rng, 0, 60))
    ink, count = colour_between(rng, 170, 255), rng.randint(2, 6)
    font = font_of(round(min(height / count / 2.2, width / 11)))
    for i in range(count):
        y = height * (i + 0.5) / count
        draw.rectangle(
            (width * 0.7, y - height / count * 0.35, width * 0.94, y + height / count * 0.35), outline=ink, width=2
        )
        draw.text((width * 0.06, y), rng.choice(WORDS).title(), fill=ink, font=font, anchor="lm")
        draw.text((width * 0.82, y), str(rng.randint(0, 120)), fill=ink, font=font, anchor="mm")


def _flowers(rng: random.Random, picture: Image.Image) -> None:
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 120, 255), colour_between(rng, 30, 170))
    for _ in range(rng.randint(1, 7)):
        x, y, r = rng.uniform(0, width), height * rng.uniform(0.2, 0.7), width * rng.uniform(0.03, 0.09)
        petal, count = colour_between(rng), rng.randint(4, 9)
        draw.line([(x, y), (x + rng.uniform(-30, 30), height)], fill=(50, 120, 40), width=max(2, int(r / 6)))
        for i in range(count):
            a = 2 * math.pi * i / count
            cx, cy = x + r * math.cos(a), y + r * math.sin(a)
            draw.ellipse((cx - r * 0.7, cy - r * 0.7, cx + r * 0.7, cy + r * 0.7), fill=petal)
        draw.ellipse((x - r * 0.6, y - r * 0.6, x + r * 0.6, y + r * 0.6), fill=(240, 200, 60))


TEST_FAMILIES: dict[str, Family] = {
    "pie": _pie, "curves": _curves, "skyline": _skyline, "rings": _rings, "house": _house, "bricks": _bricks,
    "scribble": _scribble, "keyboard": _keyboard, "scoreboard": _scoreboard, "flowers": _flowers,
}  # fmt: skip
