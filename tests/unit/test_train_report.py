"""The page of curves: what the logs told is on it, it needs nothing from elsewhere, and odd logs do not stop it."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from narthex.base.errors import ConfigError
from narthex.train.report import Series, figure, read_log, smooth, write_report


def supervised(step: int) -> dict[str, object]:
    means = {"think.words": 2.0 / step, "think.accuracy": 1 - 1 / step, "think.glyph": 0.4, "edge.words": 0.5}
    left = 5000 - 50 * (step % 20)  # a new leg every twenty steps
    return {"step": step, "sample": 32 * step, "of": 6400, "rate": 1e-3, "samples_per_s": 40.0, "seconds": 9 * step,
            "left_s": left, "means": means}  # fmt: skip


def reinforced(step: int) -> dict[str, object]:
    return {"step": step, "rollout": 128 * step, "of": 60_000, "rate": 1e-4, "reward": 0.5, "right": 0.6,
            "by_world": {"charts": 0.4, "peers": 0.3}, "tokens": 40 - step / 10, "looks": 0.8, "calls": 0.9,
            "effort": 70.0, "demonstrated": 0.2, "rollouts_per_s": 20.0, "seconds": 6 * step,
            "left_s": 100}  # fmt: skip


def write(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def page(tmp_path):
    held = {"step": 20, "sample": 640, "held_out": {"think.panels": 0.5, "think.words": 0.25, "read": 0.9}}
    write(tmp_path, *(supervised(step) for step in range(1, 41)), held)
    first = {"step": 0, "rollout": 0, "held_out": {"right": 0.7, "tokens": 41.0, "effort": 66.0}}
    last = {"step": 30, "rollout": 3840, "held_out": {"right": 0.8, "tokens": 26.0, "effort": 45.0}}
    write(tmp_path / "rl", first, *(reinforced(step) for step in range(1, 31)), last)
    return write_report(tmp_path).read_text(encoding="utf-8")


def test_everything_logged_is_drawn(page):
    titles = re.findall("<h3>(.*?)</h3>", page)
    assert {"Loss on words", "Held out: whole traces", "Learning rate", "Samples a second", "Reward and right answers",
            "Thought", "Looks and calls", "Right answers by world", "Rollouts a second"} <= set(titles)  # fmt: skip
    drawings = [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(drawings) == len(titles) and all(one.findall(".//polyline") for one in drawings)
    assert "70 → 80 %" in page and "41 → 26" in page and "panels 50 %" in page
    assert page.count('class="seam"') == 2 * titles.index("Reward and right answers")  # two legs more, in each figure


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"<script|<link|https?:|url\(|@import|src=", page)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page


def test_curves_stay_inside_their_figure():
    drawn = figure("T", "", [Series("a", [(0, 0.0), (10, 5.0), (20, -1.0)], is_noisy=False)], top=1.0)
    (points,) = re.findall(r'points="(.*?)"', drawn)
    places = [tuple(map(float, pair.split(","))) for pair in points.split()]
    assert all(0 <= x <= 480 and 0 <= y <= 250 for x, y in places)
    assert [y for _, y in places] == [216, 16, 216] and [x for x, _ in places] == [54, 261, 468]


ODD = [[(5.0, 0.0)], [(5.0, 3.0), (5.0, 3.0)], [(0.0, 0.0), (1e7, 1e-9)], [(90.0, 1.0), (99.0, 9.9)]]


@pytest.mark.parametrize("dots", ODD)
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_are_drawn(dots, log):
    ElementTree.fromstring(re.findall(r"<svg.*</svg>", figure("T & co", "<n>", [Series("<a>", dots)], log=log))[0])


def test_smoothing_keeps_the_mean_of_what_is_level():
    assert smooth([(x, 2.0) for x in range(50)]) == [(x, 2.0) for x in range(50)]
    wild = [(float(x), float(x % 2)) for x in range(100)]
    assert all(abs(y - 0.5) < 0.1 for _, y in smooth(wild))
    assert smooth([(0, 1.0), (1, 9.0)]) == [(0, 1.0), (1, 9.0)]


def test_a_log_that_was_cut_and_one_that_holds_nothing(tmp_path):
    odd = {"step": 3, "sample": 96, "means": {"edge.words": None}}
    write(tmp_path, supervised(1), '{"step": 2, "sam', "\n[1]\n", odd)
    assert [line["step"] for line in read_log(tmp_path)] == [1, 3]
    assert "Loss on words" in write_report(tmp_path).read_text(encoding="utf-8")
    write(tmp_path / "alone", reinforced(1))
    assert "Reinforcement" in write_report(tmp_path / "alone").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no log"):
        write_report(tmp_path / "nothing")
