"""The discrete Gaussian, as numbers: probability, quantile and deviation of the noise.

Pr[Z = z] is proportional to exp(-z^2 / (2 sigma^2)) on the integers. Up to sigma = 2,000 everything is summed
term by term (the neglected tail is below 1e-17). Above, the sum of the pmf over -q..q differs from the normal integral
over -(q + 1/2)..(q + 1/2) by less than 1 / (10 sigma^2) < 3e-8 (Euler-Maclaurin), and quantiles are taken at a
level raised by 1e-7, so that the stated coverage is still reached.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

EXACT_UP_TO = 2000.0
_SLACK = 1e-7


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
