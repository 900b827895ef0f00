"""Shows, after the tests, what parity tests counted: `record_property("parity", line)`."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [value for report in reports for key, value in report.user_properties if key == "parity"]
    if lines:
        terminalreporter.section("parity with transformers")
        for line in lines:
            terminalreporter.write_line(line)
