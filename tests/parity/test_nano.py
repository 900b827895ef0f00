"""The shipped model is what the family's own tools say it is: transformers opens narthex-nano and agrees with us."""

from __future__ import annotations

import torch
from transformers.models.llama4.modeling_llama4 import Llama4ForConditionalGeneration

from narthex.base.paths import SHIPPED_NANO
from narthex.chat import Message
from narthex.evals.worlds import get_world
from narthex.model import count_parameters, generate
from narthex.tokens import ChatFormat
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import zoom
from narthex.weights import open_model

NUM_ITEMS = 4
TOLERANCE = 1e-4


def prompts():
    """Fresh held-out panels, rendered for Thinking as `ask` does."""
    chat, gallery = ChatFormat.open(SHIPPED_NANO), Gallery(MemoryBlobs())
    for index in range(NUM_ITEMS):
        item = get_world("panels").item(41, index, split="test")
        question = Message.of("user", item.question, gallery.add_image(item.picture))
        yield chat, chat.render([question], tools=[zoom.spec], thinking=True, load_image=gallery.load)


def test_transformers_agrees_with_the_shipped_model():
    ours = open_model(SHIPPED_NANO, dtype=torch.float32).model.eval()
    theirs = Llama4ForConditionalGeneration.from_pretrained(SHIPPED_NANO, dtype=torch.float32).eval()
    for chat, prompt in prompts():
        ids, tiles = torch.tensor([prompt.ids]), torch.from_numpy(prompt.tiles)
        with torch.no_grad():
            expected, logits = theirs(input_ids=ids, pixel_values=tiles).logits, ours(ids, tiles).logits_BTV
            continued = theirs.generate(input_ids=ids, pixel_values=tiles, max_new_tokens=32, do_sample=False)
        assert (logits - expected).abs().max() < TOLERANCE
        mine = list(generate(ours, prompt.ids, tiles, max_new_tokens=32, stop_ids=chat.stop_ids))
        assert continued[0, len(prompt.ids) :].tolist() == mine


def test_the_shipped_folder_fits_the_promise():
    model = open_model(SHIPPED_NANO).model
    size = sum(path.stat().st_size for path in SHIPPED_NANO.iterdir())
    total, active = count_parameters(model)
    assert size <= 24 * 2**20
    assert active < total, "routed experts are in use"
    assert model.dtype == torch.bfloat16
