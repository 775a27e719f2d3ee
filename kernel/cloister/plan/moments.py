"""Moments: ratio, variance and correlation from noisy sums, with standard errors and 95 % intervals of the noise.

All take sums scaled to ``u`` in [-1, 1] (``Sums``). Standard errors are by the delta method. A ratio's interval is
Fieller's. The others are that of the delta method with two corrections for noise that is not small: the count is taken
at the lower end of its own interval, and the product of the noises of the sums is added to the error. Where the noisy
count is under 3 standard errors the interval is everything the bounds allow. Coverage is tested at 95 % or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from cloister.plan.gaussian import deviation, half_width

Bounds = tuple[float, float]


class Estimate(msgspec.Struct, frozen=True):
    """A value with standard error and interval; ``unreliable`` as in ``ShapedMeasure``."""

    value: float
    stderr: float
    low: float
    high: float
    unreliable: bool


class Noisy(msgspec.Struct, frozen=True):
    """A noisy sum, the standard deviation of its noise and the half width of its 95 % interval, in one unit."""

    value: float
    error: float
    reach: float

    @classmethod
    def of(cls, raw: int, sigma: float, unit: float = 1.0) -> Noisy:
        """Return a raw integer in multiples of ``unit``.

        Half a grid step widens the quantile, so that several discrete noises together still reach 95 %.
        """
        return cls(raw * unit, deviation(sigma) * unit, (half_width(sigma) + 0.5) * unit)


def limited(value: float, bounds: Bounds) -> float:
    """Return ``value`` within ``bounds``."""
    return min(max(value, bounds[0]), bounds[1])


def ratio(above: Noisy, below: Noisy, bounds: Bounds, *, positive: bool) -> Estimate:
    """Return ``above / below`` in grid units, within ``bounds``; the denominator is taken as at least 1 in size.

    The interval is all t with |above - t below| <= sqrt(reach0^2 + t^2 reach1^2): E. C. Fieller, Some problems in
    interval estimation, J. R. Stat. Soc. B 16 (1954). ``positive``: the true denominator is known not to be negative.
    """
    negative = below.value < 0 and not positive
    size = min(below.value, -1.0) if negative else max(below.value, 1.0)
    value = limited(above.value / size, bounds)
    error = min(math.hypot(above.error, value * below.error) / abs(size), bounds[1] - bounds[0])
    low, high = bounds if positive and below.value <= 0 else _fieller(above, below, bounds)
    doubtful = (below.value if positive else abs(below.value)) < 3 * below.error
    return Estimate(value, error, low, high, doubtful)


def _fieller(above: Noisy, below: Noisy, bounds: Bounds) -> Bounds:
    square = below.value**2 - below.reach**2
    root = above.value**2 * below.reach**2 + above.reach**2 * square
    if square <= 0 or root < 0:
        return bounds
    middle, half = above.value * below.value / square, math.sqrt(root) / square
    return limited(middle - half, bounds), limited(middle + half, bounds)


class Centred(msgspec.Struct, frozen=True):
    """The sums of one term over the same rows, scaled to [-1, 1]: of ``u``, and of ``u^2 - 1/2``."""

    total: Noisy
    square: Noisy


def variance(term: Centred, count: Noisy, ddof: int) -> Estimate:
    """Return the variance of ``u``, between 0 and 1 (times n / (n - ddof))."""
    size, factor = _size(count, ddof)
    mean = limited(term.total.value / size, (-1, 1))
    spread = limited(term.square.value / size + 0.5, (0, 1))
    by_count = factor * (spread - 0.5 - 2 * mean**2) + (factor - 1) * (spread - mean**2)
    slopes = ((term.square, factor), (term.total, 2 * factor * mean), (count, by_count))
    value = factor * limited(spread - mean**2, (0, 1))
    return _estimate(value, slopes, ((term.total, term.total),), count, (0, _largest(count, ddof)))


def covariance(x: Noisy, y: Noisy, product: Noisy, count: Noisy, ddof: int) -> Estimate:
    """Return the covariance of two terms scaled to [-1, 1], from the sums of both and of their product."""
    size, factor = _size(count, ddof)
    left, right = (limited(total.value / size, (-1, 1)) for total in (x, y))
    value = limited(limited(product.value / size, (-1, 1)) - left * right, (-1, 1))
    by_count = factor * (value - left * right) + (factor - 1) * value
    slopes = ((product, factor), (x, factor * right), (y, factor * left), (count, by_count))
    most = _largest(count, ddof)
    return _estimate(factor * value, slopes, ((x, y),), count, (-most, most))


def correlation(x: Centred, y: Centred, product: Noisy, count: Noisy) -> Estimate:
    """Return the correlation of two terms; everything from -1 to 1 where a variance could be zero."""
    spreads = [variance(term, count, 0) for term in (x, y)]
    joint = covariance(x.total, y.total, product, count, 0)
    scale = math.sqrt(spreads[0].value * spreads[1].value)
    if scale <= 0:
        return Estimate(0.0, 1.0, -1.0, 1.0, unreliable=True)
    size, _ = _size(count, 0)
    left, right = (limited(term.total.value / size, (-1, 1)) for term in (x, y))
    value = limited(joint.value / scale, (-1, 1))
    # The slopes of r = c / sqrt(v w): those of c, less r / 2 times those of v and w in units of themselves.
    pull = [value / (2 * spread.value) for spread in spreads]
    by_count = (joint.value - left * right) / scale
    for term, mean, rate in ((x, left, pull[0]), (y, right, pull[1])):
        by_count -= rate * (term.square.value / size - 2 * mean**2)
    slopes = (
        (product, 1 / scale),
        (x.total, right / scale - 2 * pull[0] * left),
        (y.total, left / scale - 2 * pull[1] * right),
        (x.square, pull[0]),
        (y.square, pull[1]),
        (count, by_count),
    )
    found = _estimate(value, slopes, ((x.total, y.total),), count, (-1, 1))
    if any(spread.low <= 0 for spread in spreads):
        return msgspec.structs.replace(found, low=-1.0, high=1.0)
    return found


def root(found: Estimate) -> Estimate:
    """Return the square root of an estimate that is never negative."""
    value = math.sqrt(found.value)
    error = found.stderr / (2 * value) if value * value > found.stderr else math.sqrt(found.stderr)
    return Estimate(value, error, math.sqrt(found.low), math.sqrt(found.high), found.unreliable)


def scaled(found: Estimate, factor: float) -> Estimate:
    """Return an estimate in another unit."""
    return Estimate(
        found.value * factor, found.stderr * factor, found.low * factor, found.high * factor, found.unreliable
    )


def _size(count: Noisy, ddof: int) -> tuple[float, float]:
    size = max(count.value, 1.0 + ddof)
    return size, size / (size - ddof)


def _largest(count: Noisy, ddof: int) -> float:
    """Return the most that n / (n - ddof) can be, for any n in the count's interval."""
    size = max(count.value - count.reach, 1.0 + ddof)
    return size / (size - ddof)


def _estimate(
    value: float,
    slopes: Sequence[tuple[Noisy, float]],
    pairs: Sequence[tuple[Noisy, Noisy]],
    count: Noisy,
    bounds: Bounds,
) -> Estimate:
    """Return an estimate whose error is made of noises times slopes, and of products of noises, over the count."""
    size = max(count.value, 1.0)
    error = math.hypot(*(part.error * slope for part, slope in slopes)) / size
    if count.value < 3 * count.error:
        return Estimate(value, min(error, bounds[1] - bounds[0]), *bounds, unreliable=True)
    least = max(size - count.reach, 1.0)
    reach = math.hypot(*(part.reach * slope for part, slope in slopes)) / least
    reach += sum(one.reach * other.reach for one, other in pairs) / least**2
    return Estimate(
        value,
        min(error, bounds[1] - bounds[0]),
        limited(value - reach, bounds),
        limited(value + reach, bounds),
        unreliable=False,
    )
