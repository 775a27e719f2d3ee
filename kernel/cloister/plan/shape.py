"""Shaping: from raw noisy integers to what the notebook shows.

Pure and deterministic: vault, sandbox and reviewer run the same code, so a verifier recomputes every shown value,
error and interval from a receipt. Intervals cover the noise only (95 %, from the pmf of the discrete Gaussian; means
by Fieller's method on the noisy sum and count). Counts are never negative and means never leave their bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import msgspec

from cloister.contract.card import Card
from cloister.errors import MalformedError
from cloister.plan import algebra as a
from cloister.plan.gaussian import deviation, half_width
from cloister.plan.layout import Component, Key, Label, Layout, MeasureLayout, layout

Matrix = tuple[tuple[float, ...], ...]


class ShapedMeasure(msgspec.Struct, frozen=True):
    """One measure, cell by cell: value, standard error and 95 % interval of the noise.

    ``unreliable`` marks cells whose noisy count is under three standard errors. For a Gram ``values`` is empty and
    ``matrices`` holds ``sum z z'`` per cell (``z = (1, x1, ..., xd)`` scaled to [-1, 1]: ``x = offset + scale * z``),
    with ``stderr`` the noise of each of its entries.
    """

    name: str
    kind: str
    values: tuple[float, ...]
    stderr: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    unreliable: tuple[bool, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    offsets: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()


class Shaped(msgspec.Struct, frozen=True):
    """A shaped release: ``cells()`` lists the key values in the order of every measure's values."""

    keys: tuple[Key, ...]
    measures: tuple[ShapedMeasure, ...]

    def cells(self) -> list[tuple[Label, ...]]:
        """Return the key values of each cell, row-major (one empty tuple if there are no keys)."""
        return list(product(*(key.labels for key in self.keys)))


def shape(plan: a.Plan, cards: Mapping[str, Card], raw: Sequence[int], sigmas: Sequence[float]) -> Shaped:
    """Return the values, errors and intervals of a release.

    Args:
        plan: The plan released.
        cards: Data cards by table name.
        raw: Noisy integers in layout order.
        sigmas: Noise scale of each component, in grid units.

    Raises:
        PlanError: The plan does not type-check against the cards.
        MalformedError: ``raw`` or ``sigmas`` do not have the shape the plan implies.
    """
    frame = layout(plan, cards)
    if len(raw) != frame.cells * frame.width or len(sigmas) != len(frame.components):
        raise MalformedError("release.shape", "the raw values do not have the shape the plan implies")
    if not all(math.isfinite(sigma) and sigma > 0 for sigma in sigmas):
        raise MalformedError("release.sigma", "a noise scale is not a positive number")
    return Shaped(frame.keys, tuple(_measure(frame, measure, raw, sigmas) for measure in frame.measures))


def _measure(frame: Layout, measure: MeasureLayout, raw: Sequence[int], sigmas: Sequence[float]) -> ShapedMeasure:
    parts = [frame.components[index] for index in measure.components]
    noise = [sigmas[index] for index in measure.components]
    starts = [sum(part.width for part in frame.components[:index]) for index in measure.components]
    if measure.kind == "gram":
        return _gram(frame, measure, starts[0], raw, noise[0])
    columns = [raw[start :: frame.width] for start in starts]
    if measure.kind == "mean":
        return _mean(measure, parts[0], columns, noise)
    return _total(measure, parts[0], columns[0], noise[0])


def _total(measure: MeasureLayout, part: Component, column: Sequence[int], sigma: float) -> ShapedMeasure:
    """A count or a sum: the noisy integer itself, plus and minus a quantile of the noise."""
    up, down = part.step.numerator, part.step.denominator
    counted = measure.kind == "count"
    reach, error = half_width(sigma), deviation(sigma)
    floor = 0 if counted else None

    def natural(value: int) -> float:
        value = value if floor is None else max(floor, value)
        return value if counted else value * up / down

    return ShapedMeasure(
        measure.name,
        measure.kind,
        tuple(natural(value) for value in column),
        (error * up / down,) * len(column),
        tuple(natural(value - reach) for value in column),
        tuple(natural(value + reach) for value in column),
        tuple(counted and value < 3 * error for value in column),
    )


def _mean(measure: MeasureLayout, part: Component, columns: list[Sequence[int]], noise: list[float]) -> ShapedMeasure:
    # Half a grid step widens each quantile, so that the two discrete noises together still reach 95 %.
    reach = (half_width(noise[0]) + 0.5, half_width(noise[1]) + 0.5)
    error, count_error = deviation(noise[0]), deviation(noise[1])
    step, offset = float(part.step), float(part.offset)
    values, errors, lows, highs, doubts = [], [], [], [], []
    for total, count in zip(*columns, strict=True):
        size = max(count, 1)
        centre = min(max(total / size, part.lo), part.hi)
        low, high = _fieller(total, count, reach, (part.lo, part.hi))
        values.append(offset + step * centre)
        errors.append(step * min(math.hypot(error, centre * count_error) / size, part.hi - part.lo))
        lows.append(offset + step * low)
        highs.append(offset + step * high)
        doubts.append(count < 3 * count_error)
    return ShapedMeasure(measure.name, "mean", tuple(values), tuple(errors), tuple(lows), tuple(highs), tuple(doubts))


def _fieller(total: int, count: int, reach: tuple[float, float], bounds: tuple[int, int]) -> tuple[float, float]:
    """Return all ratios t within ``bounds`` with |total - t count| <= sqrt(reach0^2 + t^2 reach1^2).

    Source: E. C. Fieller, Some problems in interval estimation, J. R. Stat. Soc. B 16 (1954).
    """
    low, high = bounds
    square = float(count) ** 2 - reach[1] ** 2
    root = float(total) ** 2 * reach[1] ** 2 + reach[0] ** 2 * square
    if count <= 0 or square <= 0 or root < 0:
        return float(low), float(high)
    middle, half = float(total) * count / square, math.sqrt(root) / square
    return min(max(middle - half, low), high), max(min(middle + half, high), low)


def _gram(frame: Layout, measure: MeasureLayout, start: int, raw: Sequence[int], sigma: float) -> ShapedMeasure:
    part = frame.components[measure.components[0]]
    unit = part.step.denominator
    size = len(part.terms) + 1
    matrices = []
    for cell in range(frame.cells):
        first = cell * frame.width + start
        triangle = iter(raw[first : first + part.width])
        rows = [[0.0] * size for _ in range(size)]
        for i in range(size):
            for j in range(i, size):
                rows[i][j] = rows[j][i] = next(triangle) / unit
        matrices.append(tuple(tuple(row) for row in rows))
    return ShapedMeasure(
        measure.name,
        "gram",
        (),
        (deviation(sigma) / unit,) * frame.cells,
        matrices=tuple(matrices),
        offsets=tuple(float((grid.lo + grid.hi) * grid.step / 2) for grid in part.grids),
        scales=tuple(float((grid.hi - grid.lo) * grid.step / 2) for grid in part.grids),
    )
