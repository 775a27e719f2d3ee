"""The discrete Gaussian, as numbers: probability, quantile and deviation of the noise.

Pr[Z = z] is proportional to exp(-z^2 / (2 sigma^2)) on the integers. Up to sigma = 2,000 everything is summed
term by term (the neglected tail is below 1e-17). Above, the sum of the pmf over -q..q differs from the normal integral
over -(q + 1/2)..(q + 1/2) by less than 1 / (10 sigma^2) < 3e-8 (Euler-Maclaurin), and quantiles are taken at a
level raised by 1e-7, so that the stated coverage is still reached.

Thresholds rest on an upper bound of the tail, in decimals rounded upwards: successive terms of the tail shrink at least
by ``exp(-(2 t + 1) / (2 sigma^2))``, and the sum of all terms is at least ``max(1, sqrt(2 pi) sigma)`` (Poisson).
"""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist

EXACT_UP_TO = 2000.0
_SLACK = 1e-7
_DOWN = decimal.Context(prec=50, rounding=decimal.ROUND_FLOOR, Emin=-(10**9), Emax=10**9)
# Decimal logarithms and exponentials are correctly rounded, which this much more than makes up for.
_GUARD = 1 + Decimal("1e-40")
_SQRT_TWO_PI = Decimal("2.50662827463100050241576528481104525300")


@lru_cache(maxsize=256)
def half_width(sigma: float, level: float = 0.95) -> int:
    """Return the smallest ``q`` with Pr[|Z| <= q] >= ``level``."""
    if sigma > EXACT_UP_TO:
        return math.ceil(NormalDist().inv_cdf((1 + level + _SLACK) / 2) * sigma - 0.5)
    terms = _terms(sigma)
    wanted = level * (2 * math.fsum(terms) - terms[0])
    reached, q = terms[0], 0
    while reached < wanted:
        q += 1
        reached += 2 * terms[q]
    return q


@lru_cache(maxsize=256)
def deviation(sigma: float) -> float:
    """Return the standard deviation of the noise (slightly below ``sigma`` for small ``sigma``)."""
    if sigma > EXACT_UP_TO:
        return sigma
    terms = _terms(sigma)
    total = 2 * math.fsum(terms) - terms[0]
    return math.sqrt(2 * math.fsum(z * z * term for z, term in enumerate(terms)) / total)


def coverage(sigma: float, q: int) -> float:
    """Return Pr[|Z| <= q]."""
    if sigma > EXACT_UP_TO:
        return math.erf((q + 0.5) / (sigma * math.sqrt(2)))
    terms = _terms(sigma)
    return (2 * math.fsum(terms[: q + 1]) - terms[0]) / (2 * math.fsum(terms) - terms[0])


def pmf(sigma: float, z: int) -> float:
    """Return Pr[Z = z] for ``sigma`` up to 2,000."""
    terms = _terms(sigma)
    return math.exp(-z * z / (2 * sigma * sigma)) / (2 * math.fsum(terms) - terms[0])


@lru_cache(maxsize=16)
def _terms(sigma: float) -> tuple[float, ...]:
    """Return the unnormalised probabilities of 0, 1, 2, ... up to where the tail is negligible."""
    last = math.ceil(9 * sigma) + 1
    return tuple(math.exp(-z * z / (2 * sigma * sigma)) for z in range(last + 1))


def tail_bound(sigma: float, t: int) -> Fraction:
    """Return an upper bound of Pr[Z >= t] for ``t >= 0``."""
    with decimal.localcontext(_DOWN):
        square = 2 * Decimal(sigma) ** 2
        first = (-(t * t) / square).exp() * _GUARD
        shrinks = (-(2 * t + 1) / square).exp() * _GUARD
        whole = max(Decimal(1), _SQRT_TWO_PI * Decimal(sigma))
        bound = first / ((1 - shrinks) * whole) * _GUARD if shrinks < 1 else Decimal(1)
    return min(Fraction(bound), Fraction(1))


@lru_cache(maxsize=256)
def threshold(sigma: float, delta: Fraction) -> int:
    """Return a ``tau`` with Pr[1 + Z > tau] <= ``delta``: what only one unit has passes it with at most this chance.

    The smallest for which ``tail_bound`` shows it (Z is an integer, so 1 + Z > tau means Z >= tau).

    Raises:
        ValueError: ``delta`` is not above zero.
    """
    if delta <= 0:
        raise ValueError("a threshold needs a delta above zero")
    high = 1
    while tail_bound(sigma, high) > delta:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tail_bound(sigma, middle) <= delta else (middle, high)
    return high
