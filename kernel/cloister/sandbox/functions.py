"""Functions of the module: choices, cuts, cross-tables, and what NumPy's own functions become on columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra
from cloister.sandbox import release, terms
from cloister.sandbox.answer import Answer
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.group import grouped
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term


def cut(x: Column, bins: Sequence[Any], *, right: bool = False, labels: Sequence[str] | None = None) -> Column:
    """Return the bin each value falls in, as a category with a closed domain, ready to group by.

    Args:
        x: A number or date column.
        bins: Ascending public edges. Values below the first and from the last edge on are missing.
        right: Only ``False``: bins are ``[low, high)``, as ``pd.cut(..., right=False)`` makes them.
        labels: Names for the bins.

    Raises:
        PlanError: Edges that do not ascend, ``right=True`` or a number of bins (that would look at the data).
    """
    _column(x, "cut")
    if right:
        raise PlanError(
            "api.cut", "bins are closed on the left here", nearest=("cl.cut(visits.age, [0, 18, 65, 120])",)
        )
    if isinstance(bins, int | float | np.integer):
        raise PlanError(
            "api.cut",
            "a number of bins would take its edges from the data; name the edges",
            nearest=("cl.cut(visits.age, [0, 18, 40, 65, 120])", "cl.cut(visits.age, range(0, 121, 20))"),
        )
    return Column(x._rows, terms.cut(x._term, list(bins), labels), x.name)


def where(cond: Column, x: Any, y: Any) -> Column:
    """Return ``x`` where ``cond`` holds, else ``y``; both are columns or constants."""
    return case((cond, x), default=y)


def case(*branches: tuple[Column, Any], default: Any) -> Column:
    """Return the value of the first branch whose condition holds, else ``default``.

    Example:
        ``cl.case((v.age < 18, "child"), (v.age < 65, "adult"), default="senior")``
    """
    if not branches or not all(isinstance(item, tuple) and len(item) == 2 for item in branches):
        raise PlanError("api.case", "case takes pairs", nearest=("cl.case((visits.age < 18, 0), default=1)",))
    rows: Rows | None = None
    for item in [part for pair in branches for part in pair] + [default]:
        if isinstance(item, Column):
            rows = item._rows if rows is None else same(rows, item._rows)
    if rows is None:
        raise PlanError("api.case", "a condition is a column", nearest=("cl.case((visits.age < 18, 0), default=1)",))
    found = _term(default)
    for cond, value in reversed(branches):
        found = terms.case(_column(cond, "a condition")._term, _term(value), found)
    return Column(rows, found, None)


def _crosstab(index: Column, columns: Column, *, normalize: bool = False) -> Ask[pd.DataFrame]:
    """Return rows per pair of values, released at once as a table.

    Raises:
        PlanError: ``normalize``; margins and values are not in this version.
    """
    if normalize:
        raise PlanError(
            "api.crosstab", "a cross-table of counts only", nearest=("cl.crosstab(visits.sex, visits.region)",)
        )
    first, second = _column(index, "crosstab"), _column(columns, "crosstab")
    rows = same(first._rows, second._rows)
    names = [first.name or "row", second.name or "column"]
    keys = grouped(rows, {}, [first.rename(names[0]), second.rename(names[1])], {})._keys

    def present(answer: Answer) -> Any:
        return release.reshape(answer.series("size", None), lambda part: part.unstack())

    return Ask(rows, (algebra.Count("size"),), present, keys)


crosstab: Terminal[pd.DataFrame] = Terminal(_crosstab)


def numpy(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run the few NumPy functions that mean something on columns; refuse the others.

    Raises:
        PlanError: The function needs values.
    """
    found = _NUMPY.get(getattr(function, "__name__", ""))
    if found is None:
        raise PlanError(
            f"api.np.{getattr(function, '__name__', 'function')}",
            f"np.{getattr(function, '__name__', 'function')} needs the values, and they never leave the enclave",
            nearest=("np.mean(visits.bmi)", "np.where(visits.age >= 18, 1, 0)"),
        )
    return found(*args, **{name: value for name, value in options.items() if value is not None})


def _term(value: Any) -> Term:
    return value._term if isinstance(value, Column) else terms.literal(value, None)


def _column(value: Any, what: str) -> Column:
    if not isinstance(value, Column):
        raise PlanError("api.column", f"{what} is a column of a handle, not a {type(value).__name__}")
    return value


_NUMPY: dict[str, Callable[..., Any]] = {
    "where": where,
    "clip": lambda x, low=None, high=None, **_: x.clip(low, high),
    "mean": lambda x, **options: x.mean(**options),
    "sum": lambda x, **options: x.sum(**options),
    "isin": lambda x, values, **_: x.isin(values),
}
