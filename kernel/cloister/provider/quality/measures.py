"""Measures of data quality: a numerator over a denominator, each with what it counts (ISO/IEC 25024: X = A / B).

The score of a dimension is that of its worst measure that counts: an average would let good columns hide a bad one.
"""

from __future__ import annotations

import msgspec

from cloister.contract.lineage import Dimension

GRADES = (("A", 0.99), ("B", 0.95), ("C", 0.80), ("D", 0.0))


class Measure(msgspec.Struct, frozen=True):
    """``good`` of ``total`` things (cells, rows, units, days as the name says) of a subject are as they should be.

    ``scored``: whether it counts towards the score of its dimension (a column that may be empty does not).
    ``examples``: values that are not as they should be; only where they were asked for.
    """

    dimension: Dimension
    name: str
    subject: str
    good: int
    total: int
    scored: bool = True
    note: str = ""
    examples: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Good over total; 1 where there is nothing to be wrong."""
        return self.good / self.total if self.total else 1.0


class Score(msgspec.Struct, frozen=True):
    """A dimension: its worst measure (None: nothing was measured), its grade, and the threshold it was held to."""

    dimension: Dimension
    worst: Measure | None
    grade: str
    at_least: str = ""
    below: bool = False


class Plots(msgspec.Struct, frozen=True):
    """What the page draws beside the measures.

    ``cells``: per column, rows by what became of them. ``months``: per date column, rows by month, empty months too.
    ``rows_per_unit``: units by their number of rows.
    """

    cells: dict[str, dict[str, int]]
    months: dict[str, dict[str, int]]
    rows_per_unit: dict[int, int]


class QualityReport(msgspec.Struct, frozen=True):
    """A whole report. It describes the data: for the provider's eyes only. ``salt`` hides it behind its digest."""

    table: str
    as_of: str
    rows: int
    columns: int
    scores: tuple[Score, ...]
    measures: tuple[Measure, ...]
    plots: Plots
    salt: str

    @property
    def below(self) -> tuple[Score, ...]:
        """The dimensions that do not reach their threshold."""
        return tuple(score for score in self.scores if score.below)


def grade(ratio: float) -> str:
    """Return the label of a ratio: A from 0.99, B from 0.95, C from 0.80, else D."""
    return next(label for label, least in GRADES if ratio >= least)
