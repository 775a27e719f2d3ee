"""Figures of predicted numbers: R2, mean absolute and mean squared error."""

from __future__ import annotations

from typing import Any

from cloister.errors import PlanError
from cloister.sandbox import terms
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.learn import asking, expected, views
from cloister.sandbox.learn.metrics.labels import mean
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

_FORMS = (
    "metrics.r2(visits.cost, model.predict(visits))",
    "metrics.mean_absolute_error(visits.cost, model.predict(visits), limit=500)",
)


def _r2(y: Any, prediction: Any) -> Ask[float]:
    """Release R2 of a prediction, limited to [0, 1]: from one noisy Gram of residual and target.

    Raises:
        PlanError: Not number columns of the same rows.
    """
    rows, rest = residual(y, prediction, None)
    return asking.ask("r2", expected.explained("R2", expected.spans(rest, y._term)), rows, [rest, y._term], views.score)


def _mean_absolute_error(y: Any, prediction: Any, *, limit: Any = None, by: Any = None) -> Ask[Any]:
    """Release the mean absolute error of a prediction.

    Args:
        y: The true numbers.
        prediction: The predicted ones.
        limit: Larger errors count as this: the noise is proportional to the largest error that can be.
        by: Closed columns: the figure in each of their groups.

    Raises:
        PlanError: Not number columns of the same rows.
    """
    rows, rest = residual(y, prediction, limit)
    return mean(rows, terms.absolute(rest), "mean_absolute_error", by, expected.ERROR)


def _mean_squared_error(y: Any, prediction: Any, *, limit: Any = None, by: Any = None) -> Ask[Any]:
    """Release the mean squared error of a prediction; see ``mean_absolute_error``.

    Raises:
        PlanError: Not number columns of the same rows, or squares that need more than 62 bits.
    """
    rows, rest = residual(y, prediction, limit)
    return mean(rows, terms.arithmetic("mul", rest, rest), "mean_squared_error", by, expected.SQUARE)


def residual(y: Any, prediction: Any, limit: Any) -> tuple[Rows, Term]:
    """Return the rows two columns share, and their difference, limited if asked.

    Raises:
        PlanError: Not number columns of the same rows.
    """
    for column in (y, prediction):
        if not isinstance(column, Column) or column._term.grid.kind not in {"number", "bool"}:
            kind = column._term.grid.kind if isinstance(column, Column) else type(column).__name__
            raise PlanError("api.metrics.number", f"this figure is of two numbers, not of a {kind}", nearest=_FORMS)
    rows = same(y._rows, prediction._rows)
    rest = terms.arithmetic("sub", _number(y._term), _number(prediction._term))
    return rows, rest if limit is None else terms.clip(rest, -limit, limit)


def _number(term: Term) -> Term:
    return terms.arithmetic("mul", term, terms.literal(1, None)) if term.grid.kind == "bool" else term


r2: Terminal[float] = Terminal(_r2)
mean_absolute_error: Terminal[Any] = Terminal(_mean_absolute_error)
mean_squared_error: Terminal[Any] = Terminal(_mean_squared_error)
