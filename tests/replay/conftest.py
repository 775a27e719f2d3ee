"""What the replay tests share: the tour, executed live once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
for folder in ("notebooks", "reviewer", "protocol"):
    sys.path.insert(0, str(HERE.parent / folder))


@pytest.fixture(scope="session")
def tour() -> Path:
    """The tour as executed and bundled by the code under test."""
    import executed

    return executed.live_tour()
