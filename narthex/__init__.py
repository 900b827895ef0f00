"""Narthex: a self-hosted multimodal reasoning system. Its rooms import downwards only (tests/docs/test_floors.py)."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
