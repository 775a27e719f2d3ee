"""Rehearse on the mock kernel, see the price, promote to the real data: in the browser, as an analyst does it."""

from __future__ import annotations

import re

import pytest
from axe import grave_findings
from lab import SECOND, NotebookPage
from playwright.sync_api import expect

CELLS = [
    "import cloister as cl\nv = cl.table('st_anna.visits')\nv.cost.mean(share=0.03)",
    "v.age.mean(share=0.01)",
    "1 + 1",
]


@pytest.fixture
def rehearsal(application, user, page):
    """A mock notebook whose first two cells were rehearsed, and the third was not."""
    path = user.notebook(f"rehearsal-{application.kind}.ipynb", "cloister-mock", CELLS)
    notebook = NotebookPage(page, application, path).open()
    notebook.run(0)
    notebook.run(1)
    return notebook


def test_a_rehearsal_shows_its_price_and_a_promotion_pays_it(rehearsal):
    # Mock: said in the badge, hatched in the chip, no receipt, nothing spent.
    expect(rehearsal.badge).to_contain_text("mock")
    expect(rehearsal.chip(0)).to_have_attribute("data-state", "mock")
    expect(rehearsal.chip(0)).to_contain_text("would cost 3 % of st_anna.patients")
    # Promote asks first, and without a yes nothing happens.
    promote = rehearsal.visible(".cl-Promote")
    promote.click()
    dialog = rehearsal.page.locator(".jp-Dialog")
    expect(dialog.locator(".cl-Price-table")).to_contain_text("st_anna.patients")
    expect(dialog.locator(".cl-Price-table")).to_contain_text(re.compile(r"4(\.0+)? %"))
    expect(dialog).to_contain_text("Cells never rehearsed as they stand: 1.")
    assert grave_findings(rehearsal.page) == []
    rehearsal.cancel()
    expect(rehearsal.badge).to_contain_text("mock")
    # With a yes the kernel changes and everything runs on the real data.
    promote.click()
    rehearsal.confirm()
    expect(rehearsal.chip(1)).to_have_attribute("data-state", "simulated", timeout=60 * SECOND)
    expect(rehearsal.badge).to_have_text(re.compile(r"Simulated\s*\d+(\.\d+)? % left"))
    expect(promote).to_be_hidden()
    rehearsal.open_panel()
    expect(rehearsal.section("receipts").locator(".cl-Receipt")).to_have_count(2)
    assert rehearsal.save()["metadata"]["kernelspec"]["name"] == "cloister"
