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
_FIRST = ("repository/test_binder", "ui/", "notebooks/test_nbval", "notebooks/", "crash/", "vault/test_fuzz.py",
          "provider/test_guide", "attacks/", "replay/", "sandbox/test_stats", "repository/", "e2e/")  # fmt: skip
# Folders whose files share what is dear to build (a user with both applications and a browser's contracts; the tour
# executed live): with several workers, one of them has them all. Every other file is for whichever worker is free.
_SHARED = {"tests/ui/": "ui", "tests/replay/": "executed", "tests/notebooks/test_nbval": "executed",
           "tests/notebooks/test_tampered": "executed"}  # fmt: skip
_counts = Counts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((rank for rank, name in enumerate(_FIRST) if name in item.nodeid), len(_FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadFileScheduling

    class BySharedWorld(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            shared = (world for name, world in _SHARED.items() if nodeid.startswith(name))
            return next(shared, super()._split_scope(nodeid))

    return BySharedWorld(config, log)


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
