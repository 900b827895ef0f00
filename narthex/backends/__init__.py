"""One protocol, and the ways to reach a model by it. `LocalBackend` is imported from `.local`: it loads PyTorch."""

from __future__ import annotations

from narthex.backends.base import Backend, TurnDelta, TurnEnd, TurnRequest, TurnUsage

__all__ = ["Backend", "TurnDelta", "TurnEnd", "TurnRequest", "TurnUsage"]
