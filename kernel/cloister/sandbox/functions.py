"""Functions of the module: choices, cuts, cross-tables, and what NumPy's own functions become on columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloister.errors import PlanError
from cloister.plan import algebra
from cloister.sandbox import literals, numpy_aggregates, terms
from cloister.sandbox.column import Column
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term


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


def recode(x: Column, labels: Sequence[str]) -> Column:
    """Return a text as a category with the public domain ``labels`` and, last, ``(other)`` for everything else."""
    term = _column(x, "recode")._term
    return Column(x._rows, terms.node(algebra.Recode(term.scalar, tuple(map(str, labels))), term), x.name)


def parse(x: Column, low: Any, high: Any, step: Any) -> Column:
    """Return a text such as ``-12.5`` as a number limited to ``low..high``, rounded down to a multiple of ``step``.

    Every text that is not a number of at most 12 digits and 6 decimals is missing.
    """
    term = _column(x, "parse")._term
    node = algebra.Parse(term.scalar, *(literals.number_text(end) for end in (low, high, step)))
    return Column(x._rows, terms.node(node, term), x.name)


def numpy(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run the few NumPy functions that mean something on columns; refuse the others.

    Raises:
        PlanError: The function needs values.
    """
    name = getattr(function, "__name__", "function")
    found = _NUMPY.get(name) or numpy_aggregates.WORKS.get(name)
    if found is None:
        raise numpy_aggregates.refusal(name)
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
    "round": lambda x, decimals=0, **_: x.round(decimals),
    "around": lambda x, decimals=0, **_: x.round(decimals),
    "isin": lambda x, values, **_: x.isin(values),
}
