"""The HTML page of a report, and of two side by side: self-contained, escaped, complete, true to the numbers."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from narthex.base.errors import InputError
from narthex.evals import Record, Report
from narthex.evals.compare import comparison, comparison_table, load_report
from narthex.evals.page import compare_page, report_page
from narthex.evals.page.examples import NUM_EXAMPLES, examples_of
from narthex.evals.page.figures import Point, cost_curve
from narthex.evals.task import get_task

ARMS = ("instant", "thinking", "contemplating")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'&"
_VOID = ("meta", "img", "br")


class Reader(HTMLParser):
    """Every element must be closed in order; nothing may be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "iframe", "object", "link", "base"), tag
        assert not [name for name in given if name.startswith("on") or name in ("href", "srcset", "action")], given
        if source := given.get("src"):
            self.sources.append(source)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [] and all(source.startswith("data:image/jpeg;base64,") for source in reader.sources)
    assert "http" not in re.sub(r"http-equiv", "", page) and "url(" not in page and "@import" not in page
    return reader


def made(limit: int = 16, **changes: object) -> Report:
    """A report over all worlds, by hand: Instant right on every fourth question, Thinking on all but every fourth."""
    task = get_task("worlds")
    items = []
    for index in range(limit):
        world = task.world_of(index)
        for arm, is_right in zip(ARMS, (index % 4 == 0, index % 4 != 1, index % 4 < 3), strict=True):
            look = {"name": "zoom", "box": [100, 200, 350, 450], "image": 0}
            items.append(Record(
                index, arm, world, "read", f"Question {index}?", "347 bar", "347 bar", is_right, False, index % 3 == 0,
                (index % 10) / 10, None, 0.5, tokens=10 * (1 + ARMS.index(arm)), thought_tokens=5, looks=1,
                tool_calls=1, agents=1, critical_path_s=0.4, thought="Find K.\nK reads 347.",
                calls=() if arm == "instant" else (look,), guess=0.25, flops=2e9 * (1 + ARMS.index(arm)),
            ))  # fmt: skip
    report = Report("worlds", 3, "nano", ARMS, limit, items=items, seconds=4.0)  # type: ignore[arg-type]
    return replace(report, **changes)


@pytest.fixture(scope="module")
def page() -> str:
    return made().page()


def test_the_page_holds_what_the_report_says(page: str) -> None:
    told = " ".join(read(page).texts)
    assert "Instant" in told and "25.0 %" in told and "10.2 to 49.5" in told, "accuracy with its interval"
    assert "75.0 %" in told and "50.5 to 89.8" in told and "Thinking's interval lies above Instant's." in told
    assert "Contemplating and Thinking cannot be told apart" in told and "guessing without the picture 25 %" in told
    for heading in ("By world", "What thinking buys", "By difficulty", "Where it fails most", "Examples"):
        assert heading in told
    assert "narthex eval worlds --mode instant,thinking,contemplating --limit 16 --seed 3" in told
    assert "floating point operations" in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_examples_are_right_and_wrong_with_picture_and_looks(page: str) -> None:
    report = made()
    examples = examples_of(report)
    assert len(examples) == NUM_EXAMPLES and [e.record.right for e in examples[:8]] == [True, False] * 4
    assert len({e.record.world for e in examples if e.record.right}) >= 5, "of many worlds"
    for example in examples:
        assert example.record.mode == "thinking" and [r.mode for r in example.others] == list(ARMS)
        drawn = get_task("worlds").item(3, example.record.index).picture
        assert (drawn is None) == (example.picture is None)
    reader = read(page)
    assert len(reader.sources) == sum(e.picture is not None for e in examples)
    with Image.open(io.BytesIO(base64.b64decode(reader.sources[0].partition(",")[2]))) as shown:
        assert max(shown.size) <= 448
    assert page.count('class="look"') == len(reader.sources)
    assert '<rect class="look" x="100" y="200" width="250" height="250"/>' in page
    assert page.count("zoom box [100, 200, 350, 450]") == NUM_EXAMPLES


def test_what_a_model_writes_is_shown_and_not_run() -> None:
    report = made(4)
    calls = ({"name": HOSTILE, "box": ["a", None, 1, 2], "image": 0}, {"name": "zoom", "box": [9, 9, 1, 1]})
    report.items = [
        replace(r, question=HOSTILE, answer=HOSTILE, thought=HOSTILE, calls=calls, world="panels", error=HOSTILE)
        for r in report.items
    ]
    page = replace(report, model=HOSTILE, partial=True).page()
    told = "".join(read(page).texts)
    assert "failed: <script>" in told and "<script>" in told and "<script>" not in page and 'class="look"' not in page
    assert "Stopped after 4 of 4 questions." in told


def test_a_report_of_nothing_has_a_page() -> None:
    empty = Report("worlds.panels", 7, "nano", ("instant", "thinking"), 4)
    assert "narthex eval worlds.panels" in " ".join(read(empty.page()).texts)
    few = read(replace(made(1), partial=True, limit=9).page())
    assert "Stopped after 1 of 9 questions." in " ".join(few.texts)


def test_heldout_and_refusals_have_tables() -> None:
    report = made(16)
    half = [replace(r, world=f"{r.world}-unseen", right=False) for r in report.items if r.index >= 8]
    report.items = [r for r in report.items if r.index < 8] + half
    told = " ".join(read(report_page(report.to_json())).texts)
    assert "Drawings and wordings never trained on" in told and "all unseen" in told and "panels-unseen" in told
    report.items = [replace(r, kind="edge", world="edge", declined=True) if r.index % 2 else r for r in made().items]
    assert "declined out of scope" in " ".join(read(report_page(report.to_json())).texts)


def test_marks_of_the_curve_stand_where_the_numbers_are() -> None:
    told = [{"accuracy": a, "low": a - 0.1, "high": a + 0.1, "n": 9} for a in (0.2, 0.8)]
    points = [Point("instant", "Instant", 10, told[0]), Point("thinking", "Thinking", 100, told[1])]
    drawn = cost_curve([points], [Point("all_agents", "all agents", 1000, told[1], is_hollow=True)], "tokens", 0.1)
    (x0, y0), (x1, y1), (x2, y2) = (
        (float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    )
    assert (x1, y1) < (x2, y2) or y1 == y2, "baselines are drawn first"
    marks = sorted([(x0, y0), (x1, y1), (x2, y2)])
    assert marks[1][0] - marks[0][0] == pytest.approx(marks[2][0] - marks[1][0], abs=0.2), "a scale of logarithms"
    assert marks[0][1] > marks[1][1] == marks[2][1] and "guessing" in drawn
    assert cost_curve([[]], [], "tokens", None) == ""


def test_two_reports_beside_each_other() -> None:
    before = made().to_json()
    after_report = made()
    after_report.items = [replace(r, tokens=(r.tokens or 0) // 2, right=r.right or r.index == 1) for r in made().items]
    after = after_report.to_json()
    told = comparison(before, after)
    thinking = told["arms"]["thinking"]
    assert told["same_questions"] and thinking["tokens_change"] == -0.5 and thinking["points"] == 6.25
    assert thinking["low"] < 6.25 < thinking["high"] and thinking["one"]["accuracy"] == 0.75
    text = " ".join(read(compare_page(before, after, ("before", "after"))).texts)
    assert "-50 %" in text and "+6.2" in text and "before" in text and "The same questions" in text
    table = comparison_table(told, ("before", "after"))
    assert "-50 %" in table and "not the same" not in table
    other = {**after, "seed": 4}
    assert "Not the same questions: seed 3 and 4." in " ".join(read(compare_page(before, other, ("a", "b"))).texts)
    assert "seed differ" in comparison_table(comparison(before, other), ("a", "b"))


def test_reports_of_the_first_version_can_be_compared(tmp_path) -> None:
    """Fields were added since; a report that lacks them is still drawn."""
    found = made().to_json()
    old = json.loads(json.dumps(found))
    for entry in old["modes"].values():
        for name in ("flops_mean", "by_world_kind", "by_difficulty", "guessing_p"):
            del entry[name]
    del old["guessing"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    read(compare_page(load_report(path), found, ("old", "new")))


@pytest.mark.parametrize(
    ("text", "why"), [("{", "is not JSON"), ("[1]", "is no report"), ('{"task": 1}', "is no report")]
)
def test_what_is_no_report_is_refused(tmp_path, text: str, why: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as refused:
        load_report(path)
    assert refused.value.hint
    with pytest.raises(InputError, match="cannot read"):
        load_report(tmp_path / "gone.json")
