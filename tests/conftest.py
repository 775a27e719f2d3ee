"""Counts of the proof by test, printed at the end of a run and kept in ``build/proof.json``.

A test may add figures of its own with pytest's ``record_property``: they are added up by name.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "proof"))

from proof_counts import Counts

from cloister import notebook_libraries

notebook_libraries.load()

# Files whose tests are few and long start first, so that at the end no worker waits for the other.
_FIRST = ("repository/test_binder", "notebooks/", "crash/", "vault/test_fuzz.py", "provider/test_guide", "attacks/",
          "replay/", "sandbox/test_stats", "repository/", "ui/", "e2e/")  # fmt: skip
_counts = Counts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((rank for rank, name in enumerate(_FIRST) if name in item.nodeid), len(_FIRST)))


def pytest_collection_finish() -> None:
    # Thousands of collected tests and the libraries they import live to the end: no collection need look at them again.
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _counts.add(report.nodeid, passed=report.passed, figures=dict(report.user_properties))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := _counts.lines():
        terminalreporter.section("proof by test")
        for line in lines:
            terminalreporter.write_line(line)
        _counts.write(Path(__file__).parents[1] / "build" / "proof.json")
