"""`python -m narthex.train STAGE`: run one stage of a recipe. recipes/nano.sh calls these in order."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Stages of the training recipes.")
Size = Annotated[str, typer.Option(help="nano, or mini for half an hour on one GPU.")]
# What a model can learn from nothing in a minute or two: which questions it is for. In the order of TASKS.
SMOKE_WEIGHTS = (0.02, 0.03, 0.10, 0.40, 0.45)
SMOKE_P = 0.01  # how unlikely a smoke test's result must be by chance

Folder = Annotated[Path, typer.Argument(help="The stage's own folder.")]


@app.command()
def tokenizer(folder: Folder, items: int = 30_000, seed: int = 1, tile_size: int = 0) -> None:
    """Learn the vocabulary from the worlds' own texts, and write the text half of a model folder."""
    from narthex.tokens.train import train_tokenizer, write_nano_folder
    from narthex.train.corpus import tokenizer_texts
    from narthex.train.nano import PATCH_SIZE, TILE_SIZE, VOCABULARY

    learned = train_tokenizer(tokenizer_texts(seed, items), vocab_size=VOCABULARY)
    write_nano_folder(folder, learned, tile_size=tile_size or TILE_SIZE, patch_size=PATCH_SIZE)
    print(json.dumps({"stage": "tokenizer", "entries": learned.get_vocab_size(), "folder": str(folder)}))


@app.command()
def supervised(
    folder: Folder,
    chat: Annotated[Path, typer.Option(help="Folder with the tokenizer and template.")],
    minutes: Annotated[float, typer.Option(help="Length of this leg.")] = 115.0,
    samples: Annotated[int, typer.Option(help="Length of the whole stage.")] = 500_000,
    batch_size: int = 32,
    workers: Annotated[int, typer.Option(help="Processes that draw samples beside the training step.")] = 1,
    threads: Annotated[int, typer.Option(help="0 = as many as there are cores.")] = 0,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: int = 1,
    start_from: Annotated[Path | None, typer.Option(help="A model folder whose weights begin the stage.")] = None,
    start_sample: Annotated[int, typer.Option(help="With --start-from: where in the stage to begin.")] = 0,
    size: Size = "nano",
    smoke: Annotated[bool, typer.Option(help="Short stages, to see that everything runs.")] = False,
) -> None:
    """Read, find, then look and answer: demonstrations of all worlds, and of what is to be declined."""
    import torch

    from narthex.base.devices import pick_device
    from narthex.tokens import ChatFormat
    from narthex.train.curriculum import Curriculum
    from narthex.train.loop import Settings, Trainer
    from narthex.train.nano import export, nano_config

    torch.set_num_threads(threads or os.cpu_count() or 1)
    settings = Settings(samples, batch_size, rate, workers=workers, seed=seed)
    if smoke:
        curriculum = Curriculum(samples // 20, samples // 10, mix_weights=SMOKE_WEIGHTS)
        settings = replace(settings, warmup_steps=20, log_every=10, curriculum=curriculum)
    config = nano_config(ChatFormat.open(chat), size)
    trainer = Trainer(config, chat, folder, settings, torch.device(pick_device(None)))
    if not trainer.resume() and start_from is not None:
        trainer.start_from(start_from, start_sample)
    signal.signal(signal.SIGTERM, lambda *_: setattr(trainer, "is_stopped", True))  # nothing learned is lost
    trainer.run(minutes * 60, sys.stdout)
    export(trainer.model, chat, folder / "model")


@app.command()
def rl(
    folder: Folder,
    start_from: Annotated[Path, typer.Option(help="The model folder whose weights and text half begin the stage.")],
    minutes: Annotated[float, typer.Option(help="Length of this leg.")] = 115.0,
    rollouts: Annotated[int, typer.Option(help="Length of the whole stage.")] = 60_000,
    groups: Annotated[int, typer.Option(help="Items a step.")] = 16,
    group_size: Annotated[int, typer.Option(help="Answers to each.")] = 8,
    steps_per_batch: Annotated[int, typer.Option(help="Steps of the optimiser for each batch of rollouts.")] = 1,
    threads: Annotated[int, typer.Option(help="0 = as many as there are cores.")] = 0,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    compression: Annotated[float, typer.Option(help="Reward that length and looks can cost a right answer.")] = 0.3,
    worlds: Annotated[str, typer.Option(help="Names with commas; all of them where none is given.")] = "",
    seed: int = 1,
    smoke: Annotated[bool, typer.Option(help="Small budgets, to see that everything runs.")] = False,
) -> None:
    """Answer, be checked, learn what was better: GRPO with the worlds' checkers, tools in the loop."""
    import torch

    from narthex.base.devices import pick_device
    from narthex.train.nano import export
    from narthex.train.rl import Reinforcer, Settings

    torch.set_num_threads(threads or os.cpu_count() or 1)
    known = Settings().worlds
    chosen = tuple(worlds.split(",")) if worlds else known
    if unknown := [name for name in chosen if name not in known]:
        raise typer.BadParameter(f"there is no {', '.join(unknown)} among {', '.join(known)}")
    settings = Settings(
        rollouts, groups, group_size, steps_per_batch, rate, compression=compression, seed=seed, worlds=chosen
    )
    if smoke:
        settings = replace(settings, think_tokens=48, answer_tokens=24, tool_calls=1, held_out=16, evaluate_every=4)
    reinforcer = Reinforcer(start_from, folder, settings, torch.device(pick_device(None)))
    reinforcer.resume()
    signal.signal(signal.SIGTERM, lambda *_: setattr(reinforcer, "is_stopped", True))  # nothing learned is lost
    reinforcer.run(minutes * 60, sys.stdout)
    reinforcer.close()
    export(reinforcer.model, start_from, folder / "model")


@app.command()
def snapshot(folder: Folder, chat: Path, out: Path, size: Size = "nano") -> None:
    """Write a model folder from a stage's last checkpoint, while the stage runs on."""
    import torch

    from narthex.tokens import ChatFormat
    from narthex.train.loop import Settings, Trainer
    from narthex.train.nano import export, nano_config

    trainer = Trainer(nano_config(ChatFormat.open(chat), size), chat, folder, Settings(), torch.device("cpu"))
    if not trainer.resume():
        raise typer.BadParameter(f"{folder} holds no checkpoint")
    export(trainer.model, chat, out)
    print(json.dumps({"stage": "snapshot", "sample": trainer.sample, "folder": str(out)}))


@app.command()
def report(folder: Folder) -> None:
    """Draw the curves of a stage's logs, and of reinforcement in its folder `rl`, into report.html."""
    from narthex.base.errors import UserError
    from narthex.train.report import write_report

    try:
        path = write_report(folder)
    except UserError as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}") from None
    print(json.dumps({"stage": "report", "page": str(path)}))


@app.command()
def verdict(report: Annotated[Path, typer.Argument(help="What `narthex eval worlds.scope --json` printed.")]) -> None:
    """Exit with 1 unless a model tells what it is for from what it is not, better than chance.

    Half of the items are to be declined and half to be answered: whoever always does the same is right on half.
    """
    from narthex.evals.stats import at_least

    told = json.loads(report.read_text(encoding="utf-8"))["scope"]["instant"]
    outside, inside = told["outside_declined"], told["inside_declined"]
    num_right = round(outside["accuracy"] * outside["n"] + (1 - inside["accuracy"]) * inside["n"])
    num_items = outside["n"] + inside["n"]
    p = at_least(num_right, [0.5] * num_items)
    print(json.dumps({"stage": "verdict", "right": num_right, "of": num_items, "chance": 0.5, "p": p}))
    if p >= SMOKE_P:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
