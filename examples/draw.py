"""Draw the example again: `python examples/draw.py` writes panel.png, and its question into panel.txt.

A panel of the held-out split, so no training has seen its readings. It asks "What does gauge C read?" of fine print at
512 pixels, and was chosen among such items because narthex-nano v0 reads it rightly; the one before it, it did not.
"""

from __future__ import annotations

from pathlib import Path

from narthex.evals.worlds import Item, get_world

WORLD, SEED, INDEX = "panels", 20261122, 53041


def example() -> Item:
    """The item behind examples/panel.png; its exact answer is in `answer`."""
    return get_world(WORLD).item(SEED, INDEX, split="test")


def main() -> None:
    folder = Path(__file__).parent
    item = example()
    if item.picture is None:
        raise SystemExit("the item has no picture")
    item.picture.save(folder / "panel.png", optimize=True)
    (folder / "panel.txt").write_text(item.question + "\n", encoding="utf-8")
    print(f"{item.question} {item.answer}")


if __name__ == "__main__":
    main()
