"""``cl.cut``: numbers and dates into public bins, with the options of ``pd.cut`` that do not look at the data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import literals, terms
from cloister.sandbox.column import Column
from cloister.sandbox.terms import Term

_FORMS = ("cl.cut(visits.age, [0, 18, 40, 65, 120])", "cl.cut(visits.age, range(0, 121, 20))", "cl.cut(visits.age, 5)")


def cut(
    x: Column,
    bins: Sequence[Any] | int,
    right: bool = False,
    labels: Sequence[str] | bool | None = None,
    *,
    include_lowest: bool = False,
) -> Column:
    """Return the bin each value falls in, as a category with a closed domain, ready to group by.

    Args:
        x: A number or date column.
        bins: Ascending public edges; values outside are missing. Or how many bins of equal width cover the declared
            bounds of the column (not the data's, as in pandas).
        right: False (the default here): bins are ``[low, high)``; True: ``(low, high]``.
        labels: Names for the bins; False for their numbers.
        include_lowest: With ``right=True``: the first bin holds its lower edge too.

    Raises:
        PlanError: Not a number or date column, or edges that do not ascend.
    """
    if not isinstance(x, Column):
        raise PlanError("api.column", f"cut is of a column of a handle, not of a {type(x).__name__}", nearest=_FORMS)
    term = x._term
    if term.grid.kind not in {"number", "date", "bool"}:
        raise PlanError("plan.types", f"a {term.grid.kind} cannot be cut into bins", nearest=_FORMS)
    edges, names = _counted(term, int(bins)) if isinstance(bins, int | float | np.integer) else (list(bins), None)
    if right and names is None:
        edges, names = _closed_right(term, edges, include_lowest)
    if isinstance(labels, bool) or labels is None:
        found = terms.cut(term, edges, None)
        found = found if names is None else dataclasses.replace(found, labels=names)
    else:
        found = terms.cut(term, edges, list(labels))
    column = Column(x._rows, found, x.name)
    if labels is False:
        plain = Column(x._rows, dataclasses.replace(found, labels=()), x.name)
        return plain.map({label: place for place, label in enumerate(plain.domain)})
    return column


def _counted(term: Term, bins: int) -> tuple[list[Any], tuple[str, ...]]:
    """Return edges on the grid for bins of equal width over the declared bounds."""
    grid = term.grid
    if not 1 <= bins <= grid.points:
        raise PlanError("api.cut", f"1 to {grid.points:,} bins fit into the declared bounds", nearest=_FORMS)
    points = [grid.lo + math.ceil(Fraction(place * grid.points, bins)) for place in range(bins + 1)]
    texts = [literals.grid_text(grid, point) for point in points]
    return _values(term, points), tuple(f"[{low}, {high})" for low, high in pairwise(texts))


def _closed_right(term: Term, edges: Sequence[Any], include_lowest: bool) -> tuple[list[Any], tuple[str, ...]]:
    """Return the edges of ``[low, high)`` bins that hold the same grid points as ``(low, high]``."""
    date = term.grid.kind == "date"
    texts = [literals.date_text(edge) if date else literals.number_text(edge) for edge in edges]
    step = Fraction(1) if date else term.grid.step
    exact = [_days(text) if date else Fraction(text) for text in texts]
    points = [math.floor(edge / step) + 1 for edge in exact]
    if include_lowest and points:
        points[0] = math.ceil(exact[0] / step)
    names = [f"({low}, {high}]" for low, high in pairwise(texts)]
    if include_lowest and names:
        names[0] = "[" + names[0][1:]
    if any(low >= high for low, high in pairwise(points)):
        raise PlanError("plan.cut", "bins ascend and hold at least one possible value each", nearest=_FORMS)
    return _values(term, points), tuple(names)


def _days(text: str) -> Fraction:
    return Fraction(np.datetime64(text, "D").astype(int).item())


def _values(term: Term, points: Sequence[int]) -> list[Any]:
    if term.grid.kind == "date":
        return [np.datetime64(point, "D").item() for point in points]
    return [point * term.grid.step for point in points]
