"""Five ways to tamper with the executed tour, each caught by ``verify`` on the line where a reader looks for it.

Read the table: what was done, and the step and code of the line that says so.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import executed
import pytest

from cloister.replay import source
from cloister.reviewer.verify import verify
from cloister.wire import canonical

Notebook = dict[str, Any]


def cell(notebook: Notebook, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(cell for cell in notebook["cells"] if cell["id"] == name)
    return found


def chip(notebook: Notebook, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(o for o in cell(notebook, name)["outputs"] if "cloister" in o.get("metadata", {}))
    return found


def value_in_chip(notebook: Notebook) -> None:
    """Another mean in the facts that the chip is drawn from."""
    row = chip(notebook, "mean")["metadata"]["cloister"]["releases"][0]["rows"][0]
    row["values"][0] = _other(row["values"][0])


def value_in_text(notebook: Notebook) -> None:
    """Another mean in the text of the chip, its facts left alone."""
    data = chip(notebook, "mean")["data"]
    shown = chip(notebook, "mean")["metadata"]["cloister"]["releases"][0]["rows"][0]["values"][0]
    data["text/plain"] = "".join(data["text/plain"]).replace(shown, _other(shown))


def receipt_edited(notebook: Notebook) -> None:
    """Another noisy integer in the receipt, its signature kept."""
    document = notebook["metadata"]["cloister"]["bundle"]["receipts"][0]
    body = json.loads(base64.b64decode(document["payload"]))
    body["raw"][0] = str(int(body["raw"][0]) + 1)
    document["payload"] = base64.b64encode(canonical.encode(body)).decode()


def code_edited(notebook: Notebook) -> None:
    """Other code above the same chip."""
    lines = cell(notebook, "mean")["source"]
    cell(notebook, "mean")["source"] = [line.replace(">= 18", ">= 65") for line in lines]


def cells_swapped(notebook: Notebook) -> None:
    """The outputs of two cells changed places."""
    one, other = cell(notebook, "mean"), cell(notebook, "small")
    one["outputs"], other["outputs"] = other["outputs"], one["outputs"]


def receipts_of_another(notebook: Notebook) -> None:
    """The bundle without the receipts this notebook shows: those of somebody else's run."""
    bundle = notebook["metadata"]["cloister"]["bundle"]
    bundle["receipts"] = bundle["receipts"][2:]


CAUGHT: list[tuple[Callable[[Notebook], None], int, str, str]] = [
    (value_in_chip, 9, "chip.value", "mean"),
    (value_in_text, 9, "chip.text", "mean"),
    (receipt_edited, 7, "receipt.forged", ""),
    (code_edited, 10, "code.changed", "mean"),
    (cells_swapped, 10, "code.changed", "mean"),
    (receipts_of_another, 9, "chip.unbound", "mean"),
]


@pytest.fixture(scope="module")
def tour() -> Notebook:
    content: Notebook = json.loads(executed.live_tour().read_text("utf-8"))
    return content


@pytest.mark.parametrize(("tamper", "step", "code", "where"), CAUGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_caught_on_the_right_line(
    tour: Notebook, tamper: Callable[[Notebook], None], step: int, code: str, where: str
) -> None:
    notebook = copy.deepcopy(tour)
    tamper(notebook)
    report = verify(notebook, allow_simulated=True, allow_unknown_origin=True)
    assert report.exit_code == 2
    places = {found["id"]: place for place, found in enumerate(notebook["cells"])}
    lines = {(line.step, line.code, line.cell) for line in report.findings if line.level == "fail"}
    assert (step, code, places.get(where)) in lines
    for other in ("import", "tables", "again") if code != "chip.unbound" else ("import", "tables"):
        assert not any(line[2] == places[other] for line in lines if line[0] == 10), "honest cells stay honest"


def test_the_honest_tour_fails_nowhere(tour: Notebook) -> None:
    report = verify(tour, allow_simulated=True, allow_unknown_origin=True)
    assert report.exit_code == 0
    assert not any(line.level == "fail" for line in report.findings)


def test_a_value_printed_by_a_cell_is_caught_by_the_replay(tour: Notebook, tmp_path: Path) -> None:
    """What a cell prints beside its chip is not signed: ``verify`` counts it, ``replay`` compares it."""
    from cloister.replay import command
    from cloister.reviewer.trust import ReviewerTrust

    notebook = copy.deepcopy(tour)
    notebook["cells"] = [found for found in notebook["cells"] if found["id"] in ("import", "columns", "mean", "float")]
    output = cell(notebook, "float")["outputs"][0]
    output["text"] = [_other("".join(output["text"]))]
    path = tmp_path / "printed.ipynb"
    path.write_text(json.dumps(notebook))
    report = command.replay(
        path, trust=ReviewerTrust(), allow_simulated=True, allow_unknown_origin=True, timeout_s=60,
        progress=lambda *_: None,
    )  # fmt: skip
    assert [line.state for line in report.cells] == ["same", "same", "same", "differs"]
    assert report.exit_code == 1


def test_none_of_the_forged_bundles_is_replayed(tour: Notebook, tmp_path: Path) -> None:
    notebook = copy.deepcopy(tour)
    receipt_edited(notebook)
    path = tmp_path / "forged.ipynb"
    path.write_text(json.dumps(notebook))
    with pytest.raises(Exception, match=r"replay\.bundle"):
        source.load((path,))


def _other(text: str) -> str:
    """Return a text with its first digit changed."""
    at, digit = next(_digits(text))
    return text[:at] + ("1" if digit != "1" else "2") + text[at + 1 :]


def _digits(text: str) -> Iterator[tuple[int, str]]:
    return ((at, letter) for at, letter in enumerate(text) if letter.isdigit())
