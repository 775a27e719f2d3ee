"""Privacy loss distributions: Gaussian noise, and what is only known to be rho-zCDP, composed (optional).

Computed with Google's ``dp-accounting`` (the extra ``pld``), from privacy profiles delta(epsilon) on a grid of epsilon
by *connecting the dots* (Doroshenko et al. 2022), which rounds upwards. Two profiles come in:

* Gaussian releases are together one Gaussian mechanism, whose profile is known exactly;
* noisy maxima are rho-zCDP, and more is not assumed about them. Their profile is bounded for every epsilon by Canonne,
  Kamath and Steinke (2020), Prop. 12, for negative epsilon through the neighbours in the other order. A profile is
  convex in exp(epsilon), so it lies below the lower convex hull of the bound.

Part of ``tighter``: a report that no gate reads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import log_ndtr  # type: ignore[import-untyped]

_POINTS = 20_001
_ORDERS = 1 + np.geomspace(1e-3, 1e4, 2_000)
_REACH = 12.0
"""The grid covers the loss of a Gaussian up to this many deviations: beyond is less than 1e-32."""


def epsilon(gaussian: float, other: float, delta: float) -> float:
    """Return the epsilon at ``delta`` of Gaussian noise that costs ``gaussian`` and other releases that cost ``other``.

    Needs ``dp-accounting``. Both prices are zCDP rho; their sum is above zero.
    """
    from dp_accounting.pld.privacy_loss_distribution import (  # noqa: PLC0415 (an extra, and slow to import)
        PrivacyLossDistribution,
    )

    # A loss of rho-zCDP has mean at most rho and tails below those of a normal one of variance 2 rho.
    reach = sum(rho + _REACH * math.sqrt(2 * rho) for rho in (gaussian, other))
    step = 2 * reach / (_POINTS - 1)
    parts = [
        _pmf(profile(rho, _grid(step)), step) for profile, rho in ((_gaussian, gaussian), (_bounded, other)) if rho
    ]
    whole = PrivacyLossDistribution(parts[0])
    for part in parts[1:]:
        whole = whole.compose(PrivacyLossDistribution(part))
    return float(whole.get_epsilon_for_delta(delta))


def _grid(step: float) -> np.ndarray:
    return step * np.arange(-(_POINTS // 2), _POINTS // 2 + 1)


def _pmf(deltas: np.ndarray, step: float) -> Any:
    from dp_accounting.pld import pld_pmf  # noqa: PLC0415 (an extra, and slow to import)

    half = _POINTS // 2
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(step, -half, half, deltas)


def _gaussian(rho: float, at: np.ndarray) -> np.ndarray:
    """Return the profile of N(0, 1) against N(mu, 1), mu^2 = 2 rho (Balle and Wang 2018, Theorem 8)."""
    mu = math.sqrt(2 * rho)
    found: np.ndarray = np.exp(log_ndtr(mu / 2 - at / mu)) - np.exp(at + log_ndtr(-mu / 2 - at / mu))
    return np.minimum.accumulate(np.clip(found, 0, 1))


def _bounded(rho: float, at: np.ndarray) -> np.ndarray:
    """Return an upper bound of the profile of whatever is rho-zCDP."""
    logs = _ORDERS - 1
    constant = _ORDERS * logs * rho - np.log(_ORDERS) + logs * np.log1p(-1 / _ORDERS)
    direct = np.array([np.exp(min(0.0, float(np.min(constant - logs * point)))) for point in np.abs(at)])
    # H_x(P, Q) = 1 - x + x H_1/x(Q, P): the bound holds for both orders of the neighbours.
    bound = np.where(at < 0, -np.expm1(np.minimum(at, 0)) + np.exp(np.minimum(at, 0)) * direct, direct)
    return np.minimum.accumulate(np.clip(_hull(np.exp(at), bound), 0, 1))


def _hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the lower convex hull of points, at the same x (increasing)."""
    kept: list[int] = []
    for index in range(len(x)):
        while len(kept) > 1 and _above(x, y, kept[-2], kept[-1], index):
            kept.pop()
        kept.append(index)
    found: np.ndarray = np.interp(x, x[kept], y[kept])
    return found


def _above(x: np.ndarray, y: np.ndarray, left: int, middle: int, right: int) -> bool:
    """Whether the middle point is on or above the line between the two others."""
    return bool((y[middle] - y[left]) * (x[right] - x[left]) >= (y[right] - y[left]) * (x[middle] - x[left]))
