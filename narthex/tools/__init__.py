"""Tools: the contract, and the tools themselves. What a tool needs from above is handed to it in a ToolContext."""

from __future__ import annotations

from narthex.tools.contract import Tool, ToolContext, tool
from narthex.tools.zoom import zoom

__all__ = ["Tool", "ToolContext", "tool", "zoom"]
