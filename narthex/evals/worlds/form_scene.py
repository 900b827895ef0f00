"""Forms: invented rows of a name, a value, a unit and its printed range; planned in du.

Every range stands on the form, drawn anew for each, so that what is out of range can be told from the form alone.
Nothing here is advice about anybody's health.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Split
from narthex.evals.worlds.panel_scene import Palette, draw_palette
from narthex.evals.worlds.sheet import (
    FACES,
    SIDE_DU,
    SIZES,
    UNSEEN_FACE,
    cap_size,
    half_side,
    look_box,
    split_of,
    text_size,
    union,
)

State = Literal["low", "high", "in range"]


class Quantity(NamedTuple):
    """Something a form measures: its short name, unit, a usual range, and how many decimals it has."""

    name: str
    unit: str
    low: float
    high: float
    decimals: int


_VITAL = tuple(
    Quantity(*row)
    for row in (
        ("HR", "bpm", 60, 100, 0), ("RR", "bpm", 12, 20, 0), ("T", "°C", 36, 37.6, 1), ("SpO2", "%", 93, 99, 0),
        ("SYS", "mmHg", 95, 135, 0), ("DIA", "mmHg", 58, 86, 0), ("MAP", "mmHg", 70, 105, 0), ("Glu", "mM", 4, 7.2, 1),
        ("CO2", "kPa", 4.5, 6.1, 1), ("VT", "mL", 350, 560, 0),
    )
)  # fmt: skip
_LAB = tuple(
    Quantity(*row)
    for row in (
        ("Na", "mM", 134, 146, 0), ("K", "mM", 3.4, 5.2, 1), ("Cl", "mM", 96, 108, 0), ("Ca", "mM", 2.1, 2.6, 2),
        ("Mg", "mM", 0.7, 1.1, 2), ("Hb", "g/L", 118, 165, 0), ("WBC", "G/L", 4, 10.8, 1), ("PLT", "G/L", 150, 390, 0),
        ("CRP", "mg/L", 1, 9, 1), ("ALT", "U/L", 8, 44, 0), ("AST", "U/L", 9, 41, 0), ("TSH", "mU", 0.4, 4.3, 2),
        ("Alb", "g/L", 34, 51, 0), ("Urea", "mM", 2.4, 7.6, 1),
    )
)  # fmt: skip
_PART = tuple(
    Quantity(*row)
    for row in (
        ("D1", "mm", 11.8, 12.3, 1), ("D2", "mm", 24.5, 25.4, 1), ("L1", "mm", 148, 152, 0), ("W", "mm", 39.4, 40.7, 1),
        ("H", "mm", 17.6, 18.5, 1), ("GAP", "mm", 0.2, 0.6, 2), ("WT", "g", 480, 520, 0), ("TRQ", "Nm", 7.5, 9.3, 1),
        ("R1", "ohm", 4.5, 5.3, 2), ("U1", "V", 11.4, 12.9, 1), ("I1", "mA", 16, 24, 0),
    )
)  # fmt: skip
_WATER = tuple(
    Quantity(*row)
    for row in (
        ("pH", "", 6.5, 8.5, 1), ("NO3", "mg/L", 2, 48, 0), ("Fe", "mg/L", 0.05, 0.3, 2), ("O2", "mg/L", 5.5, 11, 1),
        ("NTU", "", 0.1, 1.2, 1), ("EC", "mS", 0.3, 1.4, 2), ("PO4", "mg/L", 0.1, 2.2, 1), ("KH", "dH", 4, 14, 0),
        ("Temp", "°C", 8, 22, 0),
    )
)  # fmt: skip
FORMS = {
    ("VITAL SIGNS", "OBSERVATION", "WARD CHART"): _VITAL, ("LAB SHEET", "BLOOD TEST", "RESULTS"): _LAB,
    ("INSPECTION", "PART CHECK", "TEST LABEL"): _PART, ("WATER TEST", "POOL LOG", "WELL SAMPLE"): _WATER,
}  # fmt: skip
NAMES = frozenset(quantity.name for group in FORMS.values() for quantity in group)
_GIVEN = "Ada Bo Cyra Dov Elin Fynn Gia Hale Ino Jora Kit Lio Mira Nox Oda Pim Rue Sol Tova Una Vik Wren".split()  # noqa: SIM905
_FAMILY = "Quil Mar Tess Or Bran Lund Vel Hask Dorn".split(), "low ley ovan ett ius by".split()  # noqa: SIM905
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905
_NAME_DU = 15.8  # height of large print, so that rounding leaves it above 15
RANGE_FORMS = ("{}-{}", "{} - {}", "{} to {}", "({}-{})")
UNSEEN_RANGE_FORMS = ("[{} .. {}]", "{} < {}")


@dataclass
class Row:
    """One row. `parts`: text, face, size, left and the ink's vertical middle (du); `block`: all of its print."""

    name: str
    value: str
    unit: str
    low: str
    high: str
    parts: list[tuple[str, str, float, float, float]] = field(default_factory=list)
    block: Box = (0.0, 0.0, 0.0, 0.0)

    @property
    def state(self) -> State:
        value = Decimal(self.value)
        return "low" if value < Decimal(self.low) else "high" if value > Decimal(self.high) else "in range"

    @property
    def shown(self) -> str:
        return f"{self.value} {self.unit}".strip()


class Need(NamedTuple):
    """What the question needs: which rows are out of range, and print that the small view shows."""

    is_large: bool
    first: State | None = None  # of the row asked about; None for any
    num_out: int | None = None  # over all rows; None for any


@dataclass
class Scene:
    """A planned form. `asked`: the row a question is about; `fields`: caption -> entry, in the header."""

    size: int
    angle: float
    title: str
    fields: dict[str, str]
    rows: list[Row]
    asked: Row
    num_columns: int
    area: Box
    header: Box
    field_parts: list[tuple[str, float, float]]
    field_cap: float
    cap: float
    palette: Palette
    face: str
    entry_face: str
    noise: float
    is_large: bool
    unseen: bool
    style: int


def key_of(rows: list[Row], fields: dict[str, str]) -> str:
    """What the form says, in whatever order: what keeps the splits apart."""
    said = sorted(f"{row.name} {row.value} {row.low} {row.high}" for row in rows)
    return " ".join((*said, *(f"{caption} {entry}" for caption, entry in sorted(fields.items()))))


def _figure(number: float, decimals: int) -> str:
    return f"{number:.{decimals}f}"


def _draw_row(rng: random.Random, quantity: Quantity, state: State, *, short: bool) -> Row:
    """A range near the usual one, and a value in, below or above it, never at its ends. short: no unit."""
    step = 10.0**-quantity.decimals
    width = quantity.high - quantity.low
    low = max(step * 2, quantity.low + rng.uniform(-0.12, 0.12) * width)
    high = quantity.high + rng.uniform(-0.12, 0.12) * width
    low_text, high_text = _figure(low, quantity.decimals), _figure(high, quantity.decimals)
    low, high = float(low_text), float(high_text)
    steps = max(2, round((high - low) / step))
    if state == "in range":
        value = low + step * rng.randint(1, steps - 1)
    else:
        room = steps if state == "high" else min(steps, round(low / step) - 1)  # what is low stays above 0
        away = step * rng.randint(1, max(1, room // 2))
        value = high + away if state == "high" else low - away
    text = _figure(value, quantity.decimals)
    return Row(quantity.name, text, "" if short else quantity.unit, low_text, high_text)


def _draw_rows(rng: random.Random, group: tuple[Quantity, ...], count: int, need: Need) -> list[Row]:
    """Rows of one form; the first is the one asked about."""
    states: list[State] = [_any_state(rng) for _ in range(count)]
    if need.num_out is not None:
        out: tuple[State, ...] = ("low", "high")
        states = [rng.choice(out) if i < need.num_out else "in range" for i in range(count)]
    elif need.first is not None:
        states[0] = need.first
    chosen = rng.sample(group, count)
    return [_draw_row(rng, q, state, short=need.is_large) for q, state in zip(chosen, states, strict=True)]


def _any_state(rng: random.Random) -> State:
    return rng.choice(("in range", "in range", "in range", "low", "high"))


def _draw_fields(rng: random.Random) -> dict[str, str]:
    entries = {
        "Name": f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY[0])}{rng.choice(_FAMILY[1])}",
        "ID": str(rng.randint(1000, 9999)),
        "Date": f"{rng.randint(1, 28)} {rng.choice(_MONTHS)} {rng.randint(2027, 2049)}",
        "Room": str(rng.randint(10, 399)), "Lot": f"{rng.choice('ABCDEFGHJKLM')}{rng.randint(100, 999)}",
    }  # fmt: skip
    return {caption: entries[caption] for caption in rng.sample(tuple(entries), rng.randint(1, 3))}


def plan_scene(rng: random.Random, need: Need, difficulty: float, *, split: Split, unseen: bool = False) -> Scene:
    """Plan a form of `split`; tries again where print found no room."""
    while True:
        scene = _try_plan(rng, need, difficulty, split, unseen)
        if scene is not None:
            return scene


def _try_plan(rng: random.Random, need: Need, difficulty: float, split: Split, unseen: bool) -> Scene | None:
    size = rng.choice(SIZES)
    angle = rng.uniform(-3.0, 3.0) if rng.random() < 0.4 * difficulty else 0.0
    num_columns = 1 if need.is_large or rng.random() < 0.45 else 2
    most = 4 if need.is_large else 6 if num_columns == 1 else 8
    count = min(most, max(3, round(3 + (most - 3) * difficulty + rng.uniform(-1, 1))))
    titles, group = rng.choice(list(FORMS.items()))
    if need.num_out is not None:
        need = need._replace(num_out=min(need.num_out, count))
    while True:
        rows, fields = _draw_rows(rng, group, count, need), _draw_fields(rng)
        if split_of(key_of(rows, fields)) == split:
            break
    half, px = half_side(angle), size / SIDE_DU
    area = (128 - half, 128 - half, 128 + half, 128 + half)
    cap = _NAME_DU if need.is_large else max(7.9 / px, rng.uniform(8.8, 10.4))
    face = UNSEEN_FACE if unseen else rng.choice(FACES)
    entry_face = face if rng.random() < 0.5 else UNSEEN_FACE if unseen else "slanted"
    noise = rng.uniform(0.0, 0.02 + 0.07 * difficulty) if rng.random() < 0.8 else 0.0
    asked = rows[0]
    rng.shuffle(rows)
    scene = Scene(
        size, angle, rng.choice(titles), fields, rows, asked, num_columns, area, (0, 0, 0, 0), [],
        10.0 if need.is_large else cap, cap,
        draw_palette(rng, unseen=unseen), face, entry_face, noise, need.is_large, unseen, rng.getrandbits(32),
    )  # fmt: skip
    return scene if _lay_out_header(scene) and _lay_out_rows(rng, scene) else None


def _lay_out_header(scene: Scene) -> bool:
    """Title, then the fields one below the other, all in fine print."""
    x0, cap = scene.area[0], scene.field_cap
    y = scene.area[1] + 24
    boxes = []
    for caption, entry in scene.fields.items():
        text = f"{caption} {entry}"
        width, height = text_size(text, scene.face, cap_size(cap), scene.size)
        if width > 0.56 * SIDE_DU:
            return False
        boxes.append((x0 + 6, y - 1.0, x0 + 6 + width, y + height + 1.0))
        scene.field_parts.append((text, x0 + 6, y + height / 2))
        y += cap + 4.6
    scene.header = union(boxes)
    return True


def _lay_out_rows(rng: random.Random, scene: Scene) -> bool:
    """Columns of rows below the header: the name in large print, then the value with its unit, then the range."""
    x0, _, x1, y1 = scene.area
    top = scene.header[3] + 6
    per_column = -(-len(scene.rows) // scene.num_columns)
    pitch = min((y1 - top - 2) / per_column, 46.0)
    width = (x1 - x0) / scene.num_columns
    form = rng.choice(UNSEEN_RANGE_FORMS if scene.unseen else RANGE_FORMS)
    wide = max(text_size(row.name, scene.face, cap_size(_NAME_DU), scene.size)[0] for row in scene.rows)
    for place, row in enumerate(scene.rows):
        column, line = divmod(place, per_column)
        left, middle = x0 + column * width + 5, top + (line + 0.5) * pitch
        value = (row.shown, scene.entry_face, scene.cap)
        bounds = (form.format(row.low, row.high), scene.face, scene.cap)
        parts = [(row.name, scene.face, _NAME_DU, left, middle)]
        start = left + wide + (14 if scene.is_large else 9)
        if scene.is_large:
            parts.append((*value, start, middle))
            parts.append((*bounds, start + 60 * (1.12 if scene.unseen else 1.0), middle))
        else:
            rise = scene.cap / 2 + 2.2
            lines = (bounds, value) if scene.unseen else (value, bounds)
            parts += [(*text, start, middle + dy) for text, dy in zip(lines, (-rise, rise), strict=True)]
        if scene.unseen and not scene.is_large:  # the name to the right of its figures
            ends = max(text_size(t, f, cap_size(c), scene.size)[0] for t, f, c, _, _ in parts[1:])
            name = (row.name, scene.face, _NAME_DU, left + ends + 9, middle)
            parts = [*((t, f, c, left, y) for t, f, c, _, y in parts[1:]), name]
        boxes = []
        for text, face, cap, x, y in parts:
            w, h = text_size(text, face, cap_size(cap), scene.size)
            boxes.append((x - 0.6, y - h / 2 - 0.6, x + w + 0.6, y + h / 2 + 0.6))
        row.parts, row.block = parts, union(boxes)
        tight = row.block[3] - row.block[1] > pitch - 2 or row.block[2] > x0 + (column + 1) * width - 1
        if tight or (not scene.is_large and look_side(scene, [row]) > 550):
            return False
    return True


def look_side(scene: Scene, rows: list[Row]) -> int:
    """The side, in thousandths, of the smallest look that shows these rows."""
    box = look_box(union([row.block for row in rows]), scene.angle)
    return box[2] - box[0]


def groups_of(scene: Scene) -> list[list[Row]]:
    """The rows in reading order, in as few looks of at most 550 thousandths as taking them in turn allows."""
    groups: list[list[Row]] = []
    for row in scene.rows:
        if groups and look_side(scene, [*groups[-1], row]) <= 550:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
