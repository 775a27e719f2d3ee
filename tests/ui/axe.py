"""Accessibility findings of axe-core that are ours: inside an element of the extension or of a chip."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = {"serious", "critical"}
OURS = ["#cloister-panel", ".cl-Badge", ".cl-Promote", ".cl-Chip", ".cl-Notice", ".cl-Price"]
# About whole pages; Lab's own landmarks are not ours to judge.
_WHOLE_PAGE = {"region", "page-has-heading-one", "landmark-one-main"}


def grave_findings(page: Page, *more: str) -> list[str]:
    """Return the serious and critical findings in what of ours (and in ``more``) is on the page, one line each."""
    present = [[selector] for selector in (*OURS, *more) if page.locator(selector).count()]
    if not present:
        raise AssertionError("nothing of ours is on the page")
    results = Axe().run(page, context={"include": present}).response
    return [
        f"{found['impact']} {found['id']}: {node['target']} {node.get('failureSummary', '')}"
        for found in results["violations"]
        if found["impact"] in GRAVE and found["id"] not in _WHOLE_PAGE
        for node in found["nodes"]
    ]
