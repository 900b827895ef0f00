"""What thinking side by side costs in time: `python bench/modes.py [--items 20] [--agents 8]`.

The same questions of the panels world twice over narthex-nano: as many Thinking runs one after another as there are
agents, each with its own seed, and Contemplating with that many agents, none stopped early, no refining. The ratio of
their wall times is what parallel agents save on one machine; the first token's wait is not hidden in either. Prints a
line for people, then one JSON line; with --json that line only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import aclosing

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a tiny model: a second thread costs more than it brings

from parts.machine import commit, hardware

from narthex.backends.local import LocalBackend
from narthex.base.paths import SHIPPED_NANO
from narthex.chat import Budget, Conversation, Message, Mode, RunFinished
from narthex.evals.worlds import Item, get_world
from narthex.reason import run
from narthex.reason.contemplating import PROPOSE_TEMPERATURE
from narthex.tokens.gallery import Gallery, MemoryBlobs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20, help="questions")
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    options = parser.parse_args()
    result = asyncio.run(measure(options.items, options.agents, options.seed))
    if not options.json:
        print(
            f"{result['agents']} Thinking runs one after another {result['one_by_one_s']:.2f} s, "
            f"{result['agents']} agents side by side {result['side_by_side_s']:.2f} s: ratio {result['ratio']:.2f}"
        )
    print(json.dumps(result))
    return 0


async def measure(items: int, agents: int, seed: int) -> dict[str, object]:
    """Both ways on every item, in turns, so that a busy machine is busy for both."""
    backend = LocalBackend.open(SHIPPED_NANO, device="cpu")
    world = get_world("panels")
    await ask(backend, world.item(seed, items, split="test"), "thinking", None, 1)  # warm up
    spent = {"one_by_one": 0.0, "side_by_side": 0.0}
    tokens = dict.fromkeys(spent, 0)
    for index in range(items):
        item = world.item(seed, index, split="test")
        for number in range(agents):
            took, told = await ask(backend, item, "thinking", None, seed + number, PROPOSE_TEMPERATURE * (number > 0))
            spent["one_by_one"] += took
            tokens["one_by_one"] += told
        took, told = await ask(backend, item, "contemplating", Budget(agents=agents, rounds=0), seed)
        spent["side_by_side"] += took
        tokens["side_by_side"] += told
    backend.close()
    return {
        "bench": "modes", "hardware": hardware(), "commit": commit(), "items": items, "agents": agents,
        "one_by_one_s": spent["one_by_one"], "side_by_side_s": spent["side_by_side"],
        "ratio": spent["side_by_side"] / spent["one_by_one"],
        "one_by_one_tokens": tokens["one_by_one"], "side_by_side_tokens": tokens["side_by_side"],
    }  # fmt: skip


async def ask(
    backend: LocalBackend, item: Item, mode: Mode, budget: Budget | None, seed: int, temperature: float = 0.0
) -> tuple[float, int]:
    """Seconds and tokens of one run, the picture given anew as a user would give it."""
    began = time.perf_counter()
    gallery = Gallery(MemoryBlobs())
    pictures = () if item.picture is None else (gallery.add_image(item.picture),)
    asked = Conversation(messages=(Message.of("user", item.question, *pictures),))
    events = run(
        asked, mode, budget, backend, gallery=gallery, seed=seed, temperature=temperature, stops_early=False
    )
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, RunFinished):
                ledger = event.ledger
                return time.perf_counter() - began, ledger.thought_tokens + ledger.answer_tokens
    raise RuntimeError("a run did not finish")


if __name__ == "__main__":
    sys.exit(main())
