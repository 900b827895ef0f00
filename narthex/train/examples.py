"""From a world's item to what the model is trained on: ids, tiles, which tokens count, which glyph stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from narthex.chat import ImagePart, Message, TextPart, ToolCall
from narthex.chat.boxes import Box
from narthex.evals.worlds import Answer, Call, Crop, Glyph, Item, Step, tools_for
from narthex.reason.prompts import Proposal, second_look
from narthex.tokens import ChatFormat, special
from narthex.tools import get_tool
from narthex.train.pointing import Corner, asked_glyphs, within

IGNORED = -100  # the label of a token that is not learned, in PyTorch's cross entropy
# Instant sees as many items as Thinking, fine print too, but there it can only learn how answers look: at full weight a
# third of all steps would be noise.
GUESS_WEIGHT = 0.1
READ_PROMPT = "Read."  # the question of the reading curriculum


class View(NamedTuple):
    """One picture as the model gets it, with what is drawn on it."""

    picture: Image.Image
    glyphs: tuple[Glyph, ...]
    asked: Mapping[int, Corner | None] = MappingProxyType({})  # glyphs that the question is about, and where to look


class Example(NamedTuple):
    """One training sequence: T ids, and T labels, which are the id at the same place where it counts, else IGNORED.

    `tiles` is float32 (pictures, 3, S, S); `views` holds one entry per picture, in order.
    """

    ids: list[int]
    labels: list[int]
    tiles: np.ndarray
    views: tuple[View, ...]
    weight: float = 1.0  # of its tokens in the loss


class Shelf:
    """The pictures of one conversation under made-up names, so that no bytes need hashing."""

    def __init__(self) -> None:
        self.views: list[View] = []

    def add(self, view: View) -> ImagePart:
        name = f"{len(self.views):064x}"
        self.views.append(view)
        return ImagePart(sha256=name, media_type="image/png", width=view.picture.width, height=view.picture.height)

    def load(self, part: ImagePart) -> Image.Image:
        return self.views[int(part.sha256, 16)].picture


def zoomed(view: View, box: tuple[int, int, int, int]) -> View:
    """What the zoom tool returns for `box`, and the glyphs on it."""
    left, top, right, bottom = Box(*box).pixels(view.picture.width, view.picture.height)
    glyphs = tuple(Glyph(g.char, g.x - left, g.y - top, g.height) for g in view.glyphs)
    return View(view.picture.crop((left, top, right, bottom)), glyphs, within(view.asked))


def thinking_example(
    chat: ChatFormat, item: Item, *, num_looks: int | None = None, proposals: Sequence[Proposal] = (),
    trace: Sequence[Step] = (),
) -> Example:  # fmt: skip
    """The item's whole demonstration, or only its beginning up to the call of look number `num_looks`.

    `trace`: the demonstration to show, where it is not to be the item's shortest one.

    With `proposals`, others' answers stand between question and demonstration, as a refiner or aggregator sees them.
    """
    shelf = Shelf()
    messages = [_question(item, shelf)]
    if proposals:
        messages.append(Message.of("user", second_look(proposals)))
    for number, step in enumerate(trace or item.trace, 1):
        if isinstance(step, Answer):
            messages.append(Message(role="assistant", thought=step.thought, parts=(TextPart(text=step.text),)))
            break
        if isinstance(step, Call):
            call = ToolCall(id=f"call_{number}", name=step.name, arguments=dict(step.arguments))
            messages.append(Message(role="assistant", thought=step.thought, calls=(call,)))
            messages.append(Message(role="tool", parts=(TextPart(text=step.result),), call_id=call.id))
            continue
        call = ToolCall(id=f"call_{number}", name="zoom", arguments={"box": list(step.box)})
        messages.append(Message(role="assistant", thought=step.thought, calls=(call,)))
        if number == num_looks:
            break
        crop = shelf.add(zoomed(shelf.views[0], step.box))
        messages.append(Message(role="tool", parts=(crop,), call_id=call.id))
    return _render(chat, messages, shelf, tools=("zoom", *tools_for(item.world)))


def instant_example(chat: ChatFormat, item: Item) -> Example:
    """Question, picture, answer: no thought, no look, no tools. What cannot be read without a look weighs little."""
    shelf = Shelf()
    messages = [_question(item, shelf), Message(role="assistant", parts=(TextPart(text=item.answer),))]
    example = _render(chat, messages, shelf)
    return example if item.legible else example._replace(weight=GUESS_WEIGHT)


def reading_example(chat: ChatFormat, crop: Crop) -> Example:
    """A close view, and what is written on it."""
    shelf = Shelf()
    part = shelf.add(View(crop.picture, crop.glyphs))
    question = Message(role="user", parts=(TextPart(text=READ_PROMPT), part))
    reading = Message(role="assistant", parts=(TextPart(text=crop.text),))
    return _render(chat, [question, reading], shelf)


def _question(item: Item, shelf: Shelf) -> Message:
    text = TextPart(text=item.question)
    if item.picture is None:
        return Message(role="user", parts=(text,))
    return Message(role="user", parts=(text, shelf.add(View(item.picture, item.glyphs, asked_glyphs(item)))))


def _render(chat: ChatFormat, messages: Sequence[Message], shelf: Shelf, *, tools: Sequence[str] = ()) -> Example:
    """Whoever thinks has tools, and Instant has none."""
    thinking, specs = bool(tools), tuple(get_tool(name).spec for name in tools)
    prompt = chat.render(messages, tools=specs, thinking=thinking, load_image=shelf.load, generate=False)
    labels = label_replies(chat, prompt.ids, thinking=thinking)
    return Example(prompt.ids, labels, prompt.tiles, tuple(shelf.views))


def reply_header(chat: ChatFormat) -> tuple[int, ...]:
    """The ids with which the template begins an assistant's message."""
    control = chat.tokenizer.special_ids
    return control[special.HEADER_START], *chat.encode("assistant"), control[special.HEADER_END], *chat.encode("\n\n")


def label_replies(chat: ChatFormat, ids: Sequence[int], *, thinking: bool) -> list[int]:
    """Labels for whole conversations: only what the model would have to write itself counts.

    After each assistant header the prompt opens the thought, and in Instant closes it again: those ids are given.
    """
    header = reply_header(chat)
    given = len(header) + (1 if thinking else 2)
    labels, is_reply, place = [IGNORED] * len(ids), False, 0
    while place < len(ids):
        if not is_reply and tuple(ids[place : place + len(header)]) == header:
            is_reply, place = True, place + given
            continue
        if is_reply:
            labels[place] = ids[place]
            is_reply = ids[place] not in chat.stop_ids
        place += 1
    return labels
