"""A window into the embedded model: a reply that was given is read once more, and every step of it is told.

One teacher-forced pass over the prompt and the reply, as the naive model makes it. The position that chose a token is
the one before it: its probabilities, its experts and its attention are that token's. The reply is encoded anew from its
text, so a token may be cut elsewhere than when it was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from narthex.base.errors import InputError
from narthex.chat import ImagePart, Message, ToolSpec
from narthex.model import Transformer
from narthex.model.attention import Fresh, visible
from narthex.model.experts import Routing
from narthex.tokens import ChatFormat, Prompt
from narthex.tokens.geometry import PictureGeometry

NUM_TOP = 5
MAX_REPLY_TOKENS = 2048  # more would be read by nobody, and is megabytes of JSON
_ROWS = 128  # of attention that are worked out at a time: all heads of a long context are large

Grid = list[list[float]]


class TokenInside(NamedTuple):
    """One token of a reply. `top`: the likeliest in its place; `experts`: of each mixture layer; `attention`: a grid
    for each picture, the mean over layers and heads.
    """

    id: int
    text: str
    probability: float
    top: tuple[tuple[str, float], ...]
    experts: tuple[tuple[int, ...], ...]
    attention: tuple[Grid, ...]


class PictureInside(NamedTuple):
    """A picture that the reply could look at. `covers`: the share of the grid's width and height that it fills."""

    part: ImagePart
    rows: int
    cols: int
    covers: tuple[float, float]


class Inside(NamedTuple):
    tokens: tuple[TokenInside, ...]
    pictures: tuple[PictureInside, ...]
    num_experts: int


@torch.inference_mode()
def look_inside(
    model: Transformer, chat: ChatFormat, messages: Sequence[Message], *, tools: Sequence[ToolSpec], thinking: bool,
    load_image: Callable[[ImagePart], Image.Image],
) -> Inside:  # fmt: skip
    """Of the last message, an assistant's reply to those before it. Seconds of work on a CPU: for a thread.

    Raises: InputError for a reply that is empty or too long, or a conversation that is.
    """
    prompt = chat.render(messages[:-1], tools=tools, thinking=thinking, load_image=load_image)
    whole = chat.render(messages, tools=tools, thinking=thinking, load_image=load_image, generate=False)
    begin = _shared(prompt.ids, whole.ids)
    num_reply = len(whole.ids) - begin
    if not num_reply:
        raise InputError("the reply is empty", hint="choose another turn")
    if num_reply > MAX_REPLY_TOKENS or len(whole.ids) > model.config.text.max_position_embeddings:
        raise InputError(f"a reply of {num_reply} tokens is too long to look into", hint="choose another turn")
    pictures = tuple(_pictures(messages[:-1], chat.geometry, load_image))
    return Inside(
        tuple(_tokens(model, chat, whole, begin, pictures)), pictures,
        model.config.text.num_local_experts if model.config.text.moe_layers else 0,
    )  # fmt: skip


class _Watching(Fresh):
    """Notes how much the rows before each reply token attend to the picture tokens."""

    def __init__(self, length: int, device: torch.device, rows: range, places: Tensor) -> None:
        super().__init__(1, length, device)
        self._rows, self._places = rows, places
        self.seen_RP = torch.zeros(len(rows), len(places), device=device)
        self.num_layers = 0

    def attend(self, layer: int, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, chunk: int | None) -> Tensor:
        if len(self._places):
            self._note(q_BTHK[0], k_BTGK[0], chunk)
        return super().attend(layer, q_BTHK, k_BTGK, v_BTGK, chunk)

    def _note(self, q_THK: Tensor, k_TGK: Tensor, chunk: int | None) -> None:
        positions = self.positions_BT[0]
        keys_HKT = k_TGK.repeat_interleave(q_THK.shape[1] // k_TGK.shape[1], dim=1).permute(1, 2, 0).float()
        self.num_layers += 1
        for first in range(0, len(self._rows), _ROWS):
            rows = positions[self._rows.start + first : min(self._rows.start + first + _ROWS, self._rows.stop)]
            scores_HRT = q_THK[rows].transpose(0, 1).float() @ keys_HKT * q_THK.shape[-1] ** -0.5
            scores_HRT = scores_HRT.masked_fill(~visible(rows, positions, chunk), float("-inf"))
            self.seen_RP[first : first + len(rows)] += scores_HRT.softmax(-1)[..., self._places].mean(0)


def _tokens(
    model: Transformer, chat: ChatFormat, whole: Prompt, begin: int, pictures: Sequence[PictureInside]
) -> Iterable[TokenInside]:
    ids = torch.tensor(whole.ids, device=model.device)
    rows = range(begin - 1, len(whole.ids) - 1)
    places = (ids[:begin] == model.config.image_token_index).nonzero()[:, 0]
    watching = _Watching(len(ids), model.device, rows, places)
    seen = model.see(torch.from_numpy(whole.tiles))[0] if len(whole.tiles) else None
    hidden_BTD, routings = model.decode(model.embed(ids[None], seen), watching)
    probabilities_RV = model.score(hidden_BTD[0, rows.start : rows.stop]).float().softmax(-1)
    top = probabilities_RV.topk(NUM_TOP, dim=-1)
    attention_RP = (watching.seen_RP / max(1, watching.num_layers)).cpu()
    for row, id_ in enumerate(whole.ids[begin:]):
        likeliest = zip(top.indices[row].tolist(), top.values[row].tolist(), strict=True)
        yield TokenInside(
            id_, chat.decode([id_]), float(probabilities_RV[row, id_]),
            tuple((chat.decode([other]), float(value)) for other, value in likeliest),
            tuple(_experts(routing, rows.start + row) for routing in routings),
            tuple(_grids(attention_RP[row], pictures, chat.geometry)),
        )  # fmt: skip


def _experts(routing: Routing, place: int) -> tuple[int, ...]:
    return tuple(int(expert) for expert in routing.experts_Nk[place])


def _grids(weights_P: Tensor, pictures: Sequence[PictureInside], geometry: PictureGeometry | None) -> Iterable[Grid]:
    """Attention to the tiles as they lie; what goes to the global view is spread over all of them."""
    if geometry is None:
        return
    side, num = math.isqrt(geometry.tokens_per_tile), geometry.tokens_per_tile
    for picture in pictures:
        count = picture.rows * picture.cols
        tiles, weights_P = weights_P[: count * num], weights_P[count * num :]
        grid = tiles.view(picture.rows, picture.cols, side, side).transpose(1, 2).reshape(picture.rows * side, -1)
        if count > 1:
            view, weights_P = weights_P[:num].view(1, 1, side, side), weights_P[num:]
            spread = torch.nn.functional.interpolate(view, size=tuple(grid.shape), mode="nearest")[0, 0]
            grid = grid + spread / count
        yield [[round(float(weight), 6) for weight in row] for row in grid]


def _pictures(
    messages: Iterable[Message], geometry: PictureGeometry | None, load_image: Callable[[ImagePart], Image.Image]
) -> Iterable[PictureInside]:
    if geometry is None:
        return
    for part in (picture for message in messages for picture in message.pictures):
        cut = geometry.cut(load_image(part))
        height, width = cut.rows * geometry.tile_size, cut.cols * geometry.tile_size
        room = (height, width)
        if not geometry.resize_to_max_canvas:  # then it is enlarged to one tile at most (tokens/pictures.py)
            room = (min(max(part.height, geometry.tile_size), height), min(max(part.width, geometry.tile_size), width))
        scale = min(room[0] / part.height, room[1] / part.width)
        covers = (min(1.0, part.width * scale / width), min(1.0, part.height * scale / height))
        yield PictureInside(part, cut.rows, cut.cols, covers)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
