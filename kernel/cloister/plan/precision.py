"""Prices: epsilon, rho and shares, in exact fractions.

The account is kept in zCDP (rho). A budget of (epsilon, delta) becomes the largest rho on a fixed grid whose
conversion back does not exceed epsilon; the conversion is that of Canonne, Kamath and Steinke (2020), Prop. 12:

    epsilon(rho) = min over alpha > 1 of  alpha rho + ln(1 / (alpha delta)) / (alpha - 1) + ln(1 - 1 / alpha)

Any alpha gives a valid bound, so an inexact minimiser costs tightness and never soundness. All logarithms are
decimal with a guard digit, results are rounded against the analyst, and no binary float takes part: every party
computes the same limit.
"""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from cloister.errors import PlanError

RHO_GRID = 2**48
EPSILON_GRID = 10**12
CHARGE_GRID = 2**96
_GUARD = Decimal("1e-30")
_CONTEXT = decimal.Context(prec=50, rounding=decimal.ROUND_HALF_EVEN, Emin=-(10**6), Emax=10**6)


def charge_of(l2_squared: int, sigma: float) -> Fraction:
    """Return what discrete Gaussian noise of scale ``sigma`` costs for integer vectors of this squared L2 norm.

    ``rho = l2^2 / (2 sigma^2)`` for exactly this double (Canonne, Kamath, Steinke 2020, Theorem 6), rounded up to a
    multiple of 2^-96 (ADR 0004).
    """
    return Fraction(math.ceil(l2_squared / (2 * Fraction(sigma) ** 2) * CHARGE_GRID), CHARGE_GRID)


def rho_of_epsilon(epsilon: Fraction, delta: Fraction) -> Fraction:
    """Return the largest multiple of 2^-48 that converts to at most ``epsilon`` at ``delta``.

    Raises:
        PlanError: Epsilon is not in (0, 1000], delta not in (0, 1), or no positive rho fits.
    """
    if not 0 < epsilon <= 1000:
        raise PlanError("plan.epsilon", "epsilon must be positive and at most 1000", next_step="ask for more noise")
    return _rho_of_epsilon(epsilon, _checked(delta))


def epsilon_of_rho(rho: Fraction, delta: Fraction) -> Fraction:
    """Return an upper bound (a multiple of 10^-12) of the epsilon that ``rho`` amounts to at ``delta``.

    Raises:
        PlanError: rho is negative or delta not in (0, 1).
    """
    if rho < 0:
        raise PlanError("plan.rho", "rho cannot be negative")
    if rho == 0:
        return Fraction(0)
    bound = _epsilon(rho, _checked(delta))[0]
    return Fraction(-int((-bound * EPSILON_GRID).to_integral_value(rounding=decimal.ROUND_FLOOR)), EPSILON_GRID)


def rho_of_share(share: Fraction, total: Fraction) -> Fraction:
    """Return ``share`` (a fraction in (0, 1]) of ``total`` rho, rounded down to a multiple of 2^-48.

    Raises:
        PlanError: The share is not in (0, 1], or too small to buy anything.
    """
    if not 0 < share <= 1:
        raise PlanError("plan.share", "a share is above 0 and at most 1", next_step="write share=0.02 for 2 %")
    rho = Fraction(int(share * total * RHO_GRID), RHO_GRID)
    if rho == 0:
        raise PlanError("plan.share", "the share is too small to buy a release", next_step="ask for a larger share")
    return rho


@lru_cache(maxsize=512)
def _rho_of_epsilon(epsilon: Fraction, delta: Fraction) -> Fraction:
    target = _decimal(epsilon, decimal.ROUND_FLOOR)
    with decimal.localcontext(_CONTEXT):
        log = (1 / _decimal(delta, decimal.ROUND_FLOOR)).ln()
        start = target * target / (4 * (log + target))
    count = max(1, int(start * RHO_GRID))
    for _ in range(60):
        bound, slope = _epsilon(Fraction(count, RHO_GRID), delta)
        with decimal.localcontext(_CONTEXT):
            # Newton: the derivative of the minimum with respect to rho is the minimising alpha.
            move = int(((target - bound) / slope * RHO_GRID).to_integral_value(rounding=decimal.ROUND_FLOOR))
        if move == 0:
            break
        count = max(1, count + move)
    while count > 0 and _epsilon(Fraction(count, RHO_GRID), delta)[0] > target:
        count -= 1
    while _epsilon(Fraction(count + 1, RHO_GRID), delta)[0] <= target:
        count += 1
    if count == 0:
        raise PlanError("plan.epsilon", "epsilon is too small to buy a release", next_step="ask for a larger epsilon")
    return Fraction(count, RHO_GRID)


def _epsilon(rho: Fraction, delta: Fraction) -> tuple[Decimal, Decimal]:
    """Return an upper bound of epsilon and the alpha it was taken at."""
    cost = _decimal(rho, decimal.ROUND_CEILING)
    with decimal.localcontext(_CONTEXT):
        log = -_decimal(delta, decimal.ROUND_FLOOR).ln()
        # Stationary point: (alpha - 1)^2 rho = ln(1 / (alpha delta)); Newton inside a shrinking bracket.
        low, high = Decimal(1), 1 + (log / cost).sqrt()
        alpha = high
        for _ in range(200):
            excess = (alpha - 1) ** 2 * cost - log + alpha.ln()
            low, high = (low, alpha) if excess > 0 else (alpha, high)
            better = alpha - excess / (2 * (alpha - 1) * cost + 1 / alpha)
            better = better if low < better < high else (low + high) / 2
            done = abs(better - alpha) <= alpha * Decimal("1e-20")
            alpha = better
            if done:
                break
        bound = alpha * cost + (log - alpha.ln()) / (alpha - 1) + (1 - 1 / alpha).ln()
        return max(bound, Decimal(0)) + _GUARD, alpha


def _checked(delta: Fraction) -> Fraction:
    if not 0 < delta < 1:
        raise PlanError("plan.delta", "delta must lie between 0 and 1")
    return delta


def _decimal(value: Fraction, rounding: str) -> Decimal:
    with decimal.localcontext(_CONTEXT) as context:
        context.rounding = rounding
        return Decimal(value.numerator) / Decimal(value.denominator)
