"""The contract of tools, and zoom: what the model is told, what it may say, and what it gets back."""

from __future__ import annotations

from typing import Annotated

import pytest
from PIL import Image
from pydantic import Field

from narthex.base.errors import ConfigError, InputError, ModelMistake
from narthex.chat import TextPart
from narthex.chat.boxes import Box
from narthex.tools import TIMEOUT_S, TOOLS, Tool, get_tool, tool, zoom

from .tools_helpers import Table

Count = Annotated[int, Field(ge=1, description="how many")]


def quarters() -> Image.Image:
    """200 x 100 pixels, each quarter in a colour of its own."""
    picture = Image.new("RGB", (200, 100))
    for place, colour in (((0, 0), "red"), ((100, 0), "lime"), ((0, 50), "blue"), ((100, 50), "white")):
        picture.paste(colour, (*place, place[0] + 100, place[1] + 50))
    return picture


async def test_a_crop_comes_back_in_full_detail():
    table = Table(Image.new("RGB", (50, 50)), quarters())
    (part,) = await zoom.call(table, {"box": [500, 0, 1000, 500], "image": 1})
    assert (part.width, part.height, part.media_type) == (100, 50, "image/png")
    assert table.gallery.load(part).getcolors() == [(5000, (0, 255, 0))]
    assert table.num_pictures == 3
    (again,) = await zoom.call(table, {"box": [0, 0, 100, 1000], "image": 2})  # a look into a look
    assert (again.width, again.height) == (10, 50)
    (first,) = await zoom.call(table, {"box": [0, 0, 1000, 1000]})  # the first picture is the default
    assert (first.width, first.height) == (50, 50)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "box: field required"),
        ({"box": [0, 0, 500]}, "box"),
        ({"box": [0, 0, 500, 1001]}, "less than or equal to 1000"),
        ({"box": [-1, 0, 500, 500]}, "greater than or equal to 0"),
        ({"box": ["left", 0, 500, 500]}, "valid integer"),
        ({"box": "0 0 10 10"}, "box"),
        ({"box": [500, 0, 500, 500]}, "is empty"),
        ({"box": [600, 0, 500, 500]}, "is empty"),
        ({"box": [0, 0, 4, 1000]}, "1 x 100 pixels"),
        ({"box": [0, 0, 500, 500], "image": 1}, "there is no picture 1"),
        ({"box": [0, 0, 500, 500], "image": -1}, "greater than or equal to 0"),
        ({"boxes": [0, 0, 500, 500]}, "did you mean box?"),
        ({"box": [0, 0, 500, 500], "picture": 0}, "picture: extra inputs are not permitted"),
    ],
)
async def test_mistakes_come_back_in_one_line(arguments, words):
    table = Table(quarters())
    with pytest.raises(ModelMistake) as caught:
        await zoom.call(table, arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert table.num_pictures == 1, "a refused look keeps nothing"


def test_what_the_model_is_told_of_zoom():
    assert (zoom.spec.name, list(zoom.spec.parameters["properties"])) == ("zoom", ["box", "image"])
    assert zoom.spec.parameters["required"] == ["box"]
    assert zoom.spec.parameters["additionalProperties"] is False
    assert all("title" not in field and field["description"] for field in zoom.spec.parameters["properties"].values())
    assert zoom.spec.description.startswith("Look closely at a part of a picture")


def test_a_box_holds_all_that_it_touches():
    assert Box(1, 1, 999, 999).pixels(200, 100) == (0, 0, 200, 100)
    assert Box(0, 0, 1000, 1000).pixels(7, 3) == (0, 0, 7, 3)
    assert Box(500, 500, 501, 501).pixels(10, 10) == (5, 5, 6, 6)
    assert Box(0, 0, 1001, 5).problem() == "box [0, 0, 1001, 5] leaves 0..1000"
    assert Box(0, 0, 10, 10).problem() is None


async def test_a_function_becomes_a_tool():
    @tool
    def repeat(context: object, word: Annotated[str, Field(description="what")], times: Count = 2) -> list[TextPart]:
        """Say a word
        more than once.

        This paragraph is for people.
        """
        return [TextPart(text=word * times)]

    assert repeat.spec.description == "Say a word more than once."
    assert await repeat.call(Table(), {"word": "ho "}) == (TextPart(text="ho ho "),)
    assert await repeat.call(Table(), {"word": "ho", "times": 1}) == (TextPart(text="ho"),)
    with pytest.raises(ModelMistake, match=r"repeat: word: field required; times: .*greater than or equal to 1"):
        await repeat.call(Table(), {"times": 0})


def test_a_tool_that_says_too_little_is_refused_when_it_is_defined():
    def silent(context: object) -> list[TextPart]:
        return []

    def homeless(times: Count) -> list[TextPart]:
        """Lacks its context."""
        return []

    def vague(context: object, times: int) -> list[TextPart]:
        """Says not what its parameter is."""
        return []

    def open_ended(context: object, *times: Count) -> list[TextPart]:
        """Takes anything."""
        return []

    def hiding(context: object, copy: Count) -> list[TextPart]:
        """Has a parameter that every model of arguments has already."""
        return []

    for function, words in (
        (silent, "no docstring"),
        (homeless, "must take `context` first"),
        (vague, "parameter times wants Annotated"),
        (open_ended, r"\*times"),
        (hiding, "copy"),
    ):
        with pytest.raises(ConfigError, match=words):
            tool(function)


def test_a_tool_says_how_long_to_wait_and_whether_to_ask_first():
    @tool(timeout_s=3, needs_approval=True)
    def careful(context: object) -> list[TextPart]:
        """Does what should be asked first."""
        return []

    assert (careful.timeout_s, careful.needs_approval) == (3.0, True)
    assert (zoom.timeout_s, zoom.needs_approval) == (TIMEOUT_S, False)


@pytest.mark.parametrize(
    "options", [{"timeout_s": 0}, {"timeout_s": float("inf")}, {"timeout_s": True}, {"timeout_s": "2"},
                {"timeout_s": float("nan")}, {"needs_approval": 1}, {"needs_approval": "never"}],
)  # fmt: skip
def test_an_option_that_says_nothing_is_refused_when_the_tool_is_defined(options):
    def plain(context: object) -> list[TextPart]:
        """Does nothing."""
        return []

    with pytest.raises(ConfigError, match=f"tool plain: {next(iter(options))}"):
        tool(**options)(plain)


def test_a_default_or_a_type_that_no_call_could_have_is_refused_when_the_tool_is_defined():
    def eager(context: object, times: Count = 0) -> list[TextPart]:
        """Has a default that its own hint forbids."""
        return []

    def foreign(context: object, when: Annotated[type, Field(description="a type")]) -> list[TextPart]:
        """Wants what JSON cannot carry."""
        return []

    with pytest.raises(ConfigError, match="times cannot be 0"):
        tool(eager)
    with pytest.raises(ConfigError, match="tool foreign"):
        tool(foreign)


def test_tools_are_found_by_name():
    assert list(TOOLS) == ["zoom", "mark", "ground", "python"]
    assert all(isinstance(get_tool(name), Tool) and get_tool(name).spec.name == name for name in TOOLS)
    assert [name for name in TOOLS if TOOLS[name].needs_approval] == ["python"]
    with pytest.raises(InputError) as caught:
        get_tool("zom")
    assert (caught.value.message, caught.value.hint) == ("there is no tool 'zom'", "did you mean zoom?")
    with pytest.raises(InputError) as caught:
        get_tool("browser")
    assert caught.value.hint == "the tools are: zoom, mark, ground, python"


def test_what_the_model_is_told_of_each_tool_is_complete():
    for each in TOOLS.values():
        properties = each.spec.parameters["properties"]
        assert 40 < len(each.spec.description) < 400 and each.spec.parameters["additionalProperties"] is False
        assert all("title" not in field and field["description"] for field in properties.values())
