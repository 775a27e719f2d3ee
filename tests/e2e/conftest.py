"""Demos for the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from living_demo import Demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory):
    """A demo of our own for the whole session."""
    demo = Demo(tmp_path_factory.mktemp("cloister-home"))
    built = demo.command("demo", "reset")
    assert built.returncode == 0, built.stderr
    yield demo
    demo.command("demo", "down")


@pytest.fixture
def fresh_demo(tmp_path: Path):
    """A demo that a test may break."""
    demo = Demo(tmp_path / "home")
    built = demo.command("demo", "reset")
    assert built.returncode == 0, built.stderr
    yield demo
    demo.command("demo", "down")
