"""Stop strings, wherever the pieces of a text break."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from narthex.backends.fake import Said
from narthex.serve.stops import StopCutter

from .serve_helpers import PATH, asks, chunks_of, joined, served

few_letters = some.text(alphabet="ab", max_size=12)


@given(some.lists(few_letters, max_size=8), some.lists(few_letters.filter(bool), min_size=1, max_size=3))
def test_pieces_change_nothing(pieces, stops):
    cutter = StopCutter(stops)
    shown = "".join(map(cutter.feed, pieces)) + cutter.drain()
    whole = "".join(pieces)
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert shown == cutter.passed == (whole[: min(ends)[1]] if ends else whole)
    assert cutter.is_cut == bool(ends)


@given(few_letters)
def test_what_cannot_begin_a_stop_string_is_not_held(text):
    assert StopCutter(["xyz"]).feed(text) == text


async def test_the_answer_ends_before_the_string_and_the_model_stops():
    said = Said(thought="Say END at last.", text="one two END three " + "more " * 1000)
    async with served(lambda request: said) as (client, backend, _):
        whole = (await client.post(PATH, json=asks(stop=["END", "never"]))).json()
        streamed = await client.post(PATH, json=asks(stop="END", stream=True))
        assert backend.num_open == 0
    choice = whole["choices"][0]
    assert choice["message"]["content"] == "one two " == joined(chunks_of(streamed.text), "content")
    assert choice["finish_reason"] == "stop" and choice["message"]["reasoning"] == "Say END at last."
    assert whole["usage"]["completion_tokens"] < 20, "the model did not go on"


async def test_a_string_that_never_comes_changes_nothing():
    async with served(lambda request: Said(text="one two three")) as (client, _, _):
        whole = (await client.post(PATH, json=asks(stop=["thread"]))).json()
        streamed = await client.post(PATH, json=asks(stop=["thread"], stream=True))
    assert whole["choices"][0]["message"]["content"] == "one two three" == joined(chunks_of(streamed.text), "content")
