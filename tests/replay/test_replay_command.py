"""``cloister replay``: what an honest notebook gets, what a made-up number gets, and what hostile code gets."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import executed
import nbformat
import pytest
from rich.console import Console

from cloister.errors import UnavailableError
from cloister.replay import command, runner
from cloister.replay.report import CellLine, ReplayReport
from cloister.reviewer.trust import ReviewerTrust


def replay(path: Path, timeout_s: float = 60) -> ReplayReport:
    return command.replay(
        path, trust=ReviewerTrust(), allow_simulated=True, allow_unknown_origin=True, timeout_s=timeout_s,
        progress=lambda *_: None,
    )  # fmt: skip


def with_cells(tour: Path, folder: Path, *cells: Any, keep: tuple[str, ...] = ("import", "columns", "mean")) -> Path:
    """Write a short tour with more cells behind it; its bundle stays as it is."""
    notebook = nbformat.read(tour, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell["id"] in keep]
    for cell in cells:
        source, outputs = cell if isinstance(cell, tuple) else (cell, [])
        notebook.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs))
    path = folder / "more.ipynb"
    nbformat.write(notebook, path)
    return path


def printed(text: str) -> list[Any]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text)]


def last(report: ReplayReport) -> CellLine:
    return report.cells[-1]


@pytest.fixture(scope="module")
def tour() -> Path:
    """The tour as the repository carries it: its numbers are fixed, so no number made up here can be one by chance."""
    return executed.TOUR


@pytest.fixture(scope="module")
def honest(tour: Path) -> ReplayReport:
    return replay(tour)


def cell(report: ReplayReport, tour: Path, name: str) -> CellLine:
    places = {found["id"]: place for place, found in enumerate(json.loads(tour.read_text())["cells"])}
    return next(line for line in report.cells if line.cell == places[name])


def test_an_honest_notebook_replays_exactly(honest: ReplayReport) -> None:
    assert honest.exit_code == 0
    counts = honest.counts()
    assert (counts["differs"], counts["not_run"], counts["unexplained"]) == (0, 0, 0)
    left_out = [line.source for line in honest.cells if line.state == "not compared"]
    assert {"%cloister status", "%cloister verify"} <= set(left_out)
    assert all(source.startswith("%cloister ") for source in left_out), "only what the proxy answers is not compared"


def test_a_notebook_run_just_now_replays_exactly() -> None:
    report = replay(executed.live_tour())
    assert report.exit_code == 0
    assert report.counts()["differs"] == 0


def test_numbers_are_released_derived_or_constant(honest: ReplayReport, tour: Path) -> None:
    line = cell(honest, tour, "float")
    assert (line.released, line.derived, line.verdict) == (1, 1, "derived")
    assert cell(honest, tour, "group").verdict == "released"
    assert cell(honest, tour, "tables").verdict == "constant"
    assert cell(honest, tour, "plot").figures[0].kind == "released"
    assert cell(honest, tour, "plot").figures[0].drawn > cell(honest, tour, "plot").figures[0].fixed


def test_a_number_made_up_by_hand_is_named(tour: Path, tmp_path: Path) -> None:
    made_up = ("print(f'mean {m:.3f}, and in the control group 27.113')", printed("?"))
    alone = ("print('the effect is 0.415')", printed("the effect is 0.415\n"))
    report = replay(with_cells(tour, tmp_path, made_up, alone))
    first, second = report.cells[-2:]
    assert first.unexplained == ("27.113",)
    assert first.released == 1
    assert first.state == "differs"
    assert second.unexplained == ("0.415",)
    assert second.verdict == "constant"
    assert second.state == "same", "the file says what the code prints; it is no result all the same"
    assert report.exit_code == 1


def test_a_released_number_typed_by_hand_is_a_constant(tour: Path, tmp_path: Path) -> None:
    value = json.loads(tour.read_text())["metadata"]["cloister"]["bundle"]
    assert value
    shown = next(c for c in json.loads(tour.read_text())["cells"] if c["id"] == "mean")["outputs"][0]
    number = "".join(shown["data"]["text/plain"]).split()[0]
    report = replay(with_cells(tour, tmp_path, (f"print('{number}')", printed(f"{number}\n"))))
    assert last(report).unexplained == (number,)
    assert last(report).released == 0


def test_a_figure_of_made_up_numbers_is_constant(tour: Path, tmp_path: Path) -> None:
    plot = "import matplotlib.pyplot as plt\n_, axes = plt.subplots()\nbars = axes.bar(['a', 'b'], {})"
    report = replay(with_cells(tour, tmp_path, plot.format("[1.5, 2.5]"), plot.format("[m, m - 18.5]")))
    fixed, moving = (line.figures[0] for line in report.cells[-2:])
    assert fixed.kind == "constant"
    assert moving.kind == "derived"


def test_an_edited_output_differs_with_a_small_diff(tour: Path, tmp_path: Path) -> None:
    notebook = json.loads(tour.read_text())
    edited = copy.deepcopy(notebook)
    target = next(cell for cell in edited["cells"] if cell["id"] == "float")
    target["outputs"][0]["text"] = ["99.99 kg/m2 is 81.49 above the underweight line\n"]
    path = tmp_path / "edited.ipynb"
    path.write_text(json.dumps(edited))
    report = replay(path)
    line = cell(report, tour, "float")
    assert (report.exit_code, line.state) == (1, "differs")
    assert any(text.startswith("-99.99") for text in line.diff)
    assert sum(found.state == "differs" for found in report.cells) == 1


def test_what_is_false_is_not_run(tour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads(tour.read_text())
    next(cell for cell in notebook["cells"] if cell["id"] == "mean")["source"] = "import os"
    path = tmp_path / "false.ipynb"
    path.write_text(json.dumps(notebook))
    monkeypatch.setattr(runner, "start", lambda *_, **__: pytest.fail("it was run"))
    report = replay(path)
    assert (report.exit_code, report.cells) == (2, ())


def test_a_kernelspec_that_is_not_installed_is_named(tour: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "KERNEL", "cloister-replay-that-nobody-installed")
    with pytest.raises(UnavailableError, match=r"replay\.kernelspec.*not installed here"):
        replay(tour)


def test_json_and_text_are_complete(honest: ReplayReport) -> None:
    data = json.loads(json.dumps(honest.to_dict()))
    assert {"overall", "exit_code", "cells", "verification", "counts", "reservations"} <= data.keys()
    assert len(data["verification"]["steps"]) == 13
    console = Console(width=100, file=io.StringIO())
    console.print(command.render(honest))
    assert "REPLAYED EXACTLY" in console.file.getvalue()


# Somebody else's code ---------------------------------------------------------------------------------

HOSTILE = {
    "files": "import pathlib\nprint(pathlib.Path('/etc/passwd').read_text())",
    "home": "import os\nprint(os.listdir('/root'), os.listdir('/home'))",
    "network": "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "program": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'id'])",
    "threads": "import threading, time\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(60,)).start()",
}


def test_hostile_cells_are_stopped_by_the_jail_and_the_replay_ends(tour: Path, tmp_path: Path) -> None:
    names = [name for name in HOSTILE if name != "threads"]
    report = replay(with_cells(tour, tmp_path, *(HOSTILE[name] for name in names), "print(m == m)"))
    for name, line in zip(names, report.cells[3:], strict=False):
        assert line.state == "differs", name
        assert any("Error" in text for text in line.diff), (name, line.diff)
        assert not any("root:" in text for text in line.diff)
    assert any("True" in text for text in last(report).diff), "the kernel went on"


@pytest.mark.parametrize(
    ("code", "timeout_s", "why"),
    [
        (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            3,
            "did not end within 3 s",
        ),
        ("x = 'x' * 2**20\nfor _ in range(50): print(x)", 60, "more than 32 MiB"),
        ("import os\nos._exit(3)", 10, ""),
        (HOSTILE["threads"] + "\nwhile True: pass", 3, ""),
    ],
    ids=["endless", "flood", "exit", "threads"],
)
def test_a_cell_that_does_not_end_ends_the_replay(
    tour: Path, tmp_path: Path, code: str, timeout_s: float, why: str
) -> None:
    report = replay(with_cells(tour, tmp_path, code, "print(1)"), timeout_s)
    assert report.exit_code == 1
    line = report.cells[3]
    assert line.state in ("not run", "differs")
    assert why in line.reason
    assert report.cells[4].state != "same"
