"""Release of keys: only values of many units leave, the tail is exact, and what fails appears nowhere."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pyarrow as pa
import pytest
from price_checks import CARD
from threshold_checks import PLAN, analysed_keys, check_claims, check_tail, check_threshold, released
from vault_fuzzing import TABLE

from cloister.errors import MalformedError, PlanError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.gaussian import tail_bound, threshold
from cloister.plan.layout import MAX_FOUND, layout
from cloister.plan.shape import shape
from cloister.vault.engine import Exact
from cloister.vault.price import price
from cloister.vault.thresholds import draw


def test_the_tail_is_bounded_from_above_and_tightly():
    check_tail()


def test_one_unit_changes_at_most_as_many_values_as_it_counts_for():
    check_claims()


def test_only_what_is_strictly_above_the_threshold_leaves_sorted():
    check_threshold()


@pytest.mark.parametrize(("sigma", "delta"), [(0.5, "1/1000"), (3.0, "1/1000000"), (40.0, "1/100000000")])
def test_a_value_of_one_unit_is_released_less_often_than_delta(sigma, delta):
    """Audit case A10: the mass of the tail, summed exactly, against the delta that is charged."""
    tau = threshold(sigma, Fraction(delta))
    with localcontext() as context:
        context.prec = 60
        square = 2 * Decimal(sigma) ** 2
        terms = [(Decimal(-z * z) / square).exp() for z in range(math.ceil(40 * sigma) + 10)]
        whole = 2 * sum(terms) - terms[0]
        assert sum(terms[tau:]) / whole <= Fraction(delta).numerator / Decimal(Fraction(delta).denominator)
        # One step less (Pr[1 + Z >= tau] in place of Pr[1 + Z > tau]) would not keep to it.
        assert sum(terms[tau - 1 :]) / whole > Decimal(float(Fraction(delta))) * Decimal("0.9")


def test_keys_are_released_end_to_end_and_read_back():
    rows = {"c": ["red"] * 60 + ["blue"] * 50 + ["violet"], "x": [1] * 60 + [2] * 50 + [3]}
    table = pa.table({
        "id": [f"p{i}" for i in range(111)], "x": rows["x"], "y": [None] * 111, "c": rows["c"], "b": [True] * 111,
    })  # fmt: skip
    plan = a.ThresholdKeys(a.Table(TABLE), ("c", "x"), 1, "1/2", "1/1000000")
    drawn, cost = released(plan, table)
    assert drawn.labels == (("blue", "2"), ("red", "1"))
    shaped = shape(plan, {TABLE: CARD}, drawn.raw, cost.sigmas, drawn.labels)
    assert shaped.cells() == [("blue", 2), ("red", 1)]
    assert abs(shaped.measures[0].values[1] - 60) < 8
    assert "violet" not in str(drawn)


def test_rows_without_a_value_are_in_none_and_take_no_place():
    table = pa.table({
        "id": [f"p{i // 2}" for i in range(80)], "x": [0] * 80, "y": [None if i % 2 else 2.5 for i in range(80)],
        "c": ["red"] * 80, "b": [True] * 80,
    })  # fmt: skip
    drawn, _ = released(a.ThresholdKeys(a.Table(TABLE), ("y",), 1, "2", "1/1000"), table)
    assert drawn.labels == (("5/2",),)
    assert abs(drawn.raw[0] - 40) < 6


def test_at_most_so_many_values_leave_and_those_of_most_units():
    labels = tuple((f"{index:05d}",) for index in range(MAX_FOUND + 50))
    cost = price(analysed_keys(PLAN), Fraction(50))
    counts = tuple(1000 + 10 * index for index in range(len(labels)))
    drawn = draw(Exact(counts, (1,), labels=labels), cost)
    assert drawn.labels == labels[50:]


@pytest.mark.parametrize(
    ("change", "code"),
    [({"keys": ()}, "plan.keys"), ({"groups": 0}, "plan.keys"), ({"delta": "0"}, "plan.delta"),
     ({"delta": "1/10"}, "plan.delta"), ({"keys": ("id",)}, "plan.cap"), ({"rho": "0"}, "plan.rho")],
)  # fmt: skip
def test_what_can_never_be_released_is_refused(change, code):
    values = {"keys": ("c",), "groups": 1, "rho": "1/10", "delta": "1/1000000", **change}
    plan = a.ThresholdKeys(a.Table(TABLE), values["keys"], values["groups"], values["rho"], values["delta"])
    with pytest.raises(PlanError) as refused:
        analysed_keys(codec.decode(codec.encode(plan)))
    assert refused.value.code in {code, "plan.key"}


def test_a_receipt_of_another_shape_is_no_release():
    good = [(["blue"], ["red"]), [30, 40]]
    assert shape(PLAN, {TABLE: CARD}, good[1], [2.0], good[0]).cells() == [("blue",), ("red",)]
    for labels in (
        None,
        (["red"], ["blue"]),
        (["red"], ["red"]),
        (["red"],),
        (["red", "1"], ["s", "1"]),
        (["a"], ["b"]),
    ):
        with pytest.raises((MalformedError, PlanError)):
            shape(PLAN, {TABLE: CARD}, good[1], [2.0], labels)
    closed = a.VectorSum(a.Table(TABLE), (a.Count("n"),), "1/10")
    with pytest.raises(MalformedError):
        shape(closed, {TABLE: CARD}, [3], [2.0], ())
    assert layout(PLAN, {TABLE: CARD}).found
    assert tail_bound(3.0, 0) <= 1
