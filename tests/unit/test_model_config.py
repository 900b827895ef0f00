"""What a config.json may say: every impossible value is refused by its name, everything else comes back as it was."""

from __future__ import annotations

import copy
import json

import pytest

from narthex.base.errors import ConfigError
from narthex.model import ModelConfig, Transformer

from .weights_helpers import TINY, TINY_TEXT

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 16.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def changed(path, value, source=TINY):
    raw = copy.deepcopy(source)
    section = raw
    *above, last = path.split(".")
    for name in above:
        section = section[name]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model_type", "llama", "model_type is 'llama'"),
        ("text_config", [], "text_config"),
        ("vision_config", "none", "vision_config"),
        ("text_config.vocab_size", ..., "lacks vocab_size"),
        ("text_config.hidden_size", None, "lacks hidden_size"),
        ("text_config.vocab_size", 0, "vocab_size is 0"),
        ("text_config.hidden_size", -16, "hidden_size is -16"),
        ("text_config.hidden_size", "wide", "hidden_size is 'wide', not a number"),
        ("text_config.hidden_size", 16.5, "hidden_size is 16.5, not a whole number"),
        ("text_config.num_hidden_layers", 0, "0 layers"),
        ("text_config.num_hidden_layers", 10**9, "1000000000 layers"),
        ("text_config.num_hidden_layers", float("inf"), "num_hidden_layers is inf"),
        ("text_config.num_attention_heads", -2, "-2 attention heads"),
        ("text_config.num_key_value_heads", 3, "2 heads cannot share 3"),
        ("text_config.head_dim", 7, "head_dim 7 is not even"),
        ("text_config.num_experts_per_tok", 5, "5 experts a token out of 4"),
        ("text_config.moe_layers", [2], "moe_layers names a layer"),
        ("text_config.moe_layers", 3, "wrong kind"),
        ("text_config.no_rope_layers", [1], "no_rope_layers"),
        ("text_config.no_rope_layers", [1, 1, 0], "no_rope_layers"),
        ("text_config.layer_types", ["full_attention"] * 2, "layer_types contradicts"),
        ("text_config.attention_chunk_size", 0, "attention_chunk_size is 0"),
        ("text_config.floor_scale", 0, "floor_scale is 0"),
        ("text_config.rms_norm_eps", -1.0, "rms_norm_eps is -1.0"),
        ("text_config.rope_theta", float("nan"), "rope_theta is nan"),
        ("text_config.hidden_act", "gelu", "hidden_act of text_config is 'gelu'"),
        ("text_config.rope_parameters", [1], "rope_parameters"),
        ("text_config.rope_scaling", "yarn", "rope_scaling"),
        ("text_config.rope_scaling", {**LLAMA3, "rope_type": "yarn"}, "rope_type is 'yarn'"),
        ("text_config.rope_scaling", {"rope_type": "llama3"}, "lacks factor"),
        ("text_config.rope_scaling", {**LLAMA3, "factor": 0}, "cannot stretch by 0"),
        ("vision_config.image_size", 9, "9 pixels does not divide"),
        ("vision_config.image_size", 0, "image_size of vision_config is 0"),
        ("vision_config.patch_size", ..., "lacks patch_size"),
        ("vision_config.patch_size", 0, "patch_size of vision_config is 0"),
        ("vision_config.num_attention_heads", 3, "vision width 8 over 3 heads"),
        ("vision_config.pixel_shuffle_ratio", 2.0, "shuffled by 2.0"),
        ("vision_config.pixel_shuffle_ratio", 0.4, "shuffled by 0.4"),
        ("vision_config.pixel_shuffle_ratio", float("nan"), "pixel_shuffle_ratio of vision_config is nan"),
        ("vision_config.intermediate_size", 16, "vision intermediate_size must equal"),
        ("vision_config.vision_output_dim", 16, "must be equal"),
        ("vision_config.hidden_act", "relu", "hidden_act of vision_config is 'relu'"),
        ("image_token_index", 32, "image_token_index 32 is not in a vocabulary of 32"),
        ("image_token_index", "five", "image_token_index is 'five'"),
    ],
)
def test_impossible_configs_are_refused_by_name(path, value, words):
    ModelConfig.from_dict(TINY)
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(changed(path, value))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_all_problems_are_told_at_once():
    raw = changed(
        "vision_config.image_size", 9, changed("text_config.floor_scale", 0, changed("text_config.head_dim", 3))
    )
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(raw)
    assert all(words in str(caught.value) for words in ("9 pixels", "floor_scale", "head_dim 3"))


@pytest.mark.parametrize(
    "raw",
    [
        TINY,
        TINY_TEXT,
        changed("text_config.rope_scaling", LLAMA3),
        changed("text_config.attention_chunk_size", None),
        changed("text_config.moe_layers", []),
        changed("text_config.tie_word_embeddings", True),
        changed("vision_config", None),
        changed("text_config.no_rope_layers", [0, 1]),
    ],
)
def test_a_config_survives_being_written(raw):
    config = ModelConfig.from_dict(raw)
    again = ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert (again.text, again.vision) == (config.text, config.vision)
    if config.vision is not None:  # without pictures their tokens mean nothing, and are not written
        assert again == config
    Transformer(config)


def test_both_spellings_of_rotary_settings_are_one():
    old = changed("text_config.rope_theta", 1234.0, changed("text_config.rope_scaling", LLAMA3))
    new = changed("text_config.rope_parameters", {"rope_theta": 1234.0, **LLAMA3})
    oldest = {("type" if name == "rope_type" else name): value for name, value in LLAMA3.items()}
    oldest = changed("text_config.rope_theta", 1234.0, changed("text_config.rope_scaling", oldest))
    first, second, third = (ModelConfig.from_dict(raw).text for raw in (old, new, oldest))
    assert first == second == third
    assert first.rope_theta == 1234.0 and first.rope_scaling is not None and first.rope_scaling.factor == 16.0


def test_what_is_left_out_is_llama_4s_own():
    text = ModelConfig.from_dict(TINY_TEXT).text
    assert (text.attention_chunk_size, text.floor_scale, text.attn_scale) == (8192, 8192, 0.1)
    assert text.use_qk_norm and text.attn_temperature_tuning and text.rope_scaling is None
    eight = ModelConfig.from_dict({**TINY_TEXT, "num_hidden_layers": 8}).text
    assert eight.no_rope_layers == (1, 1, 1, 0, 1, 1, 1, 0)
    assert eight.moe_layers == (1, 3, 5, 7)
