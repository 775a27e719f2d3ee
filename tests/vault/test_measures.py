"""Measures: right without noise, within their norms, and what they share."""

from __future__ import annotations

import measure_checks
import pytest
from price_checks import CARD, analysed
from vault_fuzzing import TABLE

from cloister.errors import MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan.shape import shape


@pytest.mark.parametrize("name", [name for name in dir(measure_checks) if name.startswith("check_")])
def test_measures(name):
    getattr(measure_checks, name)()


@pytest.mark.parametrize("at", [(), ("0",), ("1",), ("1/2", "0.5"), ("1/1000003",), ("-1/2",)])
def test_levels_that_make_no_sense_are_refused(at):
    with pytest.raises(PlanError) as refused:
        analysed(a.Quantile("q", a.Col("x"), at))
    assert refused.value.code == "plan.quantile"


def test_an_index_that_is_no_candidate_is_no_release():
    plan = a.VectorSum(a.Table(TABLE), (a.Quantile("q", a.Col("x"), ("1/2",)),), "1")
    for index in (-1, 11):
        with pytest.raises(MalformedError):
            shape(plan, {TABLE: CARD}, [index], (3.0,))
