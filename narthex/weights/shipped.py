"""Where the model that the package ships lies."""

from __future__ import annotations

from pathlib import Path

SHIPPED_NANO = Path(__file__).resolve().parents[1] / "models" / "narthex-nano"
