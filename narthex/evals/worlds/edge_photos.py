"""Pictures that look as a camera takes them: soft edges, light from one side, dark corners, and nothing to read.

Drawn, too, for no photograph is in this repository: in large soft forms, then blurred and darkened towards the rims.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from narthex.evals.worlds.edge_scenes import Family, canvas, cloud, colour_between, fade


def _lens(rng: random.Random, picture: Image.Image, blur: float = 2.5) -> None:
    """Blur, and darken the corners."""
    soft = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, blur)))
    light = Image.radial_gradient("L").resize(picture.size)  # 0 in the middle, 255 at the corners
    depth = rng.uniform(0.0, 0.55)
    dark = Image.new("RGB", picture.size)
    picture.paste(Image.composite(dark, soft, light.point([round(value * depth) for value in range(256)])))


def _plate(rng: random.Random, picture: Image.Image) -> None:
    """A meal on a table, from above."""
    width, height = picture.size
    cloud(rng, picture, (3, 30))
    draw = ImageDraw.Draw(picture)
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65)
    r = min(picture.size) * rng.uniform(0.25, 0.42)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour_between(rng, 170, 255))
    draw.ellipse((x - 0.78 * r, y - 0.78 * r, x + 0.78 * r, y + 0.78 * r), outline=(150, 150, 145), width=2)
    for _ in range(rng.randint(6, 40)):
        a, d, s = rng.uniform(0, 6.3), r * 0.6 * math.sqrt(rng.random()), r * rng.uniform(0.05, 0.22)
        cx, cy = x + d * math.cos(a), y + d * math.sin(a)
        flat = s * rng.uniform(0.5, 1)
        box = (cx - s, cy - flat, cx + s, cy + flat)
        draw.ellipse(box, fill=(rng.randint(90, 240), rng.randint(50, 200), rng.randint(10, 110)))
    _lens(rng, picture)


def _sea(rng: random.Random, picture: Image.Image) -> None:
    """Water up to the horizon, now and then a boat."""
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 120, 240), colour_between(rng, 190, 255))
    level, water = height * rng.uniform(0.3, 0.6), colour_between(rng, 20, 130)
    draw.rectangle((0, level, width, height), fill=water)
    for _ in range(rng.randint(60, 240)):
        y = level + (height - level) * rng.random() ** 0.7
        x, w = rng.uniform(0, width), 4 + 0.12 * (y - level)
        shade = rng.randint(-25, 70)
        draw.line([(x, y), (x + w * 2, y)], fill=(water[0] + shade, water[1] + shade, water[2] + shade), width=2)
    if rng.random() < 0.5:
        x, s = rng.uniform(0.2, 0.8) * width, width * rng.uniform(0.04, 0.1)
        top, keel = level - s / 4, level + s / 4
        hull = [(x - s, top), (x + s, top), (x + s * 0.7, keel), (x - s * 0.7, keel)]
        draw.polygon(hull, fill=colour_between(rng, 0, 200))
        draw.polygon([(x, level - s * 2), (x, level - s / 3), (x + s, level - s / 3)], fill=(240, 238, 230))
    _lens(rng, picture)


def _forest(rng: random.Random, picture: Image.Image) -> None:
    """Trunks before leaves and light."""
    width, height = picture.size
    cloud(rng, picture, (4, 17, 60))
    green = Image.new("RGB", picture.size, (rng.randint(20, 90), rng.randint(70, 150), rng.randint(10, 60)))
    picture.paste(Image.blend(picture, green, rng.uniform(0.4, 0.75)))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(4, 14)):
        x, w, tilt = rng.uniform(0, width), width * rng.uniform(0.01, 0.06), width * rng.uniform(-0.06, 0.06)
        trunk = [(x, height), (x + w, height), (x + w * 0.7 + tilt, 0), (x + tilt, 0)]
        draw.polygon(trunk, fill=colour_between(rng, 15, 80))
    _lens(rng, picture)


def _crowd(rng: random.Random, picture: Image.Image) -> None:
    """Heads and shoulders, the far ones smaller."""
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 60, 220), colour_between(rng, 30, 160))
    places = sorted(rng.uniform(0.3, 1.05) for _ in range(rng.randint(6, 30)))
    for place in places:
        x, y, r = rng.uniform(0, width), height * place, width * 0.11 * (place - 0.2)
        tone = rng.choice(((235, 200, 170), (200, 150, 110), (140, 95, 65), (90, 60, 45)))
        draw.ellipse((x - 2.2 * r, y + r * 0.8, x + 2.2 * r, y + r * 5), fill=colour_between(rng))
        draw.ellipse((x - r * 1.05, y - r * 1.35, x + r * 1.05, y + r * 0.9), fill=colour_between(rng, 5, 120))
        draw.ellipse((x - r * 0.85, y - r, x + r * 0.85, y + r * 1.1), fill=tone)
    _lens(rng, picture)


def _street(rng: random.Random, picture: Image.Image) -> None:
    """A road that runs into the distance between houses."""
    width, height = picture.size
    draw = fade(picture, colour_between(rng, 110, 230), colour_between(rng, 170, 250))
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.55)
    draw.polygon([(x, y), (width * 1.1, height), (-width * 0.1, height)], fill=colour_between(rng, 60, 110))
    for edge in (0, width):
        parts = [1.0, *sorted((rng.uniform(0.1, 0.9) for _ in range(rng.randint(2, 5))), reverse=True), 0.04]
        for near, far in pairwise(parts):  # of the way from the end of the road to the picture's edge
            one, two = x + (edge - x) * near, x + (edge - x) * far
            foot, roof = 0.8 * (height - y), y * rng.uniform(0.5, 1.1)
            house = [(one, y + foot * near), (one, y - roof * near), (two, y - roof * far), (two, y + foot * far)]
            draw.polygon(house, fill=colour_between(rng, 60, 210))
    _lens(rng, picture)


def _fur(rng: random.Random, picture: Image.Image) -> None:
    """An animal too close: hair, two eyes, a nose."""
    width, height = picture.size
    base = rng.choice(((150, 105, 65), (90, 80, 75), (205, 190, 165), (60, 45, 40), (190, 120, 60)))
    draw = canvas(picture, base)
    x, y, s = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.45, 0.65), width * rng.uniform(0.12, 0.22)
    for _ in range(900):
        hx, hy, shade = rng.uniform(0, width), rng.uniform(0, height), rng.randint(-45, 45)
        a, length = math.atan2(hy - y, hx - x) + rng.gauss(0, 0.3), rng.uniform(8, 26)
        tip = (hx + length * math.cos(a), hy + length * math.sin(a))
        draw.line([(hx, hy), tip], fill=(base[0] + shade, base[1] + shade, base[2] + shade), width=2)
    for side in (-1, 1):
        ex, ey, e = x + side * s, y - s * 0.9, s * rng.uniform(0.22, 0.34)
        draw.ellipse((ex - e, ey - e, ex + e, ey + e), fill=colour_between(rng, 20, 140))
        draw.ellipse((ex - e * 0.5, ey - e * 0.5, ex + e * 0.5, ey + e * 0.5), fill=(10, 10, 10))
        draw.ellipse((ex + e * 0.1, ey - e * 0.5, ex + e * 0.4, ey - e * 0.2), fill=(240, 240, 240))
    draw.ellipse((x - s * 0.4, y, x + s * 0.4, y + s * 0.5), fill=(30, 22, 22))
    _lens(rng, picture)


def _night(rng: random.Random, picture: Image.Image) -> None:
    """Lights out of focus in the dark."""
    width, height = picture.size
    fade(picture, colour_between(rng, 0, 40), colour_between(rng, 0, 60))
    for _ in range(rng.randint(8, 40)):
        layer = Image.new("RGB", picture.size)
        x, y, r = rng.uniform(0, width), rng.uniform(0.2, 1) * height, width * rng.uniform(0.02, 0.08)
        ImageDraw.Draw(layer).ellipse((x - r, y - r, x + r, y + r), fill=colour_between(rng, 40, 190))
        picture.paste(ImageChops.add(picture, layer))
    _lens(rng, picture)


PHOTOS: dict[str, Family] = {"plate": _plate, "sea": _sea, "forest": _forest, "crowd": _crowd}
PHOTOS_UNSEEN: dict[str, Family] = {"street": _street, "fur": _fur, "night": _night}
