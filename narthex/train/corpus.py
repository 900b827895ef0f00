"""What the vocabulary is learned from: the questions and replies of all worlds, as the template writes them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from narthex.evals.worlds import Call, Item, Look, get_world
from narthex.evals.worlds.texts import other_texts
from narthex.reason.prompts import second_look
from narthex.tools import TOOLS
from narthex.train.curriculum import WORLDS
from narthex.train.examples import READ_PROMPT
from narthex.train.peers import made_up_proposals


def tokenizer_texts(seed: int, num_items: int) -> Iterator[str]:
    """The texts of `num_items` items of every world, and of the edge and of other languages in their shares."""
    rng = random.Random(seed)
    for index in range(num_items):
        for name in WORLDS:
            item = get_world(name).item(seed, index)
            yield from _texts(item)
            yield second_look(made_up_proposals(item, rng))
    yield from other_texts(seed, num_items)
    tools = "\n".join(f"{tool.spec.name}({', '.join(tool.spec.parameters['properties'])})" for tool in TOOLS.values())
    yield from ("system", "user", "assistant", "ipython", "\n\n", f"Tools:\n{tools}", READ_PROMPT) * 50


def _texts(item: Item) -> Iterator[str]:
    yield item.question
    for trace in (item.trace, *item.others):
        for step in trace:
            yield step.thought
            if isinstance(step, Look):
                yield _call("zoom", {"box": list(step.box)})
            elif isinstance(step, Call):
                yield _call(step.name, step.arguments)
                yield step.result
            else:
                yield step.text


def _call(name: str, parameters: object) -> str:
    return json.dumps({"name": name, "parameters": parameters})
