"""A server for a team, as a process: users and keys by the command line, OpenAI's client with a key, no way around."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import httpx2
import openai
import pytest


@contextmanager
def serving(environment, model, *arguments):
    """(URL, first lines on stderr) of a server of its own; "0.0.0.0" is asked by the loopback."""
    command = [sys.executable, "-m", "narthex.cli", "serve", "-m", str(model), "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "curl " not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield re.search(r"tiny at (http://\S+)/v1, ", said)[1].replace("0.0.0.0", "127.0.0.1"), said
        finally:
            process.kill()


def ask(client):
    return client.chat.completions.create(
        model="tiny:instant", messages=[{"role": "user", "content": "What?"}], max_tokens=3
    )


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--no-save",)], ids=["wide", "keeping nothing"])
def test_openais_client_with_a_key_and_nobody_without(narthex, environment, tiny_model, arguments):
    assert narthex("users", "add", "ada", "--group", "lab").returncode == 0
    key = narthex("keys", "add", "ada").stdout.strip()
    with serving(environment, tiny_model, *arguments) as (url, said):
        assert "for all who have a key" in said and "Bearer KEY" in said
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            assert ask(client).choices[0].finish_reason in ("stop", "length")
            # A second key, made and revoked while the server runs.
            other = json.loads(narthex("keys", "add", "ada", "--json").stdout)
            with client.with_options(api_key=other["key"]) as second:
                assert len(list(second.models.list())) == 4
                assert narthex("keys", "revoke", other["id"]).returncode == 0
                with pytest.raises(openai.AuthenticationError):
                    second.models.list()
            usage = httpx2.get(f"{url}/api/usage", headers={"authorization": f"Bearer {key}"}, timeout=60).json()
            assert usage["data"][0]["runs"] == 1 and usage["data"][0]["prompt_tokens"] > 0
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as raised:
                ask(client)
            assert raised.value.code == "invalid_api_key"
        assert urllib.request.urlopen(f"{url}/health", timeout=60).status == 200


def test_the_first_user_shuts_a_server_that_runs(narthex, environment, tiny_model):
    with serving(environment, tiny_model) as (url, _):
        assert httpx2.get(f"{url}/v1/models", timeout=60).status_code == 200
        assert narthex("users", "add", "ada").returncode == 0
        assert httpx2.get(f"{url}/v1/models", timeout=60).status_code == 401


def test_a_mistake_in_the_settings_is_one_line(narthex, environment, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "narthex.toml").write_text("[serve]\nruns_at_onec = 3\n", encoding="utf-8")
    done = narthex("serve")
    assert done.returncode == 2 and "did you mean 'runs_at_once'" in done.stderr
