"""Shaping: from raw noisy integers to what the notebook shows.

Pure and deterministic: vault, sandbox and reviewer run the same code, so a verifier recomputes every shown value,
error and interval from a receipt. Intervals cover the noise only (95 %, from the pmf of the discrete Gaussian; means
by Fieller's method on the noisy sum and count). Counts are never negative and means never leave their bounds. What is
clipped or capped is a share of the rows, between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import msgspec

from cloister.contract.card import Card
from cloister.errors import MalformedError
from cloister.plan import algebra as a
from cloister.plan import moments
from cloister.plan.gaussian import deviation, half_width
from cloister.plan.layout import Component, Key, Label, Layout, MeasureLayout, label_value, layout
from cloister.plan.moments import Estimate, Noisy

COUNTED = frozenset({"count", "units"})
LIMITED = frozenset({"clipped", "capped"})
Matrix = tuple[tuple[float, ...], ...]


class ShapedMeasure(msgspec.Struct, frozen=True):
    """One measure, cell by cell: value, standard error and 95 % interval of the noise.

    ``unreliable`` marks cells whose noisy count is under three standard errors, and spreads that noise hides.
    For a Gram ``values`` is empty and ``matrices`` holds ``sum z z'`` per cell (``z = (1, x1, ..., xd)`` scaled to
    [-1, 1]: ``x = offset + scale * z``), with ``stderr`` the noise of each of its entries.
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
    found: tuple[tuple[Label, ...], ...] | None = None

    def cells(self) -> list[tuple[Label, ...]]:
        """Return the key values of each cell, row-major (one empty tuple if there are no keys), or those found."""
        if self.found is not None:
            return list(self.found)
        return list(product(*(key.labels for key in self.keys)))


def shape(
    plan: a.Plan,
    cards: Mapping[str, Card],
    raw: Sequence[int],
    sigmas: Sequence[float],
    labels: Sequence[Sequence[str]] | None = None,
) -> Shaped:
    """Return the values, errors and intervals of a release.

    Args:
        plan: The plan released.
        cards: Data cards by table name.
        raw: Noisy integers in layout order.
        sigmas: Noise scale of each component, in grid units.
        labels: The values of the keys that were released, for ``ThresholdKeys`` and for no other plan. The intervals of
            their counts are those of the noise; that only what is above the threshold is seen, is not in them.

    Raises:
        PlanError: The plan does not type-check against the cards.
        MalformedError: ``raw`` or ``sigmas`` do not have the shape the plan implies.
    """
    frame = layout(plan, cards)
    if (labels is not None) != frame.found or (labels is not None and len(labels) > frame.cells):
        raise MalformedError("release.shape", "the released values of the keys do not fit the plan")
    if labels is not None:
        frame = msgspec.structs.replace(frame, cells=len(labels))
    if len(raw) != frame.cells * frame.width or len(sigmas) != len(frame.components):
        raise MalformedError("release.shape", "the raw values do not have the shape the plan implies")
    if not all(math.isfinite(sigma) and sigma > 0 for sigma in sigmas):
        raise MalformedError("release.sigma", "a noise scale is not a positive number")
    shaped = (part for measure in frame.measures for part in _measure(frame, measure, raw, sigmas))
    # A fit has no measures: its integers are the transcript that ``plan/learning`` makes a model of.
    return Shaped(frame.keys, tuple(shaped), None if labels is None else _found(frame.keys, labels))


def _found(keys: Sequence[Key], labels: Sequence[Sequence[str]]) -> tuple[tuple[Label, ...], ...]:
    if any(len(found) != len(keys) for found in labels) or sorted(set(map(tuple, labels))) != list(map(tuple, labels)):
        raise MalformedError("release.shape", "the released values of the keys are not in order, or not of these keys")
    return tuple(tuple(label_value(text, key.grid) for text, key in zip(found, keys, strict=True)) for found in labels)


def _measure(
    frame: Layout, measure: MeasureLayout, raw: Sequence[int], sigmas: Sequence[float]
) -> tuple[ShapedMeasure, ...]:
    noise = [sigmas[index] for index in measure.components]
    starts = [sum(part.width for part in frame.components[:index]) for index in measure.components]
    if measure.kind == "gram":
        return (_gram(frame, measure, starts[0], raw, noise[0]),)
    if measure.kind == "quantile":
        return _quantiles(frame, measure, starts[0], raw, sigmas)
    columns = [raw[start :: frame.width] for start in starts]
    if measure.kind in _ESTIMATES:
        return (_estimated(frame, measure, columns, noise),)
    return (_total(measure, frame.components[measure.components[0]], columns[0], noise[0]),)


def rows_behind(frame: Layout, name: str, raw: Sequence[int], sigmas: Sequence[float]) -> ShapedMeasure | None:
    """Return how many rows a measure is of, where it is made of sums and a count (a mean, a variance, a share)."""
    measure = next(found for found in frame.measures if found.name == name)
    for index in measure.components:
        part = frame.components[index]
        if part.role == "count":
            start = sum(other.width for other in frame.components[:index])
            counted = msgspec.structs.replace(measure, kind="count")
            return _total(counted, part, raw[start :: frame.width], sigmas[index])
    return None


def quantile_names(measure: a.Quantile) -> tuple[str, ...]:
    """Return what the quantiles of a measure are called: its name, followed by the level if several are asked."""
    return (measure.name,) if len(measure.at) == 1 else tuple(f"{measure.name} {level}" for level in measure.at)


def _total(measure: MeasureLayout, part: Component, column: Sequence[int], sigma: float) -> ShapedMeasure:
    """A count or a sum: the noisy integer itself, plus and minus a quantile of the noise."""
    up, down = part.step.numerator, part.step.denominator
    counted = measure.kind in COUNTED
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


def _quantiles(
    frame: Layout, measure: MeasureLayout, start: int, raw: Sequence[int], sigmas: Sequence[float]
) -> tuple[ShapedMeasure, ...]:
    """Quantiles, in order within a cell; dates are days since 1970-01-01.

    The noise moves the *rank* of a value by a known amount, and how many rows lie between two values is not released: a
    quantile has no standard error and no interval in its own unit (NaN). A cell is unreliable if a count in the same
    release says so: of the same term, or of all rows.
    """
    part = frame.components[measure.components[0]]
    order = sorted(range(part.width), key=lambda index: part.at[index])
    doubts = _few(frame, part, raw, sigmas)
    columns: list[list[float]] = [[] for _ in order]
    for cell in range(frame.cells):
        first = cell * frame.width + start
        chosen = raw[first : first + part.width]
        if not all(0 <= index < part.candidates for index in chosen):
            raise MalformedError("release.shape", "a quantile is none of the candidates the plan implies")
        for index, value in zip(order, sorted(chosen), strict=True):
            columns[index].append(float(part.offset + value * part.step))
    unknown = (math.nan,) * frame.cells
    names = quantile_names(a.Quantile(measure.name, part.terms[0], measure.levels))
    return tuple(
        ShapedMeasure(name, "quantile", tuple(values), unknown, unknown, unknown, doubts)
        for name, values in zip(names, columns, strict=True)
    )


def _few(frame: Layout, part: Component, raw: Sequence[int], sigmas: Sequence[float]) -> tuple[bool, ...]:
    """Return where there are too few rows, by the most precise count of them (one behind a share alone is not)."""
    precise = {index for item in frame.measures if item.kind not in LIMITED for index in item.components}
    start, best = 0, math.inf
    found = (False,) * frame.cells
    for index, (other, sigma) in enumerate(zip(frame.components, sigmas, strict=True)):
        if index in precise and other.role == "count" and other.terms in {(), part.terms} and sigma < best:
            best = sigma
            found = tuple(value < 3 * deviation(sigma) for value in raw[start :: frame.width])
        start += other.width
    return found


def _estimated(
    frame: Layout, measure: MeasureLayout, columns: list[Sequence[int]], noise: list[float]
) -> ShapedMeasure:
    """Return a measure that is computed cell by cell from several sums."""
    parts = [frame.components[index] for index in measure.components]
    cells = [_ESTIMATES[measure.kind](measure, parts, cell, noise) for cell in zip(*columns, strict=True)]
    return ShapedMeasure(
        measure.name,
        measure.kind,
        tuple(cell.value for cell in cells),
        tuple(cell.stderr for cell in cells),
        tuple(cell.low for cell in cells),
        tuple(cell.high for cell in cells),
        tuple(cell.unreliable for cell in cells),
    )


def _mean(_: MeasureLayout, parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    total, count = (Noisy.of(value, sigma) for value, sigma in zip(raw, noise, strict=True))
    found = moments.ratio(total, count, (parts[0].lo, parts[0].hi), positive=True)
    step, offset = float(parts[0].step), float(parts[0].offset)
    return Estimate(
        offset + step * found.value,
        step * found.stderr,
        offset + step * found.low,
        offset + step * found.high,
        found.unreliable,
    )


def _ratio(_: MeasureLayout, parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    above, below = (Noisy.of(value, sigma) for value, sigma in zip(raw, noise, strict=True))
    found = moments.ratio(above, below, _ratio_bounds(*parts), positive=parts[1].lo >= 0)
    return moments.scaled(found, float(parts[0].step / parts[1].step))


def _share(_: MeasureLayout, _parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    few, all_rows = (Noisy.of(value, sigma) for value, sigma in zip(raw, noise, strict=True))
    return moments.ratio(few, all_rows, (0.0, 1.0), positive=True)


def _ratio_bounds(above: Component, below: Component) -> tuple[float, float]:
    """Return what a ratio of sums can be, in grid units; nothing limits it if the denominator's term can be zero."""
    if below.lo > 0:
        corners = [x / y for x in (above.lo, above.hi) for y in (below.lo, below.hi)]
        return min(corners), max(corners)
    return (0.0 if above.lo >= 0 and below.lo == 0 else -math.inf), math.inf


def _variance(measure: MeasureLayout, parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    term = _centred(parts[0], parts[1], raw[:2], noise[:2])
    found = moments.variance(term, Noisy.of(raw[2], noise[2]), measure.ddof)
    # An estimate of zero or less says that no spread can be told from the noise, and not that there is none.
    found = msgspec.structs.replace(found, unreliable=found.unreliable or found.value <= 0)
    found = moments.scaled(found, _half(parts[0]) ** 2)
    return moments.root(found) if measure.kind == "std" else found


def _covariance(measure: MeasureLayout, parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    x, y, product = (Noisy.of(raw[index], noise[index], 1 / max(parts[index].hi, 1)) for index in range(3))
    found = moments.covariance(x, y, product, Noisy.of(raw[3], noise[3]), measure.ddof)
    return moments.scaled(found, _half(parts[0]) * _half(parts[1]))


def _correlation(_: MeasureLayout, parts: list[Component], raw: Sequence[int], noise: list[float]) -> Estimate:
    x = _centred(parts[0], parts[2], raw[0:3:2], noise[0:3:2])
    y = _centred(parts[1], parts[3], raw[1:4:2], noise[1:4:2])
    product = Noisy.of(raw[4], noise[4], 1 / max(parts[4].hi, 1))
    return moments.correlation(x, y, product, Noisy.of(raw[5], noise[5]))


def _centred(total: Component, square: Component, raw: Sequence[int], noise: Sequence[float]) -> moments.Centred:
    return moments.Centred(
        Noisy.of(raw[0], noise[0], 1 / max(total.hi, 1)), Noisy.of(raw[1], noise[1], 0.5 / max(square.hi, 1))
    )


def _half(part: Component) -> float:
    """Return half the range of a centred component's term, in the measure's unit."""
    return float(part.hi * part.step)


_ESTIMATES: dict[str, Callable[[MeasureLayout, list[Component], Sequence[int], list[float]], Estimate]] = {
    "mean": _mean,
    "ratio": _ratio,
    "clipped": _share,
    "capped": _share,
    "variance": _variance,
    "std": _variance,
    "covariance": _covariance,
    "correlation": _correlation,
}


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
