"""Templates cannot harm, and what people write cannot become a control token."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import InputError, WeightsError
from narthex.tokens.template import ChatTemplate, Marker

NAMES = ["<|eot|>", "<|header_start|>", "<|image|>", "<think>", "</think>", "[INST]", "<|a<|a|>"]

# Sixty-four doublings of something called n.x, one way or another.
DOUBLE = "{% set n = namespace(x='xx') %}{% for i in range(64) %}STEP{% endfor %}"

HOSTILE = {
    "attributes": "{{ ''.__class__.__mro__ }}{{ messages.__class__ }}",
    "long string": "{{ 'x' * 10**10 }}",
    "long list": "{% set l = [0] * 10**9 %}",
    "power": "{{ 10 ** (10 ** 8) }}",
    "width": "{{ '%2000000000d' % 1 }}",
    "center": "{{ 'x' | center(10**9) }}",
    "ljust": "{{ 'x'.ljust(10**9) }}",
    "format": "{{ '{:2000000000}'.format(1) }}",
    "to_bytes": "{{ (5).to_bytes(10**10, 'big') }}",
    "lipsum": "{{ lipsum(n=10**8) }}",
    "doubling by ~": DOUBLE.replace("STEP", "{% set n.x = n.x ~ n.x %}"),
    "doubling by +": DOUBLE.replace("STEP", "{% set n.x = n.x + n.x %}"),
    "doubling by set": DOUBLE.replace("STEP", "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}"),
    "doubling by replace": DOUBLE.replace("STEP", "{% set n.x = n.x.replace('x', 'xx') %}"),
    "doubling by replace filter": DOUBLE.replace("STEP", "{% set n.x = n.x | replace('x', 'xx') %}"),
    "doubling by join": DOUBLE.replace("STEP", "{% set n.x = [n.x, n.x] | join(n.x) %}"),
    "doubling by indent": DOUBLE.replace("STEP", "{% set n.x = ('\n' ~ n.x) | indent(n.x) %}"),
    "doubling lists": DOUBLE.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ n.x == 1 }}",
    "doubling dicts": DOUBLE.replace("STEP", "{% set n.x = dict(a=n.x, b=n.x) %}") + "{{ n.x == 1 }}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops without calls": "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "tree of macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "repeated text": "{% for a in range(99999) %}" + "x" * 99_999 + "{% endfor %}",
    "include": "{% include '/etc/passwd' %}",
    "undefined": "{{ nothing.at.all }}",
    "division": "{{ 1 / 0 }}",
    "syntax": "{% if %}",
    "nesting": "{{ " + "(" * 20_000 + ")" * 20_000 + " }}",
    "too long": "x" * 300_000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_templates_are_refused_in_time(source):
    began = time.thread_time()
    with pytest.raises(WeightsError) as caught:
        text = ChatTemplate(source).render({"messages": []}, seconds=0.5)
        pytest.fail(f"rendered {len(text)} characters: {text[:80]!r}")
    assert time.thread_time() - began < 4
    assert caught.value.hint and "\n" not in str(caught.value)[:60]


def test_a_template_may_refuse_a_conversation():
    with pytest.raises(InputError, match="only pictures"):
        ChatTemplate("{{ raise_exception('only pictures') }}").render({})


def test_what_ordinary_templates_use_works():
    source = (
        "{%- for m in messages %}{% if loop.last %}{% break %}{% endif %}{% endfor -%}"
        "{% generation %}{{ messages[0].content | trim | upper }}{% endgeneration %}"
        "{{ ('a,b' | replace(',', ';')).split(';') | join('|') }}{{ {'é': [1, '<']} | tojson }}"
        "{{ {'a': 1} | tojson(indent=2) }}{{ 'x\ny' | indent(2) }}{{ [3, 1] | sort | first }}"
        "{{ messages[::-1][0].content ~ 1 }}{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}"
        "{{ strftime_now('%Y') | length }}{{ undefined_name }}{{ '%s-%d' % ('a', 3) }}{{ [1, 2] | sum }}{{ 'abc'[1:] }}"
    )
    rendered = ChatTemplate(source).render({"messages": [{"content": " é\n"}]})
    assert rendered == 'Éa|b{"é": [1, "<"]}{\n  "a": 1\n}x\n  y1 é\n124a-33bc'


def test_a_long_conversation_is_within_the_limits():
    source = "{% for m in messages %}{{ '<|s|>' + m.content | trim + '<|e|>' }}{% endfor %}"
    messages = [{"content": "word " * 2000} for _ in range(500)]
    assert len(ChatTemplate(source).render({"messages": messages})) > 4_900_000


FRAGMENTS = st.sampled_from(
    [*NAMES, "<|", "|>", "<", ">", "eot", "|eot|>", "<|eot", " ", "\n", "image", "INST", "a|>", "é", "x"]
)
USER_TEXT = st.lists(FRAGMENTS, max_size=6).map("".join)


@settings(max_examples=500)
@given(st.lists(USER_TEXT, max_size=4), st.sampled_from(["", "<", "<|", ">", "\n", "<|header_start|>"]), st.booleans())
def test_text_of_users_never_names_a_control_token(texts, glue, trims):
    marker = Marker(NAMES)
    marked = [marker.mark(text) for text in texts]
    own = [text.strip() if trims else text for text in texts]
    rendered = glue.join(text.strip() if trims else text for text in marked)
    pieces = marker.split(rendered)
    # Only what the template wrote is a control token, and not a letter is lost.
    assert pieces[1::2] == ([glue] * (len(texts) - 1) if glue in NAMES else [])
    assert "".join(pieces) == glue.join(own)


def test_marks_reach_names_and_keys_and_pass_through_json():
    marker = Marker(NAMES)
    value = {"<|eot|>": ["a<think>", {"k": "<|eot|>"}], "n": 3, "none": None}
    for filter_ in ("tojson", "tojson(ensure_ascii=true)", "tojson(indent=1)"):
        pieces = marker.split(ChatTemplate("{{ v | " + filter_ + " }}<|eot|>").render({"v": marker.mark(value)}))
        assert pieces[1::2] == ["<|eot|>"]
        assert "a<think>" in pieces[0] and '"<|eot|>"' in pieces[0]


def test_text_without_names_is_not_touched():
    text = "Is 3 < 5 and {a} | b > c?  "
    assert Marker(NAMES).mark(text) is text


def test_many_names_are_marked_in_linear_time():
    began = time.monotonic()
    marker = Marker(NAMES)
    assert marker.split(marker.mark("<|eot|>" * 20_000)) == ["<|eot|>" * 20_000]
    assert time.monotonic() - began < 2
