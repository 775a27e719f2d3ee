"""The reported epsilon: equal to a numerical composition, below the promised one, and read by no gate."""

from __future__ import annotations

import math
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest

from cloister.errors import PlanError
from cloister.plan import tighter
from cloister.plan.precision import epsilon_of_rho

DELTA = Fraction(1, 10**6)


def by_integration(rho: float, epsilon: float) -> float:
    """Return delta(epsilon) of N(0, 1) against N(mu, 1): the hockey-stick divergence, summed on a fine grid."""
    mu, step = math.sqrt(2 * rho), 1e-4
    total = 0.0
    for index in range(int((mu + 16) / step)):
        x = -8 + (index + 0.5) * step
        total += max(0.0, math.exp(-((x - mu) ** 2) / 2) - math.exp(epsilon - x * x / 2))
    return total * step / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("rho", ["1/1000", "1/10", "1", "3"])
def test_it_is_the_hockey_stick_divergence_of_two_gaussians(rho: str) -> None:
    epsilon = tighter.gaussian_epsilon(Fraction(rho), DELTA)
    assert by_integration(float(Fraction(rho)), epsilon) == pytest.approx(1e-6, rel=1e-3)
    assert epsilon < float(epsilon_of_rho(Fraction(rho), DELTA)), "tighter than what the account promises"


def test_a_number_from_the_literature() -> None:
    """mu = 1 at delta = 1e-5: epsilon = 4.377 (Balle and Wang 2018 give sigma 0.2284... the other way round)."""
    assert tighter.gaussian_epsilon(Fraction(1, 2), Fraction(1, 10**5)) == pytest.approx(4.3772, abs=1e-3)


def test_nothing_spent_is_nothing_and_much_is_finite() -> None:
    assert tighter.gaussian_epsilon(Fraction(0), DELTA) == 0
    assert math.isfinite(tighter.gaussian_epsilon(Fraction(10**5), DELTA))
    for rho, delta in ((Fraction(-1), DELTA), (Fraction(1), Fraction(0)), (Fraction(1), Fraction(1))):
        with pytest.raises(PlanError):
            tighter.gaussian_epsilon(rho, delta)


def test_no_gate_may_import_it() -> None:
    """The import contract is there and names every module that decides about a release."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    rules = [
        rule
        for rule in project["tool"]["importlinter"]["contracts"]
        if "cloister.plan.tighter" in rule.get("forbidden_modules", ())
    ]
    assert len(rules) == 1
    gates = {"cloister.vault", "cloister.provider.accounts", "cloister.provider.broker", "cloister.receipt"}
    assert gates | {"cloister.contract", "cloister.plan.precision"} <= set(rules[0]["source_modules"])
