"""docs/worlds.md says what the generators do: counted blocks, pictures, code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "worlds.md").read_text(encoding="utf-8")
MAX_BYTES = 60_000


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("worlds_page", ROOT / "scripts" / "worlds_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counted_and_quoted_blocks_are_fresh(script):
    assert PAGE.count("<!-- generated: ") == 5 + len(script.SHOWN_WORLDS)
    assert script.filled(PAGE) == PAGE, "run: python scripts/worlds_page.py"


def test_a_stale_block_is_found(script):
    stale = re.sub(r"\| read \| [\d.]+ %", "| read | 12.3 %", PAGE)
    assert stale != PAGE and script.filled(stale) == PAGE


def test_pictures_are_what_the_generators_draw(script):
    drawn = script.pictures()
    assert set(drawn) == set(re.findall(r"\(pictures/([\w.-]+)\)", PAGE))
    for name, picture in drawn.items():
        path = ROOT / "docs" / "pictures" / name
        assert path.stat().st_size < MAX_BYTES
        with Image.open(path) as kept:
            assert kept.size == picture.size
            # Other builds of FreeType and zlib differ by shades at the letters' rims.
            assert script.difference(kept, picture) < 3
            assert script.difference(kept, kept.rotate(180)) > 10


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/worlds.md", "exec"), {})  # noqa: S102  # our own page
    assert capsys.readouterr().out.endswith("True\n") and (tmp_path / "panel.png").exists()


def test_files_and_figures_of_the_prose(script):
    from narthex.evals.worlds import get_world
    from narthex.evals.worlds.panel_scene import _SIZES, _TEST_BUCKETS

    for path in re.findall(r"`([\w/]+\.py|narthex/[\w/]+/)`", PAGE):
        assert (ROOT / path).exists(), path
    assert f"{min(_SIZES)} to {max(_SIZES)} pixels" in PAGE and _TEST_BUCKETS == 8 and "one of eight buckets" in PAGE
    assert f"{script.VIEW_PX} x {script.VIEW_PX} pixels" in PAGE
    for name in ("panels", "panels-unseen", "edge", *script.SHOWN_WORLDS):
        assert get_world(name).name == name and name in PAGE
