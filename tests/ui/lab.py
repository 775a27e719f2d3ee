"""What a person sees and does in a notebook page: one class for JupyterLab and Notebook 7.

Only what a person can see is read. Commands go through the application where the way to them (a menu) is not what is
tested; the keyboard tests press keys.
"""

from __future__ import annotations

import re
from pathlib import Path

from jupyter_user import Application
from playwright.sync_api import Locator, Page, expect

SECOND = 1000
# A promise that never settles must not hang the test.
_LIMIT = "new Promise((_, no) => setTimeout(() => no(new Error('the page did not finish in 60 s')), 60000))"
_READY = """() => {
  const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
  return context?.isReady && context.session?.kernel?.connectionStatus === 'connected';
}"""
_RUN = f"""async index => {{
  const app = window.jupyterapp;
  const notebook = app.shell.currentWidget.content;
  notebook.activeCellIndex = index;
  notebook.deselectAll();
  await Promise.race([app.commands.execute('notebook:run-cell'), {_LIMIT}]);
}}"""
_COMMAND = f"""async ([name, args]) => {{
  await Promise.race([window.jupyterapp.commands.execute(name, args), {_LIMIT}]);
}}"""


class NotebookPage:
    """A notebook open in the browser."""

    def __init__(self, page: Page, application: Application, path: str) -> None:
        self.page, self.application, self.path = page, application, path

    def open(self) -> NotebookPage:
        """Go to the notebook and wait until its kernel answers."""
        self.page.goto(self.application.address(self.path))
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until the notebook is shown and its kernel is idle."""
        expect(self.visible(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=60 * SECOND)
        self.page.wait_for_function(_READY, timeout=60 * SECOND)
        self.wait_idle()

    def wait_idle(self, seconds: float = 60) -> None:
        """Wait until the kernel is idle."""
        # The indicator that shows it hides in the toolbar's overflow when the page is narrow.
        idle = "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(idle, timeout=seconds * SECOND)

    def visible(self, selector: str) -> Locator:
        """Return what matches in the document that is shown (Lab keeps hidden tabs in the page)."""
        if self.application.kind == "lab":
            return self.page.locator(f".lm-DockPanel-widget:not(.lm-mod-hidden) {selector}")
        return self.page.locator(selector)

    def run(self, index: int = 0) -> Locator:
        """Run one cell and return its output area when it is done."""
        self.page.evaluate(_RUN, index)
        expect(self.cell(index).locator(".jp-InputArea-prompt")).to_have_text(re.compile(r"\[\d+\]:"))
        return self.output(index)

    def cell(self, index: int) -> Locator:
        """Return a cell."""
        return self.visible(f".jp-Cell[data-windowed-list-index='{index}']")

    def output(self, index: int) -> Locator:
        """Return a cell's output area."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    @property
    def badge(self) -> Locator:
        """The badge: in Lab's status bar, in Notebook 7's toolbar."""
        return self.page.locator(".cl-StatusItem .cl-Badge") if self.application.kind == "lab" else self.toolbar_badge

    @property
    def toolbar_badge(self) -> Locator:
        """The badge in the notebook's toolbar."""
        return self.visible(".cl-ToolbarItem .cl-Badge")

    @property
    def panel(self) -> Locator:
        """The side panel."""
        return self.page.locator("#cloister-panel")

    def open_panel(self) -> Locator:
        """Open the panel by a click on the badge."""
        if not self.panel.is_visible():
            self.badge.click()
        expect(self.panel).to_be_visible()
        return self.panel

    def section(self, name: str) -> Locator:
        """Return a section of the open panel."""
        return self.panel.locator(f".cl-Panel-section[data-name='{name}']")

    def chip(self, index: int) -> Locator:
        """Return the chip of a cell."""
        return self.output(index).locator(".cl-Chip")

    def expect_tone(self, tone: str, word: str, seconds: float = 20) -> None:
        """Wait until the badge has this tone and this word."""
        expect(self.badge).to_have_attribute("data-tone", tone, timeout=seconds * SECOND)
        expect(self.badge).to_contain_text(word)

    def command(self, name: str, **arguments: object) -> None:
        """Execute a command of the application and wait for it."""
        self.page.evaluate(_COMMAND, [name, arguments])

    def start(self, index: int) -> None:
        """Start a cell and do not wait for its end."""
        self.page.evaluate(f"index => {{ ({_RUN})(index).catch(() => null); }}", index)
        expect(self.cell(index).locator(".jp-InputArea-prompt")).to_have_text("[*]:")

    def start_command(self, name: str) -> None:
        """Start a command that will ask something, and do not wait for it."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)

    def restart(self) -> None:
        """Restart the kernel and confirm the question."""
        self.start_command("notebook:restart-kernel")
        self.confirm()

    def confirm(self) -> None:
        """Say yes in the dialog that is open."""
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def cancel(self) -> None:
        """Say no in the dialog that is open."""
        self.page.locator(".jp-Dialog .jp-mod-reject").click()

    def save(self) -> dict:
        """Save, and return the file."""
        self.command("docmanager:save")
        return self.application.user.read(self.path)

    def screenshot(self, path: Path) -> None:
        """Write what is seen, without a blinking cursor."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, animations="disabled", caret="hide")
