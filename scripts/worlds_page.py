"""Write what docs/worlds.md owes to the generators: its pictures and the blocks between `generated` marks.

python scripts/worlds_page.py            writes them
python scripts/worlds_page.py --check    writes nothing; exit code 1 if a block is stale
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from PIL import Image, ImageChops

from narthex.evals.chance import chance
from narthex.evals.stats import mean
from narthex.evals.text import percent
from narthex.evals.worlds import Call, Item, Look, get_world
from narthex.evals.worlds.edge import NOTHING_TO_READ, questions
from narthex.evals.worlds.edge_pictures import FAMILIES, LOOKALIKES
from narthex.evals.worlds.edge_sentences import DECLINES, LANGUAGES, NEED_PICTURES, language_of_decline
from narthex.tokens.pictures import tile_picture

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "worlds.md"
PICTURES = ROOT / "docs" / "pictures"

SEED, SHOWN_PANEL, SHOWN_EDGE = 1, 73, (8, 37, 6)  # examples chosen by eye: both prints; three kinds of input
SHOWN_WORLDS = {"dials": (11, 16, 8), "shapes": (9, 13, 18), "forms": (11, 12, 5), "routes": (2, 5, 13)}  # by eye, too
SHOWN_LANGUAGES = ("charts", "shapes", "forms", "words"), 18
NUM_COUNTED = 500
VIEW_PX = 96  # narthex-nano's one tile
SIDE_PX, GAP_PX, COLOURS = 256, 12, 28  # few colours keep a noisy panel under 60 KB

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old)
    if parser.parse_args().check:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8", newline="\n")
    PICTURES.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        picture.save(PICTURES / name, optimize=True)
    return 0


def filled(page: str) -> str:
    """The page with every generated block made anew."""
    blocks = {"panel": panel_example, "shares": panel_shares, "edge": edge_examples, "border": edge_counts}
    blocks["languages"] = language_examples
    blocks |= {name: partial(world_examples, name) for name in SHOWN_WORLDS}
    return _BLOCK.sub(lambda found: found[1] + blocks[found[2]]() + "\n" + found[3], page)


def pictures() -> dict[str, Image.Image]:
    """The page's pictures by file name, in few colours."""
    panel = shown_panel()
    look = next(step for step in panel.trace if isinstance(step, Look))
    whole = _picture(panel)
    crop = whole.crop(tuple(round(edge * whole.width / 1000) for edge in look.box))  # type: ignore[arg-type]
    edge = [_picture(item) for item in shown_edge()]
    rows = {f"{name}.png": _row([_picture(item) for item in shown_world(name)], is_vivid=True) for name in SHOWN_WORLDS}
    return {"panels.png": _row([whole, _view(whole), _view(crop)]), "edge.png": _row(edge), **rows}


def shown_panel() -> Item:
    return get_world("panels").item(SEED, SHOWN_PANEL, split="test")


def shown_edge() -> list[Item]:
    return [get_world("edge").item(SEED, index, split="test") for index in SHOWN_EDGE]


def shown_world(name: str) -> list[Item]:
    return [get_world(name).item(SEED, index, split="test") for index in SHOWN_WORLDS[name]]


def world_examples(name: str) -> str:
    """The questions under a row of pictures, each with its demonstration."""
    places = ", ".join(map(str, SHOWN_WORLDS[name]))
    lines = [f"From left to right (seed {SEED}, indices {places}):", "", "```"]
    for item in shown_world(name):
        lines += ([""] if lines[-1] != "```" else []) + [item.question, *_told(item)]
    return "\n".join([*lines, "```"])


def language_examples() -> str:
    """One item of some worlds in every language."""
    lines = [f"Item {SHOWN_LANGUAGES[1]} of seed {SEED}, in four worlds:", "", "```"]
    for name in SHOWN_LANGUAGES[0]:
        for place in ("", "-ru", "-uk", "-pt", "-zh"):
            item = get_world(f"{name}{place}").item(SEED, SHOWN_LANGUAGES[1], split="test")
            lines.append(f"{item.question} -> {item.answer}")
        lines.append("")
    return "\n".join([*lines[:-1], "```"])


def panel_example() -> str:
    """The question under the picture, and the demonstration."""
    item = shown_panel()
    asked = f'"{item.question}" (seed {SEED}, index {SHOWN_PANEL}, {_picture(item).width} pixels)'
    return "\n".join([asked, "", "```", *_told(item), "```"])


def _told(item: Item) -> list[str]:
    """A demonstration, step by step."""
    lines = []
    for step in item.trace:
        if isinstance(step, Look):
            said = f"zoom {list(step.box)}"
        else:
            said = f"{step.name} {step.arguments}" if isinstance(step, Call) else f"answer: {step.text}"
        lines.append(f"({step.thought}) {said}")
    return lines


def panel_shares() -> str:
    """A table of kinds: how often, how many of them in fine print, looks, and what guessing scores there."""
    world = get_world("panels")
    items = [world.item(SEED, index, split="test") for index in range(NUM_COUNTED)]
    lines = [
        f"Of the first {NUM_COUNTED} test items of seed {SEED}:",
        "",
        "| kind | share | in fine print | looks in the demonstration | guessing on fine print |",
        "|---|---|---|---|---|",
    ]
    for kind in ("read", "compare", "sum", "absent", "all"):
        chosen = [item for item in items if kind in (item.kind, "all")]
        fine = [item for item in chosen if not item.legible]
        guessed = mean([chance(item) or 0.0 for item in fine]) if fine else None
        looks = mean([float(sum(isinstance(step, Look) for step in item.trace)) for item in chosen])
        cells = [percent(len(chosen) / len(items)), percent(len(fine) / len(chosen)), f"{looks:.2f}", percent(guessed)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def edge_examples() -> str:
    """The questions under the pictures, from left to right."""
    lines = [f'{place}. "{item.question}"' for place, item in enumerate(shown_edge(), start=1)]
    return "\n".join([f"From left to right (seed {SEED}, indices {', '.join(map(str, SHOWN_EDGE))}):", "", *lines])


def edge_counts() -> str:
    """How much there is to decline, in each split and language, and the sentences."""
    world = get_world("edge")
    kinds: Counter[str] = Counter()
    spoken: Counter[str | None] = Counter()
    for index in range(NUM_COUNTED):
        item = world.item(SEED, index, split="test")
        is_worlds = item.trace[-1].thought == NOTHING_TO_READ
        pictured = "a world's question about another picture" if is_worlds else "another question about any picture"
        kinds["text alone" if item.picture is None else pictured] += 1
        spoken[language_of_decline(item.answer)] += 1
    counted = ", ".join(f"{name} {percent(count / NUM_COUNTED)}" for name, count in sorted(kinds.items()))
    asked = ", ".join(f"{name} {percent(spoken[name] / NUM_COUNTED)}" for name in LANGUAGES)
    lines = [f"The first {NUM_COUNTED} test items of seed {SEED}: {counted}. Languages: {asked}.", ""]
    lines += ["| | train | test |", "|---|---|---|"]
    for name in LANGUAGES:
        train, test = (sum(map(len, questions(split, name).templates.values())) for split in ("train", "test"))
        lines.append(f"| question templates, {name} | {train} | {test} |")
    train, test = (len(FAMILIES[split]) for split in ("train", "test"))
    alike = [len(set(FAMILIES[split]) & LOOKALIKES) for split in ("train", "test")]
    lines.append(f"| families of other pictures | {train} | {test} |")
    lines.append(f"| of these too like a world's to be asked its questions | {alike[0]} | {alike[1]} |")
    told = [f"> {sentences[name]}" for name in LANGUAGES for sentences in (DECLINES, NEED_PICTURES)]
    return "\n".join([*lines, "", "The sentences:", "", "\n>\n".join(told)])


def _picture(item: Item) -> Image.Image:
    if item.picture is None:
        raise ValueError("choose an item that has a picture")
    return item.picture


def _view(picture: Image.Image) -> Image.Image:
    """A picture as nano sees it: one tile, each of its pixels enlarged to a square."""
    tile_3HW = tile_picture(picture, tile_size=VIEW_PX, max_tiles=1).pixels[0]
    return Image.fromarray(tile_3HW.transpose(1, 2, 0)).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def _row(parts: list[Image.Image], *, is_vivid: bool = False) -> Image.Image:
    """Pictures side by side on white, each as large as fits a square of SIDE_PX. is_vivid: with their rare colours."""
    width = len(parts) * SIDE_PX + (len(parts) - 1) * GAP_PX
    row = Image.new("RGB", (width, SIDE_PX), "white")
    for place, part in enumerate(parts):
        fitted = part.copy()
        fitted.thumbnail((SIDE_PX, SIDE_PX))
        row.paste(fitted, (place * (SIDE_PX + GAP_PX), 0))
    if is_vivid:
        return row.quantize(4 * COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return row.quantize(COLOURS, dither=Image.Dither.NONE)


def difference(one: Image.Image, two: Image.Image) -> float:
    """Mean difference of two pictures of one size, in steps of 255."""
    between = ImageChops.difference(one.convert("RGB"), two.convert("RGB")).convert("L")
    return sum(value * count for value, count in enumerate(between.histogram())) / (one.width * one.height)


if __name__ == "__main__":
    sys.exit(main())
