"""Bins with public edges: named by the analyst, or equal parts of the public range."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import literals, terms
from cloister.sandbox.terms import Term

MOST = 1_000


def bins_of(term: Term, bins: Any, *, closed: bool = False) -> Term:
    """Return the bin of a number or date as a category.

    Args:
        term: The values.
        bins: Ascending edges, or a number of bins over the public range.
        closed: The last edge belongs to the last bin (``np.histogram``).
    """
    found = edges(term, bins)
    if closed or isinstance(bins, int | np.integer):
        found = [*found[:-1], _beyond(term, found[-1])]
    return terms.cut(term, found, [label(low, high) for low, high in pairwise(found)])


def edges(term: Term, bins: Any) -> list[Any]:
    """Return the edges of bins.

    Raises:
        PlanError: Not a number or date column, or not 1 to 1,000 bins.
    """
    grid = term.grid
    if grid.kind not in {"number", "date"}:
        raise PlanError(
            "api.bins",
            "bins are of numbers and dates",
            nearest=("visits.age.plot.hist(bins=20)", "visits.sex.value_counts()"),
        )
    if not isinstance(bins, int | np.integer):
        return list(bins)
    if not 1 <= int(bins) <= MOST:
        raise PlanError("api.bins", f"1 to {MOST:,} bins", nearest=("visits.age.plot.hist(bins=20)",))
    low, high = grid.lo * grid.step, grid.hi * grid.step
    points = [low + (high - low) * part / int(bins) for part in range(int(bins) + 1)]
    if grid.kind == "date":
        return [np.datetime64(int(point), "D").item() for point in points]
    return points


def label(low: Any, high: Any) -> str:
    """Return the name of a bin."""
    return f"[{_short(low)}, {_short(high)})"


def _beyond(term: Term, edge: Any) -> Any:
    """Return an edge just above ``edge``, so that the value at ``edge`` lies in the last bin."""
    if term.grid.kind == "date":
        return np.datetime64(literals.date_text(edge), "D").item() + np.timedelta64(1, "D").item()
    return literals.fraction(edge) + Fraction(term.grid.step)


def _short(edge: Any) -> str:
    if hasattr(edge, "isoformat"):
        return literals.date_text(edge)
    value = float(edge)
    return f"{value:.6g}"
