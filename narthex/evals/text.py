"""Plain text tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "   "


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Align rows of equally many cells: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """A share as "92.4 %"; what is not known as "-"."""
    return "-" if share is None else f"{100 * share:.1f} %"
