"""Measure what narthex-nano's card tells beyond evaluations, into dev/figures. NAME is the version: nano-v1.

python scripts/card_measure.py weights NAME      parameters, bytes, hash, use of the experts -> NAME-weights.json
python scripts/card_measure.py strangers NAME    answers about pictures it was never meant for -> NAME-strangers.json,
                                                 and docs/pictures/strangers.png
python scripts/card_measure.py stage NAME STAGE --log runs/nano/log.jsonl [--seed 1] [--cores 1] [--commit HASH]
                                                 a stage of NAME-stages.json, new or in place of the one so called

Hours are summed from the log's own seconds, leg by leg. Energy is not metered: scripts/card.py multiplies core-hours by
an assumed power.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from narthex.base.paths import SHIPPED_NANO
from narthex.evals.task import get_task
from narthex.evals.worlds import get_world
from narthex.evals.worlds.edge_pictures import other_picture

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "dev" / "figures"
SHEET = ROOT / "docs" / "pictures" / "strangers.png"

NUM_ITEMS, SEED = 100, 2  # of the questions on which the use of experts is counted
WATTS_PER_CORE = 10  # assumed: a core of a server under load
# A photograph, scenes, a plot, noise, nothing; most are asked in the worlds' own words, which tempts to an answer.
# Where no question stands, it is the picture's own.
STRANGERS = (
    ("a photograph", "Who is this?"), ("a photograph", "What does K read?"),
    ("a skyline", "Which is higher, A or B?"), ("flowers", "How many red circles are there?"),
    ("flowers", "Which of these is poisonous?"), ("a plot of a surface", "What is the value of C?"),
    ("noise", "What does A read?"), ("nothing at all", "What time is it?"), ("a panel upside down", ""),
    ("a chart in a mirror", ""),
)  # fmt: skip
_TURNED = {
    "a panel upside down": ("panels", 0, Image.Transpose.ROTATE_180),
    "a chart in a mirror": ("charts", 0, Image.Transpose.FLIP_LEFT_RIGHT),
}  # fmt: skip
_SIDE_PX, _CELL_PX, _GAP_PX = 384, 144, 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("weights", "strangers", "stage"))
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("stage", metavar="STAGE", nargs="?")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=float, default=1.0)
    parser.add_argument("--commit")
    given = parser.parse_args()
    if given.what == "stage":
        if given.stage is None or given.log is None:
            parser.error("a stage needs its name and --log")
        path = FIGURES / f"{given.name}-stages.json"
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else no_stages()
        commit = given.commit or _head()
        entry = stage_of(given.log.read_text(encoding="utf-8"), given.stage, given.seed, given.cores, commit)
        told["stages"] = [stage for stage in told["stages"] if stage["name"] != given.stage] + [entry]
        _write(path, told)
    else:
        measured = weights() if given.what == "weights" else strangers()
        _write(FIGURES / f"{given.name}-{given.what}.json", measured)
    return 0


def no_stages() -> dict[str, Any]:
    return {"watts_per_core": WATTS_PER_CORE, "stages": []}


def stage_of(log: str, name: str, seed: int, cores: float, commit: str) -> dict[str, Any]:
    """One stage from its log: JSON lines with `sample` and `seconds`; the seconds begin anew with every leg.

    Samples are those of this log: where a stage goes on from another's weights, its first line says where it began.
    """
    entries = [json.loads(line) for line in log.splitlines() if line.strip()]
    timed = [entry for entry in entries if "seconds" in entry and "sample" in entry]
    if not timed:
        raise SystemExit("the log has no line with samples and seconds")
    seconds, before = 0.0, 0.0
    for entry in timed:
        seconds += entry["seconds"] - (before if entry["seconds"] >= before else 0.0)
        before = entry["seconds"]
    samples = [entry["sample"] for entry in timed]
    return {
        "name": name, "seed": seed, "commit": commit, "samples": max(samples) - min(samples),
        "hours": round(seconds / 3600, 3), "cores": cores,
    }  # fmt: skip


def weights() -> dict[str, Any]:
    """Parameters, file and use of experts of the shipped model."""
    import torch

    from narthex.backends.local import LocalBackend
    from narthex.chat import Message
    from narthex.model.transformer import count_parameters
    from narthex.tokens.gallery import Gallery, MemoryBlobs

    backend = LocalBackend.open(SHIPPED_NANO)
    total, active = count_parameters(backend.model)
    data = (SHIPPED_NANO / "model.safetensors").read_bytes()
    counts: list[Any] = []
    task = get_task("worlds")
    for index in range(NUM_ITEMS):
        item = task.item(SEED, index)
        gallery = Gallery(MemoryBlobs())
        pictures = () if item.picture is None else (gallery.add_image(item.picture),)
        said = (Message.of("user", item.question, *pictures), Message.of("assistant", item.answer))
        prompt = backend.chat.render(said, tools=(), thinking=False, load_image=gallery.load, generate=False)
        with torch.inference_mode():
            tiles = torch.from_numpy(prompt.tiles) if len(prompt.tiles) else None
            routings = backend.model(torch.tensor([prompt.ids]), tiles).routings
        for layer, routing in enumerate(routings):
            used = routing.experts_Nk.flatten().bincount(minlength=routing.logits_NE.shape[-1])
            counts[layer : layer + 1] = [counts[layer] + used if layer < len(counts) else used]
    shares = [(used / used.sum()).tolist() for used in counts]
    return {
        "total": total, "active": active, "items": NUM_ITEMS, "bytes": len(data),
        "layers": [", ".join(f"{100 * share:.0f} %" for share in layer) for layer in shares],
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def strangers() -> dict[str, Any]:
    """Ask the shipped model about pictures it was never meant for; keep the pictures as one sheet."""
    from narthex.backends.local import LocalBackend
    from narthex.chat import parse_mode
    from narthex.evals.run import solve
    from narthex.evals.task import Settings
    from narthex.evals.worlds import Answer, Item

    backend = LocalBackend.open(SHIPPED_NANO)
    asked = []
    pictures = {name: stranger(name) for name, _ in STRANGERS}
    for name, wording in STRANGERS:
        source = _TURNED.get(name)
        turned = get_world(source[0]).item(SEED, source[1], split="test") if source else None
        question = wording or (turned.question if turned else "")
        item = Item("edge", "edge", pictures[name], question, "", True, 0.0, (), (Answer("", ""),), SEED)
        answers = {}
        for mode in ("instant", "thinking"):
            outcome = asyncio.run(solve(item, parse_mode(mode), backend, Settings(), seed=SEED))
            answers[mode] = outcome.answer or f"(nothing: {outcome.error or outcome.finish_reason})"
        expected = turned.answer if turned else ""
        asked.append({"picture": name, "question": question, "expected": expected, "answers": answers})
    _sheet(list(pictures.values())).save(SHEET, optimize=True)
    return {"seed": SEED, "asked": asked}


def stranger(name: str) -> Image.Image:
    """One of the pictures, the same every time. The photograph, of Grace Hopper, is the US Navy's, from matplotlib."""
    rng = random.Random(SEED)
    if name in _TURNED:
        world, index, turn = _TURNED[name]
        drawn = get_world(world).item(SEED, index, split="test").picture
        assert drawn is not None
        return drawn.transpose(turn).resize((_SIDE_PX, _SIDE_PX))
    if name == "a photograph":
        import matplotlib

        with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as whole:
            return whole.convert("RGB").resize((_SIDE_PX, _SIDE_PX), box=(0, 0, whole.width, whole.width))
    if name == "a plot of a surface":
        return _surface()
    if name == "noise":
        return Image.frombytes("RGB", (_SIDE_PX, _SIDE_PX), rng.randbytes(3 * _SIDE_PX**2))
    if name == "nothing at all":
        return Image.new("RGB", (_SIDE_PX, _SIDE_PX), "white")
    return other_picture(rng, "test", name.removeprefix("a ")).resize((_SIDE_PX, _SIDE_PX))


def _surface() -> Image.Image:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIDE_PX / 100, _SIDE_PX / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    x, y = np.meshgrid(np.linspace(-3, 3, 40), np.linspace(-3, 3, 40))
    figure.add_subplot(projection="3d").plot_surface(x, y, np.sin(x) * np.cos(y), cmap="viridis")
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures in a row, in few colours."""
    wide = len(pictures) * (_CELL_PX + _GAP_PX) - _GAP_PX
    sheet = Image.new("RGB", (wide, _CELL_PX), "white")
    for place, picture in enumerate(pictures):
        small = picture.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
        sheet.paste(small, (place * (_CELL_PX + _GAP_PX), 0))
    return sheet.quantize(64)


def _head() -> str:
    """The commit that the working tree is at, as git abbreviates it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _write(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
