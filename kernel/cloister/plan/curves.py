"""Curves: ``log(1 + x)``, ``sqrt(x)`` and ``exp(x)`` of exact rationals, rounded down to multiples of 2^-20.

Exact by integer square roots and by 80-digit decimals: apart from ``log(1) = 0`` and ``exp(0) = 1``, which decimals
give exactly, no rational has a rational logarithm or exponential, so no value lies on a grid point.
"""

from __future__ import annotations

import decimal
import functools
import math
from fractions import Fraction

CURVE_STEP = Fraction(1, 2**20)
MAX_EXPONENT = 16
MAX_ROOT = 2**60
_DIGITS = decimal.Context(prec=80, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
_UNDERFLOW = -20


@functools.lru_cache(maxsize=4096)
def curve_index(kind: str, x: Fraction) -> int | None:
    """Return ``floor(f(x) * 2^20)``, or None below the domain of ``f`` (``x <= -1`` for log1p, ``x < 0`` for sqrt)."""
    scale = CURVE_STEP.denominator
    if kind == "sqrt":
        # floor(sqrt(y)) = floor(sqrt(floor(y))), so whole numbers suffice.
        return None if x < 0 else math.isqrt(x.numerator * scale**2 // x.denominator)
    if kind == "exp":
        return 0 if x < _UNDERFLOW else _floor(_DIGITS.exp(_decimal(x)))
    return None if x <= -1 else _floor(_DIGITS.ln(_decimal(1 + x)))


def _decimal(x: Fraction) -> decimal.Decimal:
    return _DIGITS.divide(decimal.Decimal(x.numerator), decimal.Decimal(x.denominator))


def _floor(value: decimal.Decimal) -> int:
    return math.floor(Fraction(value) * CURVE_STEP.denominator)
