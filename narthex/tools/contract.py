"""What a tool is: a typed, documented function. Its hints become the schema the model sees and its calls must pass.

A tool touches the world only through the `ToolContext` it is handed; it never imports from the floors above.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, cast, get_args, get_origin, get_type_hints, overload

from PIL import Image
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema

from narthex.base.config import did_you_mean
from narthex.base.errors import ConfigError, ModelMistake
from narthex.chat import FilePart, ImagePart, Part, ToolSpec

Function = Callable[..., Sequence[Part] | Awaitable[Sequence[Part]]]

_STRICT = ConfigDict(extra="forbid")
TIMEOUT_S = 120.0  # of a tool that names none: longer than any look takes, shorter than a person's patience


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
    """A tool ready to be offered: `spec` is what the model is told, `call` runs it.

    `timeout_s` is how long whoever calls should wait before giving up (`call` itself sets no clock); `needs_approval`
    says that a person should be asked first unless they said otherwise.
    """

    spec: ToolSpec
    _function: Function
    _arguments: type[BaseModel]
    timeout_s: float = TIMEOUT_S
    needs_approval: bool = False

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


@overload
def tool(function: Function, /) -> Tool: ...
@overload
def tool(*, timeout_s: float = ..., needs_approval: bool = ...) -> Callable[[Function], Tool]: ...
def tool(
    function: Function | None = None, /, *, timeout_s: float = TIMEOUT_S, needs_approval: bool = False
) -> Tool | Callable[[Function], Tool]:
    """Make a tool of a function `f(context, a: A, b: B = …) -> parts`, plain or async; with or without options.

    The name is the function's, the description its docstring's first paragraph; parameters come in the order written,
    each with `Annotated[type, Field(description=…)]`. Raises: ConfigError where hint, docstring or context is missing,
    where a default or an option is none that its type allows.
    """
    if function is None:
        return lambda function: _define(function, timeout_s, needs_approval)
    return _define(function, timeout_s, needs_approval)


def _define(function: Function, timeout_s: float, needs_approval: bool) -> Tool:
    name = function.__name__
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < math.inf:
        raise ConfigError(f"tool {name}: timeout_s is a number of seconds above 0, not {timeout_s!r}")
    if not isinstance(needs_approval, bool):
        raise ConfigError(f"tool {name}: needs_approval is True or False, not {needs_approval!r}")
    description = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    if not description:
        raise ConfigError(f"tool {name} has no docstring, and the model is told what a tool does by it")
    arguments = create_model(f"{name}_arguments", __config__=_STRICT, **_fields(function))
    try:
        schema = arguments.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(f"tool {name}: {error.message}; no JSON can carry it") from None
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    spec = ToolSpec(name=name, description=description, parameters=schema)
    return Tool(spec, function, arguments, float(timeout_s), needs_approval)


def _fields(function: Function) -> dict[str, Any]:
    """The parameters after `context`, as pydantic wants its fields: name -> (hint, default)."""
    name = function.__name__
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
        default = parameter.default
        if default is not inspect.Parameter.empty:
            try:
                TypeAdapter(hint).validate_python(default)
            except ValidationError:
                raise ConfigError(f"tool {name}: {parameter.name} cannot be {default!r}, its own default") from None
        fields[parameter.name] = (hint, ... if default is inspect.Parameter.empty else default)
    return fields


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
