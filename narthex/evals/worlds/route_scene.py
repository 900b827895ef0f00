"""Maps of lettered places joined by roads, and of coloured lines with stops; planned in du."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Split
from narthex.evals.worlds.panel_scene import LETTERS, Palette, draw_palette
from narthex.evals.worlds.sheet import (
    FACES,
    SIDE_DU,
    SIZES,
    UNSEEN_FACE,
    Point,
    cap_size,
    half_side,
    look_box,
    split_of,
    text_size,
    union,
)

Link = tuple[int, int]  # two places, the smaller number first
Asked = Literal["next", "hops", "way", "shortest", "reach"]
LINE_COLOURS = ("red", "blue", "green", "orange", "purple")
UNITS = ("km", "min", "m")
NODE_DU = 12.5  # radius of a place's mark
LETTER_DU = 15.8  # height of large print, so that rounding leaves it above 15
WIDEST_LOOK = 600
_MOST_LOOKS = 4


@dataclass
class Scene:
    """A planned map. `roads`: -> the length printed on it, or 0 for none; `lines`: colour -> stops in order; a map has
    roads or lines. `start`, `goal`: what is asked.
    """

    size: int
    angle: float
    letters: list[str]
    places: list[Point]
    roads: dict[Link, int]
    lines: dict[str, list[int]]
    start: int
    goal: int
    unit: str
    label_du: float
    is_large: bool
    palette: Palette
    face: str
    noise: float
    unseen: bool
    style: int

    def label_box(self, ends: Link) -> Box:
        """Where a road's length is printed."""
        (ax, ay), (bx, by) = (self.places[end] for end in ends)
        w, h = text_size(str(self.roads[ends]), self.face, cap_size(self.label_du), self.size)
        x, y = (ax + bx) / 2, (ay + by) / 2
        return x - w / 2 - 0.6, y - h / 2 - 0.6, x + w / 2 + 0.6, y + h / 2 + 0.6

    def road_box(self, ends: Link) -> Box:
        """A road with both its places and its length."""
        boxes = [(x - NODE_DU, y - NODE_DU, x + NODE_DU, y + NODE_DU) for x, y in (self.places[end] for end in ends)]
        return union([*boxes, self.label_box(ends)])


def link(a: int, b: int) -> Link:
    """The road between two places, whichever is named first."""
    return (a, b) if a < b else (b, a)


def key_of(scene: Scene) -> str:
    """What the map says, in whatever order: what keeps the splits apart."""
    name = scene.letters
    roads = ["".join(sorted((name[a], name[b]))) + str(length) for (a, b), length in scene.roads.items()]
    lines = [f"{colour}{min(told, told[::-1])}" for colour, told in _told_lines(scene).items()]
    return " ".join((*sorted(roads), *sorted(lines)))


def _told_lines(scene: Scene) -> dict[str, str]:
    return {colour: "".join(scene.letters[stop] for stop in stops) for colour, stops in scene.lines.items()}


def neighbours(roads: dict[Link, int], place: int) -> list[int]:
    """The places one road away, in order of their numbers."""
    return sorted(b if a == place else a for a, b in roads if place in (a, b))


def distances(roads: dict[Link, int], start: int) -> dict[int, int]:
    """How many roads it takes at least from `start` to every place that can be reached."""
    found, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in neighbours(roads, here):
            if there not in found:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def all_ways(roads: dict[Link, int], start: int, goal: int, most: int = 40) -> list[list[int]]:
    """Every way that visits no place twice, at most `most` of them."""
    ways: list[list[int]] = []
    open_ways = [[start]]
    while open_ways and len(ways) < most:
        way = open_ways.pop()
        if way[-1] == goal:
            ways.append(way)
            continue
        open_ways += [[*way, there] for there in neighbours(roads, way[-1]) if there not in way]
    return ways


def links_of(way: list[int]) -> list[Link]:
    """The roads of a way, in order."""
    return [link(a, b) for a, b in pairwise(way)]


def length_of(roads: dict[Link, int], way: list[int]) -> int:
    """The printed lengths of a way's roads, added up."""
    return sum(roads[ends] for ends in links_of(way))


def plan_scene(
    rng: random.Random, asked: Asked, difficulty: float, *, is_large: bool, can_reach: bool, split: Split, unseen: bool
) -> Scene:
    """Plan a map of `split` on which the question has one answer. can_reach: of "reach", whether the answer is yes."""
    while True:
        scene = _try_plan(rng, asked, difficulty, is_large, can_reach, unseen)
        if scene is not None and split_of(key_of(scene)) == split:
            return scene


def _try_plan(
    rng: random.Random, asked: Asked, difficulty: float, is_large: bool, can_reach: bool, unseen: bool
) -> Scene | None:
    size = rng.choice(SIZES)
    angle = rng.uniform(-4.0, 4.0) if rng.random() < 0.4 * difficulty else 0.0
    wanted = round(4 + 4 * min(1.0, max(0.0, difficulty + rng.uniform(-0.25, 0.25))))
    is_wide = not is_large and wanted > 6
    spots, links = _staggered(rng, wanted, angle) if unseen else _grid(rng, wanted, angle, is_wide=is_wide)
    scene = Scene(
        size, angle, rng.sample(LETTERS.replace("I", ""), len(spots)), spots, {}, {}, 0, 0, rng.choice(UNITS),
        LETTER_DU if is_large else max(7.9 * SIDE_DU / size, rng.uniform(8.8, 10.4)), is_large,
        draw_palette(rng, unseen=unseen), UNSEEN_FACE if unseen else rng.choice(FACES),
        rng.uniform(0.0, 0.02 + 0.07 * difficulty), unseen, rng.getrandbits(32),
    )  # fmt: skip
    if asked == "next":
        return scene if _draw_lines(rng, scene, links) else None
    num_extra = rng.randint(1, 2) if asked == "shortest" else rng.randint(1, 3)
    chosen = _draw_roads(rng, len(spots), links, num_extra, is_split=asked == "reach" and not can_reach)
    has_lengths = asked == "shortest" or rng.random() < 0.25
    longest = 19 if is_large else 40
    scene.roads = {ends: rng.randint(2, longest) if has_lengths else 0 for ends in chosen}
    return scene if _draw_question(rng, scene, asked, can_reach) else None


def _grid(rng: random.Random, wanted: int, angle: float, *, is_wide: bool) -> tuple[list[Point], list[Link]]:
    """A connected part of a jittered grid; neighbours may be joined, with one diagonal in a cell at most."""
    columns, rows = (4, 3) if is_wide else (3, 3)
    if is_wide and rng.random() < 0.5:
        columns, rows = rows, columns
    half = half_side(angle)
    wide, high = 2 * half / columns, 2 * half / rows
    cells = [(rng.randrange(columns), rng.randrange(rows))]
    while len(cells) < min(wanted, columns * rows):
        x, y = rng.choice(cells)
        x, y = x + rng.randint(-1, 1), y + rng.randint(-1, 1)
        if 0 <= x < columns and 0 <= y < rows and (x, y) not in cells:
            cells.append((x, y))
    spots: list[Point] = []
    for x, y in cells:
        room_x, room_y = (min(12.0, step / 2 - NODE_DU - 3) for step in (wide, high))
        jitter = rng.uniform(-room_x, room_x), rng.uniform(-room_y, room_y)
        spots.append((128 - half + (x + 0.5) * wide + jitter[0], 128 - half + (y + 0.5) * high + jitter[1]))
    links, crossed = [], set()
    for i, (x, y) in enumerate(cells):
        for j in range(i):
            dx, dy = cells[j][0] - x, cells[j][1] - y
            corner = min(x, cells[j][0]), min(y, cells[j][1])
            if max(abs(dx), abs(dy)) != 1 or (dx and dy and corner in crossed):
                continue
            if dx and dy:
                crossed.add(corner)
            links.append((j, i))
    return spots, links


def _staggered(rng: random.Random, wanted: int, angle: float) -> tuple[list[Point], list[Link]]:
    """A connected part of three rows of three, every second row half a step to the right; neighbours may be joined."""
    half = half_side(angle)
    wide, high = 2 * half / 3.5, 2 * half / 3
    near = {
        (x, y): [(x - 1, y), (x + 1, y), *((x + dx - 1 + y % 2, y + dy) for dx in (0, 1) for dy in (-1, 1))]
        for x in range(3)
        for y in range(3)
    }
    cells = [rng.choice(tuple(near))]
    while len(cells) < wanted:
        cell = rng.choice(near[rng.choice(cells)])
        if cell in near and cell not in cells:
            cells.append(cell)
    spots = [(128 - half + (x + 0.5 + y % 2 / 2) * wide, 128 - half + (y + 0.5) * high) for x, y in cells]
    links = [(j, i) for i, cell in enumerate(cells) for j in range(i) if cells[j] in near[cell]]
    return spots, links


def _draw_roads(rng: random.Random, count: int, links: list[Link], num_extra: int, *, is_split: bool) -> list[Link]:
    """A tree of roads and some more; is_split: in two parts that no road joins."""
    part = list(range(count))
    tree: list[Link] = []
    rest: list[Link] = []
    for a, b in rng.sample(links, len(links)):
        if part[a] == part[b]:
            rest.append((a, b))
            continue
        old, new = part[a], part[b]
        part = [new if p == old else p for p in part]
        tree.append((a, b))
    if not is_split:
        return tree + rest[:num_extra]
    kept = [ends for ends in tree if ends != tree[rng.randrange(len(tree))]]
    side = distances(dict.fromkeys(kept, 0), 0)
    return kept + [(a, b) for a, b in rest if (a in side) == (b in side)][:num_extra]


def _draw_question(rng: random.Random, scene: Scene, asked: Asked, can_reach: bool) -> bool:
    """Choose start and goal so that the question is worth asking and has one answer."""
    count = len(scene.places)
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
    for start, goal in rng.sample(pairs, len(pairs)):
        scene.start, scene.goal = start, goal
        steps = distances(scene.roads, start).get(goal)
        if asked == "reach":
            fits = steps is None if not can_reach else steps is not None and steps >= 2
        elif steps is None or steps < 2:
            fits = False
        elif asked == "hops":
            fits = True
        else:
            ways = all_ways(scene.roads, start, goal)
            if asked == "way":
                fits = sum(len(way) == steps + 1 for way in ways) == 1
            else:
                lengths = {length_of(scene.roads, way) for way in ways}
                short = all(len(way) <= 6 for way in ways)
                fits = 2 <= len(ways) <= 3 and len(lengths) == len(ways) and short
                fits = fits and (scene.is_large or len(looks(scene, ways)) <= _MOST_LOOKS)
        if fits:
            return True
    return False


def _draw_lines(rng: random.Random, scene: Scene, links: list[Link]) -> bool:
    """Two or three coloured lines that share stops but no stretch; stops of no line are dropped."""
    free = set(links)
    for colour in rng.sample(LINE_COLOURS, rng.randint(2, 3)):
        stops = [rng.randrange(len(scene.places))]
        while len(stops) < 6:
            onward = [p for p in range(len(scene.places)) if p not in stops and link(stops[-1], p) in free]
            if not onward:
                break
            stops.append(rng.choice(onward))
            free.discard(link(stops[-2], stops[-1]))
        if len(stops) >= 3:
            scene.lines[colour] = stops
    if len(scene.lines) < 2:
        return False
    used = sorted({stop for stops in scene.lines.values() for stop in stops})
    scene.places = [scene.places[stop] for stop in used]
    scene.letters = [scene.letters[stop] for stop in used]
    scene.lines = {colour: [used.index(stop) for stop in stops] for colour, stops in scene.lines.items()}
    return True


def looks(scene: Scene, ways: list[list[int]]) -> list[list[Link]]:
    """The roads of all these ways in as few looks of at most WIDEST_LOOK as taking them in turn allows."""
    groups: list[list[Link]] = []
    for ends in dict.fromkeys(ends for way in ways for ends in links_of(way)):
        fitting = [group for group in groups if _side(scene, [*group, ends]) <= WIDEST_LOOK]
        if fitting:
            fitting[0].append(ends)
        else:
            groups.append([ends])
    return groups


def _side(scene: Scene, group: list[Link]) -> int:
    box = group_box(scene, group)
    return box[2] - box[0]


def group_box(scene: Scene, group: list[Link]) -> tuple[int, int, int, int]:
    """The look that shows these roads with their places and lengths."""
    return look_box(union([scene.road_box(ends) for ends in group]), scene.angle)
