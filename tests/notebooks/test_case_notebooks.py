"""The notebooks of the cases: each shows from its receipts exactly what it shows, and runs live; verdicts and ties."""

from __future__ import annotations

import json
from pathlib import Path

import case_in_process
import execute
import pytest
from test_nbval import CONFIG, nbval, not_compared

from cloister.demo import cases
from cloister.demo.cases.verdict import MIME, Measured, Verdict

CASES = tuple(sorted(execute.CASES.glob("*.ipynb")))
# About 25 processor seconds; the others need as much and more, and run live by night.
LIVE_IN_CI = ("credit",)
# How much better joint is than single where the effect is planted, about: AUC, AUC, shares and R2.
PLANTED = {"credit": 0.18, "ckd": 0.19, "fraud": 0.35, "ocean": 0.60, "carbon": 0.69}
# As in test_nbval: every output that is not compared, and why.
NOT_COMPARED = {
    ("fraud.ipynb", "mine"): "a match, of one number",
    ("fraud.ipynb", "once"): "a match, refused by a limit that only a broker counts",
    ("fraud.ipynb", "cost"): "what a match would use: a replay prices none, for it repeats none",
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


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_a_case_carries_is_apart(path: Path) -> None:
    """Its verdict as data: the intervals do not overlap. That it follows from the receipts, the test above shows."""
    assert verdict_of(path).apart


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in LIVE_IN_CI else pytest.mark.slow, id=path.stem) for path in CASES],
)
def test_a_case_runs_live(path: Path, tmp_path: Path) -> None:
    """In a world of its own, built now: alignment, releases, models, receipts; joint beats single, intervals apart."""
    execute.fresh(path, tmp_path / path.name)
    executed = json.loads((tmp_path / path.name).read_text("utf-8"))
    assert executed["metadata"]["cloister"]["bundle"]["receipts"]
    shown = [output for cell in executed["cells"] for output in cell.get("outputs", ())]
    assert any("simulated" in "".join(output.get("data", {}).get("text/plain", "")).lower() for output in shown)
    assert verdict_of(tmp_path / path.name).apart


@pytest.mark.parametrize("path", [path for path in CASES if path.stem not in LIVE_IN_CI], ids=lambda path: path.stem)
def test_with_the_effect_joint_beats_single(path: Path) -> None:
    """Of the cases that run live by night: the notebook's own code on its tables, with fresh noise, in this process."""
    assert case_in_process.run(path, cases.scene(path.stem))["verdict"].apart


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_without_the_effect_joint_and_single_tie(path: Path) -> None:
    """The notebook's own code on tables whose generators were told that the effect is 0, in this process."""
    check_tie(path.stem, case_in_process.run(path, cases.scene(path.stem, 0.0))["verdict"])


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_without_the_effect_they_tie_live(path: Path, tmp_path: Path) -> None:
    """The same as a teacher would do it: ``cloister demo case NAME --effect 0``, and the notebook with its kernel."""
    execute._command(tmp_path, "demo", "case", path.stem, "--effect", "0")
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = case_in_process.as_planted("".join(cell["source"]), "0")
    source, target = tmp_path / path.name, tmp_path / "executed.ipynb"
    source.write_text(json.dumps(notebook))
    try:
        execute.execute(source, target, tmp_path)
    finally:
        execute._command(tmp_path, "demo", "down")
    check_tie(path.stem, verdict_of(target))


def verdict_of(path: Path) -> Verdict:
    """Return the verdict that an executed notebook carries as data."""
    cells = {cell["id"]: cell for cell in json.loads(path.read_text("utf-8"))["cells"]}
    (data,) = (output["data"][MIME] for output in cells["verdict"]["outputs"] if MIME in output.get("data", {}))
    found = Verdict(data["measure"], Measured(**data["single"]), Measured(**data["joint"]))
    assert found.apart == data["apart"]
    return found


def check_tie(name: str, found: Verdict) -> None:
    """Joint is not better by more than five standard errors of the difference, nor by half of what is planted.

    Not by whether the 95 % intervals overlap: of two that tie, some do not, and a test must not fail by chance.
    """
    errors = (found.single.high - found.single.low + found.joint.high - found.joint.low) / (2 * 1.96)
    assert found.gap <= 5 * errors + 1e-9
    assert found.gap < PLANTED[name] / 2


def test_outputs_that_are_not_compared_are_counted() -> None:
    assert not_compared(CASES) == set(NOT_COMPARED)
