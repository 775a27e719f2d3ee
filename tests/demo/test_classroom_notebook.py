"""The teacher's lesson: its solutions pass its own checks, and its committed outputs carry the label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cloister.sandbox import session as sessions

LESSON = Path(__file__).parents[2] / "notebooks" / "05-differencing.ipynb"


@pytest.fixture(scope="module")
def lesson() -> Any:
    return nbformat.read(LESSON, 4)


def test_the_solutions_in_the_notebook_pass(lesson):
    hidden = [cell.source for cell in lesson.cells if "<summary>Solution</summary>" in cell.source]
    assert len(hidden) == 2
    names: dict[str, Any] = {}
    exec("import cloister as cl\nfrom cloister.demo import classroom", names)
    for text in hidden:
        (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        *before, last = code.strip().splitlines()
        assert last.startswith("classroom.check(")
        exec("\n".join(before), names)
        assert eval(last, names).passed, text
    sessions.use(None)


def test_the_exercises_are_not_solved_in_the_committed_notebook(lesson):
    shown = [
        output.data["text/plain"]
        for cell in lesson.cells if cell.id in {"exercise", "exercise2"}
        for output in cell.outputs if output.output_type == "execute_result"
    ]  # fmt: skip
    assert [text.partition(":")[0] for text in shown] == ["NOT YET", "NOT YET"]


def test_every_committed_number_of_the_lesson_is_labelled(lesson):
    asks = re.compile(r"\.(sum|mean|count)\(|classroom\.play")
    for cell in lesson.cells:
        if cell.cell_type == "code" and asks.search(cell.source) and cell.id != "unique":
            assert "no privacy" in str(cell.outputs) or "raises-exception" in cell.metadata.get("tags", ()), cell.id
