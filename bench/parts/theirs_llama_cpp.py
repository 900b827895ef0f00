"""llama.cpp as a contestant, through the C interface that llama-cpp-python exposes: one batch a step, greedy.

A shared prompt is decoded once and its cells are given to the other sequences (`llama_memory_seq_cp`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np

from narthex.weights import open_model
from parts.checkpoints import checkpoint
from parts.contest import Setting, thread_counts
from parts.gguf_file import gguf_file
from parts.work import Clock, Prompts, Row, Timing

_BATCH = 2048  # llama.cpp's default
_CACHE_TYPES = {"F16": llama_cpp.GGML_TYPE_F16, "F32": llama_cpp.GGML_TYPE_F32}


@llama_cpp.llama_log_callback
def _quiet(level: int, text: bytes, data: Any) -> None:
    """Keeps its many lines out of ours."""


llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


class LlamaCpp:
    """Weights as F32, F16 or BF16 for speed at the checkpoint's precision; Q8_0 is asked for by name."""

    def __init__(self, model: str, *, precisions: tuple[str, ...] = ("BF16", "F16", "F32")) -> None:
        self._model, self._precisions = model, precisions
        self._opened: tuple[str, Any] | None = None
        self._context: tuple[tuple[Any, ...], Any] | None = None
        self.text = open_model(checkpoint(model)).config.text

    def axes(self, row: Row) -> dict[str, list[Any]]:
        axes: dict[str, list[Any]] = {"precision": list(self._precisions), "threads": thread_counts()}
        axes["flash_attention"] = [True, False]
        axes["cache"] = ["F16", "F32"]
        if row.streams > 1:
            axes["one_cache"] = [True, False]
        return axes

    def run(self, setting: Setting, row: Row, prompts: Prompts) -> Timing:
        context = self._open_context(setting, row)
        memory = llama_cpp.llama_get_memory(context)
        llama_cpp.llama_memory_clear(memory, True)
        line = _Line(context, self.text.vocab_size, row.streams)
        clock = Clock()
        if row.shared:
            line.prompt([(0, 0, prompts.shared)], is_scored=False)
            for stream in range(1, row.streams):
                llama_cpp.llama_memory_seq_cp(memory, 0, stream, -1, -1)
        last = line.prompt([(stream, row.shared, ids) for stream, ids in enumerate(prompts.own)], is_scored=True)
        rows, moments = [last], [clock.now()]
        for step in range(row.new - 1):
            rows.append(line.step(rows[-1], row.prompt + step))
            moments.append(clock.now())
        line.close()
        return Timing(np.stack(rows, axis=1).tolist(), [moments] * row.streams)

    def _open_context(self, setting: Setting, row: Row) -> Any:
        one_cache = setting.get("one_cache", True)
        each = row.prompt + row.new + 8
        needed = row.shared + row.streams * (each - row.shared) if one_cache else row.streams * each
        key = (setting["precision"], setting["threads"], setting["flash_attention"], setting["cache"], one_cache, row)
        if self._context is not None and self._context[0] == key:
            return self._context[1]
        self._close_context()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = -(-needed // 256) * 256 if one_cache else -(-each // 256) * 256 * row.streams
        params.n_batch, params.n_ubatch = _BATCH, 512
        params.n_seq_max = row.streams
        params.n_threads = params.n_threads_batch = setting["threads"]
        enabled, disabled = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED, llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = enabled if setting["flash_attention"] else disabled
        params.type_k = params.type_v = _CACHE_TYPES[setting["cache"]]
        params.kv_unified = one_cache
        params.no_perf = True
        context = llama_cpp.llama_init_from_model(self._open(setting["precision"]), params)
        if context is None:
            raise RuntimeError(f"llama.cpp made no context for {setting}")
        self._context = (key, context)
        return context

    def _open(self, precision: str) -> Any:
        if self._opened is None or self._opened[0] != precision:
            if self._opened is not None:
                llama_cpp.llama_model_free(self._opened[1])
                self._opened = None
            path = gguf_file(self._model, precision)
            model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
            if model is None:
                raise RuntimeError(f"llama.cpp did not open {path.name}")
            self._opened = (precision, model)
        return self._opened[1]

    def _close_context(self) -> None:
        if self._context is not None:
            llama_cpp.llama_free(self._context[1])
            self._context = None


class _Line:
    """Batches for one context: prompts in pieces, then one token for every stream."""

    def __init__(self, context: Any, vocab_size: int, streams: int) -> None:
        self._context, self._vocab_size, self._streams = context, vocab_size, streams
        self._batch = llama_cpp.llama_batch_init(_BATCH, 0, 1)
        as_array = np.ctypeslib.as_array
        self._tokens = as_array(self._batch.token, (_BATCH,))
        self._positions = as_array(self._batch.pos, (_BATCH,))
        self._scored = as_array(self._batch.logits, (_BATCH,))
        as_array(self._batch.n_seq_id, (_BATCH,))[:] = 1
        self._is_stepping = False

    def prompt(self, parts: list[tuple[int, int, tuple[int, ...]]], *, is_scored: bool) -> np.ndarray:
        """Decode ids for (stream, position, ids); where the last ids are scored, the next token of each stream."""
        flat = [(stream, at + i, token) for stream, at, ids in parts for i, token in enumerate(ids)]
        ends = {(stream, at + len(ids) - 1) for stream, at, ids in parts} if is_scored else set()
        best: dict[int, int] = {}
        for first in range(0, len(flat), _BATCH):
            piece = flat[first : first + _BATCH]
            for place, (stream, position, token) in enumerate(piece):
                self._tokens[place], self._positions[place] = token, position
                self._batch.seq_id[place][0] = stream
                self._scored[place] = (stream, position) in ends
            self._decode(len(piece))
            scored = [stream for stream, position, _ in piece if (stream, position) in ends]
            best.update(zip(scored, self._best(len(scored)), strict=True))
        return np.array([best[stream] for stream in sorted(best)])

    def step(self, tokens: np.ndarray, position: int) -> np.ndarray:
        """Decode one token for every stream, all at the same position; their next ones."""
        streams = self._streams
        if not self._is_stepping:
            for stream in range(streams):
                self._batch.seq_id[stream][0] = stream
            self._scored[:streams], self._is_stepping = 1, True
        self._tokens[:streams], self._positions[:streams] = tokens, position
        self._decode(streams)
        return self._best(streams)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)

    def _decode(self, count: int) -> None:
        self._batch.n_tokens = count
        code = llama_cpp.llama_decode(self._context, self._batch)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")

    def _best(self, count: int) -> np.ndarray:
        """The likeliest id of each scored token, in the batch's order."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), (count, self._vocab_size))
        return logits.argmax(axis=1)
