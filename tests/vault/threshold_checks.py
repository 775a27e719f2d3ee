"""Checks of the release of keys, used by their tests and against mutants."""

from __future__ import annotations

import math
from fractions import Fraction

from price_checks import CARD
from vault_fuzzing import TABLE

from cloister.plan import algebra as a
from cloister.plan import gaussian
from cloister.vault import analyse as analysis_module
from cloister.vault import engine as engine_module
from cloister.vault import price as price_module
from cloister.vault import thresholds

PLAN = a.ThresholdKeys(a.Table(TABLE), ("c",), 2, "1/10", "1/1000000")


def analysed_keys(plan: a.ThresholdKeys):
    return analysis_module.analyse(plan, {TABLE: CARD})


def released(plan: a.ThresholdKeys, table):
    engine = engine_module.Engine()
    engine.load(TABLE, CARD, table, b"k")
    analysis = analysed_keys(plan)
    cost = price_module.price(analysis, Fraction(plan.rho))
    drawn = thresholds.draw(engine.run(analysis), cost)
    engine.close()
    return drawn, cost


def check_tail() -> None:
    for sigma in (0.3, 0.7, 2.0, 11.5, 130.0):
        terms = [math.exp(-z * z / (2 * sigma**2)) for z in range(math.ceil(12 * sigma) + 3)]
        whole = 2 * math.fsum(terms) - terms[0]
        for t in (1, 2, math.ceil(2 * sigma), math.ceil(5 * sigma)):
            exact = math.fsum(terms[t:]) / whole
            found = float(gaussian.tail_bound(sigma, t))
            assert exact <= found * (1 + 1e-12)
            assert t < 4 * sigma or sigma < 1 or found < 1.1 * exact
        for delta in (Fraction(1, 10**3), Fraction(1, 10**9)):
            tau = gaussian.threshold(sigma, delta)
            assert gaussian.tail_bound(sigma, tau) <= delta
            assert tau == 1 or gaussian.tail_bound(sigma, tau - 1) > delta


def check_claims() -> None:
    for groups, wanted in ((1, 1), (2, 2), (3, 3), (9, 4)):
        plan = a.ThresholdKeys(a.Table(TABLE), ("x",), groups, "1/10", "1/1000000")
        analysis = analysed_keys(plan)
        (bound,) = analysis.bounds
        assert (bound.l1, bound.linf, bound.l2_squared) == (wanted, 1, wanted)
        cost = price_module.price(analysis, Fraction(1, 10))
        assert cost.delta == Fraction(1, 10**6)
        sigma = cost.sigmas[0]
        assert cost.threshold == gaussian.threshold(sigma, cost.delta / wanted)
        assert cost.rho >= Fraction(wanted) / (2 * Fraction(sigma) ** 2)


def check_threshold() -> None:
    analysis = analysed_keys(PLAN)
    cost = price_module.price(analysis, Fraction(10**5))
    tau = cost.threshold
    labels = (("a",), ("b",), ("c",), ("d",))
    # The noise is below one half here: what is exactly at the threshold fails.
    drawn = thresholds.draw(engine_module.Exact((tau, tau + 1, tau + 9, 0), (1,), labels=labels), cost)
    assert (drawn.labels, drawn.raw) == ((("b",), ("c",)), [tau + 1, tau + 9])
    drawn = thresholds.draw(engine_module.Exact((tau + 1, tau + 9), (1,), labels=labels[:2]), cost)
    assert drawn.labels == labels[:2]
