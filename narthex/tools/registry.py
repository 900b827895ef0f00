"""The tools by name: what `-T` takes, and what an agent may be handed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from narthex.base.config import did_you_mean
from narthex.base.errors import InputError
from narthex.tools.contract import Tool
from narthex.tools.ground import ground
from narthex.tools.mark import mark
from narthex.tools.python import python
from narthex.tools.zoom import zoom

TOOLS: Mapping[str, Tool] = MappingProxyType({tool.spec.name: tool for tool in (zoom, mark, ground, python)})


def get_tool(name: str) -> Tool:
    """The tool of that name. Raises: InputError, which names the nearest one or lists them all."""
    if name not in TOOLS:
        guess = did_you_mean(name, TOOLS)
        hint = f"did you mean {guess}?" if guess else f"the tools are: {', '.join(TOOLS)}"
        raise InputError(f"there is no tool {name!r}", hint=hint)
    return TOOLS[name]
