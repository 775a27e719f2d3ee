"""Sampling error: from what was released about these rows to what it says about those they were drawn from.

Pure post-processing. An interval of the noise speaks about the rows in the data; ``population`` adds that other rows
could have been drawn: the error of a mean of n rows is s / sqrt(n), for s at most the upper end of a released variance,
or, if none was released, at most sqrt((high - m)(m - low)) for values within bounds (R. Bhatia and C. Davis, A better
bound on the variance, Am. Math. Monthly 107, 2000). Rows of one unit are alike: with up to u rows per unit the squared
error is up to u times as large. Clipped values and rows that were left out move a mean by an amount nobody knows: named
with their shares (``companions``), not in the interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.layout import layout
from cloister.plan.shape import ShapedMeasure, rows_behind
from cloister.plan.typing import infer

_NORMAL = NormalDist().inv_cdf(0.975)


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


def populations(
    plan: a.Plan,
    cards: Mapping[str, Card],
    raw: Sequence[int],
    sigmas: Sequence[float],
    shaped: Sequence[ShapedMeasure],
) -> dict[str, Population]:
    """Return the population intervals of all means of a release, by name.

    Args:
        plan: The plan released.
        cards: Data cards by table name.
        raw: Noisy integers in layout order.
        sigmas: Noise scale of each component.
        shaped: The same, shaped.
    """
    frame = layout(plan, cards)
    # The companions come last, and an analyst may call a measure like one of them.
    by_name = {part.name: part for part in reversed(shaped)}
    rows = infer(plan.source, cards).rows_per_cell(plan.keys)
    found = {}
    for measure, made in zip(plan.measures, frame.measures, strict=True):
        count = rows_behind(frame, measure.name, raw, sigmas)
        if not isinstance(measure, a.Mean) or count is None:
            continue
        total = frame.components[made.components[0]]
        low, high = (float(total.offset) + float(total.step) * end for end in (total.lo, total.hi))
        beside = (item for item in plan.measures if isinstance(item, a.Variance) and item.of == measure.of)
        variance = next((_variance(by_name[item.name]) for item in beside), None)
        found[measure.name] = population(
            by_name[measure.name], count, bounds=(low, high), rows_per_unit=rows, variance=variance
        )
    return found


def _variance(spread: ShapedMeasure) -> ShapedMeasure:
    """Return a variance from a released variance or standard deviation."""
    if spread.kind == "variance":
        return spread
    return msgspec.structs.replace(spread, kind="variance", high=tuple(value**2 for value in spread.high))


def _widest(mean: ShapedMeasure, cell: int, bounds: tuple[float, float]) -> float:
    """Return the largest variance that values within bounds can have, whatever in its interval the mean is."""
    middle = min(max(sum(bounds) / 2, mean.low[cell]), mean.high[cell])
    return (bounds[1] - middle) * (middle - bounds[0])


def _most(bounds: tuple[float, float]) -> float:
    return (bounds[1] - bounds[0]) ** 2 / 4
