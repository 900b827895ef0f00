"""One self-contained HTML page of a report, or of two side by side: no scripts, nothing fetched, light and dark."""

from __future__ import annotations

from narthex.evals.page.build import compare_page, report_page

__all__ = ["compare_page", "report_page"]
