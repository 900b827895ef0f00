"""The trainer: a few steps lower the loss, a leg that stops goes on as if it had not, and what it makes opens."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import islice

import pytest
import torch

from narthex.base.errors import ConfigError
from narthex.model import Transformer, count_parameters, generate
from narthex.tokens import ChatFormat, train_tokenizer, write_nano_folder
from narthex.train.corpus import tokenizer_texts
from narthex.train.curriculum import Curriculum, batches
from narthex.train.loop import Settings, Trainer, stretch_places
from narthex.train.nano import export, nano_config
from narthex.train.vocabulary import moved, sources
from narthex.weights import open_model

READ_ONLY = Curriculum(0, 0, mix_weights=(1.0, 0.0, 0.0, 0.0, 0.0))
SETTINGS = Settings(
    samples=200, batch_size=4, learning_rate=3e-3, warmup_steps=2, workers=0, log_every=2, evaluate_every=10**6,
    curriculum=READ_ONLY,
)  # fmt: skip


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    write_nano_folder(folder, train_tokenizer(tokenizer_texts(1, 5), vocab_size=420), tile_size=32, patch_size=8)
    return folder


@pytest.fixture(scope="module")
def config(chat_folder):
    """nano in small: its switches, a fraction of its width."""
    config = nano_config(ChatFormat.open(chat_folder))
    text = replace(
        config.text, hidden_size=32, intermediate_size=32, intermediate_size_mlp=64, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, num_local_experts=4,
    )  # fmt: skip
    assert config.vision is not None
    vision = replace(
        config.vision, hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, projector_input_dim=32, projector_output_dim=32, vision_output_dim=32,
    )  # fmt: skip
    return replace(config, text=text, vision=vision)


@pytest.fixture
def trainer(config, chat_folder, tmp_path):
    return Trainer(config, chat_folder, tmp_path / "stage", SETTINGS, torch.device("cpu"))


def fixed_batch(trainer):
    found = batches(trainer.chat, READ_ONLY, trainer.vision, size=4, seed=1, start=0, split="train")
    return next(found)


def step(trainer, batch):
    loss, parts = trainer.loss(batch)
    loss.backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    return loss.item(), parts


def state(trainer):
    found = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    found |= {f"heads.{name}": value for name, value in trainer.heads.state_dict().items()}
    for number, held in trainer.optimizer.state_dict()["state"].items():
        found |= {f"adam.{number}.{name}": value for name, value in held.items()}
    return {name: value.clone() for name, value in found.items()}


def test_a_few_steps_lower_the_loss(trainer):
    batch = fixed_batch(trainer)
    losses = [step(trainer, batch)[0] for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]
    _, parts = trainer.loss(batch)
    assert set(parts) >= {"words", "accuracy", "glyph", "token", "align", "balance"}
    assert all(value.isfinite() for value in parts.values()) and 0 <= parts["accuracy"] <= 1


def test_every_parameter_learns(trainer):
    find = replace(READ_ONLY, mix_weights=(0.0, 1.0, 0.0, 0.0, 0.0))
    batch = next(batches(trainer.chat, find, trainer.vision, size=4, seed=1, start=0, split="train"))
    loss, parts = trainer.loss(batch)
    assert "asked" in parts
    loss.backward()
    named = [*trainer.model.named_parameters(), *trainer.heads.named_parameters()]
    assert not [name for name, parameter in named if parameter.grad is None or not parameter.grad.any()]


def test_padding_changes_nothing_of_the_loss(trainer):
    batch = fixed_batch(trainer)
    pad = trainer.chat.tokenizer.special_ids["<|finetune_right_pad|>"]
    wider = batch._replace(
        ids=torch.nn.functional.pad(batch.ids, (0, 9), value=pad),
        labels=torch.nn.functional.pad(batch.labels, (0, 9), value=-100),
    )
    one, other = (trainer.loss(b)[1] for b in (batch, wider))
    for name in ("words", "accuracy", "glyph", "token", "align"):
        assert one[name].item() == pytest.approx(other[name].item(), abs=1e-5)


def test_a_leg_that_stops_goes_on_bit_by_bit(trainer, config, chat_folder, tmp_path):
    batch = fixed_batch(trainer)
    for _ in range(3):
        step(trainer, batch)
    trainer.sample, trainer.step, trainer.seconds = 12, 3, 1.5
    trainer.save()
    assert sorted(path.name for path in trainer.folder.iterdir()) == ["progress.json", "state.safetensors"]
    other = Trainer(config, chat_folder, trainer.folder, replace(SETTINGS, seed=9), torch.device("cpu"))
    assert other.resume()
    assert (other.sample, other.step, other.seconds) == (12, 3, 1.5)

    def same():
        one, two = state(trainer), state(other)
        assert one.keys() == two.keys() and any(name.startswith("adam.") for name in one)
        return [name for name in one if not torch.equal(one[name], two[name])] == []

    assert same()
    assert step(trainer, batch)[0] == step(other, batch)[0]
    assert same()
    assert not Trainer(config, chat_folder, tmp_path / "empty", SETTINGS, torch.device("cpu")).resume()


def test_a_run_logs_counts_saves_and_ends(trainer, config, chat_folder):
    out = io.StringIO()
    threads = torch.get_num_threads()
    trainer.settings = replace(SETTINGS, samples=24, evaluate_every=6)
    trainer.run(60, out)
    assert torch.get_num_threads() == threads
    assert (trainer.sample, trainer.step) == (24, 6)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines == [json.loads(line) for line in (trainer.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "means" in line] == [2, 4, 6]
    assert {"of", "rate", "samples_per_s", "left_s", "seconds"} <= set(lines[0])
    assert list(lines[-1]["held_out"]) == ["read"]
    again = Trainer(config, chat_folder, trainer.folder, trainer.settings, torch.device("cpu"))
    assert again.resume() and again.sample == 24
    again.run(60, out)
    assert again.step == 6, "a stage that is done stays so"


def test_a_leg_ends_when_its_time_is_up(trainer):
    trainer.run(0.0, io.StringIO())
    assert trainer.step == 0 and (trainer.folder / "state.safetensors").exists()


def test_the_rate_warms_up_is_held_and_falls(trainer):
    trainer.settings = Settings(samples=1000, learning_rate=1.0, warmup_steps=10, decay_share=0.5)

    def rate(sample, leg_steps):
        trainer.sample, trainer._leg_steps = sample, leg_steps
        return trainer.rate()

    assert rate(0, 0) == pytest.approx(0.1)
    assert rate(100, 9) == rate(499, 99) == 1.0
    assert rate(750, 99) == pytest.approx(0.5)
    assert rate(750, 0) == pytest.approx(0.1), "every leg warms up"
    assert rate(1000, 99) == rate(2000, 99) == 0.0


def test_what_is_exported_opens_and_begins_another_stage(trainer, config, chat_folder, tmp_path):
    step(trainer, fixed_batch(trainer))
    folder = tmp_path / "model"
    export(trainer.model, chat_folder, folder)
    opened, chat = open_model(folder, dtype=torch.float32), ChatFormat.open(folder)
    assert opened.config == config
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] in chat.stop_ids
    assert not [path.name for path in folder.iterdir() if "head" in path.name or path.name == "state.safetensors"]
    example = fixed_batch(trainer)
    drawn = generate(opened.model, example.ids[0].tolist()[:40], example.tiles[:1], max_new_tokens=2)
    assert len(list(islice(drawn, 2))) == 2

    other = Trainer(config, chat_folder, tmp_path / "next", replace(SETTINGS, seed=8), torch.device("cpu"))
    before = state(other)
    other.start_from(folder)
    after, rounded = state(other), opened.model.state_dict()
    assert all(torch.equal(after[f"model.{name}"], rounded[name]) for name in rounded)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("heads."))
    assert other.sample == 0
    export(trainer.model, chat_folder, folder)  # a later leg writes over an earlier one
    open_model(folder)


def test_the_real_nano_is_what_the_issue_allows(chat_folder):
    text = nano_config(ChatFormat.open(chat_folder)).text
    assert text.moe_layers and text.num_local_experts > 1
    with torch.device("meta"):
        total, active = count_parameters(Transformer(nano_config(ChatFormat.open(chat_folder))))
    assert active < total and total * 2 <= 24 * 2**20  # bfloat16


def test_learned_positions_stretch_to_a_finer_grid():
    """A ramp stays a ramp, its middle stays in the middle, and the class token's place is untouched."""
    ramp = torch.arange(4.0).repeat(4, 1).reshape(16, 1)
    places = torch.cat([ramp, torch.tensor([[9.0]])])
    assert stretch_places(places, 4) is places
    finer = stretch_places(places, 8)
    assert finer.shape == (65, 1) and finer[-1] == 9.0
    rows = finer[:-1].reshape(8, 8)
    assert torch.allclose(rows, rows[0].expand(8, 8), atol=1e-5)
    assert (rows[0].diff() > 0).all() and abs(rows.mean() - ramp.mean()) < 1e-4


def test_what_is_known_of_a_token_goes_with_it_to_another_vocabulary(chat_folder, tmp_path):
    texts = ["gauge gauge gauge", "Прибор Прибор", "表 表 表"] * 20
    write_nano_folder(tmp_path, train_tokenizer(texts, vocab_size=320), tile_size=32, patch_size=8)
    old, new = ChatFormat.open(chat_folder), ChatFormat.open(tmp_path)
    found = sources(old, new)
    assert len(found) == new.tokenizer.vocab_size and all(found)
    for id_, ids in enumerate(found):
        name = new.tokenizer.name(id_)
        if name is not None:
            assert [old.tokenizer.name(other) for other in ids] == [name]
        else:
            assert old.tokenizer.decode_bytes(ids) == new.tokenizer.decode_bytes([id_])
    whole = next(id_ for id_ in range(len(found)) if new.tokenizer.decode_bytes([id_]) == "Прибор".encode())
    rows = torch.randn(old.tokenizer.vocab_size, 3)
    assert len(found[whole]) > 1, "the English vocabulary has no such word"
    assert torch.allclose(moved(rows, found)[whole], rows[found[whole]].mean(0))
    assert torch.equal(moved(rows, sources(old, old)), rows)


def test_mini_is_nano_in_large(chat_folder):
    chat = ChatFormat.open(chat_folder)
    nano, mini = (nano_config(chat, size) for size in ("nano", "mini"))
    with torch.device("meta"):
        (small, small_active), (large, large_active) = (count_parameters(Transformer(one)) for one in (nano, mini))
    assert 100e6 < large < 160e6 and 8 < large_active / small_active < 20 and large > 15 * small
    assert nano.vision is not None and mini.vision is not None and nano.vision.image_size == mini.vision.image_size
    assert nano.text.attention_chunk_size == mini.text.attention_chunk_size
    with pytest.raises(ConfigError, match="no size 'huge'"):
        nano_config(chat, "huge")
