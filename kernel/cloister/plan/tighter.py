"""How much a closed set of charges amounts to, reported more tightly than the account promises.

zCDP counts every mechanism by one number and pays for it when it is converted to epsilon. Gaussian noise composes
exactly: releases of rho1, rho2, ... are together one Gaussian mechanism with mu = sqrt(2 (rho1 + rho2 + ...)), whose
trade-off is (Balle and Wang 2018, Theorem 8; Dong, Roth and Su 2022, Corollary 3.3)

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu).

The noise of Cloister is the *discrete* Gaussian, which this describes closely and not exactly, and the set of charges
must not have been chosen by looking at results. So this is a report and not a promise: nothing that decides about a
release imports this module (an import contract says so).
"""

from __future__ import annotations

import math
from fractions import Fraction

from cloister.errors import PlanError

LABEL = "report, not a promise"
_STEPS = 200


def gaussian_epsilon(rho: Fraction, delta: Fraction) -> float:
    """Return the epsilon at ``delta`` of Gaussian releases that cost ``rho`` together.

    Raises:
        PlanError: rho is negative or delta not in (0, 1).
    """
    if rho < 0 or not 0 < delta < 1:
        raise PlanError("plan.delta", "rho must not be negative, and delta must lie between 0 and 1")
    if rho == 0:
        return 0.0
    mu, target = math.sqrt(2 * rho), float(delta)
    low, high = 0.0, 1.0
    while _delta(high, mu) > target:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(middle, mu) > target else (low, middle)
    return high


def _delta(epsilon: float, mu: float) -> float:
    above = _normal(mu / 2 - epsilon / mu)
    tail = _normal(-mu / 2 - epsilon / mu)
    # exp(epsilon) may be beyond a double where the tail is nothing.
    return above - (math.exp(epsilon + math.log(tail)) if tail > 0 else 0.0)


def _normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2
