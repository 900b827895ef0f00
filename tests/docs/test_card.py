"""The model card says what the reports beside it say: its tables are made from them, and its prose quotes them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from narthex.base.paths import SHIPPED_NANO
from narthex.evals import Record, Report

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "dev" / "figures"
CARD = (SHIPPED_NANO / "README.md").read_text(encoding="utf-8")
SECTIONS = (
    "Limits first", "On pictures it was never meant for", "Figures", "What it is", "How it was made", "Data statement",
    "What is open", "Why it is safe to release",
)  # fmt: skip


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def card() -> ModuleType:
    return load("card")


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return load("card_measure")


def test_tables_are_made_from_the_figures(card):
    assert card.filled(CARD) == CARD, "run: python scripts/card.py"
    stale = re.sub(r"\| all \| [\d.]+ %", "| all | 12.3 %", CARD)
    assert stale != CARD and card.filled(stale) == CARD
    tables = {found[2] for found in card._BLOCK.finditer(CARD)}
    assert {"strangers", "kinds", "worlds", "refusals", "ways", "weights", "stages"} <= tables <= set(card.TABLES)


def test_the_prose_quotes_no_figure_that_was_not_measured(card):
    told = [json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8")) for name in card.files_of(CARD)]
    measured = {f"{100 * number:.1f} %" for found in told for number in numbers_in(found)}
    prose = card._BLOCK.sub("", CARD)
    quoted = set(re.findall(r"\d+\.\d %", prose))
    assert quoted and quoted <= measured, quoted - measured


def numbers_in(found: object) -> list[float]:
    if isinstance(found, dict | list):
        return [n for each in (found.values() if isinstance(found, dict) else found) for n in numbers_in(each)]
    return [float(found)] if isinstance(found, int | float) else []


def test_the_weights_are_those_that_were_measured(card):
    digest = hashlib.sha256((SHIPPED_NANO / "model.safetensors").read_bytes()).hexdigest()
    (name,) = [name for name in card.files_of(CARD) if name.endswith("-weights")]
    told = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    assert told["sha256"] == digest and digest in CARD
    assert told["bytes"] == (SHIPPED_NANO / "model.safetensors").stat().st_size <= 24 * 2**20
    version = re.match(r"# narthex-(nano) (v\d+)", CARD)
    assert version is not None and {f"{version[1]}-{version[2]}"} == {n.rsplit("-", 1)[0] for n in card.files_of(CARD)}


def test_the_card_begins_with_limits_and_says_what_openness_asks_for():
    assert re.findall(r"^## (.+)$", CARD, flags=re.MULTILINE) == list(SECTIONS)
    told = " ".join(CARD.split())
    needed = ("Not a medical device", "no personal data", "kWh", "assumed, not metered", "Apache-2.0", "dev/LOG.md")
    assert [words for words in needed if words not in told] == []
    for path in re.findall(r"`((?:narthex|scripts|recipes|docs|dev|bench|tests)/[\w./-]*)`", CARD):
        assert (ROOT / path).exists(), path


def test_strangers_are_shown_with_every_answer(card, measure):
    (name,) = [name for name in card.files_of(CARD) if name.endswith("-strangers")]
    asked = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))["asked"]
    assert [(each["picture"], each["question"]) for each in asked if each["expected"] == ""] == [
        pair for pair in measure.STRANGERS if pair[1]
    ]
    assert len(asked) == len(measure.STRANGERS)
    assert all(set(each["answers"]) == {"instant", "thinking"} for each in asked)
    names = list(dict.fromkeys(name for name, _ in measure.STRANGERS))
    with Image.open(measure.SHEET) as sheet:
        assert sheet.width == len(names) * (measure._CELL_PX + measure._GAP_PX) - measure._GAP_PX
    assert measure.SHEET.stat().st_size < 80_000
    for picture in ("flowers", "a panel upside down", "nothing at all"):
        assert measure.stranger(picture).tobytes() == measure.stranger(picture).tobytes()


def test_hours_are_summed_over_the_legs_of_a_log(measure):
    lines = [(1000, 60), (2000, 3600), (2100, 30), (4000, 1800)]
    log = "\n".join(json.dumps({"sample": sample, "seconds": seconds}) for sample, seconds in lines)
    stage = measure.stage_of(log + '\n{"sample": 4000, "held_out": {}}\n', "reading", 1, 2, "abc")
    assert stage == {
        "name": "reading", "seed": 1, "commit": "abc", "samples": 3000, "hours": round(5400 / 3600, 3), "cores": 2,
    }  # fmt: skip
    with pytest.raises(SystemExit):
        measure.stage_of("{}\n", "reading", 1, 2, "abc")


def test_energy_is_core_hours_times_an_assumed_power(card):
    stage = {"name": "s", "seed": 1, "commit": "abc", "samples": 10_000, "hours": 2.0, "cores": 1.5}
    text = card.stages({"watts_per_core": 10, "stages": [stage, stage]})
    assert "| s | 1 | abc | 10,000 | 2.0 | 1.5 | 0.030 kWh |" in text and "| 4.0 |  | 0.060 kWh |" in text


def made(*worlds: tuple[str, str]) -> dict:
    """A report of one question for each (world, kind): even ones right."""
    items = [
        Record(index, "thinking", world, kind, "?", "1", "1", index % 2 == 0, kind == "edge", True, 0.5, None, 1.0)
        for index, (world, kind) in enumerate(worlds)
    ]
    return Report("worlds", 7, "nano", ("thinking",), len(items), items=items).to_json()


def test_tables_that_the_next_card_will_have(card):
    clevr = card.clevr(made(("shapes", "relational"), ("shapes", "nonrelational")))
    assert "| relational | 100.0 % (20.7 to 100.0) | relation network 94 %" in clevr
    assert "| nonrelational | 0.0 %" in clevr
    heldout = card.heldout(made(("charts", "read"), ("charts-unseen", "read")))
    assert "| **all unseen** | -100.0 (" in heldout and "| charts-unseen | -100.0 (" in heldout
    scope = card.scope(made(("edge", "edge"), ("charts", "read")))
    assert "| Thinking | 100.0 % (20.7 to 100.0) | 0.0 % (0.0 to 79.3) |" in scope
    assert "--mode thinking --limit 2 --seed 7 --json" in scope
