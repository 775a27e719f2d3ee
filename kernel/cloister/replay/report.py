"""What a replay says: the verification it began with, one line per cell, one verdict, and the exit code of the CLI.

The JSON form is stable: fields are only ever added.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.replay.classify import Numbers
from cloister.replay.compare import Compared, State
from cloister.reviewer.report import Report

EXACT = "replayed exactly"
DIFFERS = "replayed with differences"
RESERVED = "replayed exactly, with reservations"
FAILED = "not replayed: the notebook does not verify"
STOPPED = "replay stopped"
Verdict = Literal["released", "derived", "constant", "nothing"]


class FigureLine(msgspec.Struct, frozen=True):
    """One figure: its kind, why, and how many of the drawn numbers did not move."""

    kind: str
    reason: str
    drawn: int
    fixed: int


class CellLine(msgspec.Struct, frozen=True):
    """One code cell. ``cell`` is its index in the notebook; ``unexplained`` are the constants worth a look."""

    cell: int
    source: str
    state: State
    reason: str
    diff: tuple[str, ...]
    verdict: Verdict
    released: int
    derived: int
    constant: tuple[str, ...]
    unexplained: tuple[str, ...]
    figures: tuple[FigureLine, ...]


class ReplayReport(msgspec.Struct, frozen=True):
    """The outcome of ``cloister replay``."""

    overall: str
    exit_code: int
    reservations: tuple[str, ...]
    cells: tuple[CellLine, ...]
    verification: Report
    seconds: float
    version: Literal[1] = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        data["verification"] = self.verification.to_dict()
        data["counts"] = self.counts()
        return data

    def counts(self) -> dict[str, int]:
        """Return how many cells are in each state, and how many numbers are of each kind."""
        states: tuple[State, ...] = ("same", "differs", "not compared", "not run")
        found = {state.replace(" ", "_"): sum(cell.state == state for cell in self.cells) for state in states}
        numbers = {name: sum(getattr(cell, name) for cell in self.cells) for name in ("released", "derived")}
        constant = sum(len(cell.constant) for cell in self.cells)
        unexplained = sum(len(cell.unexplained) for cell in self.cells)
        return {**found, **numbers, "constant": constant, "unexplained": unexplained}


def line(place: int, source: str, compared: Compared, numbers: Numbers) -> CellLine:
    """Return the line of one cell."""
    kinds = {figure.kind for figure in numbers.figures}
    verdict: Verdict = "nothing"
    if numbers.derived or "derived" in kinds:
        verdict = "derived"
    elif numbers.released or "released" in kinds:
        verdict = "released"
    elif numbers.constant or "constant" in kinds:
        verdict = "constant"
    return CellLine(
        cell=place,
        source=source.strip().partition("\n")[0][:80],
        state=compared.state,
        reason=compared.reason,
        diff=compared.diff,
        verdict=verdict,
        released=numbers.released,
        derived=numbers.derived,
        constant=numbers.constant,
        unexplained=numbers.unexplained,
        figures=tuple(FigureLine(*figure) for figure in numbers.figures),
    )


def conclude(verification: Report, cells: tuple[CellLine, ...], seconds: float) -> ReplayReport:
    """Return the report with its verdict: the worst of verification and comparison."""
    reservations = list(verification.reservations)
    if verification.failed:
        overall, exit_code = FAILED, 2
    elif any(cell.state == "not run" for cell in cells):
        overall, exit_code = STOPPED, 1
    elif any(cell.state == "differs" for cell in cells):
        overall, exit_code = DIFFERS, 1
    else:
        overall = RESERVED if reservations else EXACT
        exit_code = verification.exit_code
    return ReplayReport(overall, exit_code, tuple(reservations), cells, verification, round(seconds, 2))
