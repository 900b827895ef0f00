"""The command as people run it: a process of its own, against a tiny model that knows nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from narthex.model import ModelConfig, Transformer
from narthex.tokens import ChatFormat, train_tokenizer, write_nano_folder
from narthex.train.nano import export, nano_config


def make_model(place: Path, *, context_tokens: int) -> Path:
    """A folder like narthex-nano's, with a small vocabulary, random weights and a context that ends its chatter."""
    texts = ["What does gauge C read? 347 bar", '{"name": "zoom", "parameters": {"box": [0, 0, 250, 250]}}']
    write_nano_folder(place / "chat", train_tokenizer(texts, vocab_size=320))
    config = nano_config(ChatFormat.open(place / "chat")).to_dict()
    config["text_config"]["max_position_embeddings"] = context_tokens
    model = Transformer(ModelConfig.from_dict(config))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
        # Control tokens score nothing, and the best of hundreds of words scores more: greedy, it never ends by itself.
        control = list(ChatFormat.open(place / "chat").tokenizer.special_ids.values())
        model.language_model.lm_head.weight[control] = 0.0
    export(model, place / "chat", place / "tiny")
    return place / "tiny"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model that ends soon."""
    return make_model(tmp_path_factory.mktemp("models"), context_tokens=256)


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory) -> Path:
    """A model that goes on for thousands of tokens."""
    return make_model(tmp_path_factory.mktemp("models"), context_tokens=8192)


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """This process's variables, with a home of the test's own and nothing that changes the output."""
    own = {"NARTHEX_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return {**{key: value for key, value in os.environ.items() if key != "NARTHEX_DEBUG"}, **own}


@pytest.fixture
def narthex(environment, tmp_path):
    """Run `narthex …` to its end."""

    def run(*arguments: str, stdin: bytes | None = b"", **more: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "narthex.cli", *arguments],
            input=stdin, capture_output=True, env=environment, cwd=tmp_path, timeout=120, check=False, **more,
        )  # fmt: skip
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        )

    return run
