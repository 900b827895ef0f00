"""A reply comes apart rightly wherever it is cut, and nothing in it can raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.chat import ToolCall
from narthex.tokens.calls import SHAPES, CallError, CallScanner, parse_pythonic


def scan(pieces, shapes=SHAPES):
    """Text, calls as (name, arguments), mistakes: what a scanner finds in the pieces of a stream."""
    scanner = CallScanner(shapes, lambda i: f"c{i}")
    found = [item for piece in pieces for item in scanner.feed(piece)] + scanner.finish()
    text = "".join(item for item in found if isinstance(item, str))
    calls = [(item.name, item.arguments) for item in found if isinstance(item, ToolCall)]
    return text, calls, [str(item) for item in found if isinstance(item, CallError)]


ZOOM = ("zoom", {"box": [1, 2, 3, 4], "image": 0})
ZOOM_JSON = '{"name": "zoom", "parameters": {"box": [1, 2, 3, 4], "image": 0}}'
CASES = [
    ("plain answer", "It reads 12.5 bar.\n", "It reads 12.5 bar.\n", [], 0),
    ("json", ZOOM_JSON, "", [ZOOM], 0),
    ("json arguments", ZOOM_JSON.replace("parameters", "arguments"), "", [ZOOM], 0),
    ("json order", '{"parameters": {"a": "}"}, "name": "f"}', "", [("f", {"a": "}"})], 0),
    (
        "openai",
        '{"type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}',
        "",
        [("f", {"a": 1})],
        0,
    ),
    ("text, then two", f"Look.\n{ZOOM_JSON}\n{ZOOM_JSON}", "Look.", [ZOOM, ZOOM], 0),
    ("semicolons", f"{ZOOM_JSON}; {ZOOM_JSON}", "", [ZOOM, ZOOM], 0),
    ("text after", f"{ZOOM_JSON}\nDone", "Done", [ZOOM], 0),
    (
        "hermes",
        f"Hm\n<tool_call>\n{ZOOM_JSON}\n</tool_call>\n<tool_call>{ZOOM_JSON}</tool_call>",
        "Hm",
        [ZOOM, ZOOM],
        0,
    ),
    ("hermes, odd keys", '<tool_call>{"id": 1, "name": "f", "arguments": {}}</tool_call>', "", [("f", {})], 0),
    ("function", 'Ok <function=f>{"a": "</function>"}</function> so', "Ok  so", [("f", {"a": "</function>"})], 0),
    (
        "pythonic",
        "[f(a=1, b='x]'), g.h(c=[True, null, -1.5])]",
        "",
        [("f", {"a": 1, "b": "x]"}), ("g.h", {"c": [True, None, -1.5]})],
        0,
    ),
    ("json answer", '{"name": "Ada", "born": 1815}', '{"name": "Ada", "born": 1815}', [], 0),
    ("other json", '{"value": [1, {"name": 2}]}', '{"value": [1, {"name": 2}]}', [], 0),
    ("brackets", "[1] says [a] and [b(c)\n[2", "[1] says [a] and [b(c)\n[2", [], 0),
    ("less than", "1 < 2 <fun> <tool\n<", "1 < 2 <fun> <tool\n<", [], 0),
    ("fence", f"```json\n{ZOOM_JSON}\n```\nend", f"```json\n{ZOOM_JSON}\n```\nend", [], 0),
    ("after a fence", f"```\nx\n```\n{ZOOM_JSON}", "```\nx\n```", [ZOOM], 0),
    ("inline is no call", f"Write {ZOOM_JSON}", f"Write {ZOOM_JSON}", [], 0),
    ("broken json", '{"name": "f", "parameters": {a: 1}}\nok', "ok", [], 1),
    ("cut json", '{"name": "f", "parameters": {"a": ', "", [], 1),
    ("no object", '{"name": "f", "parameters": 3}', "", [], 1),
    ("no name", '{"name": 3, "parameters": {}}', "", [], 1),
    ("NaN", '{"name": "f", "parameters": {"a": NaN}}', "", [], 1),
    ("lone surrogate", '{"name": "f", "parameters": {"a": "\\ud800"}}', "", [], 1),
    ("huge number", '{"name": "f", "parameters": {"a": ' + "9" * 5000 + "}}", "", [], 1),
    ("function without object", "<function=f>a=1</function> b", "b", [], 1),
    ("positional", "[f(1)]", "", [], 1),
    ("code", "[f(a=__import__('os').system('x'))]", "", [], 1),
    ("star", "[f(**{'a': 1})]", "", [], 1),
    ("cut pythonic", "[f(a=1", "", [], 1),
]


@pytest.mark.parametrize(
    ("source", "text", "calls", "num_mistakes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_calls_are_found_in_pieces_of_any_size(source, text, calls, num_mistakes, size):
    found = scan([source[i : i + size] for i in range(0, len(source), size)])
    assert found[:2] == (text, calls)
    assert len(found[2]) == num_mistakes, found[2]
    assert all("\n" not in line and len(line) < 200 for line in found[2])


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab{}[]()<>\"'`=:,;/ \n\\", max_size=60) | st.sampled_from([case[1] for case in CASES]), st.data()
)
def test_where_a_stream_is_cut_changes_nothing(source, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(source)), max_size=6)))
    pieces = [source[a:b] for a, b in zip([0, *cuts], [*cuts, len(source)], strict=True)]
    assert scan(pieces) == scan([source])


@given(st.text(max_size=80))
def test_without_shapes_everything_is_text_at_once(source):
    assert CallScanner((), str).feed(source) == ([source] if source else [])


def test_text_is_not_held_back_without_need():
    scanner = CallScanner(SHAPES, str)
    assert scanner.feed("It is 5") == ["It is 5"]
    assert scanner.feed(" [bar") == [" [bar"]
    assert scanner.feed("]\n{") == ["]"]
    assert scanner.feed('"value') == ['\n{"value']


def test_deep_nesting_is_a_mistake_and_no_crash():
    deep = '{"name": "f", "parameters": ' + '{"a": ' * 50_000 + "1" + "}" * 50_001
    assert scan([deep])[1] == [] and len(scan([deep])[2]) == 1
    with pytest.raises(CallError):
        parse_pythonic("[f(a=" + "[" * 50_000 + "]" * 50_000 + ")]")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=4), JSON_VALUES, max_size=4), st.integers(1, 9))
def test_any_arguments_survive_json_and_python(arguments, size):
    as_json = json.dumps({"name": "f", "parameters": arguments}, ensure_ascii=False)
    assert scan([as_json[i : i + size] for i in range(0, len(as_json), size)]) == ("", [("f", arguments)], [])
    as_python = f"[f({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"
    assert scan([as_python[i : i + size] for i in range(0, len(as_python), size)]) == ("", [("f", arguments)], [])
