"""Figures of predicted labels: confusion matrix and accuracy, exact but for the noise (no bins)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import crosstabs, measures, terms
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.doubts import checked
from cloister.sandbox.group import keys_of
from cloister.sandbox.learn import expected
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

_CLOSED = ("bool", "category", "number", "date")
_WAYS = {None: False, "true": "index", "pred": "columns", "all": "all"}
_FORMS = (
    "metrics.confusion_matrix(visits.smoker, model.predict(visits) >= 0.5)",
    "metrics.confusion_matrix(visits.smoker, model.predict(visits), threshold=0.5)",
)


def _confusion_matrix(
    y: Any, prediction: Any, *, threshold: float | None = None, normalize: str | None = None
) -> Ask[pd.DataFrame]:
    """Release how often each label was predicted for each label: rows are true labels, columns predicted ones.

    Args:
        y: The true labels: a condition or another closed column.
        prediction: Predicted labels, or a score with ``threshold``.
        threshold: Scores from here on are positive.
        normalize: ``"true"``, ``"pred"`` or ``"all"``: shares, computed from the released counts.

    Raises:
        PlanError: Not closed columns of the same rows.
    """
    if normalize not in _WAYS:
        raise PlanError("api.option", "normalize= is 'true', 'pred', 'all' or None", nearest=_FORMS)
    true, found = labels(y, prediction, threshold)
    asked = crosstabs._crosstab(true.rename("true"), found.rename("predicted"), normalize=_WAYS[normalize])
    # Most rows are on the diagonal, if the predictions are of use.
    cells = max(term.grid.points for term in asked.keys.values())
    return checked(asked, "confusion_matrix", expected.counts(cells, helps="fewer labels"))


def _accuracy(y: Any, prediction: Any, *, threshold: float | None = None, by: Any = None) -> Ask[Any]:
    """Release the share of rows whose label was predicted (of rows where both are known).

    Args:
        y: The true labels: a condition or another closed column.
        prediction: Predicted labels, or a score with ``threshold``.
        threshold: Scores from here on are positive.
        by: Closed columns: the accuracy in each of their groups.

    Raises:
        PlanError: Not closed columns of the same rows.
    """
    true, found = labels(y, prediction, threshold)
    rows = same(true._rows, found._rows)
    right = known(terms.compare("eq", _plain(true), _plain(found)), true._term, found._term)
    return mean(rows, right, "accuracy", by, expected.FIGURE)


def labels(y: Any, prediction: Any, threshold: float | None = None) -> tuple[Column, Column]:
    """Return true and predicted labels as closed columns.

    Raises:
        PlanError: They are none, or not of one kind.
    """
    for column in (y, prediction):
        if not isinstance(column, Column):
            raise PlanError(
                "api.metrics", f"labels are columns of a handle, not a {type(column).__name__}", nearest=_FORMS
            )
    found: Column = prediction if threshold is None else prediction >= threshold
    if {y._term.grid.kind, found._term.grid.kind} == {"bool", "number"}:
        raise PlanError("api.metrics.threshold", "a score becomes a label at a threshold", nearest=_FORMS)
    for column in (y, found):
        if column._term.grid.kind not in _CLOSED:
            raise PlanError("api.metrics.target", f"{column.name} has no closed set of values", nearest=_FORMS)
    return y, found


def mean(rows: Rows, term: Term, name: str, by: Any, most: float) -> Ask[Any]:
    """Ask for the mean of a term, over all rows or in each group.

    Args:
        rows: The rows.
        term: What is averaged.
        name: What the mean is called.
        by: Closed columns.
        most: The largest error that is of use, as a part of what the mean can be.
    """
    expects = expected.mean(name, float((term.grid.hi - term.grid.lo) * term.grid.step), most)
    if by is None:
        return checked(measures.scalar(rows, name, "mean", term), name, expects)
    rows, keys = keys_of(rows, {}, by)
    return checked(measures.series(rows, keys, "mean", term, name), name, expects)


def known(term: Term, *parts: Term) -> Term:
    """Return a term where all of these are known, else missing."""
    for part in parts:
        if part.grid.nullable:
            term = terms.only(term, terms.negation(terms.is_null(part)))
    return term


def _plain(column: Column) -> Term:
    if column._term.labels:
        raise PlanError(
            "api.metrics.target",
            f"{column.name} is a cut with labels of its own: its values are known by their edges",
            nearest=("metrics.confusion_matrix(a, b)", "cl.cut(visits.age, [0, 40, 120])"),
        )
    return column._term


confusion_matrix: Terminal[pd.DataFrame] = Terminal(_confusion_matrix)
accuracy: Terminal[Any] = Terminal(_accuracy)
