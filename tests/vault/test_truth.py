"""Truth: releases of known values through engine, noise and shape cover them as often as the pmf says.

``CLOISTER_TRUTH_RELEASES`` sets the number of releases (700 by default; 10,000 nightly).
"""

from __future__ import annotations

import math
import os
from fractions import Fraction

import pytest
from price_checks import CARD, analysed
from test_engine import table
from vault_fuzzing import TABLE

from cloister.plan import algebra as a
from cloister.plan.gaussian import coverage, half_width, pmf
from cloister.plan.shape import shape
from cloister.vault.engine import Engine
from cloister.vault.noise import add_noise
from cloister.vault.price import price

RELEASES = int(os.environ.get("CLOISTER_TRUTH_RELEASES", "700"))
ROWS = 3000


def hits(name, analysis, engine, rho, truth):
    """Share of intervals that hold the truth, and spread in standard errors; every release runs the engine again."""
    cost = price(analysis, rho)
    found, errors = 0, 0.0
    for _ in range(RELEASES):
        raw = add_noise(engine.run(analysis), cost.sigmas)
        (measure,) = shape(analysis.plan, {TABLE: CARD}, raw, cost.sigmas).measures
        assert measure.name == name
        found += measure.low[0] <= truth <= measure.high[0]
        errors += ((measure.values[0] - truth) / measure.stderr[0]) ** 2
    return found / RELEASES, math.sqrt(errors / RELEASES)


@pytest.fixture(scope="module")
def engine():
    engine = Engine()
    engine.load(TABLE, CARD, table(ROWS), b"k")
    yield engine
    engine.close()


def assert_near(measure, wanted):
    """Within 3 standard errors; as 1 sound run in 370 is not, a second, independent sample may decide."""
    allowed, observed = 3 * math.sqrt(wanted * (1 - wanted) / RELEASES), []
    for _ in range(2):
        observed.append(measure())
        if abs(observed[-1] - wanted) <= allowed:
            return
    raise AssertionError((observed, wanted))


@pytest.mark.parametrize("rho", [Fraction(1, 50), Fraction(8)])
@pytest.mark.parametrize("kind", ["count", "sum"])
def test_counts_and_sums_cover_the_truth(engine, kind, rho):
    x = a.Col("x")
    truth = ROWS if kind == "count" else sum(min(max(v, -7), 3) for v in table(ROWS)["x"].to_pylist())
    analysis = analysed(a.Count("m") if kind == "count" else a.Sum("m", x))
    (sigma,) = price(analysis, rho).sigmas
    exact, spreads = coverage(sigma, half_width(sigma)), []
    assert exact >= 0.95

    def measure():
        observed, spread = hits("m", analysis, engine, rho, truth)
        spreads.append(spread)
        return observed

    assert_near(measure, exact)
    assert spreads[-1] == pytest.approx(1, abs=5 / math.sqrt(2 * RELEASES))


def exact_mean_coverage(ratio, sigma, count_sigma):
    """Pr[|S - ratio N| <= sqrt(h0^2 + ratio^2 h1^2)] for the two independent discrete Gaussians, summed exactly."""
    reach = math.hypot(half_width(sigma) + 0.5, ratio * (half_width(count_sigma) + 0.5))
    last = math.ceil(9 * sigma)
    cumulative, running = {}, 0.0
    for z in range(-last, last + 1):
        running += pmf(sigma, z)
        cumulative[z] = running
    total = 0.0
    for n in range(-math.ceil(9 * count_sigma), math.ceil(9 * count_sigma) + 1):
        high = min(math.floor(ratio * n + reach), last)
        low = max(math.ceil(ratio * n - reach), -last)
        if high >= low:
            total += pmf(count_sigma, n) * (cumulative[high] - cumulative.get(low - 1, 0.0))
    return total


@pytest.mark.parametrize("rho", [Fraction(1, 5), Fraction(20)])
def test_means_cover_the_truth(engine, rho):
    values = [min(i / 2, 10) for i in range(ROWS) if i % 3]
    truth = sum(Fraction(value) for value in values) / len(values)
    analysis = analysed(a.Mean("m", a.Col("y")))
    part = analysis.layout.components[0]
    wanted = exact_mean_coverage(float((truth - part.offset) / part.step), *price(analysis, rho).sigmas)
    assert 0.95 <= wanted < 0.98
    assert_near(lambda: hits("m", analysis, engine, rho, float(truth))[0], wanted)
