"""Every notebook of the repository runs and shows what it shows: from its receipts, exactly; the tour also live."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import execute
import executed
import pytest

CONFIG = Path(__file__).with_name("nbval.cfg")
# Notebook and cell id of every output that is not compared, and why. A cell more, and a test fails: say why here first.
NOT_COMPARED = {
    ("01-tour.ipynb", "status"): "the proxy's word about this kernel: a live one names its enclave, a replay says that",
    ("01-tour.ipynb", "verify"): "the proxy's word about this kernel: who attested the vault differs in a replay",
    ("02-first-capsule.ipynb", "first"): "fresh noise from an enclave of its own: no receipt to replay from",
}
# pytest, started without what nbformat builds when it is imported and never uses.
_PYTEST = (
    "import sys; from cloister import notebook_libraries; notebook_libraries.load();"
    " import pytest; sys.exit(pytest.main())"
)
# The longest two by far: a provider's commands (provider/test_guide runs the same) and a reviewer's (as test_tampered).
BY_NIGHT = ("02-first-capsule", "04-reviewers-check")
_HIDING = {"nbval-ignore-output", "nbval-skip", "nbval-check-nothing", "ignore-output"}


def nbval(path: Path, *options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PYTEST, str(path), "-o", "addopts=", "-p", "no:cacheprovider", "-q", *options]
    everything = {**execute.ENVIRONMENT, **env}
    return subprocess.run(command, env=everything, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in BY_NIGHT else [], id=path.stem)
        for path in executed.NOTEBOOKS
    ],
)
def test_a_notebook_shows_exactly_what_it_shows(path: Path) -> None:
    if path.stem == "04-reviewers-check" and not execute.is_bundled(executed.TOUR):
        pytest.skip("it checks the tour as the repository carries it, and that carries no receipts yet")
    notebook, kernel = executed.ready(path), execute.kernel_of(path)
    options = ["--nbval", "--nbval-sanitize-with", str(CONFIG)]
    env = {}
    if kernel.startswith("cloister") and execute.is_bundled(notebook):
        options += ["--nbval-kernel-name", "cloister-replay"]
        env["CLOISTER_REPLAY"] = str(notebook)
    elif kernel.startswith("cloister"):
        env["CLOISTER_HOME"] = str(executed.demo().home)
    done = nbval(notebook, *options, env=env)
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_tour_runs_live() -> None:
    executed.live_tour()  # Tests of other files want the first run of this demo: in a later one everything is recalled.
    env = {"CLOISTER_HOME": str(executed.demo().home)}
    done = nbval(executed.TOUR, "--nbval-lax", "--nbval-kernel-name", "cloister", env=env)
    assert done.returncode == 0, done.stdout[-6000:]


def test_nbval_would_notice_one_digit(tmp_path: Path) -> None:
    original = executed.live_tour()
    notebook = json.loads(original.read_text())
    cell = next(cell for cell in notebook["cells"] if cell["id"] == "float")
    (line,) = cell["outputs"][0]["text"]
    cell["outputs"][0]["text"] = [line.replace(line[3], "1" if line[3] != "1" else "2", 1)]
    edited = tmp_path / "edited.ipynb"
    edited.write_text(json.dumps(notebook))
    options = ("--nbval", "--nbval-sanitize-with", str(CONFIG), "--nbval-kernel-name", "cloister-replay")
    done = nbval(edited, *options, env={"CLOISTER_REPLAY": str(original)})
    assert done.returncode == 1
    assert "1 failed" in done.stdout


def not_compared(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Return notebook and cell id of every output that nbval is told not to look at."""
    found = set()
    for path in paths:
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            hidden = _HIDING & set(cell["metadata"].get("tags", ()))
            if hidden or (cell["cell_type"] == "code" and "NBVAL" in "".join(cell["source"]).upper()):
                found.add((path.name, cell["id"]))
    return found


def test_outputs_that_are_not_compared_are_counted() -> None:
    assert not_compared(executed.NOTEBOOKS) == set(NOT_COMPARED)


def test_the_sanitizer_hides_two_things() -> None:
    """When somebody looked at a budget, and the digest of an algorithm's code, which every edit of it changes."""
    assert CONFIG.read_text().count("regex:") == 2
