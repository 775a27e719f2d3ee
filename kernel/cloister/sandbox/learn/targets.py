"""Which classes a target has, and the checks every classifier makes before anything is asked."""

from __future__ import annotations

from typing import Any

from cloister.errors import PlanError
from cloister.sandbox import terms
from cloister.sandbox.column import Column
from cloister.sandbox.learn import asking, origin
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.checks import CONDITION, MAX_CLASSES
from cloister.sandbox.rows import Rows, same


def checked(
    name: str,
    X: Any,  # noqa: N803 (scikit-learn's names)
    y: Any,
    missing: enc.Missing,
    form: str,
    *,
    every: bool,
    most: int,
) -> tuple[Rows, tuple[enc.Feature, ...], k.Classes]:
    """Return the rows, features and classes a classifier is made from.

    Args:
        name: The algorithm.
        X: A handle of features.
        y: A column of the same rows.
        missing: What a missing value means.
        form: A call that works.
        every: Whether every level of a category has a column of its own.
        most: How many encoded columns there may be.

    Raises:
        PlanError: Not handles, of different rows, or columns a classifier cannot use.
        ContractError: ``contract.algorithm``: the contract does not list the algorithm.
    """
    if missing not in enc.MISSING:
        raise PlanError("api.learn.parameter", f"missing= is one of {', '.join(map(repr, enc.MISSING))}")
    asking.check_handles(X, y, form)
    origin.check_allowed(name, X._rows)
    if y._term.scalar in {term.scalar for term in X._columns.values()}:
        raise PlanError(
            "api.learn.target", f"{y.name} is the target and a feature", next_step="leave it out of the features"
        )
    classes = classes_of(y, form)
    same(X._rows, y._rows)
    rows, features = enc.describe(X, missing, every=every, most=most)
    if enc.gappy(rows, y._term):
        if missing == "refuse":
            raise enc.missing_error(rows, y.name or "the target", y._term)
        rows = rows.where(terms.negation(terms.is_null(y._term)))
    return rows, features, classes


def classes_of(y: Column, form: str) -> k.Classes:
    """Return the classes of a target.

    Raises:
        PlanError: ``api.learn.target``: neither a condition nor a category of at least two labels.
    """
    term, name = y._term, y.name or "target"
    if term.grid.kind == "bool":
        return k.Classes(name, CONDITION, condition=True)
    if term.grid.kind == "category" and 2 <= len(term.domain) <= MAX_CLASSES:
        return k.Classes(name, tuple(term.domain), condition=False)
    raise PlanError(
        "api.learn.target",
        f"the target {name} is neither a condition nor a category",
        nearest=(form, 'model.fit(visits[["age"]], visits.cost > 600)'),
    )
