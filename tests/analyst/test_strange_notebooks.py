"""Notebooks that are no notebooks: bundling says so in words, never with a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
