"""How much a closed set of charges amounts to, reported more tightly than the account promises.

zCDP counts every mechanism by one number and pays for it when it is converted to epsilon. Gaussian noise composes
exactly: releases of rho1, rho2, ... are together one Gaussian mechanism with mu = sqrt(2 (rho1 + rho2 + ...)), whose
trade-off is (Balle and Wang 2018, Theorem 8; Dong, Roth and Su 2022, Corollary 3.3)

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu).

Quantiles are noisy maxima and no Gaussian noise: they count as what their price promises and no more, and are composed
with the rest by privacy loss distributions (``pld``, where the extra is installed). The delta of threshold keys is
taken from the delta asked, before.

The noise of Cloister is the *discrete* Gaussian, which this describes closely and not exactly, and the set of charges
must not have been chosen by looking at results. So this is a report and not a promise: nothing that decides about a
release imports this module (an import contract says so).
"""

from __future__ import annotations

import importlib.metadata
import math
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan.precision import epsilon_of_rho

LABEL = "report, not a promise"
GAUSSIAN = "exact Gaussian composition"
ZCDP = "zCDP: noisy maxima need the extra cloister[pld] to be composed more tightly"
_STEPS = 200


class Spent(msgspec.Struct, frozen=True):
    """What a set of charges amounts to: rho in all, how much of it is for noisy maxima, and delta for keys."""

    rho: Fraction = Fraction(0)
    maxima: Fraction = Fraction(0)
    delta: Fraction = Fraction(0)


class Report(msgspec.Struct, frozen=True):
    """Epsilon as the account promises it and as it is reported, at one delta; ``method`` says how the second is got."""

    promised: float
    epsilon: float
    method: str


def report(spent: Spent, delta: Fraction) -> Report:
    """Return both epsilons at ``delta``, what keys have spent of it included.

    Raises:
        PlanError: A sum is negative or more than the whole, or keys have spent all of ``delta``.
    """
    left = delta - spent.delta
    if not 0 <= spent.maxima <= spent.rho or spent.delta < 0:
        raise PlanError("plan.rho", "the sums of an account are not negative, and parts no more than the whole")
    if not 0 < left < 1:
        raise PlanError(
            "plan.delta",
            "delta must lie between 0 and 1, and above what keys have spent of it",
            next_step=f"ask at a delta above {float(spent.delta):.3g}" if spent.delta else "1/1000000 is usual",
        )
    promised = float(epsilon_of_rho(spent.rho, left))
    gaussian = spent.rho - spent.maxima
    if spent.rho and (version := _installed()):
        from cloister.plan import pld  # noqa: PLC0415 (an extra, and slow to import)

        composed = pld.epsilon(float(gaussian), float(spent.maxima), float(left))
        method = f"privacy loss distributions (dp-accounting {version})"
    elif spent.maxima:
        composed, method = promised, ZCDP
    else:
        composed, method = gaussian_epsilon(spent.rho, left), GAUSSIAN
    # Both bounds hold, so the smaller one does: distributions are rounded, and what is only zCDP may fit better alone.
    return Report(promised, min(composed, promised), method)


def _installed() -> str | None:
    """Return which ``dp-accounting`` there is, or None."""
    try:
        return importlib.metadata.version("dp-accounting")
    except importlib.metadata.PackageNotFoundError:
        return None


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
