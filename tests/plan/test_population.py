"""Sampling error: intervals for the population hold its mean, and clipping and capping are named."""

from __future__ import annotations

import math
import random

import pytest

from cloister.plan.population import population
from cloister.plan.shape import ShapedMeasure


def measure(kind: str, values, error: float) -> ShapedMeasure:
    lows, highs = (tuple(value + sign * 1.96 * error for value in values) for sign in (-1, 1))
    return ShapedMeasure("m", kind, tuple(values), (error,) * len(values), lows, highs, (False,) * len(values))


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_the_mean_of_the_population_is_in_95_of_100_intervals(released, rate):
    rng = random.Random(5)
    samples = [[rng.random() < rate for _ in range(200)] for _ in range(2_000)]
    means = [sum(sample) / 200 + rng.gauss(0, 0.02) for sample in samples]
    spread = measure("variance", [rate * (1 - rate)] * 2_000, 0.001) if released else None
    found = population(
        measure("mean", means, 0.02), measure("count", [200] * 2_000, 2.0), bounds=(0, 1), variance=spread
    )
    held = sum(low <= rate <= high for low, high in zip(found.low, found.high, strict=True)) / 2_000
    assert held >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2_000)
    noise_only = sum(abs(mean - rate) < 1.96 * 0.02 for mean in means) / 2_000
    assert noise_only < 0.9
    assert found.basis == ("released variance" if released else "bounds")


def test_rows_of_one_unit_count_as_one():
    mean, count = measure("mean", [0.5], 1e-9), measure("count", [400], 1e-9)
    one, four = (population(mean, count, bounds=(0, 1), rows_per_unit=rows) for rows in (1, 4))
    assert (four.high[0] - 0.5) == pytest.approx(2 * (one.high[0] - 0.5))
    assert one.high[0] - 0.5 == pytest.approx(1.959964 * 0.5 / 20)


def test_intervals_stay_in_bounds_and_are_wide_without_rows():
    found = population(measure("mean", [0.5, 1.0], 0.1), measure("count", [0, 3], 1.0), bounds=(0, 1))
    assert (found.low[0], found.high) == (0, (1, 1))
