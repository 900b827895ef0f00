"""`narthex demo`: a panel drawn just now, a question about it, an answer in every mode, and who is right."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from narthex.base.errors import NarthexError
from narthex.base.paths import narthex_home
from narthex.cli.choices import DeviceName, ModelName
from narthex.cli.inputs import MAX_SEED, Options, parse_options

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console

    from narthex.backends.base import Backend
    from narthex.chat import Event, ImagePart, Mode
    from narthex.cli.ask import Finished
    from narthex.cli.keeping import RunBlobs
    from narthex.cli.stage import Stage
    from narthex.evals.worlds import Item

WORLD = "panels"
MODES: tuple[Mode, ...] = ("instant", "thinking", "contemplating")
MAX_TRIES = 1000  # four items in ten are what is looked for
LOOK_COLUMNS = 40  # a look holds little, and the answer should stay on the same screen


class Draw(NamedTuple):
    """An item, and its place in the seed's stream."""

    item: Item
    place: int


def command(
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="N", help="Which panel; the same seed, the same panel.")
    ] = None,
    model: ModelName = None,
    device: DeviceName = None,
) -> None:
    """Draw a panel that no training saw, ask about its fine print in every mode, and judge each answer."""
    from rich.console import Console

    from narthex.cli.ask import open_backend

    given = parse_options((), seed=seed).seed
    number = random.randrange(1_000_000) if given is None else given
    backend = open_backend(model, device)
    draw = draw_item(number)
    path = save_picture(draw, number)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    _introduce(console, draw, number, path, backend)
    asyncio.run(_answer_in_each_mode(console, draw.item, path, backend))
    _go_on(console, draw.item, path, number)


def draw_item(seed: int) -> Draw:
    """The seed's first item of the held-out split that asks for one reading in fine print."""
    from narthex.evals.worlds import get_world

    world = get_world(WORLD)
    for index in range(MAX_TRIES):
        item = world.item(seed, index, split="test")
        if item.kind == "read" and not item.legible:
            return Draw(item, index)
    raise RuntimeError(f"{MAX_TRIES} items of {WORLD} and none in fine print")


def save_picture(draw: Draw, seed: int) -> Path:
    """Write the panel to NARTHEX_HOME/demo-SEED.png; where that cannot be, to a new folder among temporary files."""
    picture = _picture(draw.item)
    home = narthex_home()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / f"demo-{seed}.png"
        picture.save(path)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="narthex-")) / f"demo-{seed}.png"
        picture.save(path)
    return path


def _picture(item: Item) -> Image.Image:
    if item.picture is None:
        raise RuntimeError("an item of panels without a picture")
    return item.picture


def _introduce(console: Console, draw: Draw, seed: int, path: Path, backend: Backend) -> None:
    from rich.markup import escape

    from narthex.cli.blocks import can_show, half_blocks

    item, picture = draw.item, _picture(draw.item)
    where = f"world {item.world}, held-out split, item {draw.place}"
    console.print(f"[bold]A panel, drawn just now[/bold] from seed {seed} ({where}):")
    console.print("no panel with these readings was ever shown in training.")
    console.print(f"{path}  ({picture.width} x {picture.height} px)\n", markup=False)
    view = model_view(backend, picture)
    if view is not None and can_show(console):
        console.print(half_blocks(view))
        size = f"{view.width} x {view.height} px"
        console.print(f"[dim]this is all of it that {escape(backend.name)} sees at first: {size}[/dim]\n")
    console.print(f"[bold]{escape(item.question)}[/bold]\n")


def model_view(backend: Backend, picture: Image.Image) -> Image.Image | None:
    """What the model's vision gets of a picture that it sees as one tile; None for other models."""
    from PIL import Image

    geometry = getattr(getattr(backend, "chat", None), "geometry", None)
    if geometry is None or geometry.max_tiles != 1:
        return None
    return Image.fromarray(geometry.cut(picture).pixels[0].transpose(1, 2, 0))


async def _answer_in_each_mode(console: Console, item: Item, path: Path, backend: Backend) -> None:
    from rich.markup import escape

    from narthex.cli.keeping import RunBlobs
    from narthex.cli.show import ledger_line
    from narthex.cli.stage import Stage
    from narthex.evals.worlds import get_world

    world = get_world(item.world)
    for mode in MODES:
        console.print(f"[bold]{mode.capitalize()}[/bold]")
        stage = Stage(sys.stdout, sys.stdout)
        blobs = RunBlobs(stage.warn)
        show = _Shower(console, stage, blobs, backend, shows_looks=mode != "contemplating")
        try:
            found = await _ask(item, path, mode, backend, show, blobs)
        except NarthexError as error:  # the other modes still have something to show
            stage.close()
            console.print(f"[bold red]failed[/bold red] (exact answer: {item.answer}): {escape(error.message)}\n")
            continue
        said = " ".join(found.end.answer.split())
        if world.check(item, found.end.answer):
            console.print("[bold green]right[/bold green]", end="")
        else:
            console.print("[bold red]wrong[/bold red]" + ("" if said else ", it said nothing"), end="")
        console.print(f" (exact answer: {item.answer})  [dim]{ledger_line(found.end.ledger)}[/dim]\n")


async def _ask(item: Item, path: Path, mode: Mode, backend: Backend, show: _Shower, blobs: RunBlobs) -> Finished:
    from narthex.chat import Conversation, Message
    from narthex.cli.ask import Request, answer
    from narthex.tokens.gallery import Gallery

    picture = Gallery(blobs).add_bytes(path.read_bytes())
    conversation = Conversation(messages=(Message.of("user", item.question, picture),))
    return await answer(Request(conversation, mode, Options(), blobs), backend, show, show.stage.warn, save=True)


class _Shower:
    """Shows a run, and each look as the model sees it; the last line is the judge's to write."""

    def __init__(
        self, console: Console, stage: Stage, blobs: RunBlobs, backend: Backend, *, shows_looks: bool
    ) -> None:
        self.console, self.stage, self.blobs, self.backend = console, stage, blobs, backend
        self.shows_looks = shows_looks

    def __call__(self, event: Event) -> None:
        if event.type == "run_finished":
            self.stage.close()
            return
        self.stage.show(event)
        if event.type == "tool_finished" and self.shows_looks:
            for part in event.parts:
                if part.type == "image":
                    self._show_look(part)

    def _show_look(self, part: ImagePart) -> None:
        from narthex.cli.blocks import can_show, half_blocks
        from narthex.tokens.gallery import Gallery

        if not can_show(self.console):
            return
        view = model_view(self.backend, Gallery(self.blobs).load(part))
        if view is not None:
            self.console.print(half_blocks(view, LOOK_COLUMNS))


def _go_on(console: Console, item: Item, path: Path, seed: int) -> None:
    """Two commands that work as they stand, from here."""
    scripts = Path(sys.executable).parent
    local = Path(os.path.relpath(scripts / "narthex")) if scripts.is_relative_to(Path.cwd()) else Path("narthex")
    example = Path("examples/panel.png")
    question = Path("examples/panel.txt")
    if example.is_file() and question.is_file():
        shown, asked = example, question.read_text(encoding="utf-8").strip()
    else:
        shown, asked = path, item.question
    again = (seed + 1) % MAX_SEED
    other = f"make demo SEED={again}" if Path("Makefile").is_file() else f"{local} demo --seed {again}"
    console.print("[bold]Go on[/bold]")
    console.print(f'  {local} ask "{asked}" --image {shown}', markup=False)
    console.print(f"  {other}", markup=False)
