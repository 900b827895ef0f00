"""Reinforcement with verifiable rewards (GRPO): the model answers, the worlds check, and what was better is learned.

One step:

    draw        fresh items of the train split; a share of them comes with the answers of an earlier group
    roll out    `group_size` answers to each, in Thinking, on our engine over the live weights, tools in the loop
    judge       rewards and advantages within each group; groups that teach nothing are skipped (policy.py)
    learn       one step of the optimiser, or a few, over what was drawn, beside a share of demonstrations
    refresh     the engine takes the new weights, and forgets what it kept of the old ones

The penalty on length and looks is what shortens thought: *thought compression*.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch

from narthex.backends.local import LocalBackend
from narthex.chat import Budget
from narthex.engine import EngineConfig
from narthex.engine.products import Form, can_pack
from narthex.evals.worlds import Item, Split, get_world, stream
from narthex.evals.worlds.edge import carelessly
from narthex.reason.contemplating import READ
from narthex.reason.prompts import Proposal
from narthex.tokens import ChatFormat, special
from narthex.train.curriculum import ABROAD_SHARE, WORLDS, draw_example, practice
from narthex.train.examples import thinking_example
from narthex.train.legs import load_leg, rate_at, save_leg, write_line
from narthex.train.policy import (
    Clip,
    Lesson,
    Totals,
    advantages,
    demonstration,
    effort,
    lesson_loss,
    lesson_of,
    pack,
    rewards,
)
from narthex.train.rollouts import TEMPERATURE, Rollout, Task, Toolbox, roll_out
from narthex.weights import open_model

_SHOWN_SEED = 50_021  # demonstrations are none of those that supervised training showed
_HELD_OUT_SEED = 90_002
_SEEDS = 2**31
USEFUL_RATE = 0.05  # of a running mean: some twenty groups
LEAST_USEFUL = 0.1  # a world in which all is right, or all wrong, is looked at now and then


@dataclass(frozen=True)
class Settings:
    """One stage. Counts of rollouts are over the whole stage, not the leg.

    `compression`: share of its reward that a right answer can lose by length and looks (policy.py). `peers_share`: of
    groups, begun with what others answered. `shown`: demonstrations per step, by the weights of `shown_tasks`.
    """

    rollouts: int = 60_000
    groups: int = 16
    group_size: int = 8
    steps_per_batch: int = 1
    learning_rate: float = 1e-4
    warmup_steps: int = 10
    decay_share: float = 0.3
    clip_norm: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    compression: float = 0.3
    peers_share: float = 0.2
    shown: int = 16
    shown_weight: float = 0.1  # a demonstration's gradient is several times as long as a rollout's
    shown_tasks: tuple[tuple[str, float], ...] = (("read", 0.2), ("instant", 0.55), ("edge", 0.25))
    think_tokens: int = 320
    answer_tokens: int = 160
    tool_calls: int = 8
    worlds: tuple[str, ...] = tuple(WORLDS)
    held_out: int = 96
    evaluate_every: int = 25
    pass_tokens: int = 6144  # positions of one pass, padding included: what fits a few hundred megabytes
    seed: int = 1
    checkpoint_s: float = 240.0

    @property
    def budget(self) -> Budget:
        return Budget(think_tokens=self.think_tokens, answer_tokens=self.answer_tokens, tool_calls=self.tool_calls)


class Drawn(NamedTuple):
    """An item by its world and number."""

    world: str
    number: int


class Seen(NamedTuple):
    """A group of an earlier step: its item, and what was answered."""

    drawn: Drawn
    answers: tuple[str, ...]


class Reinforcer:
    """Holds model, engine and optimiser of one stage; `run` trains for a while, `save` and `resume` carry it over legs.

    `folder` gets state.safetensors (float32 weights, optimiser), progress.json and log.jsonl, and nothing else.
    """

    def __init__(self, start_from: Path, folder: Path, settings: Settings, device: torch.device) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.model = open_model(start_from, device=str(device), dtype=torch.float32).model.train()
        self.chat = ChatFormat.open(start_from)
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        # Two-byte products are twice as fast; the ratio of the loss makes up for what they round.
        form: Form = "half" if can_pack(device) else "as_is"
        most = max(settings.groups * settings.group_size, settings.held_out)
        config = EngineConfig(cache_tokens=65_536, max_running=most, weights=form)
        self.backend = LocalBackend(folder.name, self.model, self.chat, config=config)
        self._loop, self._toolbox = asyncio.Runner(), Toolbox()
        vision = self.model.config.vision
        self._picture_tokens = vision.tokens_per_tile if vision else 0
        self._pad = self.chat.tokenizer.special_ids[special.PAD]
        self.rollout, self.step, self.seconds = 0, 0, 0.0
        self._number, self._shown, self._leg_steps = 0, 0, 0
        self._seen: deque[Seen] = deque(maxlen=256)
        self._useful = dict.fromkeys(settings.worlds, 0.5)  # share of a world's groups that taught something lately
        self.is_stopped = False  # set it, and `run` ends after its current step
        folder.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Stop the engine."""
        self.backend.close()
        self._loop.close()

    # What is asked.

    def draw(self, number: int, split: Split = "train") -> Drawn:
        """Choose the world of item `number`; in training, one whose groups taught something lately comes more often."""
        s = self.settings
        useful = self._useful if split == "train" else {}
        shares = {name: WORLDS[name] * max(LEAST_USEFUL, useful.get(name, 1.0)) for name in s.worlds}
        return Drawn(stream("rl", split, s.seed, number).choices(list(shares), list(shares.values()))[0], number)

    def item(self, drawn: Drawn, split: Split = "train") -> Item:
        """Make an item; nothing but its world and number enters."""
        s, (name, number) = self.settings, drawn
        if split == "test":
            return get_world(name).item(s.seed + _HELD_OUT_SEED, number, split=split)
        rng, seed = stream("rl item", split, s.seed, number), s.seed + _SHOWN_SEED
        world: Any = get_world(f"{name}-multilingual" if rng.random() < ABROAD_SHARE else name)
        item: Item = world.item(seed, number, split=split, **practice(name, "think", seed, number, split))
        return replace(item, question=carelessly(item.question, rng))

    def tasks(self) -> list[tuple[Drawn, Task]]:
        """The groups of the next step."""
        tasks = []
        for place in range(self.settings.groups):
            rng = stream("peers", "train", self.settings.seed, self.step * self.settings.groups + place)
            if self._seen and rng.random() < self.settings.peers_share:
                seen = self._seen.popleft()
                # a refiner reads some of the answers, the aggregator all
                size = READ if rng.random() < 0.5 else len(seen.answers)
                read = Counter(rng.sample(seen.answers, min(size, len(seen.answers))))
                told = tuple(Proposal(answer, votes) for answer, votes in read.items())
                tasks.append((seen.drawn, Task(self.item(seen.drawn), told)))
            else:
                drawn = self.draw(self._number)
                tasks.append((drawn, Task(self.item(drawn))))
                self._number += 1
        return tasks

    async def _answers(self, tasks: Sequence[Task], first: int, size: int, temperature: float) -> list[list[Rollout]]:
        budget = self.settings.budget
        # far apart: a turn's dice are seeded by its run's seed and the length of its prompt together
        numbers = range(first, first + len(tasks) * size)
        dice = [number * 1_000_003 % _SEEDS for number in numbers]
        seeds = [dice[place : place + size] for place in range(0, len(dice), size)]
        groups = (
            roll_out(self.backend, self._toolbox, task, budget, seeds=own, temperature=temperature)
            for task, own in zip(tasks, seeds, strict=True)
        )
        return list(await asyncio.gather(*groups))

    # What is learned.

    def demonstrations(self, tasks: Sequence[Task]) -> list[Lesson]:
        """The step's supervised share: what rollouts do not practise, and how to read others' real answers."""
        s = self.settings
        names, weights = zip(*s.shown_tasks, strict=True)
        shown = []
        for _ in range(s.shown):
            name = stream("shown", "train", s.seed, self._shown).choices(names, weights)[0]
            worlds = tuple(WORLDS) if name == "read" else s.worlds  # not every world makes close views
            shown.append(draw_example(self.chat, name, s.seed + _SHOWN_SEED, self._shown, "train", worlds))
            self._shown += 1
        shown += [thinking_example(self.chat, t.item, proposals=t.proposals) for t in tasks if t.proposals]
        return [demonstration(example) for example in shown]

    def learn(self, lessons: Sequence[Lesson]) -> dict[str, float]:
        """One step of the optimiser over the lessons, in passes of like lengths. Returns what the log says of it."""
        s, totals = self.settings, Totals.of(lessons)
        clip = Clip(s.clip_low, s.clip_high)
        sums: dict[str, float] = defaultdict(float)
        for part in in_passes(lessons, s.pass_tokens):
            # bfloat16 products: 2.4 times as fast here, log-probabilities off by 0.0007, gradients alike to 0.9994
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss = lesson_loss(self.model, pack(part, self._pad), totals, clip, s.shown_weight)
            loss.total.backward()
            for name, value in loss._asdict().items():
                sums[name] += float(value.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        if math.isfinite(float(norm)):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        per_token = {name: sums[name] / max(1, totals.drawn) for name in ("drift", "clipped")}
        return {"norm": float(norm), "demonstrated": sums["demonstrated"], **per_token}

    def rate(self) -> float:
        """Learning rate now: warm-up after every start, held, then straight down to zero over the last share."""
        s = self.settings
        left, warm = 1 - self.rollout / s.rollouts, (self._leg_steps + 1) / s.warmup_steps
        return rate_at(s.learning_rate, left=left, warm=warm, decay_share=s.decay_share)

    def take_step(self) -> dict[str, Any]:
        """Roll out, judge, learn, refresh. Returns the step's line of the log."""
        s, began = self.settings, time.monotonic()
        asked = self.tasks()
        tasks = [task for _, task in asked]
        groups = self._loop.run(self._answers(tasks, self.rollout, s.group_size, TEMPERATURE))
        rolled = time.monotonic()
        lessons: list[Lesson] = []
        values: list[float] = []
        for (drawn, task), group in zip(asked, groups, strict=True):
            reward = rewards(group, self._picture_tokens, s.compression)
            values += reward
            gains = advantages(reward)
            lessons += [lesson_of(p, gain) for r, gain in zip(group, gains, strict=True) for p in r.pieces if gain]
            self._useful[drawn.world] += USEFUL_RATE * (any(gains) - self._useful[drawn.world])
            answers = tuple(rollout.answer for rollout in group if rollout.is_whole)
            if not task.proposals and len(answers) > 1 and not all(rollout.is_right for rollout in group):
                self._seen.append(Seen(drawn, answers))
        num_policy = len(lessons)
        lessons += self.demonstrations(tasks)
        stream("order", "train", s.seed, self.step).shuffle(lessons)
        told: dict[str, float] = defaultdict(float)
        for part in range(s.steps_per_batch):
            for name, value in self.learn(lessons[part :: s.steps_per_batch]).items():
                told[name] += value / s.steps_per_batch
        self.backend.refresh()
        self.rollout += len(values)
        self.step, self._leg_steps = self.step + 1, self._leg_steps + 1
        line: dict[str, Any] = {"reward": sum(values) / len(values), **summary(tasks, groups, self._picture_tokens)}
        line |= told
        line |= {"sequences": num_policy, "rollout_s": rolled - began, "learn_s": time.monotonic() - rolled}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}

    def run(self, seconds: float, out: TextIO) -> None:
        """Train until the stage is done or the leg's time is up; a line per step goes to `out` and to log.jsonl."""
        s, began, saved = self.settings, time.monotonic(), time.monotonic()
        spent_before, first, self._leg_steps = self.seconds, self.rollout, 0
        if self.step == 0:
            self._write(self.evaluate(), out)
        while not self.is_stopped and self.rollout < s.rollouts and time.monotonic() - began < seconds:
            line = self.take_step()
            elapsed = time.monotonic() - began
            self.seconds = spent_before + elapsed
            pace = (self.rollout - first) / elapsed
            left = min((s.rollouts - self.rollout) / pace, seconds - elapsed)
            head = {"step": self.step, "rollout": self.rollout, "of": s.rollouts, "rate": self.rate()}
            tail = {"rollouts_per_s": round(pace, 1), "seconds": round(self.seconds), "left_s": round(left)}
            self._write({**head, **line, **tail}, out)
            if self.step % s.evaluate_every == 0:
                self._write(self.evaluate(), out)
            if time.monotonic() - saved > s.checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.save()

    def evaluate(self) -> dict[str, Any]:
        """Held-out items, each answered once in Thinking at temperature 0: shares right by world, effort and looks."""
        tasks = [Task(self.item(self.draw(number, "test"), "test")) for number in range(self.settings.held_out)]
        groups = self._loop.run(self._answers(tasks, 0, 1, 0.0))
        return {"step": self.step, "rollout": self.rollout, "held_out": summary(tasks, groups, self._picture_tokens)}

    def _write(self, line: dict[str, Any], out: TextIO) -> None:
        write_line(self.folder, line, out)

    # Legs.

    def save(self) -> None:
        """Write everything a later leg needs, each file whole or not at all."""
        progress: dict[str, Any] = {"rollout": self.rollout, "step": self.step, "seconds": self.seconds}
        progress |= {"number": self._number, "shown": self._shown, "seen": list(self._seen)}
        progress |= {"useful": self._useful, "settings": asdict(self.settings)}
        save_leg(self.folder, {"model": self.model}, self.optimizer, progress)

    def resume(self) -> bool:
        """Go on from this folder's last checkpoint; False where there is none."""
        progress = load_leg(self.folder, {"model": self.model}, self.optimizer, self.device)
        if progress is None:
            return False
        self.rollout, self.step, self.seconds = progress["rollout"], progress["step"], progress["seconds"]
        self._number, self._shown = progress["number"], progress["shown"]
        self._useful |= progress["useful"]
        self._seen.extend(Seen(Drawn(*drawn), tuple(answers)) for drawn, answers in progress["seen"])
        self.backend.refresh()
        return True


def in_passes(lessons: Sequence[Lesson], pass_tokens: int) -> list[list[Lesson]]:
    """Lessons of like lengths together, each pass at most `pass_tokens` positions wide; one lesson at least."""
    passes: list[list[Lesson]] = []
    for lesson in sorted(lessons, key=lambda lesson: len(lesson.ids)):
        if passes and (len(passes[-1]) + 1) * len(lesson.ids) <= pass_tokens:
            passes[-1].append(lesson)
        else:
            passes.append([lesson])
    return passes


def summary(tasks: Sequence[Task], groups: Sequence[Sequence[Rollout]], picture_tokens: int) -> dict[str, Any]:
    """How groups went: shares right, in all and by world, and what an answer took. "peers": shown others' answers."""
    every = [rollout for group in groups for rollout in group]
    right: dict[str, list[bool]] = defaultdict(list)
    for task, group in zip(tasks, groups, strict=True):
        name = "peers" if task.proposals else task.item.world.partition("-")[0]
        right[name] += [rollout.is_right for rollout in group]
    mixed = sum(any(r.is_right for r in group) and not all(r.is_right for r in group) for group in groups)
    return {
        "right": _mean([rollout.is_right for rollout in every]),
        "by_world": {name: _mean(found) for name, found in sorted(right.items())},
        "whole": _mean([rollout.is_whole for rollout in every]),
        "tokens": _mean([rollout.tokens for rollout in every]),
        "looks": _mean([rollout.looks for rollout in every]),
        "calls": _mean([rollout.calls for rollout in every]),
        "effort": _mean([effort(rollout, picture_tokens) for rollout in every]),
        "mixed": mixed,
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
