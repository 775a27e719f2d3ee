"""The notebooks of the cases: each shows from its receipts exactly what it shows; one of them also runs live."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import execute
import pytest
from test_nbval import CONFIG, nbval, not_compared

from cloister.demo import cases, parties

CASES = tuple(sorted(execute.CASES.glob("*.ipynb")))
LIVE_IN_CI = "carbon"
# As in test_nbval: every output that is not compared, and why.
NOT_COMPARED = {
    ("fraud.ipynb", "mine"): "what a match would use: a replay prices none, for it repeats none",
    ("fraud.ipynb", "match"): "a match: no receipt holds its answers, so no replay repeats it",
    ("fraud.ipynb", "urgent"): "a match",
    ("fraud.ipynb", "back"): "a match",
    ("fraud.ipynb", "limit"): "a match, refused by a limit that only a broker counts",
    ("fraud.ipynb", "audit"): "opens the commitment of the match above",
}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_shows_exactly_what_it_shows(path: Path) -> None:
    assert execute.is_bundled(path), "make notebooks"
    options = ("--nbval", "--nbval-sanitize-with", str(CONFIG), "--nbval-kernel-name", "cloister-replay")
    done = nbval(path, *options, env={"CLOISTER_REPLAY": str(path)})
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == LIVE_IN_CI else pytest.mark.slow, id=path.stem) for path in CASES],
)
def test_a_case_runs_live(path: Path, tmp_path: Path) -> None:
    """In a world of its own, built now: alignment, releases, models, receipts."""
    execute.fresh(path, tmp_path / path.name)
    executed = json.loads((tmp_path / path.name).read_text("utf-8"))
    assert executed["metadata"]["cloister"]["bundle"]["receipts"]
    shown = [output for cell in executed["cells"] for output in cell.get("outputs", ())]
    assert any("simulated" in "".join(output.get("data", {}).get("text/plain", "")).lower() for output in shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["credit", "carbon"])
def test_without_the_effect_joint_and_single_tie(name: str, tmp_path: Path) -> None:
    """The same notebook on a world whose generators were told that the effect is 0."""
    scene = cases.scene(name)
    tables = {table: partial(make, effect=0.0) for table, make in scene.tables.items()}
    parties.build_world(tmp_path, scene=scene, tables=tables)
    try:
        execute.execute(execute.CASES / f"{name}.ipynb", tmp_path / "executed.ipynb", tmp_path)
    finally:
        execute._command(tmp_path, "demo", "down")
    printed = {
        cell["id"]: "".join(
            "".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in cell["outputs"]
        )
        for cell in json.loads((tmp_path / "executed.ipynb").read_text("utf-8"))["cells"]
        if cell["cell_type"] == "code"
    }
    if name == "credit":
        assert "the intervals overlap" in printed["verdict"]
    else:
        assert float(printed["effect"].split(" ", 1)[0]) > 0.95


def test_outputs_that_are_not_compared_are_counted() -> None:
    assert not_compared(CASES) == set(NOT_COMPARED)
