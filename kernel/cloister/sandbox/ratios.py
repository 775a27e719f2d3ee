"""Ratios of sums and weighted means: two noisy sums in one release, with Fieller's interval for their quotient."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.operators import RowWise
from cloister.sandbox.rows import same


def _ratio_of_sums(above: Any, below: Any) -> Ask[Any]:
    """Release ``above.sum() / below.sum()`` over the rows where neither is missing.

    Raises:
        PlanError: Not columns of the same rows, or not numbers.
    """
    for column in (above, below):
        if not isinstance(column, RowWise):
            raise PlanError(
                "api.column",
                f"a ratio of sums takes columns of a handle, not a {type(column).__name__}",
                nearest=("cl.ratio_of_sums(visits.cost, visits.age)",),
            )
    rows = same(above._rows, below._rows)
    return Ask(rows, (a.Ratio("ratio", above._term.scalar, below._term.scalar),), lambda found: found.scalar("ratio"))


def _weighted_mean(values: Any, weights: Any) -> Ask[Any]:
    """Release the mean of ``values`` weighted by another column: ``np.average(values, weights=weights)``."""
    if not (isinstance(values, RowWise) and isinstance(weights, RowWise)):
        raise PlanError(
            "api.column", "a weighted mean takes two columns", nearest=("cl.weighted_mean(visits.bmi, visits.age)",)
        )
    # Rows without a value must not count in the sum of the weights either: the ratio skips rows where either is null.
    return _ratio_of_sums(values * weights, weights)


ratio_of_sums: Terminal[Any] = Terminal(_ratio_of_sums)
weighted_mean: Terminal[Any] = Terminal(_weighted_mean)


def grouped(group: Any, above: str, below: str) -> Ask[pd.Series]:
    """Ask for the ratio of two sums per cell of a group-by."""
    terms = [group._columns[group._known(name)] for name in (above, below)]
    measure = a.Ratio("ratio", terms[0].scalar, terms[1].scalar)
    return Ask(group._rows, (measure,), lambda answer: answer.series("ratio", "ratio"), group._keys)
