"""Themes, Chinese, and the keyboard alone."""

from __future__ import annotations

import re

import pytest
from axe import grave_findings
from lab import NotebookPage
from playwright.sync_api import expect

THEMES = "@jupyterlab/apputils-extension:themes"
LANGUAGE = "@jupyterlab/translation-extension:plugin"
# What has the focus, if it is in the panel: its ring, and the section if it is a section's heading.
_FOCUS = """() => {
  const node = document.activeElement;
  const heading = node?.matches('.cl-Panel-heading button') ? node : null;
  return node?.closest('#cloister-panel') ? {
    ring: getComputedStyle(node).outlineStyle,
    html: node.outerHTML.slice(0, 200),
    section: heading?.closest('.cl-Panel-section').dataset.name ?? '',
    open: heading?.ariaExpanded ?? '',
  } : null;
}"""
MEAN = "import cloister as cl\ncl.table('st_anna.visits').bmi.mean()"


@pytest.fixture
def choose(user):
    """Write user settings that the next page uses."""
    yield user.choose
    user.forget_choices()


@pytest.mark.parametrize(
    "theme", ["JupyterLab Dark", pytest.param("JupyterLab Dark High Contrast", marks=pytest.mark.slow)]
)
def test_dark_themes_keep_contrast(theme, choose, lab, user, page):
    choose(THEMES, theme=theme)
    path = user.notebook("dark.ipynb", "cloister", [MEAN, "%cloister status", "%cloister budget"])
    notebook = NotebookPage(page, lab, path).open()
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", theme)
    for index in range(3):
        notebook.run(index)
    notebook.open_panel()
    expect(notebook.chip(0)).to_have_attribute("data-state", "simulated")
    # What Lab wraps around any HTML output is not ours.
    assert grave_findings(page, ".jp-RenderedHTMLCommon > *") == []
    lab.end_kernels()


def test_a_chip_where_there_is_no_extension_is_plain_and_readable(user, page):
    path = user.notebooks / user.notebook("static.ipynb", "cloister", [MEAN])
    user.command("run", str(path), "--output", str(path), "--allow-simulated")
    outputs = user.read(path.name)["cells"][0]["outputs"]
    (chip,) = ["".join(o["data"]["text/html"]) for o in outputs if "cloister" in o.get("metadata", {})]
    page.set_content(f"<html lang='en'><title>saved</title><main>{chip}</main></html>")
    expect(page.locator("main")).to_contain_text("released, Simulated enclave")
    expect(page.locator("main")).to_contain_text("26.")
    assert grave_findings(page, "main") == []


def test_chinese(choose, lab, user, page):
    choose(LANGUAGE, locale="zh_CN")
    path = user.notebook("chinese.ipynb", "cloister", [MEAN])
    notebook = NotebookPage(page, lab, path).open()
    notebook.run(0)
    han = re.compile(r"[\u4e00-\u9fff]")
    expect(notebook.badge).to_have_text(han)
    panel = notebook.open_panel()
    for heading in panel.locator(".cl-Panel-title").all():
        expect(heading).to_have_text(han)
    expect(notebook.chip(0).locator("strong").first).to_have_text(han)
    expect(panel).not_to_contain_text(re.compile(r"undefined|%\d"))
    lab.end_kernels()


def test_everything_can_be_done_with_the_keyboard(application, user, page):
    path = user.notebook(f"keys-{application.kind}.ipynb", "cloister", [MEAN])
    notebook = NotebookPage(page, application, path).open()
    # Run: as everywhere in Jupyter.
    notebook.cell(0).locator(".cm-content").focus()
    page.keyboard.press("Control+Enter")
    expect(notebook.chip(0)).to_have_attribute("data-state", "simulated")
    # Open: the badge is a button.
    notebook.badge.focus()
    page.keyboard.press("Enter")
    expect(notebook.panel).to_be_visible()
    # Walk: every section can be reached by Tab and folded by Enter, with a visible ring.
    notebook.panel.focus()
    folded = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        if at is None:
            break
        assert at["ring"] != "none", at["html"]
        if at["section"]:
            page.keyboard.press("Enter")
            heading = notebook.section(at["section"]).locator(".cl-Panel-heading button")
            expect(heading).to_have_attribute("aria-expanded", "false" if at["open"] == "true" else "true")
            folded.add(at["section"])
    assert folded >= {"enclave", "contract", "data", "budget", "receipts"}
