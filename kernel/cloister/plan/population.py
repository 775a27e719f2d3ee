"""Sampling error: from what was released about these rows to what it says about those they were drawn from.

Pure post-processing. An interval of the noise speaks about the rows in the data; ``population`` adds that other rows
could have been drawn: the error of a mean of n rows is s / sqrt(n), for s at most the upper end of a released variance,
or, if none was released, at most sqrt((high - m)(m - low)) for values within bounds (R. Bhatia and C. Davis, A better
bound on the variance, Am. Math. Monthly 107, 2000). Rows of one unit are alike: with up to u rows per unit the squared
error is up to u times as large. Clipped values and rows that were left out move a mean by an amount nobody knows: named
with their shares, not in the interval.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import msgspec

from cloister.plan.shape import ShapedMeasure

_NORMAL = NormalDist().inv_cdf(0.975)
_WORDS = {
    "clipped": "had a value limited to the declared bounds or domain",
    "capped": "are of units that had more rows than are kept",
}


class Population(msgspec.Struct, frozen=True):
    """95 % intervals, cell by cell, that hold noise and sampling error; what the second was computed from."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    basis: Literal["released variance", "bounds"]


def population(
    mean: ShapedMeasure,
    count: ShapedMeasure,
    *,
    bounds: tuple[float, float],
    rows_per_unit: int = 1,
    variance: ShapedMeasure | None = None,
) -> Population:
    """Return intervals of a mean or rate for the population that the units were drawn from.

    Args:
        mean: The mean, shaped.
        count: The non-null rows it is taken of.
        bounds: The range of its values.
        rows_per_unit: The most rows of one unit.
        variance: The variance of the same values, if it was released.
    """
    lows, highs = [], []
    for cell, value in enumerate(mean.values):
        size = max(count.low[cell], 1.0)
        spread = _widest(mean, cell, bounds) if variance is None else min(variance.high[cell], _most(bounds))
        error = _NORMAL * math.sqrt(rows_per_unit * spread / size)
        lows.append(max(value - math.hypot(value - mean.low[cell], error), bounds[0]))
        highs.append(min(value + math.hypot(mean.high[cell] - value, error), bounds[1]))
    return Population(tuple(lows), tuple(highs), "bounds" if variance is None else "released variance")


def _widest(mean: ShapedMeasure, cell: int, bounds: tuple[float, float]) -> float:
    """Return the largest variance that values within bounds can have, whatever in its interval the mean is."""
    middle = min(max(sum(bounds) / 2, mean.low[cell]), mean.high[cell])
    return (bounds[1] - middle) * (middle - bounds[0])


def _most(bounds: tuple[float, float]) -> float:
    return (bounds[1] - bounds[0]) ** 2 / 4


def shares(part: ShapedMeasure, count: ShapedMeasure) -> tuple[float, ...]:
    """Return the share of clipped or capped rows in every cell, between 0 and 1 (1 where no row is left)."""
    return tuple(min(few / many, 1.0) if many > 0 else 1.0 for few, many in zip(part.values, count.values, strict=True))


def bias(part: ShapedMeasure, count: ShapedMeasure) -> tuple[str, ...]:
    """Say for every cell what clipping or capping may have done, or nothing if it is within the noise."""
    found = []
    for cell, share in enumerate(shares(part, count)):
        seen = part.low[cell] > 0
        text = f"{100 * share:.1f} % of the rows {_WORDS[part.kind]}: values may be biased, by how much is not known"
        found.append(text if seen else "")
    return tuple(found)
