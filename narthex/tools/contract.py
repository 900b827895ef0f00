"""What a tool is: a typed, documented function. Its hints become the schema the model sees and its calls must pass.

A tool touches the world only through the `ToolContext` it is handed; it never imports from the floors above.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, cast, get_args, get_origin, get_type_hints

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError, ModelMistake
from narthex.chat import FilePart, ImagePart, Part, ToolSpec

Function = Callable[..., Sequence[Part] | Awaitable[Sequence[Part]]]


class ToolContext(Protocol):
    """What the run hands to a tool. Valid for one call."""

    @property
    def num_pictures(self) -> int:
        """Pictures that have appeared so far; the index of the next one."""
        ...

    def open_picture(self, index: int) -> Image.Image:
        """The picture with that index, upright RGB. Raises: ModelMistake where there is none."""
        ...

    def keep_picture(self, image: Image.Image) -> ImagePart:
        """Store a picture and name it, ready to be a result's part."""
        ...

    def keep_file(self, path: Path) -> FilePart:
        """Store a file that a tool made, ready to be a result's part. Raises: ModelMistake where it is too large."""
        ...

    @property
    def folder(self) -> Path:
        """The conversation's own folder, made on first use and kept across its turns."""
        ...

    async def ask_model(self, question: str, pictures: Sequence[int] = ()) -> str:
        """Ask the run's model aside, without thought or tools; it counts in the agent's ledger.

        Raises: ModelMistake for a picture that is not there.
        """
        ...


@dataclass(frozen=True)
class Tool:
    """A tool ready to be offered: `spec` is what the model is told, `call` runs it."""

    spec: ToolSpec
    _function: Function
    _arguments: type[BaseModel]

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> tuple[Part, ...]:
        """Check the arguments and run. Raises: ModelMistake, in one line, for whatever the model can mend.

        A plain function runs in a thread of its own, so that a slow one holds nobody up.
        """
        try:
            checked = self._arguments.model_validate(arguments)
        except ValidationError as error:
            raise ModelMistake(f"{self.spec.name}: {_one_line(error, self._arguments)}") from None
        values = {name: getattr(checked, name) for name in self._arguments.model_fields}
        if inspect.iscoroutinefunction(self._function):
            return tuple(await self._function(context, **values))
        function = cast("Callable[..., Sequence[Part]]", self._function)
        return tuple(await asyncio.to_thread(function, context, **values))


def tool(function: Function) -> Tool:
    """Make a tool of a function `f(context, a: A, b: B = …) -> parts`, plain or async.

    The name is the function's, the description its docstring's first paragraph; parameters come in the order written,
    each with `Annotated[type, Field(description=…)]`. Raises: ConfigError where hint, docstring or context is missing.
    """
    name = function.__name__
    description = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    if not description:
        raise ConfigError(f"tool {name} has no docstring, and the model is told what a tool does by it")
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].name != "context":
        raise ConfigError(f"tool {name} must take `context` first")
    fields: dict[str, Any] = {}
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or hasattr(BaseModel, parameter.name):
            raise ConfigError(f"tool {name}: no parameter can be called {str(parameter).split(':')[0]}")
        hint = hints.get(parameter.name)
        if hint is None or get_origin(hint) is not Annotated or not _described(hint):
            raise ConfigError(f"tool {name}: parameter {parameter.name} wants Annotated[type, Field(description=…)]")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hint, default)
    arguments = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    return Tool(ToolSpec(name=name, description=description, parameters=schema), function, arguments)


def _described(hint: Any) -> bool:
    return any(getattr(extra, "description", None) for extra in get_args(hint)[1:])


def _one_line(error: ValidationError, arguments: type[BaseModel]) -> str:
    """Every problem of a call in one line, each named by its parameter."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, problem["loc"])) or "arguments"
        guess = did_you_mean(place, arguments.model_fields) if problem["type"] == "extra_forbidden" else None
        problems.append(f"{place}: {problem['msg'].lower()}" + (f" (did you mean {guess}?)" if guess else ""))
    return "; ".join(problems)
