"""Shaping: values, errors, intervals, and their limits."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import pytest
from plan_cards import CARDS, VISITS, ask

from cloister.errors import MalformedError
from cloister.plan import algebra as a
from cloister.plan.gaussian import coverage, deviation, half_width, pmf
from cloister.plan.layout import GRAM_SCALE, layout
from cloister.plan.shape import shape

BMI = a.Col("bmi")


def one(measure, raw, sigmas):
    return shape(ask(measure), CARDS, raw, sigmas).measures[0]


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 1.5, 10.0, 333.25, 2000.0])
def test_quantiles_are_the_smallest_that_reach_the_level(sigma):
    q = half_width(sigma)
    last = math.ceil(10 * sigma) + 2
    weights = [Fraction(math.exp(-z * z / (2 * sigma**2))) for z in range(last)]
    total = 2 * sum(weights) - weights[0]
    reached = [(2 * sum(weights[: n + 1]) - weights[0]) / total for n in ({q - 1, q} - {-1})]
    assert max(reached) >= Fraction("0.95")
    assert q == 0 or min(reached) < Fraction("0.95")
    assert coverage(sigma, q) == pytest.approx(float(max(reached)), abs=1e-12)
    assert deviation(sigma) ** 2 == pytest.approx(
        float(2 * sum(z * z * weight for z, weight in enumerate(weights)) / total), rel=1e-9
    )
    assert pmf(sigma, 1) == pytest.approx(float(weights[1] / total), rel=1e-9)


def test_large_scales_use_a_controlled_approximation():
    below, above = half_width(1999.9), half_width(2000.1)
    assert abs(above - below) <= 2
    assert half_width(1e12) == pytest.approx(1.959964e12, rel=1e-5)


def test_counts_are_never_negative():
    shaped = one(a.Count("n"), [-7], [3.0])
    assert (shaped.values, shaped.low, shaped.unreliable) == ((0,), (0,), (True,))
    shaped = one(a.Count("n"), [100], [10.0])
    assert shaped.values == (100,)
    assert (100 - shaped.low[0], shaped.high[0] - 100) == (half_width(10.0),) * 2
    assert shaped.unreliable == (False,)
    assert one(a.Count("n"), [29], [10.0]).unreliable == (True,)
    assert one(a.Count("n"), [30], [10.0]).unreliable == (False,)


def test_sums_are_scaled_by_the_step():
    shaped = one(a.Sum("s", a.Col("cost")), [-12345], [100.0])
    assert shaped.values == (-123.45,)
    assert shaped.stderr == (1.0,)
    assert shaped.low[0] == pytest.approx(-123.45 - half_width(100.0) / 100)


def test_means_are_offset_plus_ratio():
    shaped = one(a.Mean("m", BMI), [-200_000, 1000], [50.0, 2.0])
    assert shaped.values[0] == pytest.approx(40 - 200 / 20)
    assert shaped.low[0] < shaped.values[0] < shaped.high[0]
    assert shaped.stderr[0] == pytest.approx(math.hypot(50, 200 * 2) / 1000 / 20, rel=1e-6)


@pytest.mark.parametrize("raw", [[10**9, 10], [-(10**9), 10], [5, 0], [5, -3], [0, 1], [10**15, -(10**6)], [600, 1]])
def test_means_and_their_intervals_stay_in_bounds(raw):
    shaped = one(a.Mean("m", BMI), raw, [500.0, 5.0])
    assert 10 <= shaped.low[0] <= shaped.values[0] <= shaped.high[0] <= 70
    assert shaped.unreliable == (True,) or raw[1] >= 15


def test_a_mean_of_a_noisy_small_count_is_unreliable_and_spans_the_bounds():
    shaped = one(a.Mean("m", BMI), [0, 5], [100.0, 10.0])
    assert shaped.unreliable == (True,)
    assert (shaped.low[0], shaped.high[0]) == (10, 70)


def test_fieller_agrees_with_its_defining_inequality():
    total, count, sigma, count_sigma = -90_000, 800, 9000.0, 60.0
    shaped = one(a.Mean("m", BMI), [total, count], [sigma, count_sigma])
    reach = (half_width(sigma) + 0.5, half_width(count_sigma) + 0.5)
    for limit in (shaped.low[0], shaped.high[0]):
        ratio = (limit - 40) * 20
        assert abs(total - ratio * count) == pytest.approx(math.hypot(reach[0], ratio * reach[1]), rel=1e-9)


def test_a_gram_is_a_symmetric_matrix_with_its_scaling():
    unit = GRAM_SCALE**2
    shaped = one(a.Gram("g", (a.Col("age"), BMI)), [8 * unit, unit, 2 * unit, 3 * unit, 4 * unit, 5 * unit], [unit / 4])
    assert shaped.matrices == (((8.0, 1.0, 2.0), (1.0, 3.0, 4.0), (2.0, 4.0, 5.0)),)
    assert shaped.stderr == (0.25,)
    assert shaped.offsets == (55.0, 40.0)
    assert shaped.scales == (55.0, 30.0)


def test_cells_and_values_share_their_order():
    shaped = shape(
        ask(a.Count("n"), a.Sum("s", a.Col("age")), keys=("smoker", "sex")), CARDS, list(range(12)), [0.1, 0.1]
    )
    assert shaped.cells()[1] == (False, "M")
    assert shaped.measures[0].values == (0, 2, 4, 6, 8, 10)
    assert shaped.measures[1].values == (1, 3, 5, 7, 9, 11)
    assert shape(ask(a.Count("n")), CARDS, [4], [1.0]).cells() == [()]


@pytest.mark.parametrize(
    ("raw", "sigmas"), [([1, 2], [1.0]), ([1], [1.0, 1.0]), ([1], [0.0]), ([1], [math.nan]), ([1], [-1.0])]
)
def test_raw_values_of_another_shape_are_refused(raw, sigmas):
    with pytest.raises(MalformedError):
        shape(ask(a.Count("n")), CARDS, raw, sigmas)


def test_ten_thousand_cells_are_not_compared_with_each_other():
    """A guard against work that grows with the square of the cells, not a measurement."""
    source = a.Derive(VISITS, (("k", a.Clip(a.Col("age"), "0", "99")), ("j", a.Clip(a.Col("age"), "0", "99"))))
    plan = ask(a.Mean("m", BMI), a.Count("n"), source=source, keys=("k", "j"))
    frame = layout(plan, CARDS)
    assert frame.cells == 10_000
    start = time.process_time()
    shape(plan, CARDS, [1000] * (frame.cells * frame.width), [10.0] * len(frame.components))
    assert time.process_time() - start < 10
