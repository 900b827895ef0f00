"""Prepares the judge, and shows after the tests what was counted: `record_property("parity", line)`.

transformers' Llama 4 code imports torchvision where it is installed. The published wheel's compiled part does not load
beside a CPU build of torch and is not used here; two of its operators only have to be declared before that import.
"""

from __future__ import annotations

import torch

_DECLARED = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [value for report in reports for key, value in report.user_properties if key == "parity"]
    if lines:
        terminalreporter.section("parity with transformers")
        for line in lines:
            terminalreporter.write_line(line)
