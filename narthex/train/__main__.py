"""`python -m narthex.train STAGE`: run one stage of a recipe. recipes/panels.sh calls these in order."""

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
Folder = Annotated[Path, typer.Argument(help="The stage's own folder.")]


@app.command()
def tokenizer(folder: Folder, items: int = 30_000, seed: int = 1, tile_size: int = 0) -> None:
    """Learn the vocabulary from the worlds' own texts, and write the text half of a model folder."""
    from narthex.tokens.train import train_tokenizer, write_nano_folder
    from narthex.train.loop import tokenizer_texts
    from narthex.train.nano import PATCH_SIZE, TILE_SIZE, VOCABULARY

    learned = train_tokenizer(tokenizer_texts(seed, items), vocab_size=VOCABULARY)
    write_nano_folder(folder, learned, tile_size=tile_size or TILE_SIZE, patch_size=PATCH_SIZE)
    print(json.dumps({"stage": "tokenizer", "entries": learned.get_vocab_size(), "folder": str(folder)}))


@app.command()
def panels(
    folder: Folder,
    chat: Annotated[Path, typer.Option(help="Folder with the tokenizer and template.")],
    minutes: Annotated[float, typer.Option(help="Length of this leg.")] = 115.0,
    samples: Annotated[int, typer.Option(help="Length of the whole stage.")] = 500_000,
    batch_size: int = 32,
    workers: Annotated[int, typer.Option(help="Processes that draw panels beside the training step.")] = 1,
    threads: Annotated[int, typer.Option(help="0 = as many as there are cores.")] = 0,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: int = 1,
    start_from: Annotated[Path | None, typer.Option(help="A model folder whose weights begin the stage.")] = None,
    start_sample: Annotated[int, typer.Option(help="With --start-from: where in the stage to begin.")] = 0,
    smoke: Annotated[bool, typer.Option(help="Short stages, to see that everything runs.")] = False,
) -> None:
    """Read, find, then look and answer: the first recipe, on the panels and edge worlds."""
    import torch

    from narthex.base.devices import pick_device
    from narthex.tokens import ChatFormat
    from narthex.train.curriculum import Curriculum
    from narthex.train.loop import Settings, Trainer
    from narthex.train.nano import export, nano_config

    torch.set_num_threads(threads or os.cpu_count() or 1)
    curriculum = Curriculum(samples // 4, samples // 2) if smoke else Curriculum()
    settings = Settings(samples, batch_size, rate, workers=workers, seed=seed, curriculum=curriculum)
    if smoke:
        settings = replace(settings, log_every=10)
    trainer = Trainer(nano_config(ChatFormat.open(chat)), chat, folder, settings, torch.device(pick_device(None)))
    if not trainer.resume() and start_from is not None:
        trainer.start_from(start_from, start_sample)
    signal.signal(signal.SIGTERM, lambda *_: setattr(trainer, "is_stopped", True))  # nothing learned is lost
    trainer.run(minutes * 60, sys.stdout)
    export(trainer.model, chat, folder / "model")


@app.command()
def snapshot(folder: Folder, chat: Path, out: Path) -> None:
    """Write a model folder from a stage's last checkpoint, while the stage runs on."""
    import torch

    from narthex.tokens import ChatFormat
    from narthex.train.loop import Settings, Trainer
    from narthex.train.nano import export, nano_config

    trainer = Trainer(nano_config(ChatFormat.open(chat)), chat, folder, Settings(), torch.device("cpu"))
    if not trainer.resume():
        raise typer.BadParameter(f"{folder} holds no checkpoint")
    export(trainer.model, chat, out)
    print(json.dumps({"stage": "snapshot", "sample": trainer.sample, "folder": str(out)}))


if __name__ == "__main__":
    app()
