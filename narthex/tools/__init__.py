"""Tools: the contract, and the tools themselves. What a tool needs from above is handed to it in a ToolContext."""

from __future__ import annotations

from narthex.tools.contract import TIMEOUT_S, Tool, ToolContext, tool
from narthex.tools.ground import ground
from narthex.tools.mark import mark
from narthex.tools.python import python
from narthex.tools.registry import TOOLS, get_tool
from narthex.tools.zoom import zoom

__all__ = ["TIMEOUT_S", "TOOLS", "Tool", "ToolContext", "get_tool", "ground", "mark", "python", "tool", "zoom"]
