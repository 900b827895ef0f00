"""A checkpoint as a GGUF file, for llama.cpp: architecture `llama4`, tokenizer `llama4` where the folder has one.

llama.cpp fixes what other programs read from the config: chunks of 8,192, the attention temperature, no position in
every fourth layer. It also normalises queries and keys of every model that has not exactly 128 experts. A model
trained without that is therefore padded to 128: the added experts are zeros, and their row of the router is the mean
of the real rows. Its logit is the mean of theirs, so it never exceeds the best, and no padded expert is chosen; the
cost is the router's product with 128 rows instead of 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

from narthex.model.config import TextConfig
from narthex.weights import open_model
from parts.checkpoints import checkpoint, work_folder

PRECISIONS = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
}
UNNORMALISED_EXPERTS = 128  # the number at which llama.cpp leaves queries and keys as they are
_FIXED = {"attention_chunk_size": 8192, "floor_scale": 8192, "attn_scale": 0.1, "attn_temperature_tuning": True}


def gguf_file(model: str, precision: str) -> Path:
    """The file of that model and precision; written at the first call.

    Raises: ValueError for a model that llama.cpp would compute differently.
    """
    source = checkpoint(model) / "model.safetensors"
    state = source.stat()
    path = work_folder() / f"{model}-{precision}-{state.st_size}-{state.st_mtime_ns}.gguf"
    if not path.is_file():
        for old in path.parent.glob(f"{model}-{precision}-*.gguf*"):
            old.unlink()
        unfinished = path.with_suffix(".gguf.part")
        _write(model, PRECISIONS[precision], unfinished)
        unfinished.rename(path)
    return path


def _write(model: str, kind: gguf.GGMLQuantizationType, path: Path) -> None:
    opened = open_model(checkpoint(model))
    text = opened.config.text
    step = _moe_step(text)
    _refuse_what_differs(text)
    num_experts = text.num_local_experts if text.use_qk_norm else UNNORMALISED_EXPERTS
    writer = gguf.GGUFWriter(path, "llama4")
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size_mlp)
    writer.add_expert_feed_forward_length(text.intermediate_size)
    writer.add_interleave_moe_layer_step(step)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_freq_base(text.rope_theta)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_expert_count(num_experts)
    writer.add_expert_used_count(text.num_experts_per_tok)
    writer.add_vocab_size(text.vocab_size)
    _add_tokenizer(writer, checkpoint(model), text.vocab_size)
    for name, tensor in _tensors(opened.model.state_dict(), text, num_experts):
        _add(writer, name, tensor, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _refuse_what_differs(text: TextConfig) -> None:
    different = [f"{name} {getattr(text, name)}" for name, value in _FIXED.items() if getattr(text, name) != value]
    if text.no_rope_layers != tuple(int((layer + 1) % 4 != 0) for layer in range(text.num_hidden_layers)):
        different.append(f"no_rope_layers {text.no_rope_layers}")
    if text.rope_scaling is not None:
        different.append("rope_scaling")
    if different:
        raise ValueError(f"llama.cpp would compute this model differently: {', '.join(different)}")


def _moe_step(text: TextConfig) -> int:
    step = text.num_hidden_layers // max(len(text.moe_layers), 1)
    if text.moe_layers != tuple(range(step - 1, text.num_hidden_layers, step)):
        raise ValueError(f"llama.cpp knows mixtures in every so many layers, not in {text.moe_layers}")
    return step


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, vocab_size: int) -> None:
    """The folder's own words; prompts are ids, so that a model without a tokenizer does as well."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        writer.add_tokenizer_model("none")
        return
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokens = [f"[unused {number}]" for number in range(vocab_size)]
    types = [gguf.TokenType.UNUSED] * vocab_size
    for word, number in tokenizer["model"]["vocab"].items():
        tokens[number], types[number] = word, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama4")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])


def _tensors(state: dict[str, Tensor], text: TextConfig, num_experts: int) -> Iterator[tuple[str, Tensor]]:
    """llama.cpp's names and orientations: outputs first, inputs last."""
    root = "language_model.model"
    yield "token_embd.weight", state[f"{root}.embed_tokens.weight"]
    yield "output_norm.weight", state[f"{root}.norm.weight"]
    yield "output.weight", state["language_model.lm_head.weight"]
    for layer in range(text.num_hidden_layers):
        here, there = f"{root}.layers.{layer}", f"blk.{layer}"
        yield f"{there}.attn_norm.weight", state[f"{here}.input_layernorm.weight"]
        yield f"{there}.ffn_norm.weight", state[f"{here}.post_attention_layernorm.weight"]
        for letter, name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output")):
            yield f"{there}.attn_{name}.weight", state[f"{here}.self_attn.{letter}_proj.weight"]
        if layer not in text.moe_layers:
            for part in ("gate", "up", "down"):
                yield f"{there}.ffn_{part}.weight", state[f"{here}.feed_forward.{part}_proj.weight"]
            continue
        for part in ("gate", "up", "down"):
            yield f"{there}.ffn_{part}_shexp.weight", state[f"{here}.feed_forward.shared_expert.{part}_proj.weight"]
        router_ED = state[f"{here}.feed_forward.router.weight"].float()
        missing = num_experts - len(router_ED)
        yield f"{there}.ffn_gate_inp.weight", torch.cat([router_ED, router_ED.mean(0).expand(missing, -1)])
        gate_up_EDF = state[f"{here}.feed_forward.experts.gate_up_proj"]
        gate_EDF, up_EDF = gate_up_EDF.chunk(2, dim=-1)
        down_EFD = state[f"{here}.feed_forward.experts.down_proj"]
        for part, tensor in (("gate", gate_EDF), ("up", up_EDF), ("down", down_EFD)):
            turned = tensor.transpose(1, 2)
            yield f"{there}.ffn_{part}_exps.weight", torch.cat([turned, turned.new_zeros(missing, *turned.shape[1:])])


def _add(writer: gguf.GGUFWriter, name: str, tensor: Tensor, kind: gguf.GGMLQuantizationType) -> None:
    """Norms and routers stay float32, as llama.cpp's own converter has it."""
    if tensor.dim() == 1 or "ffn_gate_inp" in name:
        writer.add_tensor(name, tensor.float().contiguous().numpy())
    elif kind == gguf.GGMLQuantizationType.BF16:
        bits = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
        writer.add_tensor(name, bits, raw_dtype=kind)
    elif kind == gguf.GGMLQuantizationType.Q8_0:
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().contiguous().numpy(), kind), raw_dtype=kind)
    else:
        dtype = np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16
        writer.add_tensor(name, tensor.float().contiguous().numpy().astype(dtype))
