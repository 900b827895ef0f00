"""Answers of a given form, and sources that mean harm: each ends in a clean refusal, soon."""

from __future__ import annotations

import contextlib
import json
import random
import re
import time

import pytest
import torch
from tokenizers import Tokenizer

from narthex.base.errors import InputError
from narthex.engine import EngineConfig, EngineCore, Request, Sampling, ThinkBudget
from narthex.engine.grammar import MAX_SOURCE_CHARACTERS, Grammar, GrammarCompiler

from .engine_helpers import build, drain, ids_of

COMPILE_LIMIT_S = 5.0  # the slowest took 0.2 s on a desktop; the rest is for slow machines


@pytest.fixture(scope="module")
def tokenizer(tiny_folder) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def stop_id(tokenizer) -> int:
    return tokenizer.token_to_id("<|eot|>")


@pytest.fixture(scope="module")
def compiler(tokenizer, stop_id) -> GrammarCompiler:
    # some entries more than the tokenizer has, as published models do
    return GrammarCompiler(tokenizer.to_str(), vocab_size=tokenizer.get_vocab_size() + 7, stop_ids=(stop_id,))


@pytest.fixture(scope="module")
def core(tokenizer, compiler) -> EngineCore:
    return EngineCore(build(vocab_size=tokenizer.get_vocab_size() + 7), EngineConfig(block_size=4), compiler)


def ask(core: EngineCore, grammar: Grammar, **settings):
    return drain(core, [Request(**({"ids": (10, 11, 12), "grammar": grammar, "max_new_tokens": 120} | settings))])[0]


SCHEMA = {
    "type": "object",
    "properties": {"gauge": {"enum": ["A", "B"]}, "value": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["gauge", "value"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}


class TestForms:
    @pytest.mark.parametrize("seed", range(4))
    def test_json_schema(self, core, tokenizer, seed):
        found = ask(core, Grammar("json_schema", json.dumps(SCHEMA)), sampling=Sampling(temperature=1.0, seed=seed))[0]
        answer = json.loads(tokenizer.decode(ids_of(found)))
        assert answer["gauge"] in "AB" and 0 <= answer["value"] <= 99
        assert found[-1].finish_reason == "stop"

    def test_regex_ends_where_nothing_can_follow(self, core, tokenizer):
        found = ask(core, Grammar("regex", "[0-9]{3}-[xyz]"))[0]
        assert re.fullmatch("[0-9]{3}-[xyz]", tokenizer.decode(ids_of(found)))
        assert found[-1].finish_reason == "stop"

    def test_lark(self, core, tokenizer):
        found = ask(core, Grammar("lark", 'start: "on" | "off"'))[0]
        assert tokenizer.decode(ids_of(found)) in ("on", "off")

    def test_a_stop_id_is_allowed_where_the_answer_may_end_and_only_there(self, compiler, stop_id):
        matcher = compiler.compile(Grammar("regex", "a+"))
        assert not matcher.allowed()[stop_id] and not matcher.is_accepting
        matcher.consume(int(matcher.allowed().nonzero()[0]))
        assert matcher.allowed()[stop_id] and matcher.is_accepting and not matcher.is_complete

    def test_so_is_a_stop_id_of_the_request_alone(self, core, tokenizer):
        stop = frozenset({100})
        found = ask(core, Grammar("regex", "[0-9]+"), stop_ids=stop, sampling=Sampling(logit_bias={100: 100}))[0]
        assert tokenizer.decode(ids_of(found)[:-1]).isdigit()
        assert found[-1].id == 100 and found[-1].finish_reason == "stop" and len(found) == 2

    def test_it_begins_after_the_thought(self, core, tokenizer, stop_id):
        think = ThinkBudget(6, 90, (91, 90))
        found = ask(core, Grammar("regex", "[0-9]{2}"), think=think, sampling=Sampling(temperature=2.0, seed=1))[0]
        place = ids_of(found).index(90) + 1
        assert place > 1
        assert re.fullmatch("[0-9]{2}", tokenizer.decode(ids_of(found)[place:]))

    def test_continuations_have_places_of_their_own(self, core, tokenizer):
        grammar = Grammar("regex", "(left|right)-[0-9]{4}")
        found = ask(core, grammar, n=6, sampling=Sampling(temperature=5.0, seed=2))
        answers = {tokenizer.decode(ids_of(tokens)) for tokens in found.values()}
        assert all(re.fullmatch("(left|right)-[0-9]{4}", answer) for answer in answers)
        assert len(answers) > 1

    def test_length_still_binds(self, core):
        found = ask(core, Grammar("regex", "[0-9]{500}"), max_new_tokens=9)[0]
        assert len(found) == 9 and found[-1].finish_reason == "length"

    def test_others_in_the_batch_are_free(self, core):
        free = Request(ids=(10, 11, 12), max_new_tokens=10)
        alone = drain(core, [free])[0][0]
        both = drain(core, [Request(ids=(10, 11, 12), max_new_tokens=10, grammar=Grammar("regex", "[0-9]{20}")), free])
        assert ids_of(both[1][0]) == ids_of(alone) != ids_of(both[0][0])

    def test_a_matcher_that_gave_up_ends_its_request(self, core, compiler):
        request = Request(ids=(10, 11), grammar=Grammar("regex", "[0-9]{20}"), max_new_tokens=30)
        core.add(request)
        outs = core.step()
        core._running[0].matcher.consume(3)
        outs = core.step()
        assert outs[0].token.finish_reason == "error" and "grammar" in outs[0].token.error
        assert core.is_idle


def nested(opening: str, closing: str, depth: int, inner: str = "{}") -> str:
    return opening * depth + inner + closing * depth


HOSTILE = {
    "not JSON": ("json_schema", "{"),
    "another document": ("json_schema", '{}}, {"lark_grammar": "start: /a/"'),
    "a list": ("json_schema", "[1]"),
    "null": ("json_schema", "null"),
    "never": ("json_schema", "false"),
    "unknown type": ("json_schema", '{"type": "nope"}'),
    "100,000 deep": ("json_schema", nested('{"items":', "}", 7_000)),
    "deep lists": ("json_schema", '{"allOf": ' + nested("[", "]", 30_000, "") + "}"),
    "itself": ("json_schema", '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}'),
    "another host": ("json_schema", '{"$ref": "http://127.0.0.1:1/x"}'),
    "a file": ("json_schema", '{"$ref": "file:///etc/passwd"}'),
    "too long": ("json_schema", json.dumps({"enum": ["x" * MAX_SOURCE_CHARACTERS]})),
    "ten to the eight": (
        "json_schema",
        json.dumps(
            {"allOf": [{"anyOf": [{"properties": {f"k{i}{j}": {}}} for i in range(10)]} for j in range(8)]}
        ),
    ),
    "unclosed": ("regex", "("),
    "back reference": ("regex", r"(a)\1"),
    "look ahead": ("regex", "(?=a)b"),
    "nothing": ("regex", r"[^\s\S]"),
    "many brackets": ("regex", nested("(", ")", 30_000, "")),
    "not text": ("regex", "\ud800"),
    "no start": ("lark", "other: /a/"),
    "unknown rule": ("lark", "start: other"),
    "deep rules": ("lark", "start: " + nested("(", ")", 20_000, '"a"')),
}  # fmt: skip

HEAVY = {
    "repeated repeats": ("regex", "((((a{1,100}){1,100}){1,100}){1,100})"),
    "exponential automaton": ("regex", "(.*a.{200})"),
    "overlapping": ("regex", "(x+x+)+y"),
    "ambiguous": ("lark", 'start: start start | "a"'),
    "many properties": ("json_schema", json.dumps({"properties": {f"p{i}": {"type": "string"} for i in range(2000)}})),
    "a billion items": ("json_schema", '{"type": "array", "minItems": 1000000000}'),
    "a long string": ("json_schema", '{"type": "string", "minLength": 1000000, "maxLength": 2000000}'),
    "many patterns": ("json_schema", json.dumps({"anyOf": [{"pattern": f"(a|b)*{i}"} for i in range(900)]})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_sources_are_refused(core, case):
    kind, source = HOSTILE[case]
    began = time.monotonic()
    with pytest.raises(InputError, match=kind) as caught:
        core.add(Request(ids=(10,), grammar=Grammar(kind, source)))
    assert time.monotonic() - began < COMPILE_LIMIT_S
    assert len(str(caught.value)) < 400
    assert core.is_idle


@pytest.mark.parametrize("case", HEAVY)
def test_heavy_sources_are_refused_or_served_in_bounded_time(core, case):
    kind, source = HEAVY[case]
    began = time.monotonic()
    try:
        found = ask(core, Grammar(kind, source), max_new_tokens=40, sampling=Sampling(temperature=1.0))[0]
    except InputError:
        found = []
    assert time.monotonic() - began < 2 * COMPILE_LIMIT_S
    assert not found or found[-1].finish_reason in ("stop", "length", "error")
    core.check()


def test_a_tokenizer_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"tokenizer\.json serves no grammars"):
        GrammarCompiler('{"model": 1}', vocab_size=10, stop_ids=(1,))


def test_random_bytes_as_sources(compiler):
    dice = random.Random(0)
    for _ in range(150):
        kind = dice.choice(["json_schema", "regex", "lark"])
        source = "".join(dice.choice('{}[]()|*+?\\"abc:1,/.^$ \n%@start') for _ in range(dice.randrange(60)))
        with contextlib.suppress(InputError):
            assert compiler.compile(Grammar(kind, source)).allowed().dtype == torch.bool
