"""One line under every cell of a mock kernel that asked for a release: these numbers are invented.

A confidential kernel's cells end with a chip that the proxy makes from receipts. Mock values have no receipts, and a
released table is an ordinary DataFrame that says nothing about itself, so the line is shown from here.
"""

from __future__ import annotations

import sys
from typing import Any

from cloister.sandbox import html

_WORDS = "Cloister: MOCK, invented values; nothing charged, no receipt"
_cells: list[Any] = []


def note() -> None:
    """Show the line when the running cell ends, once however many releases it asks for."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or _cells:
        return
    _cells.append(shell)
    shell.events.register("post_run_cell", _show)


def _show(*_result: Any) -> None:
    shell = _cells.pop()
    shell.events.unregister("post_run_cell", _show)
    marked = html.block(html.paragraph(html.mock(), html.text("nothing charged, no receipt")))
    shell.display_pub.publish({"text/plain": _WORDS, "text/html": marked})
