"""What every front end shows without any extension: the kernel runs, answers ``%cloister``, and marks releases."""

from __future__ import annotations

import re

import pytest
from lab import NotebookPage
from playwright.sync_api import expect

MEAN = "import cloister as cl\nv = cl.table('st_anna.visits')\nm = v.bmi.mean()\nm.release"


@pytest.mark.parametrize("kind", ["lab", "notebook7"])
def test_a_cell_runs_in_the_enclave_and_shows_error_and_cost(kind, request, user, page):
    application = request.getfixturevalue(kind)
    path = user.notebook(f"plain-{kind}.ipynb", "cloister", ["%cloister status", MEAN])
    notebook = NotebookPage(page, application, path).open()
    expect(notebook.run(0)).to_contain_text("Simulated")
    released = notebook.run(1)
    expect(released).to_contain_text(re.compile(r"\d ± \d"))
    expect(released).to_contain_text("2 % of")
    application.end_kernels()
