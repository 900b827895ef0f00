"""Thinking: a conversation, a mode and a budget go in, one stream of events comes out."""

from __future__ import annotations

from narthex.reason.narthex import Answer, Narthex
from narthex.reason.run import DEFAULTS, default_tools, run

__all__ = ["DEFAULTS", "Answer", "Narthex", "default_tools", "run"]
