"""Commands that run notebooks start without the grammar that jsonschema builds where it can."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

_RUN = """
import sys
from cloister.cli import main
try:
    main()
except SystemExit:
    print(" ".join(name for name in ("nbformat", "jsonschema", "rfc3987_syntax") if name in sys.modules))
import nbformat
nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]))
import rfc3987_syntax
"""


@pytest.mark.skipif(importlib.util.find_spec("rfc3987_syntax") is None, reason="jsonschema is here without it")
def test_a_command_that_runs_notebooks_builds_no_grammar_and_hides_it_from_nobody() -> None:
    command = [sys.executable, "-c", _RUN, "run", "no-such.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["nbformat", "jsonschema"]
