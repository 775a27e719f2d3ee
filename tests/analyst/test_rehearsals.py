"""What the last mock run of a cell would have cost: kept, bounded, private, and an estimate that says what it is."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reviewer"))  # the signing parties live there

from signed_world import World

from cloister.analyst import rehearsals
from cloister.analyst.estimate import PAID, estimate, in_words
from cloister.analyst.rehearsals import Rehearsals, rehearsals_path
from cloister.errors import UnavailableError
from cloister.receipt.rehearsal import Rehearsal

DIGEST = "sha256:" + "ab" * 32


def asked(name: str, rho: str = "1/100", population: str = "clinic.patients") -> Rehearsal:
    return msgspec.convert({"release": name, "costs": [{"population": population, "rho": rho}]}, type=Rehearsal)


def run(kept: Rehearsals, source: str, *releases: Rehearsal, status: str = "ok") -> None:
    kept.began("m", source)
    for release in releases:
        kept.heard("m", release)
    kept.ended("m", status)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return rehearsals_path(tmp_path, DIGEST)


def told(path: Path, *sources: str) -> Any:
    return estimate("1", sources, Rehearsals(lambda: path).cells(), World().terms)


def test_another_kernel_shows_the_price_of_the_last_mock_run(path: Path) -> None:
    kept = Rehearsals(lambda: path)
    run(kept, "a", asked("r1"), asked("r2"))
    run(kept, "b", asked("r3"))
    run(kept, "b", asked("r4"))
    run(kept, "c")
    found = told(path, "a", "b", "c", "d")
    assert [(cell["known"], cell["releases"]) for cell in found["cells"]] == [
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
    ]
    assert found["unknown"] == 1
    (total,) = found["total"]
    assert total["population"] == "clinic.patients"
    assert total["share"].endswith(" %")
    # rho adds up and epsilon does not: the sum is not the sum of the cells' epsilons.
    parts = [float(cell["costs"][0]["epsilon"]) for cell in found["cells"][:2]]
    assert max(parts) < float(total["epsilon"]) < sum(parts)


def test_the_same_release_counts_once_where_it_is_first_asked(path: Path) -> None:
    kept = Rehearsals(lambda: path)
    run(kept, "a", asked("r1"), asked("r1"))
    run(kept, "b", asked("r1"), asked("r2"))
    found = told(path, "a", "b", "a")
    assert [cell["releases"] for cell in found["cells"]] == [1, 1, 0]
    assert found["cells"][2]["costs"] == []
    assert found["total"] == told(path, "b")["total"]


def test_what_never_reaches_the_enclave_costs_nothing(path: Path) -> None:
    found = told(path, "", "  \n", "%cloister status", "1 + 1")
    assert [cell["known"] for cell in found["cells"]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("status", "known"), [("ok", True), ("error", True), ("aborted", False), ("interrupted", False)]
)
def test_a_cell_that_was_stopped_is_not_known(status: str, known: bool, path: Path) -> None:
    run(Rehearsals(lambda: path), "a", asked("r1"), status=status)
    assert told(path, "a")["cells"][0]["known"] is known


def test_a_changed_cell_is_not_known(path: Path) -> None:
    run(Rehearsals(lambda: path), "a", asked("r1"))
    assert not told(path, "a ")["cells"][0]["known"]


def test_a_release_no_cell_caused_belongs_to_no_estimate(path: Path) -> None:
    kept = Rehearsals(lambda: path)
    kept.heard("nobody", asked("r1"))
    kept.ended("nobody", "ok")
    assert kept.cells() == {}
    assert not path.exists()


def test_the_file_is_private_bounded_and_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "MAX_CELLS", 3)
    monkeypatch.setattr(rehearsals, "MAX_RELEASES", 2)
    kept = Rehearsals(lambda: path)
    for number in range(5):
        run(kept, f"cell {number}", *(asked(f"r{at}") for at in range(2)))
    run(kept, "cell 3", asked("r9"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    cells = Rehearsals(lambda: path).cells()
    assert [[item.release for item in cell] for cell in cells.values()] == [["r0", "r1"], ["r0", "r1"], ["r9"]]


def test_of_many_releases_the_oldest_cells_leave(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "MAX_KEPT", 5)
    kept = Rehearsals(lambda: path)
    for source in ("a", "b", "c"):
        run(kept, source, asked("r1"), asked("r2"))
    assert [cell["known"] for cell in told(path, "a", "b", "c")["cells"]] == [False, True, True]


def test_a_cell_that_asked_for_more_than_is_kept_is_not_known(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "MAX_RELEASES", 2)
    kept = Rehearsals(lambda: path)
    run(kept, "a", asked("r1"))
    run(kept, "a", *(asked(f"r{at}") for at in range(3)))
    assert not told(path, "a")["cells"][0]["known"]
    assert kept.cells() == {}


def test_a_cell_that_asks_the_same_again_writes_nothing(path: Path) -> None:
    kept = Rehearsals(lambda: path)
    run(kept, "a", asked("r1"))
    before = path.stat().st_mtime_ns, path.stat().st_ino
    run(kept, "a", asked("r1"))
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cells": {"a": 1}}', b"\xff", b"[" * 100_000])
def test_a_file_that_was_altered_costs_the_estimate_only(content: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    kept = Rehearsals(lambda: path)
    assert kept.cells() == {}
    run(kept, "a", asked("r1"))
    assert told(path, "a")["cells"][0]["known"]


def test_a_file_that_is_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Rehearsals(lambda: path), "a", asked("r1"))
    monkeypatch.setattr(rehearsals, "MAX_FILE", 10)
    assert Rehearsals(lambda: path).cells() == {}


def test_without_a_contract_or_a_disk_the_kernel_still_remembers(tmp_path: Path) -> None:
    def unknown() -> Path:
        raise UnavailableError("page.contract", "no contract")

    (tmp_path / "file").write_text("in the way")
    for path in (unknown, lambda: tmp_path / "file" / "x.json"):
        kept = Rehearsals(path)
        run(kept, "a", asked("r1"))
        assert len(kept.cells()) == 1


@pytest.mark.parametrize("rho", ["", "x", "-1", "1e999999999", "1/0", "0.5", "9" * 500, 1, None])
def test_a_price_is_an_exact_fraction(rho: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        asked("r1", rho)


def test_a_population_without_a_budget_is_not_priced(path: Path) -> None:
    run(Rehearsals(lambda: path), "a", asked("r1", population="elsewhere"))
    assert told(path, "a")["total"] == []


def test_in_words(path: Path) -> None:
    assert "unknown" in in_words(told(path, "a"))[0]
    run(Rehearsals(lambda: path), "a", asked("r1"))
    lines = in_words(told(path, "a", "b"))
    assert "1 releases" in lines[0]
    assert "clinic.patients (epsilon" in lines[0]
    assert "1 of 2 cells" in lines[1]
    assert PAID in lines[-1]
