"""The training loop: one stage of one model, in legs that can stop at any moment and go on from their last checkpoint.

Legend: B sequences, T tokens, M learned places, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from narthex.model import ModelConfig, Transformer, VisionConfig
from narthex.model.attention import Fresh
from narthex.model.experts import balance_loss
from narthex.tokens import ChatFormat
from narthex.train.curriculum import TASKS, Batch, Curriculum, batches
from narthex.train.dense import ALIGNED, DenseHeads
from narthex.train.examples import IGNORED
from narthex.train.legs import load_leg, rate_at, save_leg, write_line
from narthex.train.vocabulary import ROWS, moved, sources
from narthex.weights import open_model

_PLACES = "vision_model.positional_embedding_vlm"


@dataclass(frozen=True)
class Settings:
    """One stage. Rates are per optimiser step; sample counts are over the whole stage, not the leg."""

    samples: int = 500_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_share: float = 0.2  # the last part of the stage, in which the rate falls to zero; before it, it is held
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    glyph_weight: float = 0.4
    token_weight: float = 0.4
    align_weight: float = 1.2
    asked_weight: float = 1.0
    corner_weight: float = 0.3
    asked_layer: int = 1  # whose output must know which picture tokens are asked about; later layers then point
    balance_weight: float = 0.02
    seed: int = 1
    checkpoint_s: float = 240.0
    log_every: int = 50
    evaluate_every: int = 500
    workers: int = 1
    curriculum: Curriculum = field(default_factory=Curriculum)


class _Stream(IterableDataset[Batch]):
    """Batches made beside the training step; worker w of W takes every W-th sample number from w on."""

    def __init__(self, chat_folder: Path, vision: VisionConfig, settings: Settings, start: int) -> None:
        self.chat_folder, self.vision, self.settings, self.start = chat_folder, vision, settings, start

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        if worker:  # the cores belong to the training step
            torch.set_num_threads(1)
        number, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        s, chat = self.settings, ChatFormat.open(self.chat_folder)
        return batches(
            chat, s.curriculum, self.vision, size=s.batch_size, seed=s.seed, start=self.start + number, split="train",
            stride=stride,
        )  # fmt: skip


class Trainer:
    """Holds model, heads and optimiser of one stage; `run` trains for a while, `save` and `resume` carry it over legs.

    `folder` gets state.safetensors (float32 weights, heads, optimiser), progress.json and log.jsonl, and nothing else.
    """

    def __init__(
        self, config: ModelConfig, chat_folder: Path, folder: Path, settings: Settings, device: torch.device
    ) -> None:
        if config.vision is None:
            raise ValueError("the recipe trains a model that sees")
        self.vision, self.config, self.settings = config.vision, config, settings
        self.chat_folder, self.folder, self.device = chat_folder, folder, device
        self.chat = ChatFormat.open(chat_folder)
        self.model = Transformer(config).to(device)
        self.model.init_weights(settings.seed)
        aligned = [self.chat.encode(char)[0] for char in ALIGNED]
        self.heads = DenseHeads(self.vision, config.text.hidden_size, aligned).to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
        self.sample, self.step, self.seconds = 0, 0, 0.0
        self._leg_steps = 0
        self.is_stopped = False  # set it, and `run` ends after its current step
        self._early = torch.empty(0)  # output of layer `asked_layer` of the last forward pass, (B, T, D)
        self.model.language_model.model.layers[settings.asked_layer].register_forward_hook(self._keep_early)
        folder.mkdir(parents=True, exist_ok=True)

    def _keep_early(self, layer: nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
        self._early = output[0]

    def _groups(self) -> list[dict[str, Any]]:
        """Matrices decay; norms, biases, positions and embeddings do not."""
        named = [*self.model.named_parameters(), *self.heads.named_parameters()]
        is_matrix = {name: p.dim() >= 2 and "embed" not in name for name, p in named}
        return [
            {"params": [p for n, p in named if is_matrix[n]], "weight_decay": self.settings.weight_decay},
            {"params": [p for n, p in named if not is_matrix[n]], "weight_decay": 0.0},
        ]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to go down, and its parts as scalars; accuracy is of learned tokens under teacher forcing."""
        s, ids, labels = self.settings, batch.ids.to(self.device), batch.labels.to(self.device)
        parts: dict[str, Tensor] = {}
        total = ids.new_zeros((), dtype=torch.float32)
        pictures = None
        if len(batch.tiles):
            pictures, sight = self.model.see(batch.tiles.to(self.device))
            if batch.known.any():
                known, targets = batch.known.to(self.device), batch.targets[batch.known].to(self.device)
                words = self.model.language_model.model.embed_tokens.weight
                dense = self.heads(sight.patches_NPC[known], pictures[known], words, targets)
                parts |= dense._asdict()
                total = s.glyph_weight * dense.glyph + s.token_weight * dense.token + s.align_weight * dense.align
        memory = Fresh(ids.shape[0], ids.shape[1], self.device)
        hidden, routings = self.model.decode(self.model.embed(ids, pictures), memory)
        if batch.task != "read" and batch.known.any():
            places = ids == self.config.image_token_index
            early_NLD = self._early[places].unflatten(0, batch.asked.shape[:2])[batch.known]
            asked = self.heads.asked_loss(early_NLD, batch.asked[batch.known].to(self.device))
            parts["asked"], parts["corner"] = asked
            total = total + s.asked_weight * (parts["asked"] + s.corner_weight * parts["corner"])
        # the vector at place t predicts the id at t + 1; only those that count reach the product with the vocabulary
        learned = labels[:, 1:] != IGNORED
        logits_MV, targets_M = self.model.score(hidden[:, :-1][learned]).float(), labels[:, 1:][learned]
        weights_M = batch.weights.to(self.device)[:, None].expand_as(learned)[learned]
        parts["words"] = (F.cross_entropy(logits_MV, targets_M, reduction="none") * weights_M).sum() / weights_M.sum()
        parts["accuracy"] = (logits_MV.argmax(-1) == targets_M).float().mean().detach()
        active = self.config.text.num_experts_per_tok
        parts["balance"] = torch.stack([balance_loss(r.logits_NE, active) for r in routings]).mean()
        return total + parts["words"] + s.balance_weight * parts["balance"], parts

    def rate(self) -> float:
        """Learning rate now: warm-up after every start, held, then straight down to zero over the last share."""
        s = self.settings
        left, warm = 1 - self.sample / s.samples, (self._leg_steps + 1) / s.warmup_steps
        return rate_at(s.learning_rate, left=left, warm=warm, decay_share=s.decay_share)

    def run(self, seconds: float, out: TextIO) -> None:
        """Train until the stage is done or the leg's time is up; log lines go to `out` and to log.jsonl."""
        s, began, saved = self.settings, time.monotonic(), time.monotonic()
        spent_before, self._leg_steps = self.seconds, 0
        sums: dict[str, list[float]] = defaultdict(list)
        for batch in self._loader():
            if self.is_stopped or self.sample >= s.samples or time.monotonic() - began > seconds:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate()
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss, parts = self.loss(batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.heads.parameters()], s.clip_norm)
            if math.isfinite(float(norm)):
                self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.sample, self.step, self._leg_steps = self.sample + len(batch.ids), self.step + 1, self._leg_steps + 1
            self.seconds = spent_before + time.monotonic() - began
            for name, value in parts.items():
                sums[f"{batch.task}.{name}"].append(float(value.detach()))
            if self.step % s.log_every == 0:
                self._log(sums, norm, began, seconds, out)
                sums.clear()
            if self.step % s.evaluate_every == 0:
                self._write({"step": self.step, "sample": self.sample, "held_out": self.evaluate()}, out)
            if time.monotonic() - saved > s.checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.save()

    def _loader(self) -> Iterator[Batch]:
        data = _Stream(self.chat_folder, self.vision, self.settings, self.sample)
        if not self.settings.workers:
            return iter(data)
        return iter(DataLoader(data, batch_size=None, num_workers=self.settings.workers, prefetch_factor=4))

    @torch.no_grad()
    def evaluate(self, num_batches: int = 2) -> dict[str, float]:
        """Held-out seeds, teacher-forced: share of replies (first call, whole trace, answer) with every token right.

        By task, and by world for whole traces and for answers in one pass.
        """
        weights = dict(zip(TASKS, self.settings.curriculum.weights(self.sample), strict=True))
        results: dict[str, float] = {}
        for task in TASKS:
            if weights[task] == 0 or task == "edge":
                continue
            worlds = self.settings.curriculum.worlds
            groups = [(name,) for name in worlds] if task in ("think", "instant") else [worlds]
            for group in groups:
                name = f"{task}.{group[0]}" if len(group) == 1 else task
                results[name] = round(self._share_right(task, group, num_batches), 4)
        return results

    def _share_right(self, task: str, worlds: tuple[str, ...], num_batches: int) -> float:
        only = Curriculum(0, 0, mix_weights=tuple(float(other == task) for other in TASKS), worlds=worlds)
        stream = batches(self.chat, only, self.vision, size=32, seed=90_001, start=0, split="test")
        shares = []
        for _ in range(num_batches):
            batch = next(stream)
            ids, labels = batch.ids.to(self.device), batch.labels[:, 1:].to(self.device)
            tiles = batch.tiles.to(self.device) if len(batch.tiles) else None
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                guesses = self.model(ids, tiles).logits_BTV[:, :-1].argmax(-1)
            shares.append(((guesses == labels) | (labels == IGNORED)).all(-1).float().mean().item())
        return sum(shares) / len(shares)

    def _log(self, sums: dict[str, list[float]], norm: Tensor, began: float, limit: float, out: TextIO) -> None:
        s, elapsed = self.settings, time.monotonic() - began
        pace = self._leg_steps * s.batch_size / elapsed
        left = min((s.samples - self.sample) / pace, limit - elapsed)
        means = {name: round(sum(values) / len(values), 4) for name, values in sorted(sums.items())}
        line: dict[str, Any] = {"step": self.step, "sample": self.sample, "of": s.samples, "rate": self.rate()}
        line |= {"norm": round(float(norm), 3), "samples_per_s": round(pace, 1)}
        line |= {"seconds": round(self.seconds), "left_s": round(left), "means": means}
        self._write(line, out)

    def _write(self, line: dict[str, Any], out: TextIO) -> None:
        write_line(self.folder, line, out)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "heads": self.heads}

    def save(self) -> None:
        """Write everything a later leg needs, each file whole or not at all."""
        progress: dict[str, Any] = {"sample": self.sample, "step": self.step, "seconds": self.seconds}
        save_leg(self.folder, self._modules(), self.optimizer, progress | {"settings": asdict(self.settings)})

    def resume(self) -> bool:
        """Go on from this folder's last checkpoint; False where there is none."""
        progress = load_leg(self.folder, self._modules(), self.optimizer, self.device)
        if progress is None:
            return False
        self.sample, self.step, self.seconds = progress["sample"], progress["step"], progress["seconds"]
        return True

    def start_from(self, folder: Path, sample: int = 0) -> None:
        """Begin at `sample` with the weights of a model folder, as committed; heads and optimiser begin afresh.

        Where its vocabulary is another than the stage's, what it knows of a token goes with the token.
        """
        self.sample = sample
        weights = open_model(folder, dtype=torch.float32).model.state_dict()
        found = sources(ChatFormat.open(folder), self.chat)
        weights |= {name: moved(weights[name], found) for name in ROWS}
        weights[_PLACES] = stretch_places(weights[_PLACES], self.vision.grid)
        self.model.load_state_dict(weights)


def stretch_places(places_PC: Tensor, grid: int) -> Tensor:
    """Learned positions of a tile, and the class token's after them, for a tile of grid x grid patches: (P', C)."""
    if len(places_PC) == grid**2 + 1:
        return places_PC
    side = math.isqrt(len(places_PC) - 1)
    square = places_PC[:-1].T.reshape(1, -1, side, side)
    stretched = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([stretched.flatten(2)[0].T, places_PC[-1:]])
