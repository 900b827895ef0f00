"""Reinforcement: what is taped was said, rewards rank answers, learning moves the right way, legs go on."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from narthex.backends.local import LocalBackend, TapedTurn
from narthex.chat import Budget, FilePart
from narthex.engine import TokenOut
from narthex.evals.worlds import get_world
from narthex.model import Transformer
from narthex.model.attention import Fresh
from narthex.reason.prompts import Proposal, second_look
from narthex.tokens import ChatFormat, train_tokenizer, write_nano_folder
from narthex.tools.sandbox import sandbox_problem
from narthex.train.corpus import tokenizer_texts
from narthex.train.nano import export, nano_config
from narthex.train.policy import (
    Clip,
    Lesson,
    Totals,
    advantages,
    demonstration,
    effort,
    lesson_loss,
    lesson_of,
    pack,
    rewards,
)
from narthex.train.rl import Drawn, Reinforcer, Seen, Settings, in_passes
from narthex.train.rollouts import Piece, Rollout, Task, Toolbox, pieces_of, roll_out

BUDGET = Budget(think_tokens=12, answer_tokens=8, tool_calls=1)
SETTINGS = Settings(
    rollouts=64, groups=2, group_size=3, worlds=("panels", "words"), shown=4, think_tokens=12, answer_tokens=8,
    tool_calls=1, held_out=2, evaluate_every=1,
)  # fmt: skip
CLIP = Clip(0.2, 0.28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """nano in small, with random weights."""
    chat, folder = tmp_path_factory.mktemp("chat"), tmp_path_factory.mktemp("model")
    write_nano_folder(chat, train_tokenizer(tokenizer_texts(1, 5), vocab_size=420), tile_size=32, patch_size=8)
    config = nano_config(ChatFormat.open(chat))
    text = replace(
        config.text, hidden_size=32, intermediate_size=32, intermediate_size_mlp=64, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, num_local_experts=4,
    )  # fmt: skip
    assert config.vision is not None
    vision = replace(
        config.vision, hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, projector_input_dim=32, projector_output_dim=32, vision_output_dim=32,
    )  # fmt: skip
    model = Transformer(replace(config, text=text, vision=vision))
    model.init_weights(3)
    export(model, chat, folder)
    return folder


@pytest.fixture
def reinforcer(folder, tmp_path):
    made = Reinforcer(folder, tmp_path / "stage", SETTINGS, torch.device("cpu"))
    yield made
    made.close()


def answers(backend: LocalBackend, task: Task) -> list[Rollout]:
    async def all_of():
        return await roll_out(backend, Toolbox(), task, BUDGET, seeds=(1, 2, 3), temperature=1.0)

    return asyncio.run(all_of())


def rollout(*, is_right: bool, tokens: int, looks: int = 0) -> Rollout:
    return Rollout("", True, is_right, tokens, looks, looks, ())


def logprobs(model: Transformer, piece: Piece) -> np.ndarray:
    """Of every id, given those before it, by the model's own layers: (T,), the first one's 0."""
    ids = torch.from_numpy(piece.ids)[None]
    x = model.language_model.model.embed_tokens(ids)
    places = (ids == model.config.image_token_index) & ~torch.from_numpy(piece.drawn)
    with torch.no_grad():
        if len(piece.tiles):
            x = x.masked_scatter(places[..., None], model.see(torch.from_numpy(piece.tiles))[0])
        logs = model.score(model.decode(x, Fresh(1, ids.shape[1], ids.device))[0])[0, :-1].log_softmax(-1)
    return np.concatenate([[0.0], logs.gather(1, ids[0, 1:, None])[:, 0].numpy()])


# Rollouts.


@pytest.mark.parametrize("proposals", [(), (Proposal("12 bar", 2), Proposal("13 bar", 1))])
def test_what_is_taped_is_what_the_model_says(reinforcer, proposals):
    item = get_world("panels").item(5, 0)
    group = answers(reinforcer.backend, Task(item, proposals))
    assert len({tuple(one.pieces[0].ids.tolist()) for one in group}) == 3
    for one in group:
        assert one.pieces and not one.is_right
        for piece in one.pieces:
            told = logprobs(reinforcer.model, piece)
            assert np.allclose(told[piece.drawn], piece.logprobs[piece.drawn], atol=2e-3)
            text = reinforcer.chat.decode(piece.ids[: int(piece.drawn.argmax())].tolist())
            assert item.question in text
            assert (second_look(proposals) in text) == bool(proposals)


def turn(prompt, *reply, tiles=0) -> TapedTurn:
    """A turn whose reply has log-probability -1 at each id; None stands for a forced 9."""
    drawn = [TokenOut(0, 9, True) if id_ is None else TokenOut(0, id_, logprob=-1.0) for id_ in reply]
    return TapedTurn(list(prompt), np.zeros((tiles, 3, 2, 2), np.float32), drawn)


def test_a_turn_that_goes_on_word_for_word_is_one_sequence():
    (piece,) = pieces_of([turn([1, 2], 3, None), turn([1, 2, 3, 9, 4], 5, tiles=1)])
    assert piece.ids.tolist() == [1, 2, 3, 9, 4, 5]
    assert piece.drawn.tolist() == [False, False, True, False, False, True]
    assert piece.logprobs.tolist() == [0, 0, -1, 0, 0, -1]
    assert len(piece.tiles) == 1


def test_a_turn_that_is_written_otherwise_is_a_sequence_of_its_own():
    one, two = pieces_of([turn([1, 2], 3, 4), turn([1, 2, 7, 4], 5)])
    assert one.ids.tolist() == [1, 2, 3, 4] and two.ids.tolist() == [1, 2, 7, 4, 5]
    assert two.drawn.tolist() == [False] * 4 + [True]


def test_python_is_there_where_the_world_gives_it_and_the_machine_can():
    wanted = ["zoom"] if sandbox_problem() else ["zoom", "python"]
    toolbox = Toolbox()
    assert [tool.spec.name for tool in toolbox.of("words")] == wanted
    assert [tool.spec.name for tool in toolbox.of("panels")] == ["zoom"]


@pytest.mark.skipif(sandbox_problem() is not None, reason="no code can be run here")
def test_equal_code_runs_once(tmp_path):
    async def results():
        python = Toolbox().of("words")[1]
        code = "open('log', 'a').write('x')\nopen('log').read()"
        calls = [python.call(_Desk(tmp_path), {"code": text}) for text in (code, code, code, "6 * 7")]
        return [parts[0].text for parts in await asyncio.gather(*calls)]

    one, two, three, other = asyncio.run(results())
    assert one == two == three and "xx" not in one and other.startswith("42")


class _Desk:
    """As much of a ToolContext as code without pictures needs."""

    def __init__(self, folder):
        self.folder = folder

    def keep_file(self, path):
        return FilePart(sha256="0" * 64, name=path.name, media_type="text/plain", num_bytes=1)


# Rewards.


def test_rewards_rank_right_before_wrong_and_short_before_long():
    group = [
        rollout(is_right=True, tokens=20), rollout(is_right=True, tokens=40), rollout(is_right=True, tokens=2, looks=1),
        rollout(is_right=True, tokens=4000), rollout(is_right=False, tokens=1),
    ]  # fmt: skip
    short, long, look, longest, wrong = rewards(group, 38, 0.3)
    assert short == 1 and long == pytest.approx(0.85) and look == pytest.approx(0.85)
    assert 0.7 < longest < 0.71 and wrong == 0
    assert effort(group[2], 38) == 40


def test_length_says_nothing_among_wrong_answers():
    group = [rollout(is_right=False, tokens=5), rollout(is_right=False, tokens=50)]
    assert advantages(rewards(group, 38, 0.3)) == [0, 0]
    assert rewards([rollout(is_right=True, tokens=5), rollout(is_right=True, tokens=50)], 38, 0.0) == [1, 1]


def test_advantages_are_relative_to_the_group_and_not_to_its_spread():
    assert advantages([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]
    assert advantages([1.0, 0.9]) == pytest.approx([0.05, -0.05])
    assert advantages([1, 1, 1]) == [0, 0, 0]


# Learning.


def logprob(model, piece) -> float:
    """Of all that was drawn in a piece."""
    return float(logprobs(model, piece)[piece.drawn].sum())


def test_what_was_better_becomes_likelier_and_what_was_worse_less_so(reinforcer):
    group = answers(reinforcer.backend, Task(get_world("panels").item(5, 0)))
    good, bad = group[0].pieces[0], group[1].pieces[0]
    before = logprob(reinforcer.model, good), logprob(reinforcer.model, bad)
    for _ in range(12):  # the warm-up's
        reinforcer.learn([lesson_of(good, 0.5), lesson_of(bad, -0.5)])
    after = logprob(reinforcer.model, good), logprob(reinforcer.model, bad)
    assert after[0] > before[0] + 0.1 and after[1] < before[1] - 0.1


def lessons_of(reinforcer) -> list[Lesson]:
    groups = [answers(reinforcer.backend, Task(get_world("panels").item(5, number))) for number in range(2)]
    valued = [(one, value) for group in groups for one, value in zip(group, (1, -0.5, -0.5), strict=True)]
    return [lesson_of(p, value) for one, value in valued for p in one.pieces] + reinforcer.demonstrations([])


def test_parts_of_a_step_add_up_whatever_their_padding_and_shared_tiles(reinforcer):
    lessons = lessons_of(reinforcer)
    totals = Totals.of(lessons)
    assert totals.shown > 0 and totals.drawn > 20

    def total(parts, *, is_balanced):
        losses = [lesson_loss(reinforcer.model, pack(part, 0), totals, CLIP, 0.5) for part in parts]
        return sum(float(loss.total.detach()) for loss in losses) if is_balanced else [
            sum(float(getattr(loss, name)) for loss in losses) for name in ("demonstrated", "drift", "clipped")
        ]

    whole, each = [lessons], [[lesson] for lesson in lessons]
    assert total(each, is_balanced=False) == pytest.approx(total(whole, is_balanced=False), rel=1e-3, abs=1e-3)
    assert [len(part) for part in in_passes(lessons, 1)] == [1] * len(lessons)
    assert sum(len(part) for part in in_passes(lessons, 500)) == len(lessons)
    packed = pack(lessons, 0)
    assert len(packed.tiles) < len(packed.picture_K)  # one picture for a group of three


def test_a_probability_that_has_gone_far_enough_pushes_no_more(reinforcer):
    piece = answers(reinforcer.backend, Task(get_world("words").item(5, 0)))[0].pieces[0]

    def gradient(shift, advantage):
        lesson = lesson_of(piece, advantage)
        lesson = replace(lesson, old=lesson.old - np.float32(shift))
        loss = lesson_loss(reinforcer.model, pack([lesson], 0), Totals.of([lesson]), CLIP, 0.0)
        loss.total.backward()
        size = float(reinforcer.model.language_model.lm_head.weight.grad.abs().sum())
        reinforcer.model.zero_grad()
        return size, float(loss.clipped)

    assert gradient(0.5, 1.0) == (0, piece.drawn.sum()) and gradient(-0.5, -1.0) == (0, piece.drawn.sum())
    assert gradient(0.5, -1.0)[0] > 0 and gradient(-0.5, 1.0)[0] > 0 and gradient(0.0, 1.0)[1] == 0


def test_a_picture_token_that_was_said_is_a_word_and_no_picture(reinforcer):
    group = [answers(reinforcer.backend, Task(get_world("panels").item(5, number)))[0] for number in range(2)]
    pieces = [replace(one.pieces[0], ids=one.pieces[0].ids.copy()) for one in group]
    pieces[0].ids[-2] = reinforcer.model.config.image_token_index
    known = [replace(piece, logprobs=logprobs(reinforcer.model, piece).astype(np.float32)) for piece in pieces]
    lessons = [lesson_of(piece, 1.0) for piece in known]
    loss = lesson_loss(reinforcer.model, pack(lessons, 0), Totals.of(lessons), CLIP, 0.0)
    assert float(loss.drift) < 1e-3


def test_a_demonstration_is_learned_as_in_supervised_training(reinforcer):
    from narthex.train.examples import instant_example

    example = instant_example(reinforcer.chat, get_world("words").item(5, 1))
    lesson = demonstration(example)
    loss = lesson_loss(reinforcer.model, pack([lesson], 0), Totals.of([lesson]), CLIP, 1.0)
    logits = reinforcer.model(torch.tensor([example.ids])).logits_BTV[0, :-1].detach()
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(example.labels[1:]))
    assert float(loss.demonstrated) == pytest.approx(float(wanted), abs=1e-4)


# The stage.


def test_the_answers_of_an_earlier_group_are_shown_to_a_later_one(reinforcer):
    reinforcer.settings = replace(SETTINGS, peers_share=1.0)
    reinforcer._seen.append(Seen(Drawn("panels", 7), ("1 V", "2 V", "2 V")))
    (drawn, task), (_, fresh) = reinforcer.tasks()
    assert drawn == ("panels", 7) and task.item.question == reinforcer.item(drawn).question
    assert {proposal.answer for proposal in task.proposals} <= {"1 V", "2 V"} and not fresh.proposals
    shown = reinforcer.demonstrations([task, fresh])
    assert len(shown) == SETTINGS.shown + 1
    assert second_look(task.proposals) in reinforcer.chat.decode(shown[-1].ids.tolist())


def test_a_step_keeps_the_answers_of_groups_that_erred(reinforcer):
    line = reinforcer.take_step()
    assert line["right"] == 0 and line["reward"] == 0 and line["sequences"] == 0
    kept = [answer for seen in reinforcer._seen for answer in seen.answers]
    assert reinforcer.rollout == 6 and all(isinstance(answer, str) and answer.strip() for answer in kept)


def test_worlds_that_teach_something_come_more_often(reinforcer):
    reinforcer._useful |= {"panels": 0.9, "words": 0.0}
    worlds = [reinforcer.draw(number).world for number in range(300)]
    assert 200 < worlds.count("panels") < 300
    reinforcer._useful |= {"panels": 0.0, "words": 0.9}
    assert [reinforcer.draw(number).world for number in range(300)].count("panels") < 150
    for _ in range(3):
        reinforcer.take_step()  # nothing is right, so nothing is learned
    assert reinforcer._useful["words"] < 0.9
    held_out = [reinforcer.draw(number, "test").world for number in range(300)]
    assert held_out.count("panels") > 200  # shares of their own, whatever training finds


def state(reinforcer) -> dict[str, torch.Tensor]:
    found = dict(reinforcer.model.state_dict())
    for number, held in reinforcer.optimizer.state_dict()["state"].items():
        found |= {f"adam.{number}.{name}": value for name, value in held.items()}
    return {name: value.clone() for name, value in found.items()}


def test_a_leg_that_stops_goes_on_bit_by_bit(reinforcer, folder):
    for _ in range(2):
        reinforcer.take_step()
    reinforcer._seen.append(Seen(Drawn("words", 3), ("4 V", "5 V")))
    lesson = lesson_of(answers(reinforcer.backend, Task(get_world("panels").item(5, 0)))[0].pieces[0], 1.0)
    reinforcer.save()
    assert sorted(path.name for path in reinforcer.folder.iterdir()) == ["progress.json", "state.safetensors"]
    other = Reinforcer(folder, reinforcer.folder, SETTINGS, torch.device("cpu"))
    assert other.resume()
    try:
        for _ in range(2):
            one, two = state(reinforcer), state(other)
            assert one.keys() == two.keys() and any(name.startswith("adam.") for name in one)
            assert all(torch.equal(one[name], two[name]) for name in one)
            assert (reinforcer.rollout, reinforcer.step) == (other.rollout, other.step)
            mine, theirs = reinforcer.tasks(), other.tasks()
            assert [(n, t.item.question, t.proposals) for n, t in mine] == [
                (n, t.item.question, t.proposals) for n, t in theirs
            ]
            reinforcer._leg_steps = other._leg_steps = 5
            assert reinforcer.learn([lesson]) == other.learn([lesson])
    finally:
        other.close()


def test_a_leg_logs_every_step_and_ends_when_it_is_told_to(reinforcer):
    out = io.StringIO()

    class Stopping(io.StringIO):
        def write(self, text):
            reinforcer.is_stopped = '"step": 2' in text or reinforcer.is_stopped
            return out.write(text)

    reinforcer.run(3600, Stopping())
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    steps = [line for line in lines if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2] and steps[-1]["rollout"] == 12
    assert {"right", "by_world", "tokens", "looks", "rate", "rollouts_per_s", "left_s"} <= steps[0].keys()
    held_out = [line["held_out"] for line in lines if "held_out" in line]
    assert len(held_out) == 3 and set(held_out[0]["by_world"]) <= {"panels", "words"}
    log = (reinforcer.folder / "log.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in log.splitlines()] == lines
    assert (reinforcer.folder / "state.safetensors").is_file()
