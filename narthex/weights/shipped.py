"""Where the model that the package ships lies."""

from __future__ import annotations

from narthex.base.paths import SHIPPED_NANO

__all__ = ["SHIPPED_NANO"]
