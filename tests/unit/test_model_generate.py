"""The naive loop: it must say what a fresh forward pass says, whatever is cached, batched, padded or forced."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest
import torch

from narthex.base.errors import InputError
from narthex.model import Continuation, Transformer, generate, sample
from narthex.model.attention import Fresh, KVCache
from narthex.weights import open_model

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
PATCHES = 4


@pytest.fixture(scope="module")
def model(tiny_folder):
    return open_model(tiny_folder, dtype=torch.float32).model


def words(count, seed=0):
    """Ids of plain text."""
    return torch.randint(0, 300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def with_pictures(model, num_pictures=2, seed=0):
    """A prompt of 60 words and some pictures, across two borders of a chunk, and the pictures' tiles."""
    ids = words(30, seed)
    for _ in range(num_pictures):
        ids += [*[model.config.image_token_index] * PATCHES, *words(5, seed + 1)]
    tiles = torch.rand(num_pictures, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return ids + words(20, seed + 2), tiles


@torch.inference_mode()
def fresh(model, ids, tiles=None):
    return model(torch.tensor([ids]), tiles).logits_BTV[0]


@pytest.mark.parametrize("num_pictures", [0, 2])
@pytest.mark.parametrize("block", [1, 7, 512])
def test_cached_is_fresh_token_by_token(model, monkeypatch, num_pictures, block):
    """Blocks of any size, over chunk borders, with and without pictures; new tokens cross a border too."""
    # the package's `generate` is the function, which hides the module of that name
    monkeypatch.setattr(importlib.import_module("narthex.model.generate"), "BLOCK_TOKENS", block)
    ids, tiles = with_pictures(model, num_pictures)
    tiles = tiles if num_pictures else None
    drawn = list(generate(model, ids, tiles, max_new_tokens=30))
    assert len(drawn) == 30 and len(set(drawn)) > 3
    with torch.inference_mode():
        prompt = model.embed(torch.tensor([ids]), None if tiles is None else model.see(tiles)[0])
        for place, token in enumerate(drawn):
            # generated ids are embedded without pictures: a picture token among them is a word
            x = torch.cat([prompt, model.embed(torch.tensor([drawn[:place]], dtype=torch.int64))], dim=1)
            scores = model.score(model.decode(x, Fresh(1, x.shape[1], x.device))[0])[0, -1]
            assert scores[token] >= scores.max() - 1e-4, f"token {place}"


def test_the_prompt_is_scored_the_same_in_blocks(model):
    ids, tiles = with_pictures(model)
    memory = KVCache(4)
    with torch.inference_mode():
        x = model.embed(torch.tensor([ids]), model.see(tiles)[0])
        parts = []
        for block in x.split(11, dim=1):
            memory.advance(1, block.shape[1], x.device)
            parts.append(model.score(model.decode(block, memory)[0]))
    torch.testing.assert_close(torch.cat(parts, dim=1)[0], fresh(model, ids, tiles), **CLOSE)


def test_rows_of_a_batch_are_single_rows_and_right_padding_does_not_matter(model):
    rows = [words(60, seed) for seed in range(3)]
    lengths = [60, 41, 25]
    batch = torch.tensor(rows)
    for row, length in enumerate(lengths):
        batch[row, length:] = 0
    with torch.inference_mode():
        together = model(batch).logits_BTV
    for row, length in enumerate(lengths):
        torch.testing.assert_close(together[row, :length], fresh(model, rows[row][:length]), **CLOSE)


def test_a_batch_with_pictures_gives_each_row_its_own(model):
    prompts = [with_pictures(model, seed=seed) for seed in (0, 5)]
    with torch.inference_mode():
        together = model(torch.tensor([ids for ids, _ in prompts]), torch.cat([tiles for _, tiles in prompts]))
    for row, (ids, tiles) in enumerate(prompts):
        torch.testing.assert_close(together.logits_BTV[row], fresh(model, ids, tiles), **CLOSE)
    assert not torch.allclose(together.logits_BTV[0], together.logits_BTV[1], atol=0.1)


def test_bfloat16_is_close_to_float32(model, tiny_folder):
    small = open_model(tiny_folder, dtype=torch.bfloat16).model
    ids, tiles = with_pictures(model)
    expected, found = fresh(model, ids, tiles), fresh(small, ids, tiles)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_a_picture_token_that_the_model_writes_is_a_word(model):
    """Nothing crashes when a model writes the id at which pictures stand, with or without pictures before."""
    index = model.config.image_token_index
    writer = Transformer(model.config)
    writer.init_weights(0)
    with torch.no_grad():
        head = writer.language_model.lm_head.weight
        head[:index], head[index:] = -1.0, 1.0  # all sums are alike, and the first of the best follows
        writer.language_model.model.embed_tokens.weight.abs_()
    ids, tiles = with_pictures(model)
    drawn = [list(generate(writer, *prompt, max_new_tokens=4)) for prompt in ((ids, tiles), (ids[:5], None))]
    assert index in drawn[0] or index in drawn[1], "the test's model must write what the test is about"


def test_forcing_tokens_is_drawing_them(model):
    ids, tiles = with_pictures(model)
    drawn = list(generate(model, ids, tiles, max_new_tokens=12))
    line = Continuation(model, ids, tiles)
    line.force(drawn[:5])
    assert [line.step() for _ in range(4)] == drawn[5:9]
    again = Continuation(model, ids, tiles)
    assert again.step() == drawn[0]
    again.force(drawn[1:4])  # after the token just drawn
    assert again.step() == drawn[4]


def test_generation_stops_where_it_should(model):
    ids = words(10)
    drawn = list(generate(model, ids, max_new_tokens=8))
    assert list(generate(model, ids, max_new_tokens=0)) == []
    stop = drawn[2]
    assert list(generate(model, ids, max_new_tokens=8, stop_ids={stop})) == drawn[: drawn.index(stop) + 1]


def test_seeds_are_honoured_and_greedy_needs_none(model):
    ids = words(10)

    def draw(**how):
        return list(generate(model, ids, max_new_tokens=16, **how))

    assert draw(seed=1) == draw(seed=2)
    assert draw(temperature=1.0, seed=1) == draw(temperature=1.0, seed=1) != draw(temperature=1.0, seed=2)
    assert draw(temperature=1.0, top_p=1e-9, seed=1) == draw() == draw(temperature=1e-30, seed=4)


def test_sampling_keeps_to_the_mass_it_was_given():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)

    def drawn(top_p):
        return {sample(logits, temperature=1.0, top_p=top_p, generator=generator) for _ in range(300)}

    assert drawn(1.0) == {0, 1, 2, 3}
    assert drawn(0.79) == {0, 1}
    assert drawn(0.81) == {0, 1, 2}
    assert drawn(0.0) == {0}
    assert sample(torch.tensor([1.0, 7.0, 7.0]), temperature=0, top_p=1.0, generator=generator) == 1


def test_what_cannot_be_continued_is_refused(model):
    ids, tiles = with_pictures(model)
    with pytest.raises(InputError, match="empty"):
        next(generate(model, [], max_new_tokens=1))
    with pytest.raises(InputError, match=r"room for 8 picture tokens, and 4 were given"):
        next(generate(model, ids, tiles[:1], max_new_tokens=1))
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\)"):
        next(generate(model, ids, tiles[..., :8, :8], max_new_tokens=1))
    blind = Transformer(replace(model.config, vision=None))
    with pytest.raises(InputError, match="reads no pictures"):
        next(generate(blind, ids, tiles, max_new_tokens=1))


def test_a_model_that_has_generated_can_still_learn(model, tiny_folder):
    """What a model keeps between passes must not have been made in inference mode."""
    learner = open_model(tiny_folder, dtype=torch.float32).model.train()
    ids, tiles = with_pictures(learner)
    next(generate(learner, ids, tiles, max_new_tokens=1))
    learner(torch.tensor([ids]), tiles).logits_BTV.square().mean().backward()
    assert learner.vision_model.patch_embedding.linear.weight.grad.abs().sum() > 0
