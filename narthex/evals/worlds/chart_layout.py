"""Where everything of a chart stands: lays out its plot, marks and print in pixels, so that paint only has to paint."""

from __future__ import annotations

import math
import random

from narthex.evals.worlds.chart_scene import Chart, Mark
from narthex.evals.worlds.drawing import Box, Colour, Run, luma_of, text_run

BLACK, WHITE = (16, 16, 16), (250, 250, 250)
_LABEL_DU = (21.5, 24.5)  # per em: capitals stand 15 du high, legible in the small view as panels' labels are
_FINE_DU, _LARGE_DU = (11.5, 13.5), (27.0, 30.0)
_FINE_BOLD_DU = (11.0, 12.0)


def lay_out(chart: Chart) -> bool:
    """Place all of a chart's parts; False if its print finds no room. All it needs is in the chart."""
    rng = random.Random(chart.seed)
    chart.prints, chart.ticks = [], []
    layout = _Layout(chart, rng)
    return layout.pie() if chart.shape == "pie" else layout.grid()


class _Layout:
    """Works on one chart. Lengths are pixels; `du` is 1/256 of the side."""

    def __init__(self, chart: Chart, rng: random.Random) -> None:
        self.chart, self.rng, self.style = chart, rng, chart.style
        self.size, self.du = chart.size, chart.size / 256
        fine = _FINE_BOLD_DU if self.style.value_face in ("bold", "wide") else _FINE_DU
        self.value_em = self.em(_LARGE_DU if chart.is_large and not chart.on_axis else fine)
        tick_is_large = chart.is_large and chart.on_axis
        self.tick_em = self.em(_LARGE_DU if tick_is_large else (11.0, 12.0))
        self.label_em = self.em(_LABEL_DU)
        self.has_axis = chart.on_axis or rng.random() < 0.35
        self.header = self.place_header()

    def em(self, span: tuple[float, float]) -> int:
        return round(self.rng.uniform(*span) * self.du)

    def place_header(self) -> float:
        """Print what is measured, in legible print where a unit goes with it. Returns where the rest may begin."""
        chart, du = self.chart, self.du
        top = 7 * du
        if not self.style.has_title and not (chart.unit and chart.shape != "pie"):
            return top
        words = chart.title
        if chart.unit and chart.shape != "pie":
            words = self.rng.choice((f"{words}, {chart.unit}", f"{words} ({chart.unit})"))
        run = text_run(words, self.style.label_face, self.em((20.0, 22.5)))
        chart.header = words.replace(" ", "")
        x = 8 * du if self.rng.random() < 0.55 else (self.size - run.width) / 2
        chart.prints.append((run, x, top, self.style.paper.ink))
        return top + max(run.height, 17 * du) + 7 * du

    def put(self, run: Run, x: float, y: float, ink: Colour) -> Box:
        """Print at a place that was decided, and say what it covers."""
        self.chart.prints.append((run, x, y, ink))
        return round(x), round(y), round(x) + run.width, round(y) + run.height

    def inside(self, box: Box) -> bool:
        return min(box) >= 2 and max(box) <= self.size - 2

    def grid(self) -> bool:
        """Bars, rows of bars, or a line over its labels."""
        chart, du = self.chart, self.du
        across = chart.shape == "rows"
        labels = [text_run(mark.label, self.style.label_face, self.label_em) for mark in chart.marks]
        values = [text_run(mark.value, self.style.value_face, self.value_em) for mark in chart.marks]
        numbers = [text_run(str(chart.step * i), self.style.value_face, self.tick_em) for i in range(chart.lines + 1)]
        wide, tall = max(run.width for run in numbers), numbers[0].height
        room = (max(run.width for run in values) if across else values[0].height) + 5 * du
        room += 5 * du * (self.style.fill == "stick")
        if chart.on_axis or self.style.inside:
            room = 0.0
        label_room = max(run.width for run in labels) if across else max(run.height for run in labels)
        if across:
            left, right = 8 * du + label_room + 6 * du, self.size - 10 * du - max(room, wide / 2 * self.has_axis)
            top, bottom = self.header, self.size - (8 * du + (tall + 5 * du if self.has_axis else 0))
        else:
            left, right = 8 * du + (wide + 5 * du if self.has_axis else 0), self.size - 8 * du
            top, bottom = self.header + max(room, tall / 2 * self.has_axis), self.size - 14 * du - label_room
        chart.plot = (left, top, right, bottom)
        along = (right - left) if across else (bottom - top)
        if along < 100 * du or not self.axis(numbers, along, across):
            return False
        pitch = ((bottom - top) if across else (right - left)) / len(chart.marks)
        if max(run.height if across else run.width for run in labels) > pitch - 6 * du:
            return False
        ground_line = max(run.baseline for run in labels)
        for place, (mark, label, value) in enumerate(zip(chart.marks, labels, values, strict=True)):
            middle = (top if across else left) + (place + 0.5) * pitch
            length = float(mark.value) / chart.top * along
            half = self.style.share * pitch / 2
            if across:
                mark.box = (left, middle - half, left + length, middle + half)
                spot = left - 6 * du - label.width, middle - label.height / 2
            else:
                mark.box = (middle - half, bottom - length, middle + half, bottom)
                spot = middle - label.width / 2, bottom + 6 * du + ground_line - label.baseline
            mark.label_box = self.put(label, *spot, self.style.paper.ink)
            if not chart.on_axis and not self.value(mark, value, pitch, place):
                return False
        return True

    def axis(self, numbers: list[Run], along: float, across: bool) -> bool:
        """Number the axis's lines, if it has numbers; False if they would touch, or two of them fit no look."""
        chart, du = self.chart, self.du
        left, bottom = chart.plot[0], chart.plot[3]
        gap = along / chart.lines
        for line, run in enumerate(numbers):
            at = left + line * gap if across else bottom - line * gap
            box = (at, at, at, at)
            if self.has_axis:
                spot = at - run.width / 2, bottom + 5 * du
                if not across:
                    spot = left - 5 * du - run.width, at - run.height / 2
                box = self.put(run, *spot, self.style.paper.ink)
            chart.ticks.append((at, box))
        if not self.has_axis:
            return True
        length = max(run.width for run in numbers) if across else numbers[0].height
        if gap < length + 4 * du:
            return False
        return not chart.on_axis or chart.is_large or gap + length <= 50 * du

    def value(self, mark: Mark, run: Run, pitch: float, place: int) -> bool:
        """Print a mark's value beside or inside it."""
        chart, du, style = self.chart, self.du, self.style
        x0, y0, x1, y1 = mark.box
        ink = style.paper.value_ink
        if chart.shape == "rows":
            spot = x1 + (9 if style.fill == "stick" else 4) * du, (y0 + y1 - run.height) / 2
            if style.inside:
                if x1 - x0 < run.width + 6 * du or y1 - y0 < run.height + 3 * du:
                    return False
                spot, ink = (x1 - run.width - 3 * du, spot[1]), self.ink_on(mark)
            mark.value_box = self.put(run, *spot, ink)
            return self.inside(mark.value_box) and run.height <= pitch - 2 * du
        middle = (x0 + x1) / 2
        spot = middle - run.width / 2, y0 - run.height - (8 if style.fill == "stick" else 3) * du
        if chart.shape == "line":
            spot = self.beside_point(run, middle, y0, place)
        elif style.inside:
            if x1 - x0 < run.width + 2 * du or y1 - y0 < run.height + 6 * du:
                return False
            spot, ink = (spot[0], y0 + 3 * du), self.ink_on(mark)
        mark.value_box = self.put(run, *spot, ink)
        return self.inside(mark.value_box) and run.width <= pitch - 2 * du and mark.value_box[3] < mark.label_box[1]

    def ink_on(self, mark: Mark) -> Colour:
        if self.style.fill in ("outline", "hatch", "stick"):
            return self.style.paper.value_ink
        return BLACK if luma_of(mark.colour) > 0.45 else WHITE

    def beside_point(self, run: Run, x: float, y: float, place: int) -> tuple[float, float]:
        """Above a point, or below where the line comes down to it; aside where the line climbs past it."""
        marks, du = self.chart.marks, self.du
        here = float(marks[place].value)
        before = float(marks[place - 1].value) if place else here
        after = float(marks[place + 1].value) if place + 1 < len(marks) else here
        lift = 5 * du
        is_end = place in (0, len(marks) - 1)
        if before >= here and after >= here and (is_end or before > here < after) and before + after > 2 * here:
            return x - run.width / 2, y + lift
        shift = 0.0
        if before < here < after:
            shift = -0.3 * run.width
        elif before > here > after:
            shift = 0.3 * run.width
        return min(max(x - run.width / 2 + shift, 3 * du), self.size - run.width - 3 * du), y - lift - run.height

    def pie(self) -> bool:
        """Slices clockwise from the top: shares inside, or outside where there is a hole; labels outside."""
        chart, du = self.chart, self.du
        labels = [text_run(mark.label, self.style.label_face, self.label_em) for mark in chart.marks]
        signed = self.rng.random() < 0.5
        runs = [text_run(mark.value + "%" * signed, self.style.value_face, self.value_em) for mark in chart.marks]
        clear = (8 if self.style.fill == "burst" else 4) * du
        reach = max(max(run.width for run in labels) + clear + du, 24 * du)
        tall = max(run.height for run in labels) + clear
        room_y = (self.size - self.header - 5 * du) / 2 - tall
        radius = min(self.size / 2 - reach - 4 * du, room_y, 96 * du)
        if radius < 62 * du:
            return False
        x, y = self.size / 2, self.header + tall + room_y - 2 * du
        chart.plot = (x - radius, y - radius, x + radius, y + radius)
        angle = -90.0 + self.rng.choice((0, 0, self.rng.uniform(0, 360)))
        for mark, label, run in zip(chart.marks, labels, runs, strict=True):
            sweep = 3.6 * int(mark.value)
            mark.box = (angle, angle + sweep, x, y)
            middle = math.radians(angle + sweep / 2)
            angle += sweep
            c, s = math.cos(middle), math.sin(middle)
            away = radius * (0.76 if self.style.fill == "ring" else 0.64)
            spot = x + away * c - run.width / 2, y + away * s - run.height / 2
            mark.value_box = self.put(run, *spot, self.ink_on(mark))
            # The label's near edge stands clear of the rim in whichever direction it lies.
            out = radius + clear + abs(c) * label.width / 2 + abs(s) * label.height / 2
            spot = x + out * c - label.width / 2, y + out * s - label.height / 2
            mark.label_box = self.put(label, *spot, self.style.paper.ink)
            half = math.radians(min(90.0, sweep / 2))
            if not self.inside(mark.label_box) or math.hypot(run.width, run.height) / 2 > away * math.sin(half):
                return False
        return _apart([mark.label_box for mark in chart.marks])


def _apart(boxes: list[Box]) -> bool:
    """Whether no two of the boxes touch."""
    return all(
        a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        for place, a in enumerate(boxes)
        for b in boxes[place + 1 :]
    )
