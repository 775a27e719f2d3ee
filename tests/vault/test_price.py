"""Price: pure, never above what was asked, never below what the noise costs (G1, G2, G6)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from price_checks import analysed, check_deadline, check_price

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.vault.costs import Cost
from cloister.vault.price import deadline_ms, price


def test_charges_are_exact_and_at_most_what_was_asked():
    check_price()


def test_the_deadline_is_a_step_of_the_ladder_from_plan_and_card():
    check_deadline()


def test_standard_errors_are_in_the_measures_unit():
    priced = price(analysed(a.Sum("s", a.Col("y"))), Fraction(1, 2))
    (part,) = priced.components
    assert part.step == Fraction(1, 2)
    assert part.sigma == pytest.approx(4 * 20)
    assert part.stderr == pytest.approx(4 * 10)


@pytest.mark.parametrize("rho", [Fraction(0), Fraction(-1), Fraction(1, 2**97), Fraction(1, 10**28)])
def test_a_price_that_buys_only_noise_is_refused(rho):
    with pytest.raises(PlanError) as refused:
        price(analysed(a.Sum("s", a.Col("x"))), rho)
    assert refused.value.code == "plan.rho"


def test_plans_beyond_the_ladder_are_refused():
    with pytest.raises(PlanError) as refused:
        deadline_ms(Cost(10**12, 10**14, 0, 1))
    assert refused.value.code == "plan.cost"
