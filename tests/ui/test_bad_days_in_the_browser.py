"""What the page says when something is wrong: a dead or refused enclave, an empty budget, a forged or foreign file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from axe import grave_findings
from lab import SECOND, NotebookPage
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
TABLE = "import cloister as cl\nv = cl.table('st_anna.visits')\n"


@pytest.fixture(scope="module")
def executed(user):
    """A notebook that was run and saved with its receipts."""
    path = user.notebook("saved.ipynb", "cloister", [TABLE + "v.bmi.mean()"])
    file = str(user.notebooks / path)
    user.command("run", file, "--output", file, "--allow-simulated")
    return path


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while a cell runs"])
def test_an_enclave_killed_behind_an_open_page_turns_it_red(busy, lab, user, page):
    path = user.notebook("killed.ipynb", "cloister", ["1 + 1", "import time; time.sleep(600)"])
    notebook = NotebookPage(page, lab, path).open()
    notebook.run(0)
    notebook.open_panel()
    notebook.expect_tone("amber", "Simulated")
    if busy:
        notebook.start(1)
    user.kill_enclave()
    notebook.expect_tone("red", "Not verified", seconds=5)
    head = notebook.panel.locator(".cl-Head")
    expect(head).to_contain_text("channel.")
    expect(head).to_contain_text("Next:")
    expect(notebook.panel).not_to_contain_text("confirmed")
    expect(notebook.cell(1).locator(".jp-InputArea-prompt")).not_to_have_text("[*]:")
    # A new kernel starts the enclave again, and is right by itself.
    notebook.restart()
    notebook.expect_tone("amber", "Simulated", seconds=30)
    lab.end_kernels()


def test_an_enclave_with_other_code_is_refused_and_the_panel_says_why(application, changed_enclave, user, page):
    path = user.notebook(f"refused-{application.kind}.ipynb", changed_enclave.kernel, ["1 + 1"])
    notebook = NotebookPage(page, application, path).open()
    notebook.expect_tone("red", "Not verified")
    panel = notebook.open_panel()
    expect(panel.locator(".cl-Head")).to_contain_text("appraisal.env_digest")
    expect(panel.locator(".cl-Head")).to_contain_text("is not approved")
    expect(panel.locator(".cl-Head")).to_contain_text("Next:")
    expect(notebook.section("contract")).to_contain_text("once the enclave has been verified")
    expect(notebook.run(0)).to_contain_text("appraisal.env_digest")
    assert grave_findings(page) == []


def test_an_empty_budget_is_seen_before_and_after_the_refusal(lab, small_contract, user, page):
    cells = [
        TABLE + "v.bmi.mean(share=0.99)",
        "v.age.mean(share=0.2)",
        "import time; time.sleep(3)",
        "%cloister budget",
    ]
    path = user.notebook("empty.ipynb", small_contract.kernel, cells)
    notebook = NotebookPage(page, lab, path).open()
    notebook.run(0)
    expect(notebook.badge).to_have_text(re.compile(r"Simulated\s*[01](\.\d+)? % left"))
    notebook.open_panel()
    bar = notebook.section("budget").locator(".cl-Bar[data-id='privacy:st_anna.patients']")
    expect(bar).to_have_attribute("data-state", re.compile("scarce|empty"))
    expect(notebook.run(1)).to_contain_text("budget.exhausted")
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(1)
    # The broker's rules see it too, and its analyst is told; the broker writes an alert within a second or two.
    expect(notebook.section("budget").locator("[data-alert]")).to_have_count(0)
    notebook.run(2)
    expect(notebook.run(3)).to_contain_text("alert at demo_broker: use of an interface beyond its contract")
    alert = notebook.section("budget").locator("[data-alert='refusal.count']")
    expect(alert).to_contain_text("use of an interface beyond its contract")
    expect(alert).to_contain_text("1 counted, more than 0")
    lab.end_kernels()


def test_two_notebooks_with_different_contracts_have_their_own_badges(lab, small_contract, user, page):
    first = user.notebook("first.ipynb", "cloister", [TABLE + "v.bmi.mean()"])
    second = user.notebook("second.ipynb", small_contract.kernel, ["1 + 1"])
    notebook = NotebookPage(page, lab, first).open()
    notebook.run(0)
    notebook.open_panel()
    expect(notebook.panel.locator(".cl-Head")).to_contain_text("demo")
    digest = notebook.section("contract").locator(".cl-Fine code").get_attribute("title")
    left = notebook.badge.inner_text()
    notebook.command("docmanager:open", path=second)
    notebook.wait_ready()
    expect(notebook.panel.locator(".cl-Head")).to_contain_text("small")
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(0)
    expect(notebook.section("contract").locator(".cl-Fine code")).not_to_have_attribute("title", digest)
    notebook.command("docmanager:open", path=first)
    expect(notebook.panel.locator(".cl-Head")).to_contain_text("demo")
    expect(notebook.badge).to_have_text(left.replace("\n", ""))
    expect(notebook.section("receipts").locator(".cl-Receipt")).to_have_count(1)
    lab.end_kernels()


def test_a_tampered_chip_is_called_false_and_verify_names_its_cell(executed, lab, user, page):
    content = user.read(executed)
    facts = [
        output["metadata"]["cloister"] for output in content["cells"][0]["outputs"] if "cloister" in output["metadata"]
    ]
    values = facts[0]["releases"][0]["rows"][0]["values"]
    values[0] = str(float(values[0]) + 1)
    (user.notebooks / "forged.ipynb").write_text(json.dumps(content))
    notebook = NotebookPage(page, lab, "forged.ipynb").open()
    expect(notebook.chip(0)).to_have_attribute("data-state", "false")
    notebook.open_panel()
    notebook.panel.get_by_role("button", name="Verify this notebook").click()
    failed = notebook.section("verification").locator(".cl-Step[data-level='fail']")
    expect(failed.first).to_be_visible()
    expect(notebook.section("verification").get_by_role("button", name="Cell 1").first).to_be_visible()
    assert grave_findings(page) == []
    lab.end_kernels()


def test_a_notebook_too_large_for_the_server_is_sent_to_the_command_line(executed, lab, user, page):
    content = user.read(executed)
    content["cells"][0]["outputs"].append({"output_type": "stream", "name": "stdout", "text": "x" * (10 * 2**20)})
    (user.notebooks / "large.ipynb").write_text(json.dumps(content))
    notebook = NotebookPage(page, lab, "large.ipynb").open()
    notebook.expect_tone("amber", "Simulated")
    for command in ("verify", "bundle"):
        notebook.start_command(f"cloister:{command}")
        expect(page.locator(".jp-Dialog")).to_contain_text(
            f"[page.size]. Next: in a terminal, after saving: cloister {command}"
        )
        page.locator(".jp-Dialog-footer button").last.click()
    # The connection lives: at 10 MiB the server would have closed it.
    notebook.expect_tone("amber", "Simulated")
    lab.end_kernels()


def test_a_malformed_chip_shows_nothing_of_itself(executed, lab, user, page):
    content = user.read(executed)
    for output in content["cells"][0]["outputs"]:
        if "cloister" in output["metadata"]:
            output["metadata"]["cloister"] = {"releases": "<img src=x onerror=alert(1)>"}
    (user.notebooks / "malformed.ipynb").write_text(json.dumps(content))
    notebook = NotebookPage(page, lab, "malformed.ipynb").open()
    expect(notebook.chip(0)).to_contain_text("Malformed chip")
    expect(notebook.chip(0)).not_to_contain_text("onerror")
    lab.end_kernels()


def test_a_chip_without_a_cloister_kernel_is_unverified(executed, lab, user, page):
    path = user.copy(user.notebooks / executed, "elsewhere.ipynb", kernel="python3")
    notebook = NotebookPage(page, lab, path).open()
    expect(notebook.chip(0)).to_have_attribute("data-state", "unverified")
    expect(notebook.badge).to_have_count(0)
    notebook.command("cloister:open-panel")
    expect(notebook.panel).to_contain_text("No Cloister kernel here")
    lab.end_kernels()


def test_a_notebook_of_another_contract_is_said_to_be_one(executed, lab, small_contract, user, page):
    path = user.copy(user.notebooks / executed, "foreign.ipynb", kernel=small_contract.kernel)
    notebook = NotebookPage(page, lab, path).open()
    expect(notebook.visible(".cl-Notice")).to_contain_text("Another contract", timeout=20 * SECOND)
    expect(notebook.chip(0)).to_have_attribute("data-state", "foreign")
    lab.end_kernels()


# What lies over the first output: the style of a box that is no part of the document.
_OVER = """node => {
  const child = node.querySelector('.jp-OutputArea-child');
  const { content, maskImage, pointerEvents, printColorAdjust, opacity, height } = getComputedStyle(child, '::after');
  const text = maskImage === 'none' ? '' : decodeURIComponent(maskImage);
  return { content, text, pointerEvents, printColorAdjust, opacity: Number(opacity), height: parseFloat(height) };
}"""
_MARKED = re.compile(r"(^|\s)cl-Marked(\s|$)")


def test_outputs_carry_a_mark_where_the_contract_asks_and_nothing_else_changes(lab, small_contract, user, page):
    path = user.notebook("marked.ipynb", small_contract.kernel, [TABLE + "print(6 * 7)\nv.mock(20)"])
    notebook = NotebookPage(page, lab, path).open()
    output = notebook.run(0)
    owner = page.locator(".jp-NotebookPanel")
    expect(owner).to_have_class(_MARKED)
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        over = output.evaluate(_OVER)
        assert (over["content"], over["pointerEvents"], over["printColorAdjust"]) == ('""', "none", "exact")
        did = small_contract.world.analyst_did
        assert f"({did[-8:]}) · demo" in over["text"]
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", over["text"])
        assert over["opacity"] > 0.05
        assert over["height"] > 10
    page.emulate_media(media="screen")
    # It is seen, on one line of output too: without it the same place looks otherwise.
    box = output.locator(".jp-OutputArea-child").first
    output.screenshot(path=ROOT / "build" / "ui" / "mark-light.png", animations="disabled")
    seen = box.screenshot(animations="disabled")
    owner.evaluate("node => node.classList.remove('cl-Marked')")
    assert box.screenshot(animations="disabled") != seen
    owner.evaluate("node => node.classList.add('cl-Marked')")
    # It is in no file, and in the text of no output.
    expect(output).not_to_contain_text("UTC")
    saved = json.dumps(notebook.save())
    assert "cl-mark" not in saved.lower()
    assert did[-8:] not in saved
    # A notebook under a contract that does not ask for it has none.
    other = user.notebook("unmarked.ipynb", "cloister", ["1 + 1"])
    notebook.command("docmanager:open", path=other)
    plain = NotebookPage(page, lab, other)
    plain.wait_ready()
    assert plain.run(0).evaluate(_OVER)["text"] == ""
    # A view of one output, beside the notebook, carries it too.
    notebook.command("docmanager:open", path=path)
    notebook.command("notebook:create-output-view")
    view = page.locator(".jp-LinkedOutputView")
    expect(view).to_be_visible()
    assert did[-8:] in view.evaluate(_OVER)["text"]
    # One of another notebook carries that notebook's: here none.
    notebook.command("docmanager:open", path=other)
    notebook.command("notebook:create-output-view")
    expect(view).to_have_count(2)
    expect(page.locator(".jp-LinkedOutputView.cl-MarkedNever")).to_have_count(1)
    (marked,) = [over["text"] for over in (one.evaluate(_OVER) for one in view.all()) if over["content"] != "none"]
    assert did[-8:] in marked
    # It goes with the session.
    lab.end_kernels()
    expect(page.locator(".cl-Marked")).to_have_count(0)
    expect(page.locator("body")).not_to_have_class(re.compile("cl-MarkedViews"))


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_the_mark_is_seen_in_dark_themes_and_does_not_cost_contrast(theme, lab, small_contract, user, page):
    user.choose("@jupyterlab/apputils-extension:themes", theme=theme)
    try:
        path = user.notebook("marked-dark.ipynb", small_contract.kernel, ["print('a line of text\\n' * 12)"])
        notebook = NotebookPage(page, lab, path).open()
        output = notebook.run(0)
        expect(page.locator(".jp-NotebookPanel")).to_have_class(_MARKED)
        name = "mark-high-contrast.png" if "High" in theme else "mark-dark.png"
        seen = output.screenshot(path=ROOT / "build" / "ui" / name, animations="disabled")
        page.locator(".jp-NotebookPanel").evaluate("node => node.classList.remove('cl-Marked')")
        assert output.screenshot(animations="disabled") != seen
        page.locator(".jp-NotebookPanel").evaluate("node => node.classList.add('cl-Marked')")
        assert grave_findings(page, ".jp-OutputArea-output pre") == []
    finally:
        user.forget_choices()
        lab.end_kernels()
