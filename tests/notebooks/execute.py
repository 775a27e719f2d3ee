"""Execute notebooks for the repository: live, each in a demo of its own, bundled, and written without what varies.

    python tests/notebooks/execute.py [NOTEBOOK ...] [--output DIR]

Without names: every notebook of ``notebooks/`` and ``notebooks/cases/``, in place. Cell ids and tags stay; execution
times, widget states and the machine's Python version are not written. A fresh demo per notebook: what its budget shows
is its own spending.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
CASES = NOTEBOOKS / "cases"
CLI = (sys.executable, "-c", "from cloister.cli import main; main()")
TIMEOUT_S = 600
# How wide this terminal is must not show in a notebook: lines break where a pseudo terminal of 80 columns breaks them.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
CASE = "cloister-case-"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class ExecutionError(Exception):
    """A notebook did not run."""


def kernel_of(path: Path) -> str:
    """Return the kernelspec a notebook names."""
    return str(json.loads(path.read_text("utf-8"))["metadata"].get("kernelspec", {}).get("name", "python3"))


def is_bundled(path: Path) -> bool:
    """Whether a notebook carries receipts."""
    return "bundle" in json.loads(path.read_text("utf-8"))["metadata"].get("cloister", {})


def execute(path: Path, target: Path, home: Path) -> None:
    """Run a notebook and write it to ``target``, with the demo whose state is in ``home``.

    Raises:
        ExecutionError: A cell failed, or a command did.
    """
    kernel = kernel_of(path)
    if kernel.startswith("cloister") and kernel != "cloister-replay":
        if kernel.startswith(CASE):
            _command(home, "demo", "case", kernel.removeprefix(CASE))
        mode = ["--mock"] if kernel.endswith("-mock") else []
        base = kernel.removesuffix("-mock")
        _command(home, "run", str(path), "--output", str(target), "--kernel", base, "--allow-simulated", *mode)
    else:
        notebook = nbformat.read(path, as_version=4)
        folder = {"metadata": {"path": str(path.parent)}}
        options = {"timeout": TIMEOUT_S, "record_timing": False, "coalesce_streams": True}
        NotebookClient(notebook, kernel_name=kernel, resources=folder, **options).execute(
            env={**ENVIRONMENT, "CLOISTER_HOME": str(home)}
        )
        nbformat.write(notebook, target)
    written = nbformat.read(target, as_version=4)
    nbformat.write(steady(written, nbformat.read(path, as_version=4)), target)


def steady(notebook: Any, before: Any) -> Any:
    """Return a notebook without what differs from run to run on the same values."""
    notebook.metadata["kernelspec"] = before.metadata.get("kernelspec", notebook.metadata.get("kernelspec"))
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell, source in zip(notebook.cells, before.cells, strict=True):
        cell.metadata = {name: value for name, value in source.metadata.items() if name != "execution"}
        cell["id"] = source["id"]
        for output in cell.get("outputs", ()):
            # A live view is named after its kernel; what it shows without one stays.
            output.get("data", {}).pop(WIDGET_MIME, None)
    return notebook


def fresh(path: Path, target: Path) -> None:
    """Execute a notebook in a demo that is built for it and removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="cloister-notebooks-"))
    try:
        execute(path, target, home)
    finally:
        if (home / "demo").exists():
            _command(home, "demo", "down")
        shutil.rmtree(home, ignore_errors=True)


def _command(home: Path, *arguments: str) -> None:
    # The kernels of cases are installed where they end with the home.
    env = {
        **ENVIRONMENT,
        "CLOISTER_HOME": str(home),
        "CLOISTER_DEMO_IDLE_S": "20",
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
    }
    done = subprocess.run([*CLI, *arguments], env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise ExecutionError(f"cloister {' '.join(arguments)}: {done.stderr or done.stdout}")


def _all() -> list[Path]:
    return [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(CASES.glob("*.ipynb"))]


def main() -> None:
    """Execute what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=_all())
    parser.add_argument("--output", type=Path, help="a folder; default: in place")
    options = parser.parse_args()
    for path in options.notebooks:
        target = (options.output or path.parent) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh(path, target)
        sys.stdout.write(f"executed: {target}\n")


if __name__ == "__main__":
    main()
