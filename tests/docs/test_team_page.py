"""`docs/serving-a-team.md` says what the settings, the command and the metrics are; each claim is compared."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import typer

from narthex.cli.app import app
from narthex.serve import remote
from narthex.serve.metrics import Metrics, Stopwatch
from narthex.serve.settings import Quota, ServeSettings, read_serve_settings
from narthex.store.people_schema import audit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "serving-a-team.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[1]


def rows(head):
    """The first cells of the table that begins so."""
    table = TEXT.split(f"\n| {head}")[1].split("\n\n")[0]
    return [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines()[2:]]


def test_the_settings_are_all_there():
    for head, kind in (("key of `[serve]`", ServeSettings), ("key of `[[serve.quotas]]`", Quota)):
        assert [name for (name,) in rows(head)] and {name for (name,) in rows(head)} == {
            each.name for each in dataclasses.fields(kind)}  # fmt: skip


def test_the_example_is_read():
    found = read_serve_settings(tomllib.loads(block("toml"))["serve"])
    assert [quota.group for quota in found.quotas] == ["", "lab"] and found.metrics == "this_machine"
    assert found.role("user").tools == ("zoom", "mark", "ground")


def test_the_metrics_are_all_there_and_no_other():
    metrics = Metrics(dict)
    Stopwatch(metrics, "m").end("done")
    names = {
        line.split()[2] for line in metrics.text().decode().splitlines()
        if line.startswith("# TYPE") and not line.split()[2].endswith("_created")
    }  # fmt: skip
    assert {name for cells in rows("name") for name in cells} == names


def test_the_commands_are_as_they_are():
    verbs = typer.main.get_command(app).commands
    said = re.findall(r"(?:^|/)narthex (serve|users|keys)\b([^`\n#]*)", TEXT, re.MULTILINE)
    assert {verb for verb, _ in said} == {"serve", "users", "keys"}
    for verb, rest in said:
        known = {name for each in verbs[verb].params for name in each.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (verb, rest)


def test_bounds_and_columns_are_the_codes():
    most_mib = remote.MAX_REMOTE_BYTES // 2**20
    assert f"at most {remote.MAX_REMOTE} and {most_mib} MiB in {remote.TOTAL_S:.0f} seconds" in TEXT
    query = re.search(r'sqlite3 narthex\.db "(.+)"', TEXT)[1]
    assert set(re.findall(r"[a-z]+_[a-z]+", query)) <= set(audit.c.keys())
    targets = re.findall(r"`make (\w+)`", TEXT)
    assert all(f"\n{target}:\n" in (ROOT / "Makefile").read_text(encoding="utf-8") for target in targets) and targets
