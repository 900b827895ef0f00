"""Thinking: a conversation, a mode and a budget go in, one stream of events comes out."""

from __future__ import annotations

from narthex.reason.run import DEFAULTS, default_tools, run

__all__ = ["DEFAULTS", "default_tools", "run"]
