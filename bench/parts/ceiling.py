"""The ceiling: what no program that computes this model at 16 bits can exceed on this machine.

A decode step must read every weight that its tokens use, once, however many streams share the step, and the keys and
values of each stream. It must also multiply. It can do neither faster than the machine was measured to (`machine.py`):

    step = max(bytes read / bytes per second, multiplications / multiplications per second)
    ceiling = streams / step

With `e` experts of which a token uses `k`, `n` streams use e (1 - (1 - k / e)^n) different ones when routing is even.
Prompts are bound by multiplications. Weights packed to 8 bits are half the bytes: only they may pass the ceiling, and
only where it is memory that bounds.
"""

from __future__ import annotations

from typing import NamedTuple

from narthex.model.config import TextConfig
from parts.machine import Rates
from parts.work import Row

ITEM_BYTES = 2  # of a weight, a key, a value


class Ceiling(NamedTuple):
    """tps for the row's own figure; bytes and flops are those of one decode step."""

    tps: float
    decode_tps: float
    bound: str
    step_bytes: float
    step_flops: float


def ceiling(text: TextConfig, row: Row, rates: Rates) -> Ceiling:
    middle = row.own + row.new / 2
    step_bytes = weight_bytes(text, row.streams) + _position_bytes(text) * (row.shared + row.streams * middle)
    step_flops = row.streams * token_flops(text, row.shared + middle)
    by_memory, by_flops = step_bytes / rates.bytes_per_s, step_flops / rates.flops_per_s
    step_s = max(by_memory, by_flops)
    decode_tps = row.streams / step_s
    tps = decode_tps
    if row.is_agents:
        prompt_flops = row.shared * token_flops(text, row.shared / 2, is_scored=False)
        prompt_flops += row.streams * row.own * token_flops(text, row.shared, is_scored=False)
        # The prompt gives each stream's first token.
        tps = row.streams * row.new / (prompt_flops / rates.flops_per_s + (row.new - 1) * step_s)
    return Ceiling(tps, decode_tps, "memory" if by_memory > by_flops else "matmul", step_bytes, step_flops)


def weight_bytes(text: TextConfig, streams: int) -> float:
    """What one decode step of so many streams reads of the weights."""
    experts = text.num_local_experts
    distinct = experts * (1 - (1 - text.num_experts_per_tok / experts) ** streams) if experts else 0.0
    numbers = float(text.vocab_size * text.hidden_size + streams * text.hidden_size)
    for layer in range(text.num_hidden_layers):
        numbers += _attention_numbers(text) + 2 * text.hidden_size
        if layer in text.moe_layers:
            numbers += text.hidden_size * experts + (1 + distinct) * 3 * text.hidden_size * text.intermediate_size
        else:
            numbers += 3 * text.hidden_size * text.intermediate_size_mlp
    return numbers * ITEM_BYTES


def token_flops(text: TextConfig, seen: float, *, is_scored: bool = True) -> float:
    """Multiplications and additions for one token that sees so many positions; scoring the vocabulary is the last."""
    numbers = text.vocab_size * text.hidden_size if is_scored else 0
    for layer in range(text.num_hidden_layers):
        numbers += _attention_numbers(text) + int(2 * text.num_attention_heads * text.head_dim * seen)
        if layer in text.moe_layers:
            used = 1 + text.num_experts_per_tok
            numbers += text.hidden_size * text.num_local_experts + used * 3 * text.hidden_size * text.intermediate_size
        else:
            numbers += 3 * text.hidden_size * text.intermediate_size_mlp
    return 2.0 * numbers


def _attention_numbers(text: TextConfig) -> int:
    return 2 * text.hidden_size * text.head_dim * (text.num_attention_heads + text.num_key_value_heads)


def _position_bytes(text: TextConfig) -> int:
    """Keys and values of one position in all layers; no row here is longer than a chunk."""
    return 2 * text.num_key_value_heads * text.head_dim * ITEM_BYTES * text.num_hidden_layers
