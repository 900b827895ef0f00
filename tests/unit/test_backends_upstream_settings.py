"""narthex.toml: every problem at once, nothing dropped in silence; the examples and the page say what is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from narthex.backends.dialects import DIALECTS
from narthex.backends.settings import Price, UpstreamSettings, base_url, find_upstream, load_settings
from narthex.base.errors import ConfigError
from narthex.chat import Budget

ROOT = Path(__file__).parents[2]


def write(folder, text):
    path = folder / "narthex.toml"
    path.write_text(text, encoding="utf-8")
    return path


class TestFile:
    def test_none_is_fine_unless_it_was_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NARTHEX_HOME", str(tmp_path))
        assert load_settings(None).upstreams == {} and load_settings().ceiling == Budget()
        with pytest.raises(ConfigError, match="is not there"):
            load_settings(tmp_path / "other.toml")
        write(tmp_path, '[upstreams.a]\nurl = "http://h"\n[ceiling]\nthink_tokens = 9\nwall_s = 3')
        assert load_settings().upstreams["a"].urls == ("http://h/v1",)
        assert load_settings().ceiling == Budget(think_tokens=9, wall_s=3.0)

    def test_every_problem_is_told_at_once(self, tmp_path):
        text = (
            '[upstreams.a]\nurl = "http://h"\nmodle = "x"\nmax_parallel = "8"\ntimeouts = { conect_s = 1 }\n'
            '[upstreams.b]\ndialect = "vlm"\nurl = "http://h"\n[ceiling]\nthink_token = 5\n[upstream.c]\nurl = "x"'
        )
        with pytest.raises(ConfigError) as caught:
            load_settings(write(tmp_path, text))
        told = str(caught.value)
        for expected in (
            "6 problems", "'upstreams.a.modle' (did you mean 'upstreams.a.model'?)",
            "'upstreams.a.max_parallel' should",
            "'upstreams.a.timeouts.conect_s' (did", "did you mean 'vllm'?", "'ceiling.think_token' (did you mean",
            "unknown key 'upstream' (did you mean 'upstreams'?)",
        ):  # fmt: skip
            assert expected in told, told

    @pytest.mark.parametrize(
        ("lines", "why"),
        [
            ("", "either 'url' or 'urls'"), ('url = "http://a"\nurls = ["http://b"]', "either 'url' or 'urls'"),
            ('url = "ftp://h"', "is no URL"), ('url = "http://"', "is no URL"), ('url = "http://h:99999"', "is no URL"),
            ('url = "https://me:pw@h"', "no name or password"), ('url = "http://h?key=1"', "has a query"),
            ('url = "http://h"\nmax_parallel = 0', "'max_parallel' should be more than 0"),
            ('url = "http://h"\nretries = -1', "'retries'"), ('url = "http://h"\nefforts = ["lots"]', "effort 'lots'"),
            ('url = "http://h"\nextra_body = { stream = false }', "'stream' is written by Narthex"),
            ('url = "http://h"\nextra_headers = { Authorization = "x" }', "key_env"),
            ('url = "http://h"\ntimeouts = { connect_s = 0 }', "'connect_s' should be more than 0"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused(self, tmp_path, lines, why):
        with pytest.raises(ConfigError, match=re.escape(why)) as caught:
            load_settings(write(tmp_path, f"[upstreams.a]\n{lines}"))
        assert "pw" not in str(caught.value)

    def test_what_is_no_toml_or_no_ceiling(self, tmp_path):
        wrong = (("[a", "is no TOML"), ("[ceiling]\nagents = 0", "ceiling.agents"), ("upstreams = 3", "table"))
        for text, why in wrong:
            with pytest.raises(ConfigError, match=why):
                load_settings(write(tmp_path, text))
        (tmp_path / "narthex.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_settings(tmp_path / "narthex.toml")


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h", "http://h/v1"), ("http://h:8000/", "http://h:8000/v1"), ("https://h/api/v3/", "https://h/api/v3"),
        ("http://h/v1/chat/completions", "http://h/v1"), (" http://[::1]:80/v1 ", "http://[::1]:80/v1"),
    ],
)  # fmt: skip
def test_urls_are_what_chat_completions_follows(given, base):
    assert base_url(given) == base


def test_names_are_looked_up_and_guessed(tmp_path):
    settings = load_settings(write(tmp_path, '[upstreams.office]\nurl = "http://h"'))
    assert find_upstream("office", settings).url == "http://h/v1"
    assert find_upstream("http://other:1", settings).url == "http://other:1/v1"
    for name in ("ofice", "qwen3"):
        with pytest.raises(ConfigError) as caught:
            find_upstream(name, settings)
        assert "office" in caught.value.hint


def test_the_examples_load_and_speak_every_dialect_they_name():
    settings = load_settings(ROOT / "examples" / "upstreams.toml")
    assert set(settings.upstreams) == {"vllm", "sglang", "llama_cpp", "ollama", "hosted"}
    assert {one.dialect for one in settings.upstreams.values()} <= set(DIALECTS)
    hosted = settings.upstreams["hosted"]
    assert hosted.key_env and hosted.price == Price(0.25, 2.0, 0.025) and len(settings.upstreams["sglang"].urls) == 2
    assert settings.upstreams["ollama"].timeouts.first_byte_s == 600.0
    assert None not in settings.ceiling.model_dump().values(), "every field of a ceiling is shown"


def test_the_page_names_every_setting_and_its_default():
    page = (ROOT / "docs" / "upstreams.md").read_text(encoding="utf-8")
    table = page.split("| key |")[1].split("\n\n")[0]
    rows = {name: row for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    fields = {field.name: field for field in dataclasses.fields(UpstreamSettings)}
    assert set(rows) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert f"{field.default:g}" in rows[name].split("|")[2], name
    assert all(f"`{name}`" in page for name in (*DIALECTS, *Budget.model_fields))


def test_the_page_runs():
    """Its example, as it stands."""
    page = (ROOT / "docs" / "upstreams.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(example, names)  # noqa: S102
    assert names["backend"].name == "fake"
