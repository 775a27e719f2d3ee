"""The notebooks of the cases: each shows from its receipts exactly what it shows; one of them also runs live."""

from __future__ import annotations

import json
from pathlib import Path

import execute
import pytest
from test_nbval import CONFIG, nbval, not_compared

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


def test_outputs_that_are_not_compared_are_counted() -> None:
    assert not_compared(CASES) == set(NOT_COMPARED)
