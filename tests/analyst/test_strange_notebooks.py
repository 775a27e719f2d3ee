"""Notebooks that are no notebooks: bundling says so in words, never with a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from cloister.analyst import run
from cloister.analyst.bundling import bundle_notebook
from cloister.errors import CloisterError


@pytest.mark.parametrize(
    "cells",
    [
        1,
        None,
        [None],
        ["x"],
        [{"outputs": 1}],
        [{"outputs": ["x"]}],
        [{"outputs": [{"metadata": []}]}],
        [{"outputs": [{"metadata": {"cloister": {"releases": True}}}]}],
        [{"outputs": [{"metadata": {"cloister": {"releases": [{"session": "../../etc"}]}}}]}],
        [{"outputs": [{"metadata": {"cloister": {"releases": [{"session": ["x"]}]}}}]}],
    ],
)
def test_bundling_a_strange_notebook(cells: Any, tmp_path: Path) -> None:
    with pytest.raises(CloisterError):
        bundle_notebook({"cells": cells}, tmp_path)


def test_outputs_that_were_in_the_file_are_not_results_of_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that a run skips (empty, or tagged) keep their outputs: a forged chip in one would be reported as ours."""
    facts = {"question": "forged", "recalled": False, "costs": [], "rows": [], "measures": [], "session": "s"}
    forged = v4.new_output("display_data", metadata={"cloister": {"releases": [facts]}})
    notebook = v4.new_notebook(cells=[v4.new_code_cell("", outputs=[forged]), v4.new_markdown_cell("x")])
    notebook.metadata["cloister"] = {"bundle": {"contract": "old"}}
    path = tmp_path / "sent.ipynb"
    nbformat.write(notebook, path)

    async def nothing(*_: object) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(run, "_run", nothing)
    monkeypatch.setattr(run, "_kernelspec", lambda _: {"name": "x", "display_name": "x"})
    executed, _ = run.run_notebook(path, kernel="x", allow_simulated=False, progress=lambda *_: None, announce=print)
    assert list(run.release_lines(executed)) == []
    assert "bundle" not in executed.metadata.get("cloister", {})
