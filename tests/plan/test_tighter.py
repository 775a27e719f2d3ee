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
from cloister.plan.tighter import Spent

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


@pytest.mark.parametrize("rho", ["1/10000", "1/100", "1", "20"])
def test_distributions_agree_with_the_closed_form_of_gaussian_accounts(rho: str) -> None:
    """Rounded upwards, by less than a part in ten thousand."""
    pytest.importorskip("dp_accounting")
    composed = tighter.report(Spent(Fraction(rho)), DELTA)
    exact = tighter.gaussian_epsilon(Fraction(rho), DELTA)
    assert composed.method.startswith("privacy loss distributions (dp-accounting ")
    assert exact <= composed.epsilon < exact * (1 + 1e-4)
    assert composed.promised == float(epsilon_of_rho(Fraction(rho), DELTA))


@pytest.mark.parametrize("rho", [0.001, 0.1, 2.0])
def test_what_is_only_zcdp_is_bounded_as_the_account_bounds_it(rho: float) -> None:
    pytest.importorskip("dp_accounting")
    from cloister.plan import pld

    promised = float(epsilon_of_rho(Fraction(rho), DELTA))
    assert promised * (1 - 1e-6) <= pld.epsilon(0, rho, 1e-6) <= promised * (1 + 1e-4)


def test_noisy_maxima_are_not_counted_as_gaussian_noise() -> None:
    """The more of an account they are, the less tight the report; it never passes the promise."""
    pytest.importorskip("dp_accounting")
    found = [tighter.report(Spent(Fraction(1, 10), Fraction(part, 100)), DELTA) for part in (0, 1, 3, 6, 10)]
    epsilons = [one.epsilon for one in found]
    assert epsilons == sorted(epsilons)
    assert epsilons[1] < found[0].promised - 0.05, "composed with the rest, not given up"
    assert all(one.epsilon <= one.promised for one in found)
    assert found[-1].epsilon == pytest.approx(found[-1].promised, rel=1e-5)


def exponential_mechanism(epsilon: float, at: float) -> float:
    """Return delta(at) of the worst bounded-range mechanism (Dong, Durfee, Rogers 2020, Lemma 3.4): two outcomes."""
    worst = 0.0
    for step in range(1, 400):
        t = epsilon * step / 400
        q = -math.expm1(t - epsilon) / -math.expm1(-epsilon)
        p = q * math.exp(-t)
        # Losses are t - epsilon with probability 1 - p', t with the rest; both orders.
        pairs = [(1 - q, 1 - p), (q, p)]
        for sign in (1, -1):
            ordered = pairs if sign == 1 else [(b, a) for a, b in pairs]
            worst = max(worst, sum(max(0.0, a - math.exp(at) * b) for a, b in ordered))
    return worst


def test_the_bound_of_a_noisy_maximum_covers_the_worst_one() -> None:
    """And the Gaussian of the same price does not: counting a quantile as Gaussian would report too little."""
    from cloister.plan import pld

    epsilon = 0.4
    rho, at = epsilon**2 / 8, pld._grid(0.4 / 10_000)
    bound, gaussian = pld._bounded(rho, at), pld._gaussian(rho, at)
    places = [10_000 + 500 * step for step in range(0, 20)]
    worst = [exponential_mechanism(epsilon, float(at[place])) for place in places]
    assert all(bound[place] >= one for place, one in zip(places, worst, strict=True))
    assert any(gaussian[place] < one for place, one in zip(places, worst, strict=True))


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tighter, "_installed", lambda: None)
    plain = tighter.report(Spent(Fraction(1, 10)), DELTA)
    assert (plain.method, plain.epsilon) == (tighter.GAUSSIAN, tighter.gaussian_epsilon(Fraction(1, 10), DELTA))
    mixed = tighter.report(Spent(Fraction(1, 10), Fraction(1, 1000)), DELTA)
    assert (mixed.method, mixed.epsilon) == (tighter.ZCDP, mixed.promised)


def test_keys_spend_of_the_delta_it_is_reported_at() -> None:
    half = tighter.report(Spent(Fraction(1, 10), delta=DELTA / 2), DELTA)
    assert half == tighter.report(Spent(Fraction(1, 10)), DELTA / 2)
    assert half.epsilon > tighter.report(Spent(Fraction(1, 10)), DELTA).epsilon
    for wrong in (Spent(Fraction(1), delta=DELTA), Spent(Fraction(1), Fraction(2)), Spent(Fraction(-1))):
        with pytest.raises(PlanError) as caught:
            tighter.report(wrong, DELTA)
        assert caught.value.code in {"plan.delta", "plan.rho"}
    assert tighter.report(Spent(), DELTA).epsilon == 0


def test_no_gate_may_import_it() -> None:
    """The import contract is there and names every module that decides about a release."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    rules = [
        rule
        for rule in project["tool"]["importlinter"]["contracts"]
        if "cloister.plan.tighter" in rule.get("forbidden_modules", ())
    ]
    assert len(rules) == 1
    assert set(rules[0]["forbidden_modules"]) == {"cloister.plan.tighter", "cloister.plan.pld"}
    gates = {"cloister.vault", "cloister.provider.accounts", "cloister.provider.broker", "cloister.receipt"}
    assert gates | {"cloister.contract", "cloister.plan.precision"} <= set(rules[0]["source_modules"])
