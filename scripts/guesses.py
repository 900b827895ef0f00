"""Count what guessing scores, and write narthex/evals/guesses.json. Takes two minutes on one core.

python scripts/guesses.py

For each form of question half of the drawn items choose the answer, among the most frequent ones, that the world's own
checker finds right most often; the other half say how often that is. Both come from the training split.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from narthex.evals.guessing import fill_in, form_of, in_terms_of
from narthex.evals.task import MAIN_WORLDS
from narthex.evals.worlds import Item, get_world

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "narthex" / "evals" / "guesses.json"
SEED, NUM_ITEMS = 20_260, 5_000  # per world
NUM_CANDIDATES, MAX_CHOOSING = 48, 300


def main() -> int:
    forms: dict[str, dict[str, object]] = {}
    for name in MAIN_WORLDS:
        world = get_world(name)
        items: dict[str, list[Item]] = defaultdict(list)
        for index in range(NUM_ITEMS):
            item = world.item(SEED, index, split="train")
            object.__setattr__(item, "picture", None)  # thousands of pictures would fill the memory
            items[form_of(item)].append(item)
        forms |= {form: counted(found) for form, found in sorted(items.items()) if len(found) > 1}
        print(f"{name}: {len(items)} forms", file=sys.stderr)
    told = {"seed": SEED, "items_per_world": NUM_ITEMS, "split": "train", "forms": forms}
    TABLE.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return 0


def counted(items: list[Item]) -> dict[str, object]:
    """The best fixed answer to items of one form, and how often it is right on those that did not choose it."""
    choosing, counting = items[::2], items[1::2]
    frequent = Counter(candidate(item) for item in choosing).most_common(NUM_CANDIDATES)
    best = max((answer for answer, _ in frequent), key=lambda answer: num_right(choosing[:MAX_CHOOSING], answer))
    return {"answer": best, "share": round(num_right(counting, best) / len(counting), 4), "n": len(counting)}


def candidate(item: Item) -> str:
    """The item's answer as one for all items of its form: without its unit, in terms of the question's labels."""
    number, _, rest = item.answer.partition(" ")
    is_quantity = number[-1].isdigit() and ":" not in number and not any(c.isdigit() for c in rest)
    return number if is_quantity and "," not in number else in_terms_of(item.question, item.answer)


def num_right(items: list[Item], answer: str) -> int:
    return sum(get_world(item.world).check(item, fill_in(item.question, answer)) for item in items)


if __name__ == "__main__":
    sys.exit(main())
