"""Executed notebooks for the tests: the repository's own if they are bundled, else copies that were run once, live."""

from __future__ import annotations

import atexit
import functools
import shutil
import sys
import tempfile
from pathlib import Path

import execute

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from living_demo import Demo

NOTEBOOKS = tuple(sorted(execute.NOTEBOOKS.glob("*.ipynb")))
TOUR = execute.NOTEBOOKS / "01-tour.ipynb"


@functools.cache
def demo() -> Demo:
    """Return a demo of this test run; it ends with it."""
    home = Path(tempfile.mkdtemp(prefix="cloister-executed-"))
    found = Demo(home)

    @atexit.register
    def end() -> None:
        found.command("demo", "down")
        shutil.rmtree(home, ignore_errors=True)

    return found


@functools.cache
def ready(path: Path) -> Path:
    """Return a notebook with outputs: itself if it carries them, or a copy executed live in this run's demo."""
    carried = execute.is_bundled(path) or not execute.kernel_of(path).startswith("cloister")
    return path if carried else _executed(path)


@functools.cache
def live_tour() -> Path:
    """Return the tour as executed by the code under test, whatever the repository carries."""
    return _executed(TOUR) if execute.is_bundled(TOUR) else ready(TOUR)


def _executed(path: Path) -> Path:
    target = demo().home / "executed" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    execute.execute(path, target, demo().home)
    return target
