"""Take ``docs/images/*.png`` again: ``make screenshots``. Every picture is a real page on a real kernel.

python tests/ui/take_screenshots.py [NAME ...]
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from browsers import open_browser
from contracts import OtherContract, changed_code
from jupyter_user import Application, JupyterUser
from lab import SECOND, NotebookPage
from PIL import Image
from playwright.sync_api import Browser, expect

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 1280, "height": 800}
HEAD = 'import cloister as cl\n\nvisits = cl.table("st_anna.visits")\n'
MEAN = HEAD + 'adults = visits.query("age >= 18")\nadults.bmi.mean()'
GROUPS = 'adults.groupby("region").cost.agg(["count", "mean"])'
ANALYSIS = [MEAN, GROUPS]


class Studio:
    """A user, the applications and a browser; ``open`` gives a page that is ready to be posed."""

    def __init__(self, root: Path, browser: Browser) -> None:
        self.user = JupyterUser(root)
        self.user.command("demo", "reset")
        self.small = OtherContract(self.user, "small", epsilon="0.5")
        self.changed = OtherContract(self.user, "changed", epsilon="1")
        self.small.serve()
        self.changed.serve(PYTHONPATH=changed_code(root / "changed-code"))
        self.applications = {kind: Application(self.user, kind) for kind in ("lab", "notebook")}
        self._browser = browser

    @contextmanager
    def open(self, name: str, kernel: str, cells: list[str] | None, kind: str = "lab") -> Iterator[NotebookPage]:
        """Open a new notebook, or with ``cells`` None one that exists; end its kernels afterwards."""
        path = self.user.notebook(name, kernel, cells) if cells is not None else name
        context = self._browser.new_context(viewport=SIZE, reduced_motion="reduce", locale="en-US", timezone_id="UTC")
        page = NotebookPage(context.new_page(), self.applications[kind], path).open()
        if kind == "lab":
            page.command("application:toggle-left-area")
        yield page
        context.close()
        self.applications[kind].end_kernels()
        self.user.forget_choices()

    def close(self) -> None:
        """Stop everything."""
        for application in self.applications.values():
            application.close()
        for contract in (self.small, self.changed):
            contract.close()
        self.user.command("demo", "down")


def save(notebook: NotebookPage, name: str) -> None:
    """Write the picture, with few colours: it is text and lines."""
    page = notebook.page
    page.mouse.move(640, 795)
    # What the page says in passing is not part of the state.
    for toast in page.locator(".Toastify__close-button").all():
        with suppress(Exception):
            toast.click(timeout=SECOND)
    page.wait_for_timeout(400)
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
    IMAGES.mkdir(parents=True, exist_ok=True)
    # White, 239 colours by area, and the few that matter for being rare: a green tick, a keyword.
    palette = picture.quantize(239, dither=Image.Dither.NONE).getpalette()
    rare = picture.quantize(16, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).getpalette()
    swatch = Image.new("P", (1, 1))
    swatch.putpalette([255, 255, 255, *(palette or [])[: 239 * 3], *(rare or [])[: 16 * 3]])
    picture.quantize(palette=swatch, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


def analysed(notebook: NotebookPage, cells: int = 2) -> NotebookPage:
    """Run the cells and open the panel."""
    for index in range(cells):
        notebook.run(index)
    notebook.open_panel()
    return notebook


def top(notebook: NotebookPage, cell: int = 0) -> None:
    """Scroll the notebook so that a cell is seen first."""
    notebook.command("notebook:enter-command-mode")
    notebook.cell(cell).scroll_into_view_if_needed()


def lab_confidential(studio: Studio) -> None:
    """Two releases, and the panel from its top."""
    with studio.open("analysis.ipynb", "cloister", ANALYSIS) as notebook:
        analysed(notebook)
        top(notebook)
        save(notebook, "lab-confidential")
        notebook.panel.evaluate("node => node.scrollTop = node.scrollHeight")
        save(notebook, "lab-budget")


def lab_mock(studio: Studio) -> None:
    """A rehearsal."""
    with studio.open("rehearsal.ipynb", "cloister-mock", ANALYSIS) as notebook:
        analysed(notebook)
        top(notebook)
        save(notebook, "lab-mock")


def lab_promote(studio: Studio) -> None:
    """The price, before anything is spent."""
    with studio.open("promote.ipynb", "cloister-mock", [*ANALYSIS, "adults.cost.sum()"]) as notebook:
        notebook.run(0)
        notebook.run(1)
        notebook.start_command("cloister:promote")
        expect(notebook.page.locator(".cl-Price-table")).to_be_visible()
        save(notebook, "lab-promote")
        notebook.cancel()


def lab_refused(studio: Studio) -> None:
    """Other code than was agreed."""
    with studio.open("refused.ipynb", studio.changed.kernel, [MEAN]) as notebook:
        notebook.expect_tone("red", "Not verified")
        analysed(notebook, 1)
        save(notebook, "lab-refused")


def lab_enclave_dead(studio: Studio) -> None:
    """The enclave dies while a cell runs."""
    with studio.open("dead.ipynb", "cloister", [MEAN, "import time\n\ntime.sleep(600)"]) as notebook:
        analysed(notebook, 1)
        notebook.start(1)
        studio.user.kill_enclave()
        notebook.expect_tone("red", "Not verified")
        expect(notebook.output(1)).to_contain_text("channel.")
        save(notebook, "lab-enclave-dead")


def lab_budget_exhausted(studio: Studio) -> None:
    """The last of a small budget."""
    cells = [HEAD + "visits.bmi.mean(share=0.99)", "visits.age.mean(share=0.2)"]
    with studio.open("exhausted.ipynb", studio.small.kernel, cells) as notebook:
        analysed(notebook)
        top(notebook)
        notebook.section("budget").locator(".cl-Panel-heading").evaluate("node => node.scrollIntoView()")
        save(notebook, "lab-budget-exhausted")


def lab_two_contracts(studio: Studio) -> None:
    """Two notebooks side by side, each with its own badge; a page wide enough for two toolbars."""
    second = studio.user.notebook("two-small.ipynb", studio.small.kernel, [HEAD + "visits.bmi.mean(share=0.99)"])
    with studio.open("two-demo.ipynb", "cloister", [MEAN]) as notebook:
        notebook.page.set_viewport_size({"width": 1480, "height": 800})
        notebook.run(0)
        notebook.command("docmanager:open", path=second, options={"mode": "split-right"})
        notebook.wait_ready()
        notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell').then(() => null)")
        expect(notebook.page.locator(".cl-Chip[data-state='simulated']")).to_have_count(2, timeout=60 * SECOND)
        save(notebook, "lab-two-contracts")


def lab_dark(studio: Studio) -> None:
    """Dark theme."""
    studio.user.choose("@jupyterlab/apputils-extension:themes", theme="JupyterLab Dark")
    with studio.open("dark.ipynb", "cloister", ANALYSIS) as notebook:
        analysed(notebook)
        top(notebook)
        save(notebook, "lab-dark")


def lab_zh_cn(studio: Studio) -> None:
    """Chinese."""
    studio.user.choose("@jupyterlab/translation-extension:plugin", locale="zh_CN")
    with studio.open("chinese.ipynb", "cloister", ANALYSIS) as notebook:
        analysed(notebook)
        top(notebook)
        save(notebook, "lab-zh-cn")


def lab_verify(studio: Studio) -> None:
    """A notebook with one changed digit, verified."""
    file = studio.user.notebooks / studio.user.notebook("forged.ipynb", "cloister", ANALYSIS)
    studio.user.command("run", str(file), "--output", str(file), "--allow-simulated")
    content = json.loads(file.read_text())
    for output in content["cells"][0]["outputs"]:
        if "cloister" in output["metadata"]:
            values = output["metadata"]["cloister"]["releases"][0]["rows"][0]["values"]
            values[0] = f"{float(values[0]) + 1:.3f}"
    file.write_text(json.dumps(content))
    with studio.open("forged.ipynb", "cloister", None) as notebook:
        expect(notebook.chip(0)).to_have_attribute("data-state", "false")
        notebook.open_panel()
        notebook.panel.get_by_role("button", name="Verify this notebook").click()
        expect(notebook.section("verification").locator(".cl-Verdict")).to_be_visible()
        notebook.section("verification").locator(".cl-Step[data-level='fail']").last.evaluate(
            "node => node.scrollIntoView({block: 'end'})"
        )
        save(notebook, "lab-verify")


def notebook7(studio: Studio) -> None:
    """Notebook 7: badge in the toolbar, the same panel."""
    with studio.open("analysis7.ipynb", "cloister", ANALYSIS, "notebook") as notebook:
        analysed(notebook)
        top(notebook)
        save(notebook, "notebook7")


SCENES: dict[str, Callable[[Studio], None]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        lab_confidential, lab_mock, lab_promote, lab_refused, lab_enclave_dead, lab_budget_exhausted,
        lab_two_contracts, lab_dark, lab_zh_cn, lab_verify, notebook7,
    )
}  # fmt: skip


def main(names: list[str]) -> int:
    """Take the named pictures, or all."""
    with tempfile.TemporaryDirectory(prefix="cloister-studio-") as root, open_browser() as browser:
        studio = Studio(Path(root) / "user", browser)
        expect.set_options(timeout=30 * SECOND)
        try:
            for name in names or SCENES:
                SCENES[name](studio)
                print(f"docs/images/{name}.png", flush=True)
        finally:
            studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
