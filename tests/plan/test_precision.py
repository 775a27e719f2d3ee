"""Prices: the conversion is sound, exact enough and the same everywhere."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from cloister.errors import PlanError
from cloister.plan.precision import RHO_GRID, epsilon_of_rho, rho_of_epsilon, rho_of_share

DELTA = Fraction("0.000001")


def numeric_epsilon(rho: float, delta: float) -> float:
    """The conversion minimised on a fine grid of alphas, in floats."""
    return min(
        alpha * rho + math.log(1 / (alpha * delta)) / (alpha - 1) + math.log1p(-1 / alpha)
        for alpha in (1 + 10 ** (power / 400) for power in range(-1200, 2400))
    )


@pytest.mark.parametrize(
    ("epsilon", "rho"), [("0.1", 0.00032), ("0.5", 0.0066), ("1", 0.0244), ("2", 0.0882), ("4", 0.311), ("8", 1.052)]
)
def test_known_values(epsilon, rho):
    assert float(rho_of_epsilon(Fraction(epsilon), DELTA)) == pytest.approx(rho, rel=0.02)


@pytest.mark.parametrize("epsilon", ["0.01", "0.3", "1", "8", "50"])
@pytest.mark.parametrize("delta", ["0.01", "0.000001", "0.000000000001"])
def test_the_budget_never_converts_to_more_than_epsilon_and_wastes_nothing(epsilon, delta):
    target, delta = Fraction(epsilon), Fraction(delta)
    rho = rho_of_epsilon(target, delta)
    assert rho.denominator <= RHO_GRID
    assert numeric_epsilon(float(rho), float(delta)) <= float(target) * (1 + 1e-4)
    assert epsilon_of_rho(rho, delta) <= target + Fraction(1, 10**12)
    assert epsilon_of_rho(rho + Fraction(2, RHO_GRID), delta) > target - Fraction(1, 10**12)
    assert float(epsilon_of_rho(rho, delta)) == pytest.approx(numeric_epsilon(float(rho), float(delta)), rel=1e-4)


def test_epsilon_of_many_gaussians_matches_the_published_figure():
    # 100 Gaussians of scale 20 at delta 1e-6: 2.419.
    assert float(epsilon_of_rho(100 * Fraction(1, 800), DELTA)) == pytest.approx(2.419, abs=5e-4)
    assert epsilon_of_rho(Fraction(0), DELTA) == 0


def test_epsilon_grows_with_rho():
    values = [epsilon_of_rho(Fraction(step, 1000), DELTA) for step in range(1, 50)]
    assert values == sorted(values)


def test_shares_are_rounded_down():
    total = rho_of_epsilon(Fraction(8), DELTA)
    assert rho_of_share(Fraction(1), total) == total
    assert 50 * rho_of_share(Fraction("0.02"), total) <= total
    assert 3 * rho_of_share(Fraction(1, 3), total) <= total


@pytest.mark.parametrize(
    "call",
    [
        lambda: rho_of_epsilon(Fraction(0), DELTA),
        lambda: rho_of_epsilon(Fraction(1001), DELTA),
        lambda: rho_of_epsilon(Fraction(1), Fraction(0)),
        lambda: rho_of_epsilon(Fraction(1), Fraction(1)),
        lambda: epsilon_of_rho(Fraction(-1), DELTA),
        lambda: rho_of_share(Fraction(0), Fraction(1)),
        lambda: rho_of_share(Fraction(2), Fraction(1)),
        lambda: rho_of_share(Fraction(1, 10**20), Fraction(1)),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(PlanError):
        call()
