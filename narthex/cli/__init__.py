"""The roof: the command line. One verb, one module; what a verb needs is imported when it runs: help is quick."""

from __future__ import annotations

from narthex.cli.app import main

__all__ = ["main"]
