"""Lower bounds of epsilon by a distinguishing attack on canary plans (privacy.md section 8 e).

For each plan two neighbouring tables are made that a bad mechanism would tell apart best. Thousands of releases are
drawn from each; the best test there is (the likelihood ratio) guesses which table was released. Its errors, by exact
Clopper-Pearson bounds, prove a lower bound of epsilon at ``DELTA``. It must stay below what was charged, and above it
where the noise is planted too small. A sound engine fails with probability below 1e-6.

``CLOISTER_EPSILON_DRAWS`` sets the releases per table (4,000 by default; 100,000 nightly).
"""

from __future__ import annotations

import ast
import math
import os
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from attack_catalogue import ROOT
from lineage_checks import BOTH, CARDS, COUNTED, LEFT, PAIRS, TYPES, VISITS

from cloister.plan import algebra as a
from cloister.plan.precision import epsilon_of_rho
from cloister.vault import noise
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine, Exact
from cloister.vault.price import price

DRAWS = int(os.environ.get("CLOISTER_EPSILON_DRAWS", "4000"))
DELTA = 0.05
RHO = Fraction(1, 2)
Z = 5.4  # one-sided normal quantile of 3e-8: thresholds are tried at some places, on both sides
PLACES = 12

X, RED = a.Col("x"), a.Compare("eq", a.Col("c"), a.Text("red"))
CANARIES: dict[str, tuple[a.Relation, tuple[a.Measure, ...], tuple[str, ...]]] = {
    "count": (VISITS, (a.Count("n"),), ()),
    "sum": (VISITS, (a.Sum("s", X),), ()),
    "mean": (VISITS, (a.Mean("m", X),), ()),
    "counts by key": (VISITS, (a.Count("n"),), ("c",)),
    "capped counts by key": (a.Cap(VISITS, 1, ("c",)), (a.Count("n"),), ("c",)),
    "filtered sum": (a.Filter(VISITS, RED), (a.Sum("s", a.Clip(X, "-1", "7")),), ()),
    "pairs": (PAIRS, (a.Count("n"),), ()),
    "left align": (LEFT, (a.Count("n"),), ("rb",)),
    "one row per unit": (a.PerUnit(BOTH, COUNTED), (a.Sum("s", a.Col("s")),), ()),
    "gram": (VISITS, (a.Gram("g", (X,)),), ()),
}
CANARY = ("canary", 7, "red", True)
CROWD = [(f"p{n}", n % 8, "blue" if n % 2 else "red", n % 3 == 0) for n in range(40)]


def exact(plan: a.VectorSum, canary: int) -> Exact:
    """The exact integers of both tables of the world, with ``canary`` rows of one more person in each."""
    engine = Engine(1)
    for name, card in CARDS.items():
        rows = CROWD + [CANARY] * min(canary, card.rows_per_unit)
        table = pa.Table.from_pylist([dict(zip(TYPES.names, row, strict=True)) for row in rows], schema=TYPES)
        engine.load(name, card, table, b"canary")
    found = engine.run(analyse(plan, CARDS))
    engine.close()
    return found


def statistics_of(values: Exact, sigmas: list[float], towards: np.ndarray, shrink: float) -> np.ndarray:
    """The log-likelihood ratio of many releases of ``values``, up to a constant."""
    batch = Exact(values.values * DRAWS, values.widths)
    drawn = np.asarray(noise.add_noise(batch, [sigma / shrink for sigma in sigmas]), np.float64).reshape(DRAWS, -1)
    return drawn @ towards


def epsilon_bound(first: np.ndarray, second: np.ndarray) -> float:
    """The largest epsilon that the errors of a threshold test prove at DELTA."""
    best = 0.0
    for threshold in np.quantile(second, np.linspace(0.4, 1, PLACES)):
        for one, other in ((first, second), (-second, -first)):
            limit = threshold if one is first else -threshold
            hit, false = int((one > limit).sum()), int((other > limit).sum())
            low, high = clopper_pearson(hit)[0], clopper_pearson(false)[1]
            if low > DELTA:
                best = max(best, math.log((low - DELTA) / high))
    return best


def clopper_pearson(hits: int) -> tuple[float, float]:
    """Bounds of a probability from ``hits`` of DRAWS, each wrong with chance 3e-8 (Wilson's where it is normal)."""
    share, n = hits / DRAWS, DRAWS
    if min(hits, n - hits) < 60:
        # The exact bounds from the tail of the binomial, by bisection.
        return _tail(hits, lower=True), _tail(hits, lower=False)
    centre, spread = share + Z * Z / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return (centre - spread) / (1 + Z * Z / n), (centre + spread) / (1 + Z * Z / n)


def _tail(hits: int, *, lower: bool) -> float:
    n, low, high = DRAWS, 0.0, 1.0
    if (hits == 0) if lower else (hits == n):
        return 0.0 if lower else 1.0

    def chance(p: float) -> float:
        """Probability of at least (lower) or at most this many hits."""
        counts = range(hits, n + 1) if lower else range(hits + 1)
        logs = [
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
            for k in counts
        ]
        return math.fsum(map(math.exp, logs))

    for _ in range(40):
        middle = (low + high) / 2
        if (chance(middle) < 3e-8) == lower:
            low = middle
        else:
            high = middle
    return low if lower else high


def attack(name: str, shrink: float = 1.0) -> tuple[float, float]:
    """Return the lower bound of epsilon that the attack proves, and the epsilon charged, both at DELTA."""
    source, measures, keys = CANARIES[name]
    plan = a.VectorSum(source, measures, str(RHO), keys)
    cost = price(analyse(plan, CARDS), RHO)
    with_canary, without = exact(plan, 9), exact(plan, 0)
    widths = [sigma for width, sigma in zip(with_canary.widths, cost.sigmas, strict=True) for _ in range(width)]
    scales = np.resize(np.asarray(widths), len(with_canary.values))
    towards = (np.asarray(with_canary.values) - np.asarray(without.values)) / scales**2
    first, second = (statistics_of(values, list(cost.sigmas), towards, shrink) for values in (with_canary, without))
    return epsilon_bound(first, second), float(epsilon_of_rho(cost.rho, Fraction(1, 20)))


@pytest.mark.parametrize("name", CANARIES)
def test_no_attack_sees_more_than_the_epsilon_charged(name, record_property):
    proven, charged = attack(name)
    record_property("canary releases", 2 * DRAWS)
    assert proven <= charged


def test_the_attack_is_strong_enough_to_mean_something():
    """Where a unit can reach the norm claimed, a good part of epsilon is really there."""
    proven, charged = attack("count")
    assert proven > 0.25 * charged


@pytest.mark.parametrize("name", ["count", "sum", "counts by key", "pairs", "one row per unit"])
def test_noise_that_is_three_times_too_small_is_found_out(name):
    proven, charged = attack(name, shrink=3.0)
    assert proven > charged


def test_every_measure_of_the_algebra_has_a_coverage_test():
    """One list: whoever adds a measure says where its intervals are tested, or why it has none."""
    without = {
        "Gram": "a matrix: its models carry intervals, and its integers are sums (test_truth)",
        **dict.fromkeys(
            ("Units", "Clipped", "Capped"), "one integer with the noise of a count (test_shape, test_truth)"
        ),
        "Quantile": "a choice among candidates: its error is that of the exponential mechanism (test_coverage)",
    }
    files = [ROOT / "tests" / "vault" / name for name in ("test_coverage.py", "test_truth.py")]
    tested = {
        node.func.attr
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    measures = {kind.__name__ for kind in a.Measure.__args__}
    assert measures - tested <= set(without), sorted(measures - tested - set(without))
