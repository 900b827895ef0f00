"""transformers as a contestant: `generate` with equal prompts side by side, and its continuous batching.

Both open the same checkpoint with their text model alone. `generate` computes a shared prompt once and copies its cache
to all streams (the library's documented way), or once per stream, as `num_return_sequences` does: the faster counts.

Continuous batching has no pages for chunked layers and refuses Llama 4 ("Invalid layer type: chunked_attention"). All
rows here are shorter than a chunk of 8,192, where a chunked layer sees everything, so its layers are called full ones;
the outputs are the same. Its prefix cache works by finished pages: the first agent starts, and the others follow when
its first token is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from parts.checkpoints import checkpoint
from parts.contest import Setting, thread_counts
from parts.work import Clock, Moment, Prompts, Row, Timing

# Its Llama 4 code imports torchvision where that is installed, whose compiled part may not load beside a CPU build of
# torch and is not used here; two operators have to be declared before that import.
_DECLARED = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from transformers import AutoConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList  # noqa: E402
from transformers.cache_utils import DynamicCache  # noqa: E402
from transformers.generation.configuration_utils import ContinuousBatchingConfig  # noqa: E402
from transformers.models.llama4.modeling_llama4 import Llama4ForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.set_verbosity_error()
logging.disable_progress_bar()


class _Watch(StoppingCriteria):
    """Is asked after every token, and notes the time."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.moments: list[Moment] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        self.moments.append(self._clock.now())
        return torch.zeros(len(input_ids), dtype=torch.bool)


class _Opened:
    """The text model of a checkpoint, in one precision at a time."""

    def __init__(self, model: str) -> None:
        self._folder = checkpoint(model)
        self.text = _text_config(self._folder)
        self._opened: tuple[str, Any] | None = None

    def open(self, precision: str) -> Any:
        if self._opened is None or self._opened[0] != precision:
            self._opened = None
            config = _text_config(self._folder)
            dtype = getattr(torch, precision)
            opened = Llama4ForCausalLM.from_pretrained(self._folder, config=config, dtype=dtype).eval()
            opened.generation_config = _greedy(1)
            self._opened = (precision, opened)
        return self._opened[1]


def _text_config(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder)
    text = getattr(config, "text_config", config)
    text.eos_token_id, text.pad_token_id = None, 0
    return text


def _greedy(new: int) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)


class Generate(_Opened):
    """`generate`, all streams in one call."""

    def axes(self, row: Row) -> dict[str, list[Any]]:
        axes: dict[str, list[Any]] = {"precision": ["float32", "bfloat16"], "threads": thread_counts()}
        if row.shared:
            axes["prompt"] = ["computed once", "computed for each"]
        return axes

    @torch.inference_mode()
    def run(self, setting: Setting, row: Row, prompts: Prompts) -> Timing:
        torch.set_num_threads(setting["threads"])
        model = self.open(setting["precision"])
        ids_BT = torch.tensor(prompts.whole)
        watch = _Watch()
        more: dict[str, Any] = {}
        if setting.get("prompt") == "computed once":
            cache = DynamicCache(config=model.config)
            model(ids_BT[:1, : row.shared], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(row.streams)
            more["past_key_values"] = cache
        out_BT = model.generate(
            ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            generation_config=_greedy(row.new),
            stopping_criteria=StoppingCriteriaList([watch]),
            **more,
        )
        new = out_BT[:, row.prompt :].tolist()
        if any(len(ids) != row.new for ids in new) or len(watch.moments) != row.new:
            raise RuntimeError(f"wrote {[len(ids) for ids in new]} tokens instead of {row.new}")
        return Timing(new, [watch.moments] * row.streams)


class Continuous(_Opened):
    """Continuous batching, through the manager that `generate_batch` uses."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._manager: Any = None
        self._managed: tuple[Setting, Row] | None = None

    def axes(self, row: Row) -> dict[str, list[Any]]:
        return {"precision": ["float32", "bfloat16"], "threads": thread_counts(), "page": [256, 32]}

    def close(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager.destroy()
        self._manager = self._managed = None

    def run(self, setting: Setting, row: Row, prompts: Prompts) -> Timing:
        manager = self._serve(setting, row)
        staged = 1 if row.shared else row.streams
        clock = Clock()
        names = [manager.add_request(ids, streaming=True, max_new_tokens=row.new) for ids in prompts.whole[:staged]]
        ids: dict[str, list[int]] = {}
        moments: dict[str, list[Moment]] = {}
        open_streams = row.streams
        while open_streams:
            found = manager.get_result(timeout=60)
            if found is None or found.error:
                raise RuntimeError(found.error if found else "continuous batching gave no token for a minute")
            now = clock.now()
            earlier = moments.setdefault(found.request_id, [])
            ids[found.request_id] = list(found.generated_tokens)
            earlier += [now] * (len(found.generated_tokens) - len(earlier))
            open_streams -= found.is_finished()
            if len(names) < row.streams:
                rest = prompts.whole[staged:]
                names += [manager.add_request(more, streaming=True, max_new_tokens=row.new) for more in rest]
        if any(len(ids[name]) != row.new for name in names):
            raise RuntimeError(f"wrote {[len(ids[name]) for name in names]} tokens instead of {row.new}")
        return Timing([ids[name] for name in names], [moments[name] for name in names])

    def _serve(self, setting: Setting, row: Row) -> Any:
        """A running manager with room for the row; a new one for every setting."""
        if self._managed == (setting, row):
            return self._manager
        self.close()
        torch.set_num_threads(setting["threads"])  # its thread takes over what is set when it starts
        self._opened = None  # managers change the model's attention
        model = self.open(setting["precision"])
        model.config.layer_types = ["full_attention"] * model.config.num_hidden_layers
        page = setting["page"]
        # Three runs with prompts of their own, and their cached pages beside them.
        pages = 4 * (row.streams + 1) * (-(-(row.prompt + row.new) // page) + 1)
        config = ContinuousBatchingConfig(page_size=page, num_blocks=pages, max_batch_tokens=1024, seed=0)
        greedy = _greedy(row.new)
        greedy.eos_token_id = -1
        self._manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
        self._manager.warmup()
        self._manager.start()
        self._managed = (setting, row)
        return self._manager


