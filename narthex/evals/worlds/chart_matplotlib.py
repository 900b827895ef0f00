"""Charts as matplotlib draws them, in its own styles and fonts: never trained on, to measure how far reading carries.

matplotlib is needed for nothing else, so it is imported when the first chart is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Any

from PIL import Image

from narthex.base.errors import ConfigError
from narthex.evals.worlds.chart_scene import Chart
from narthex.evals.worlds.drawing import Box
from narthex.evals.worlds.item import Glyph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

_DPI = 100
_SHEETS = (
    "default", "default", "ggplot", "bmh", "fivethirtyeight", "dark_background", "seaborn-v0_8", "Solarize_Light2",
    "seaborn-v0_8-whitegrid", "seaborn-v0_8-darkgrid", "tableau-colorblind10", "grayscale",
)  # fmt: skip
_FONTS = ("DejaVu Sans", "DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")  # the ones that matplotlib brings along
# Sizes per em in units of 1/256 of the side. These fonts are wide; their capitals are as high as our own at 1.05 of it.
_LABEL_DU, _TITLE_DU, _FINE_DU, _LARGE_DU = 20.0, 19.0, 11.5, 26.0
Painter = Callable[[], tuple[Image.Image, tuple[Glyph, ...]]]


def draw_chart(chart: Chart) -> Painter | None:
    """Draw `chart` and note where its print stands, as chart_layout does; None if its print finds no room.

    Raises: ConfigError where matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "the world charts-matplotlib is drawn by matplotlib, which is not installed",
            hint="pip install matplotlib",
        ) from None
    rng = random.Random(chart.seed)
    # After a reset: what a user set for their own charts must not change ours.
    with matplotlib.rc_context(), matplotlib.style.context(rng.choice(_SHEETS), after_reset=True):
        matplotlib.rcParams["font.family"] = rng.choice(_FONTS)
        side = chart.size / _DPI
        figure = Figure(figsize=(side, side), dpi=_DPI)
        canvas = FigureCanvasAgg(figure)
        sketch = _Sketch(chart, figure.add_axes((0.1, 0.1, 0.8, 0.8)), rng)
        sketch.draw()
        canvas.draw()
        if not sketch.note(canvas.get_renderer()):
            return None
        picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
        glyphs = sketch.glyphs(canvas.get_renderer())
    return lambda: (picture, glyphs)


class _Sketch:
    """One chart on one pair of axes. Lengths are du, 1/256 of the side, unless said otherwise."""

    def __init__(self, chart: Chart, axes: Axes, rng: random.Random) -> None:
        self.chart, self.axes, self.rng = chart, axes, rng
        self.texts: list[Text] = []
        self.labels: list[Text] = []
        self.values: list[Text] = []
        self.numbers: list[Text] = []
        self.has_axis = chart.on_axis or rng.random() < 0.4
        self.value_em = _LARGE_DU if chart.is_large and not chart.on_axis else _FINE_DU
        self.tick_em = _LARGE_DU if chart.is_large and chart.on_axis else _FINE_DU

    def points(self, du: float) -> float:
        """A size in du as matplotlib wants it, in points."""
        return du * self.chart.size / 256 * 72 / _DPI

    def draw(self) -> None:
        """Plot the marks and print all there is to print."""
        chart, axes = self.chart, self.axes
        has_title = chart.style.has_title or (chart.unit != "" and chart.shape != "pie")
        if has_title:
            words = chart.title if chart.shape == "pie" or not chart.unit else f"{chart.title} ({chart.unit})"
            self.texts.append(axes.set_title(words, fontsize=self.points(_TITLE_DU), pad=self.points(5)))
        top = 226 if has_title else 248
        if chart.shape == "pie":
            self.pie(top)
            return
        across = chart.shape == "rows"
        number = 0.64 * self.tick_em * len(str(chart.step * chart.lines)) + 10 if self.has_axis else 8
        name = 0.64 * _LABEL_DU * max(len(mark.label) for mark in chart.marks) + 10
        left, bottom = (name, self.tick_em + 12 if self.has_axis else 8) if across else (number, _LABEL_DU + 9)
        right = 252 - (number / 2 if across else 0)
        axes.set_position((left / 256, bottom / 256, (right - left) / 256, (top - 4 - bottom) / 256))
        self.plot(across)

    def plot(self, across: bool) -> None:
        """Bars or a line, with their axis."""
        chart, axes = self.chart, self.axes
        places, heights = list(range(len(chart.marks))), [float(mark.value) for mark in chart.marks]
        labels = [mark.label for mark in chart.marks]
        many = self.rng.random() < 0.3
        colours: Any = [f"C{place}" for place in places] if many else f"C{self.rng.randrange(4)}"
        roof = chart.top * (1.0 if chart.on_axis else 1.16 if chart.is_large else 1.1)
        lines = [chart.step * line for line in range(chart.lines + 1)] if self.has_axis else []
        numbers = [str(line) for line in lines]
        if across:
            axes.barh(places, heights, height=chart.style.share, color=colours)
            axes.set_xlim(0, chart.top * (1.0 if chart.on_axis else 1.25))
            axes.set_yticks(places, labels, fontsize=self.points(_LABEL_DU))
            axes.set_xticks(lines, numbers, fontsize=self.points(self.tick_em))
            axes.invert_yaxis()
            self.labels = axes.get_yticklabels()
            self.numbers = axes.get_xticklabels() if self.has_axis else []
        else:
            if chart.shape == "line":
                marker = self.rng.choice(("o", "s", "D", "^", ""))
                axes.plot(places, heights, marker=marker, color=colours[0] if many else colours)
                axes.set_xlim(-0.5, len(places) - 0.5)
            else:
                axes.bar(places, heights, width=chart.style.share, color=colours)
            axes.set_ylim(0, roof)
            axes.set_xticks(places, labels, fontsize=self.points(_LABEL_DU))
            axes.set_yticks(lines, numbers, fontsize=self.points(self.tick_em))
            self.labels = axes.get_xticklabels()
            self.numbers = axes.get_yticklabels() if self.has_axis else []
        if chart.on_axis:  # its lines must be there to count
            axes.set_axisbelow(True)
            axes.grid(True, axis="x" if across else "y")
        for place, mark in enumerate(chart.marks if not chart.on_axis else ()):
            spot = (heights[place], place) if across else (place, heights[place])
            offset = (self.points(3), 0.0) if across else (0.0, self.points(3.5))
            manner: dict[str, Any] = {"ha": "left", "va": "center"} if across else {"ha": "center", "va": "bottom"}
            self.values.append(
                axes.annotate(
                    mark.value, spot, offset, textcoords="offset points", fontsize=self.points(self.value_em), **manner
                )
            )

    def pie(self, top: float) -> None:
        chart, axes = self.chart, self.axes
        side = top - 14
        axes.set_position(((256 - side) / 512, 6 / 256, side / 256, side / 256))
        parts: Any = axes.pie(
            [int(mark.value) for mark in chart.marks],
            labels=[mark.label for mark in chart.marks],
            autopct="%d%%",
            pctdistance=0.66,
            labeldistance=1.12,
            radius=0.92,
            startangle=self.rng.choice((0, 90, self.rng.uniform(0, 360))),
            counterclock=self.rng.random() < 0.5,
            textprops={"fontsize": self.points(_LABEL_DU)},
        )
        self.labels, self.values = list(parts[1]), list(parts[2])
        for text in self.values:
            text.set_fontsize(self.points(self.value_em))

    def box(self, text: Text, renderer: Any) -> Box:
        """Where a text stands, in pixels of the picture, origin top left."""
        extent = text.get_window_extent(renderer)
        return extent.x0, self.chart.size - extent.y1, extent.x1, self.chart.size - extent.y0

    def note(self, renderer: Any) -> bool:
        """Note in the chart where its print stands; False if print touches print or the picture's edge."""
        chart, du = self.chart, self.chart.size / 256
        self.texts += [*self.labels, *self.values, *self.numbers]
        boxes = [self.box(text, renderer) for text in self.texts if text.get_text()]
        if any(min(box) < 1 or max(box) > chart.size - 1 for box in boxes):
            return False
        if any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a, b in combinations(boxes, 2)):
            return False
        for mark, text in zip(chart.marks, self.labels, strict=True):
            mark.label_box = self.box(text, renderer)
        for mark, text in zip(chart.marks, self.values, strict=False):
            mark.value_box = self.box(text, renderer)
        chart.ticks = [(0.0, self.box(text, renderer)) for text in self.numbers]
        if not chart.on_axis or chart.is_large:
            return True
        one, two = chart.ticks[0][1], chart.ticks[1][1]
        return max(abs(one[0] - two[0]), abs(one[1] - two[1])) + max(one[2] - one[0], one[3] - one[1]) <= 50 * du

    def glyphs(self, renderer: Any) -> tuple[Glyph, ...]:
        """Every character that was printed; places from the widths of what stands before it."""
        found = []
        for text in self.texts:
            words, font = text.get_text(), text.get_fontproperties()
            x0, _, _, y1 = self.box(text, renderer)
            # A text's box reaches down at least as far as "lp" would.
            base = y1 - max(renderer.get_text_width_height_descent(w, font, False)[2] for w in (words or "0", "lp"))
            for place, char in enumerate(words):
                if char == " ":
                    continue
                end = renderer.get_text_width_height_descent(words[: place + 1], font, False)[0]
                width, height, descent = renderer.get_text_width_height_descent(char, font, False)
                middle = float(x0 + end - width / 2), float(base + descent - height / 2)
                found.append(Glyph(char, *middle, float(height)))
        return tuple(found)
