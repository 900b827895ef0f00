"""Ids, pixels and templates equal those of transformers' Llama 4 processor.

Its image code needs torchvision; conftest.py says how that is had.
"""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor
from transformers.models.llama4.image_processing_llama4 import Llama4ImageProcessor
from transformers.models.llama4.processing_llama4 import chat_template as llama4_template

from narthex.chat import ImagePart, Message, TextPart, ToolCall, ToolSpec
from narthex.tokens import ChatFormat, tile_picture, train_tokenizer, write_nano_folder

TEXTS = [
    "What does gauge C read?",
    '{"name": "zoom", "parameters": {"box": [1, 2], "image": 0}}',
    "It reads 12.5 bar.\n",
] * 9
ZOOM = ToolSpec(
    name="zoom",
    description="Look closer.",
    parameters={"type": "object", "properties": {"box": {"type": "array"}, "image": {"type": "integer"}}},
)
# Thin, tiny, exact multiples, one pixel off, large; the rest is drawn.
EDGE_SIZES = [(1, 1), (1, 500), (500, 1), (64, 64), (128, 64), (65, 63), (129, 257), (640, 480), (481, 1024), (56, 112)]


def random_picture(draw: random.Random, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(draw.getrandbits(32)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def random_sizes(draw: random.Random, count: int) -> list[tuple[int, int]]:
    return [
        (draw.randint(1, 2 ** draw.randint(1, 10)), draw.randint(1, 2 ** draw.randint(1, 10))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=400)


def open_both(tmp_path, tokenizer, max_tiles=1, tile_size=64):
    write_nano_folder(tmp_path, tokenizer, tile_size=tile_size, max_tiles=max_tiles)
    return ChatFormat.open(tmp_path), AutoProcessor.from_pretrained(tmp_path)


def picture_part() -> ImagePart:
    return ImagePart(sha256="0" * 64, media_type="image/png", width=1, height=1)


@pytest.mark.parametrize("largest", [False, True], ids=["fit", "max_canvas"])
@pytest.mark.parametrize(("max_tiles", "tile_size"), [(1, 64), (2, 56), (4, 28), (5, 64), (16, 336), (12, 20)])
def test_pixels_are_equal(max_tiles, tile_size, largest, record_property):
    draw = random.Random(max_tiles * 1000 + tile_size)
    oracle = Llama4ImageProcessor(
        size={"height": tile_size, "width": tile_size}, max_patches=max_tiles, resize_to_max_canvas=largest
    )
    sizes = EDGE_SIZES + random_sizes(draw, 30 if tile_size < 100 else 8)
    for size in sizes:
        picture = random_picture(draw, size)
        ours = tile_picture(picture, tile_size=tile_size, max_tiles=max_tiles, resize_to_max_canvas=largest)
        theirs = oracle(picture, do_rescale=False, do_normalize=False, return_tensors="pt")
        assert theirs["aspect_ratios"].tolist() == [[ours.rows, ours.cols]], size
        assert np.array_equal(theirs["pixel_values"].numpy(), ours.pixels), size
    record_property("parity", f"processor, {max_tiles} tiles of {tile_size}: {len(sizes)} pictures, all pixels equal")


@pytest.mark.parametrize("max_tiles", [1, 4, 6, 16])
def test_ids_and_tiles_are_equal(tmp_path, tokenizer, max_tiles):
    draw = random.Random(max_tiles)
    ours, theirs = open_both(tmp_path, tokenizer, max_tiles)
    for num_pictures in (0, 1, 2, 5):
        pictures = [random_picture(draw, size) for size in random_sizes(draw, num_pictures)]
        waiting = iter(pictures)
        parts = (*(picture_part() for _ in pictures), TextPart(text="What does it read? <3"))
        prompt = ours.render(
            [Message(role="user", parts=parts)], thinking=True, load_image=lambda _, w=waiting: next(w)
        )
        content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": "What does it read? <3"}]
        text = theirs.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        expected = theirs(text=text, images=pictures or None, add_special_tokens=False, return_tensors="pt")
        assert prompt.ids == expected["input_ids"][0].tolist()
        if pictures:
            # The reference normalises in bfloat16: one step of it near 1 is 2/255.
            difference = torch.from_numpy(prompt.tiles) - expected["pixel_values"].float()
            assert difference.abs().max() <= 2 / 255


CALL = {"name": "zoom", "arguments": {"box": [1, 2], "é": "<"}}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does gauge C read?"},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
    {"role": "tool", "content": "ok", "tool_call_id": "1", "name": "zoom"},
    {"role": "assistant", "content": "12.5 bar"},
    {"role": "user", "content": "And D? "},
]
OUR_MESSAGES = [
    Message.of("system", "Be brief."),
    Message.of("user", "What does gauge C read?"),
    Message(role="assistant", calls=(ToolCall(id="1", **CALL),)),
    Message(role="tool", call_id="1", parts=(TextPart(text="ok"),)),
    Message.of("assistant", "12.5 bar"),
    Message.of("user", "And D? "),
]
# What most families write: tags in place of control tokens, a thought only where there is one.
TAGS = (
    "{%- if tools %}{{ tools | map(attribute='function') | list | tojson(indent=2) }}\n{% endif %}"
    "{%- for m in messages %}<|header_start|>{{ m.role }}<|header_end|>\n{% if m.reasoning_content %}<think>\n"
    "{{ m.reasoning_content.strip('\\n') }}\n</think>\n\n{% endif %}{{ m.content | trim }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|eot|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize("template", [None, llama4_template, TAGS], ids=["ours", "llama4", "tags"])
@pytest.mark.parametrize("tools", [(), (ZOOM,)], ids=["no_tools", "tools"])
@pytest.mark.parametrize("thinking", [False, True])
def test_templates_render_as_in_transformers(tmp_path, tokenizer, template, tools, thinking):
    write_nano_folder(tmp_path, tokenizer)
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    theirs = AutoProcessor.from_pretrained(tmp_path).tokenizer
    dicts = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]
    skip = 1 if tools and template == llama4_template else 0  # it puts tools in the first user message
    for count in (2, 4, 6):
        expected = theirs.apply_chat_template(
            MESSAGES[skip:count], tools=dicts or None, add_generation_prompt=True, enable_thinking=thinking
        )["input_ids"]
        prompt = ChatFormat.open(tmp_path).render(
            OUR_MESSAGES[skip:count], tools=tools, thinking=thinking, load_image=lambda _: Image.new("RGB", (1, 1))
        )
        assert prompt.ids == expected, json.dumps(theirs.decode(expected))


def test_the_tokenizer_is_the_same(tmp_path, tokenizer):
    ours, theirs = open_both(tmp_path, tokenizer)
    for text in [*TEXTS[:3], "", " a\n\n  B12é 日本 ", "\u0301x", "x" * 500]:
        assert ours.encode(text) == theirs.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert theirs.tokenizer.eos_token_id in ours.stop_ids


def test_llama4_template_takes_tools_and_a_picture_together(tmp_path, tokenizer):
    write_nano_folder(tmp_path, tokenizer)
    (tmp_path / "chat_template.jinja").write_text(llama4_template)
    chat = ChatFormat.open(tmp_path)
    question = Message.of("user", "What is this?", picture_part())
    prompt = chat.render([question], tools=[ZOOM], thinking=False, load_image=lambda _: Image.new("RGB", (9, 9)))
    theirs = AutoProcessor.from_pretrained(tmp_path)
    text = theirs.apply_chat_template(
        [
            {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image"}]},
        ],
        tools=[{"type": "function", "function": ZOOM.model_dump()}],
        tools_in_user_message=False,
        add_generation_prompt=True,
    )
    assert '"zoom"' in text
    assert prompt.ids == theirs(text=text, images=[Image.new("RGB", (9, 9))], add_special_tokens=False)["input_ids"][0]
