"""Live views in the browser: they follow a running cell, survive a reload, and leave a record behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from lab import SECOND, NotebookPage
from playwright.sync_api import expect

MEAN = "import cloister as cl\nv = cl.table('st_anna.visits')\nm = v.bmi.mean()"
SLIDER = "import ipywidgets\nipywidgets.IntSlider(description='mine', value=7)"
LINES = ["%cloister status", "%cloister budget", MEAN, "import time; time.sleep(60)", SLIDER]
VIEW = ".jp-OutputArea-child:has(.jupyter-widgets)"


@pytest.mark.parametrize("kind", ["lab", "notebook7"])
def test_a_view_is_live_while_a_cell_runs_and_is_found_again_after_a_reload(kind, request, user, page):
    application = request.getfixturevalue(kind)
    path = user.notebook(f"live-{kind}.ipynb", "cloister", LINES)
    notebook = NotebookPage(page, application, path).open()
    for index in (0, 1):
        notebook.run(index)
    status, budget = (notebook.output(index).locator(VIEW) for index in (0, 1))
    expect(status).to_contain_text("0 releases verified")
    expect(budget).to_contain_text("privacy of st_anna.patients")
    record = notebook.output(1).locator("table").first
    then = record.inner_text()
    notebook.run(2)
    expect(status).to_contain_text("1 release verified")
    expect(budget).to_contain_text(re.compile(r"privacy of st_anna\.patients: [0-9.]+ % used \(epsilon [0-9.]+ of 8"))
    assert record.inner_text() == then  # what was true when the cell ran
    notebook.save()
    notebook.start(3)
    page.reload()
    # Long before the cell ends, which would let the sandbox answer.
    expect(status).to_contain_text("1 release verified", timeout=20 * SECOND)
    expect(budget.locator(".widget-hprogress").first).to_be_visible()
    expect(notebook.cell(3).locator(".jp-InputArea-prompt")).to_have_text("[ ]:")
    application.end_kernels()


def test_views_of_the_sandbox_and_ours_come_back_together(lab, user, page):
    path = user.notebook("live-both.ipynb", "cloister", [SLIDER, "%cloister status"])
    notebook = NotebookPage(page, lab, path).open()
    for index in (0, 1):
        notebook.run(index)
    notebook.save()
    page.reload()
    expect(notebook.output(0).locator(VIEW)).to_contain_text("mine")
    expect(notebook.output(1).locator(VIEW)).to_contain_text("Simulated")


def test_without_a_kernel_the_record_is_there(lab, user, page):
    path = user.notebook("live-record.ipynb", "cloister", ["%cloister budget"])
    notebook = NotebookPage(page, lab, path).open()
    notebook.run(0)
    saved = notebook.save()
    lab.end_kernels()
    saved["metadata"]["kernelspec"]["name"] = "gone"
    (user.notebooks / path).write_text(json.dumps(saved))
    # A trusted notebook shows the view's type first; this is the worst case.
    subprocess.run([sys.executable, "-m", "nbformat.sign", user.notebooks / path], env=user.env, check=True)
    page.goto(lab.address(path))
    dialog = page.locator(".jp-Dialog")
    dialog.locator("select").select_option(label="No Kernel")
    dialog.get_by_role("button", name=re.compile("Select")).click()
    record = notebook.output(0).locator("table").first
    expect(record).to_contain_text("Cloister budget")
    expect(record).to_contain_text("of 10,000 releases")
