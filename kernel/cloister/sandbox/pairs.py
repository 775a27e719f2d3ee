"""Covariances and correlations of columns: of one pair, or of every pair of a table in one release.

Each pair uses the rows where neither is missing, as pandas does. A matrix made of pairs with independent noise
need not be positive definite; ``cl.gram`` is the release to compute further with.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox.answer import PARTS, Answer
from cloister.sandbox.ask import Ask
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

NOTE = "every pair has its own noise: to compute further with the matrix, release cl.gram(...)"


def pair(rows: Rows, left: Term, right: Term, *, correlation: bool, ddof: int = 1) -> Ask[Any]:
    """Ask for the covariance or correlation of two columns."""
    name = "corr" if correlation else "cov"
    for term in (left, right):
        _number(term, name)
    return Ask(rows, (_measure(name, left, right, correlation, ddof),), lambda answer: answer.scalar(name))


def matrix(rows: Rows, columns: Mapping[str, Term], *, correlation: bool, ddof: int = 1) -> Ask[pd.DataFrame]:
    """Ask for all covariances (variances in the diagonal) or correlations of some columns.

    Raises:
        PlanError: Fewer than two columns, or one that is not a number.
    """
    what = "corr" if correlation else "cov"
    for term in columns.values():
        _number(term, what)
    if len(columns) < 2:
        raise PlanError("api.corr", f"{what} is of two columns or more", nearest=(f'visits[["age", "bmi"]].{what}()',))
    names = list(columns)
    measures: list[a.Measure] = [
        _measure(f"{x} {y}", columns[x], columns[y], correlation, ddof) for x, y in combinations(names, 2)
    ]
    if not correlation:
        measures += [a.Variance(f"{name} {name}", columns[name].scalar, ddof=_ddof(ddof)) for name in names]

    def present(answer: Answer) -> Any:
        from cloister.sandbox import release  # noqa: PLC0415 (release builds on answers)

        found = {measure.name: answer._parts(measure.name) for measure in measures}
        diagonal = {"value": 1.0, "stderr": 0.0, "low": 1.0, "high": 1.0, "unreliable": False}
        tables = {
            part: pd.DataFrame(
                [[_entry(found, x, y, part, diagonal.get(part, np.nan)) for y in names] for x in names], names, names
            )
            for part in PARTS
        }
        return release.bind(tables, answer.fact, NOTE)

    return Ask(rows, tuple(measures), present)


def pearson(method: Any) -> None:
    """Refuse correlations of ranks.

    Raises:
        PlanError: ``method`` is not ``"pearson"``.
    """
    if method != "pearson":
        raise PlanError(
            "api.corr", "ranks depend on everybody's values; only Pearson's correlation is a sum over people",
            nearest=("visits.age.corr(visits.bmi)",),
        )  # fmt: skip


def _entry(found: Mapping[str, Mapping[str, np.ndarray]], x: str, y: str, part: str, diagonal: Any) -> Any:
    parts = found.get(f"{x} {y}") or found.get(f"{y} {x}")
    return diagonal if parts is None else parts[part][0]


def _measure(name: str, x: Term, y: Term, correlation: bool, ddof: int) -> a.Covariance:
    return a.Covariance(name, (x.scalar, y.scalar), correlation, 0 if correlation else _ddof(ddof))


def _ddof(ddof: int) -> Any:
    if ddof not in {0, 1}:
        raise PlanError("api.option", "ddof is 0 or 1", nearest=("visits.age.var(ddof=0)",))
    return ddof


def _number(term: Term, what: str) -> None:
    if term.grid.kind not in {"number", "bool"}:
        raise PlanError(
            "plan.types",
            f"{what} needs numbers",
            nearest=('visits[["age", "bmi"]].corr()', "visits.age.corr(visits.bmi)"),
        )
