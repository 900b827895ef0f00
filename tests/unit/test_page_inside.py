"""`POST /api/inside`, through the shipped model: what it tells is what the naive model computes of the same ids."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

import narthex
from narthex.backends.fake import Said
from narthex.backends.inside import look_inside
from narthex.backends.local import LocalBackend
from narthex.chat import Message, TextPart
from narthex.model.attention import Fresh, _attend
from narthex.tokens.gallery import Gallery, MemoryBlobs
from narthex.tools import zoom

from .serve_helpers import served

NANO = Path(narthex.__file__).parent / "models" / "narthex-nano"
PANEL = Path(__file__).parents[2] / "examples" / "panel.png"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def nano():
    backend = LocalBackend.open(NANO, device="cpu")
    yield backend
    backend.engine.close()


async def asked(client, mode, **more):
    """The run of a question about the panel, once it has ended, and its events' agents."""
    with PANEL.open("rb") as file:
        kept = await client.post("/v1/files", files={"file": ("panel.png", file)}, data={"purpose": "vision"})
    home = (await client.post("/api/conversations", json={})).json()["id"]
    body = {"text": "What does gauge C read?", "files": [kept.json()["id"]], "mode": mode, **more}
    run_id = (await client.post(f"/api/conversations/{home}/turns", json=body)).json()["run_id"]
    async with asyncio.timeout(DEADLINE_S):
        while (await client.get(f"/api/runs/{run_id}")).json()["status"] == "running":
            await asyncio.sleep(0.05)
    return run_id


async def test_a_greedy_reply_was_the_likeliest_at_every_step(nano, tmp_path):
    async with served(nano, store=tmp_path) as (client, _, _):
        run_id = await asked(client, "thinking")
        for turn in (0, 1):
            body = {"run_id": run_id, "agent_id": "agent-0", "turn": turn}
            found = (await client.post("/api/inside", json=body)).json()
            text = "".join(token["text"] for token in found["tokens"])
            assert ("zoom" in text) == (turn == 0) and text.endswith("<|eot|>")
            (first, *_), layers = found["pictures"], len(nano.model.config.text.moe_layers)
            assert (first["width"], first["height"], first["covers"]) == (512, 512, [1.0, 1.0])
            assert len(found["pictures"]) == 1 + turn and found["num_experts"] == 8  # its crop is there to be seen
            for token in found["tokens"]:
                likeliest = token["top"][0]
                assert (token["text"], token["probability"]) == (likeliest["text"], likeliest["probability"])
                assert len(token["experts"]) == layers and all(0 <= e < 8 for (e,) in token["experts"])
                grids = token["attention"].values()
                assert all(len(grid) == len(grid[0]) == 6 for grid in grids)
                assert 0 < sum(weight for grid in grids for row in grid for weight in row) < 1


class Weighed(Fresh):
    """How much goes to some places, by another way: values that are 1 there and 0 elsewhere."""

    def __init__(self, length, device, marks_T):
        super().__init__(1, length, device)
        self.marks_T, self.sums = marks_T, []

    def attend(self, layer, q_BTHK, k_BTGK, v_BTGK, chunk):
        marked = torch.zeros_like(v_BTGK) + self.marks_T[None, :, None, None]
        self.sums.append(_attend(q_BTHK, k_BTGK, marked)[0, :, :, 0].mean(-1))
        return super().attend(layer, q_BTHK, k_BTGK, v_BTGK, chunk)


@torch.inference_mode()
def test_it_is_what_the_naive_model_computes(nano):
    gallery = Gallery(MemoryBlobs())
    picture = gallery.add_bytes(PANEL.read_bytes())
    messages = (
        Message.of("user", "What does gauge C read?", picture),
        Message(role="assistant", parts=(TextPart(text="12 bar"),), thought="Find C."),
    )
    found = look_inside(
        nano.model, nano.chat, messages, tools=(zoom.spec,), thinking=True, load_image=gallery.load
    )
    whole = nano.chat.render(
        messages, tools=(zoom.spec,), thinking=True, load_image=gallery.load, generate=False
    )
    ids, tiles = torch.tensor([whole.ids]), torch.from_numpy(whole.tiles)
    places = ids[0] == nano.model.config.image_token_index
    weighed = Weighed(len(whole.ids), torch.device("cpu"), places.float())
    logits_BTV, routings = nano.model(ids, tiles, weighed)
    seen_T = torch.stack(weighed.sums).mean(0)
    begin = len(whole.ids) - len(found.tokens)
    assert [token.id for token in found.tokens] == whole.ids[begin:]
    for place, token in enumerate(found.tokens, start=begin):
        probabilities_V = logits_BTV[0, place - 1].softmax(-1)
        assert token.probability == pytest.approx(float(probabilities_V[token.id]), abs=1e-5)
        assert token.top[0][1] == pytest.approx(float(probabilities_V.max()), abs=1e-5)
        assert token.experts == tuple((int(routing.experts_Nk[place - 1, 0]),) for routing in routings)
        total = sum(weight for row in token.attention[0] for weight in row)
        assert total == pytest.approx(float(seen_T[place - 1]), abs=1e-4)


async def test_what_cannot_be_looked_into_says_why(nano, tmp_path):
    async with served(nano, store=tmp_path / "nano") as (client, _, _):
        run_id = await asked(client, "instant")
        for body, status, code in (
            ({"run_id": run_id, "agent_id": "agent-0", "turn": 1}, 404, "turn_not_found"),
            ({"run_id": run_id, "agent_id": "agent-9"}, 404, "agent_not_found"),
            ({"run_id": "0" * 32, "agent_id": "agent-0"}, 404, "run_not_found"),
        ):
            reply = await client.post("/api/inside", json=body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    async with served(lambda request: Said("12 bar"), store=tmp_path / "other") as (client, _, _):
        run_id = await asked(client, "instant")
        reply = await client.post("/api/inside", json={"run_id": run_id, "agent_id": "agent-0"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unsupported_model")
