"""Our model and loader against transformers' Llama 4: the same files, the same logits, the same greedy tokens.

transformers' cached `generate` was checked too: at these sizes it agrees with its own uncached forward pass across
chunk borders (test_the_oracle_agrees_with_itself), so it may judge.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from narthex.model import ModelConfig, Transformer, generate
from narthex.weights import open_model, save_model

from .oracle import CASES, oracle_greedy, oracle_logits

TOLERANCE = 1e-4  # float32, on logits of size 1 to 10
NUM_GREEDY = 64


@pytest.fixture(scope="module", params=CASES, ids=str)
def judged(request, tmp_path_factory):
    """(case, transformers' model, ours opened from what it saved); built once for all tests of a case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NARTHEX_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("published") / "model"
        oracle = request.param.save(folder)
        return request.param, oracle, open_model(folder).model


def our_logits(model, ids, tiles):
    with torch.inference_mode():
        return model(ids, tiles).logits_BTV


def test_logits(judged, record_property):
    case, oracle, model = judged
    expected = oracle_logits(oracle, *case.prompt())
    found = our_logits(model, *case.prompt())
    difference = (found - expected).abs().max().item()
    record_property("parity", f"{case.name}: {found.shape[1]} positions, logits differ by at most {difference:.1e}")
    assert expected.abs().max() > 1, "logits too small to tell anything"
    assert found.shape == expected.shape
    assert difference <= TOLERANCE


def test_the_oracle_agrees_with_itself(judged):
    """Its generated tokens must be the best ones of an uncached pass, or those are no yardstick."""
    case, oracle, _ = judged
    ids, tiles = case.prompt()
    tokens = torch.tensor([oracle_greedy(oracle, ids, tiles, NUM_GREEDY)])
    assert tokens.shape[1] == NUM_GREEDY
    scores = oracle_logits(oracle, torch.cat([ids, tokens], dim=1), tiles)[0, ids.shape[1] - 1 : -1]
    behind = scores.max(-1).values - scores.gather(1, tokens.T)[:, 0]
    assert behind.max() <= TOLERANCE, f"cached and uncached transformers differ by {behind.max():.1e}"


def test_greedy_tokens(judged, record_property):
    case, oracle, model = judged
    ids, tiles = case.prompt()
    expected = oracle_greedy(oracle, ids, tiles, NUM_GREEDY)
    found = list(generate(model, ids[0].tolist(), tiles, max_new_tokens=NUM_GREEDY))
    num_equal = next((i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]), NUM_GREEDY)
    ties = "" if num_equal == NUM_GREEDY else ", then the two best scored alike"
    record_property("parity", f"{case.name}: {num_equal} of {NUM_GREEDY} greedy tokens equal{ties}")
    if num_equal < NUM_GREEDY:  # from here on the two continue different texts
        so_far = torch.cat([ids, torch.tensor([expected[:num_equal]], dtype=torch.int64)], dim=1)
        best = oracle_logits(oracle, so_far, tiles)[0, -1].topk(2).values
        assert best[0] - best[1] <= TOLERANCE, f"token {num_equal} differs though the best leads by {best[0] - best[1]}"
    assert len(set(found)) > 3, "a text of one token would prove nothing"


def test_what_we_save_transformers_opens(judged, tmp_path, monkeypatch):
    case, oracle, model = judged
    monkeypatch.setenv("NARTHEX_HOME", str(tmp_path / "home"))
    folder = save_model(model, tmp_path / "ours", dtype=torch.float32, max_shard_bytes=50_000)
    again, report = type(oracle).from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), report
    assert again.dtype == torch.float32
    assert torch.equal(oracle_logits(again, *case.prompt()), oracle_logits(oracle, *case.prompt()))


def altered(model, **text):
    """The same weights under another configuration of the decoder."""
    config = replace(model.config, text=replace(model.config.text, **text))
    other = Transformer(config).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_each_feature_moves_the_logits(judged):
    """What a case uses must show far above the tolerance, or agreement on it says nothing."""
    case, _, model = judged
    text, (ids, tiles) = model.config.text, case.prompt()
    changes = {
        "chunks": {"attention_chunk_size": None},
        "chunk borders": {"attention_chunk_size": (text.attention_chunk_size or 0) + 1},
        "qk norm": {"use_qk_norm": not text.use_qk_norm},
        "temperature": {"attn_temperature_tuning": not text.attn_temperature_tuning},
        "temperature's floor": {"floor_scale": text.floor_scale + 1} if text.attn_temperature_tuning else {},
        "layers without position": {"no_rope_layers": (1,) * text.num_hidden_layers},
        "rope scaling": {"rope_scaling": None} if text.rope_scaling else {},
        "rope base": {"rope_theta": text.rope_theta * 2},
        "experts a token": {"num_experts_per_tok": 3 - text.num_experts_per_tok} if text.moe_layers else {},
    }
    honest = our_logits(model, ids, tiles)
    for feature, change in changes.items():
        if change:
            moved = (our_logits(altered(model, **change), ids, tiles) - honest).abs().max().item()
            assert moved > 50 * TOLERANCE, f"{feature} moves the logits by {moved:.1e} only"


def test_pictures_and_their_places_move_the_logits(judged):
    case, _, model = judged
    ids, tiles = case.prompt()
    if tiles is None:
        pytest.skip("no picture in this case")
    honest = our_logits(model, ids, tiles)
    for other in (tiles.flip(0), tiles.flip(2), tiles.flip(3)):
        if not torch.equal(other, tiles):
            assert (our_logits(model, ids, other) - honest).abs().max() > 50 * TOLERANCE


def test_the_cases_use_every_feature_between_them():
    text = [case.text_config for case in CASES]
    lengths = [case.prompt()[0].shape[1] for case in CASES]
    assert len(CASES) >= 8
    assert all(length > 2 * t["attention_chunk_size"] for length, t in zip(lengths, text, strict=True))
    for name, values in {
        "interleave_moe_layer_step": {1, 2},
        "use_qk_norm": {True, False},
        "num_experts_per_tok": {1, 2},
        "tie_word_embeddings": {True, False},
        "attention_bias": {True, False},
        "attn_temperature_tuning": {True, False},
        "no_rope_layer_interval": {4, 3},
    }.items():
        defaults = {"interleave_moe_layer_step": 1, "num_experts_per_tok": 1, "no_rope_layer_interval": 4,
                    "use_qk_norm": True, "attn_temperature_tuning": True}  # fmt: skip
        assert {t.get(name, defaults.get(name, False)) for t in text} == values
    assert {t["num_local_experts"] for t in text} >= {4, 8, 16}
    assert {t["num_attention_heads"] // t["num_key_value_heads"] for t in text} >= {1, 2, 4}
    assert {t["rope_parameters"]["rope_type"] for t in text} == {"default", "llama3"}
    assert {case.has_vision for case in CASES} == {True, False}
    assert any(max(case.tiles, default=0) > 1 for case in CASES)
    assert any(len(case.tiles) > 1 for case in CASES)


def expert_flops(num_experts: int, num_tokens: int, num_active: int = 1) -> int:
    """Floating-point operations inside the routed experts of one forward pass, counted and not computed."""
    config = ModelConfig.from_dict(
        {
            "model_type": "llama4_text",
            "vocab_size": 64,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "head_dim": 8,
            "num_local_experts": num_experts,
            "num_experts_per_tok": num_active,
        }
    )
    model = Transformer(config)
    model.init_weights(seed=0)
    ids = torch.randint(6, 64, (1, num_tokens), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    counts = counter.get_flop_counts()
    return sum(sum(ops.values()) for name, ops in counts.items() if name.endswith("feed_forward.experts"))


def test_the_work_of_experts_grows_with_tokens_and_not_with_experts():
    one_row = 2 * (16 * 2 * 24 + 24 * 16)  # multiply and add: gate and up, then down
    num_layers, num_tokens = 2, 50
    for num_experts in (4, 16, 64):
        assert expert_flops(num_experts, num_tokens) == num_layers * num_tokens * one_row
    assert expert_flops(16, 3 * num_tokens) == 3 * expert_flops(16, num_tokens)
    assert expert_flops(16, num_tokens, num_active=2) == 2 * expert_flops(16, num_tokens)
