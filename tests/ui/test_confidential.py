"""A confidential notebook in JupyterLab and in Notebook 7: badge, panel, chips, verify, bundle, reload, restart."""

from __future__ import annotations

import re

import pytest
from axe import grave_findings
from lab import NotebookPage
from playwright.sync_api import expect

CELLS = [
    "import cloister as cl\nv = cl.table('st_anna.visits')\nv.bmi.mean()",
    "v.groupby('region').cost.agg(['count', 'mean'])",
    "import time; time.sleep(4)",
]
LIMITS = {"privacy", "releases", "expiry"}


@pytest.fixture(scope="module", params=["lab", pytest.param("notebook7", marks=pytest.mark.slow)])
def notebook(request, user, new_page):
    """A notebook in which two cells have released something."""
    application = request.getfixturevalue(request.param)
    path = user.notebook(f"confidential-{request.param}.ipynb", "cloister", CELLS)
    notebook = NotebookPage(new_page(), application, path).open()
    notebook.run(0)
    notebook.run(1)
    notebook.open_panel()
    yield notebook
    application.end_kernels()


def test_the_badge_says_simulated_and_what_is_left(notebook):
    notebook.expect_tone("amber", "Simulated")
    for badge in (notebook.badge, notebook.toolbar_badge):
        expect(badge).to_have_text(re.compile(r"Simulated\s*\d+(\.\d+)? % left"))


def test_the_panel_answers_every_question(notebook):
    checks = notebook.section("enclave").locator(".cl-Check")
    expect(checks).to_have_count(6)
    expect(checks.first).to_have_attribute("data-state", re.compile("warn|fail"))
    expect(notebook.section("contract")).to_contain_text("Cloister demonstration")
    expect(notebook.section("data").locator(".cl-Table")).to_have_count(4)
    names = {bar.get_attribute("data-limit") for bar in notebook.section("budget").locator(".cl-Bar").all()}
    assert names >= LIMITS
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(2)
    expect(notebook.panel).not_to_contain_text(re.compile(r"undefined|NaN|%\d"))


def test_chips_are_verified_against_the_receipts_of_this_machine(notebook):
    for index, value in ((0, r"\d+\.\d+\s*± \d"), (1, "region")):
        chip = notebook.chip(index)
        expect(chip).to_have_attribute("data-state", "simulated")
        expect(chip).to_contain_text(re.compile(value))
        expect(chip).to_contain_text(re.compile(r"(cost|paid earlier) 2 % of st_anna\.patients"))


def test_a_column_of_the_catalogue_is_written_where_the_cursor_is(notebook):
    table = notebook.section("data").locator(".cl-Table[data-table='st_anna.visits']")
    notebook.cell(2).locator(".cm-content").click()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("Enter")
    table.locator("summary").click()
    table.locator(".cl-Column", has_text="bmi").first.click()
    expect(notebook.cell(2).locator(".cm-content")).to_contain_text("bmi")
    notebook.page.keyboard.press("Control+z")


def test_badge_and_refresh_answer_while_a_cell_runs(notebook):
    notebook.start(2)
    notebook.panel.get_by_role("button", name="Ask again").click()
    notebook.expect_tone("amber", "Simulated", seconds=2)
    expect(notebook.cell(2).locator(".jp-InputArea-prompt")).to_have_text("[*]:")
    notebook.wait_idle()


def test_verify_says_what_cloister_verify_says(notebook):
    notebook.panel.get_by_role("button", name="Verify this notebook").click()
    section = notebook.section("verification")
    expect(section.locator(".cl-Verdict")).to_be_visible()
    expect(section).to_contain_text("simulated")
    expect(section.locator(".cl-Step[data-level='fail']")).to_have_count(0)
    assert section.locator(".cl-Step").count() >= 5


def test_the_receipts_go_into_the_file(notebook):
    notebook.panel.get_by_role("button", name="Put the receipts into this notebook").click()
    expect(notebook.page.get_by_text("The receipts are in the notebook now").first).to_be_visible()
    saved = notebook.save()
    assert saved["metadata"]["cloister"]["bundle"]
    said = notebook.application.user.command(
        "verify",
        str(notebook.application.user.notebooks / notebook.path),
        "--allow-simulated",
        "--allow-unknown-origin",
    )
    assert "FAILED" not in said.upper()


def test_axe_finds_nothing_serious(notebook):
    assert grave_findings(notebook.page) == []


def test_closing_the_panel_closes_nothing_else(notebook):
    if notebook.application.kind == "lab":
        notebook.command("application:toggle-right-area")
    else:
        notebook.page.locator("#jp-right-stack .jp-SidePanel-collapse, .jp-SidePanel-collapse").last.click()
    expect(notebook.panel).to_be_hidden()
    notebook.expect_tone("amber", "Simulated")
    notebook.open_panel()
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(2)


def test_after_a_reload_everything_is_right_again(notebook):
    notebook.save()
    notebook.page.reload()
    notebook.wait_ready()
    notebook.expect_tone("amber", "Simulated")
    expect(notebook.chip(0)).to_have_attribute("data-state", "simulated")
    notebook.open_panel()
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(2)


def test_after_a_restart_the_badge_is_unknown_and_then_right(notebook):
    # Every tone the badge takes is noted, so that a short one is not missed.
    notebook.badge.evaluate("""badge => {
      window.tones = [];
      const holder = badge.closest('.cl-StatusItem, .cl-ToolbarItem');
      const note = () => window.tones.push(holder.querySelector('.cl-Badge')?.dataset.tone ?? 'none');
      new MutationObserver(note).observe(holder, {subtree: true, childList: true, attributes: true});
    }""")
    notebook.restart()
    notebook.page.wait_for_function("window.tones.some(tone => tone === 'grey' || tone === 'none')")
    notebook.expect_tone("amber", "Simulated")
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(0)
    # The old chip is checked anew: this machine keeps the receipts of all its sessions.
    expect(notebook.chip(0)).to_have_attribute("data-state", "simulated")
    notebook.run(0)
    expect(notebook.chip(0)).to_contain_text("recalled")
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(1)
