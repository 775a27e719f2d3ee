"""A cell of a mock kernel that released something says so, whatever it shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

import cloister.sandbox as cl


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, code: str, **names: object) -> CapturedIO:
    shell.push(names)
    with capture_output() as shown:
        shell.run_cell(code).raise_error()
    return shown


def notes(shown: CapturedIO) -> list[str]:
    texts = [output.data.get("text/plain", "") for output in shown.outputs]
    return [text for text in texts if text.startswith("Cloister: MOCK")]


def test_one_line_for_a_cell_with_any_number_of_releases(shell: InteractiveShell, mock_visits: cl.Frame) -> None:
    code = "table = visits.groupby('sex').age.mean(); mean = visits.age.mean()"
    assert len(notes(run(shell, code, visits=mock_visits))) == 1
    assert notes(run(shell, "visits.mock(3); 1 + 1")) == []
    assert len(notes(run(shell, code))) == 1


def test_a_confidential_cell_does_not_say_mock(shell: InteractiveShell, visits: cl.Frame) -> None:
    assert notes(run(shell, "mean = visits.age.mean()", visits=visits)) == []
