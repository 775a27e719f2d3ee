"""Coverage: the 95 % intervals of every measure hold the true value at least as often as they say.

The noise is that of the plain sampler with a seed, so a run repeats; 2,000 draws each, in the cells of one release.
"""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import pytest
from vault_fuzzing import TABLE

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.plan.layout import layout
from cloister.plan.shape import shape
from cloister.vault.analyse import analyse
from cloister.vault.interpret_measures import totals
from cloister.vault.price import price
from cloister.vault.sampler import Teaching

CELLS, DRAWS = 1000, 2000
CARD = Card(
    "rows", "Rows", "", "person", ("id",), "exact", "people", 1, 10_000, "demonstration",
    (
        Column("id", "string", 5, ""),
        Column("k", "int", 1, "", low="0", high=str(CELLS - 1), step="1"),
        Column("x", "int", 2, "", low="0", high="100", step="1"),
        Column("y", "decimal", 2, "", low="10", high="70", step="0.5"),
        Column("z", "int", 2, "", low="1", high="5", step="1"),
    ),
    "generated", "none", ("testing",),
)  # fmt: skip
CARDS = {TABLE: CARD}
X, Y, Z = a.Col("x"), a.Col("y"), a.Col("z")
SKEWED = [(min(100, (7 * i) % 23 + (i % 5 == 0) * 60), 10 + ((3 * i) % 40) / 2 + (i % 23) / 2, 1 + i % 5)
          for i in range(400)]  # fmt: skip
CENTRED = [(45 + i % 11, 38 + (i % 9) / 2, 3) for i in range(400)]
EXTREME = [(100 * (i % 2), 70 - 60 * (i % 2), 1 + 4 * (i % 2)) for i in range(400)]
DATA = {"skewed": SKEWED, "centred": CENTRED, "extreme": EXTREME, "few": SKEWED[:60]}


def xs(rows):
    return [row[0] for row in rows]


def ys(rows):
    return [row[1] for row in rows]


MEASURES = {
    "count": (a.Count("m"), len),
    "sum": (a.Sum("m", X), lambda rows: sum(xs(rows))),
    "mean": (a.Mean("m", X), lambda rows: statistics.mean(xs(rows))),
    "ratio": (a.Ratio("m", X, Z), lambda rows: sum(xs(rows)) / sum(row[2] for row in rows)),
    "variance": (a.Variance("m", X), lambda rows: statistics.variance(xs(rows))),
    "std": (a.Variance("m", Y, root=True, ddof=0), lambda rows: statistics.pstdev(ys(rows))),
    "covariance": (a.Covariance("m", (X, Y)), lambda rows: statistics.covariance(xs(rows), ys(rows))),
    "correlation": (
        a.Covariance("m", (X, Y), correlation=True),
        lambda rows: statistics.correlation(xs(rows), ys(rows)),
    ),
}


def releases(measure: a.Measure, rows: list, rho: str, draws: int):
    """Shaped releases of the same rows in every cell, with independent seeded noise."""
    plan = a.VectorSum(a.Table(TABLE), (measure,), rho, ("k",))
    frame, sigmas = layout(plan, CARDS), price(analyse(plan, CARDS), Fraction(rho)).sigmas
    found = [(index, {"x": x, "y": y, "z": z}, {}) for index, (x, y, z) in enumerate(rows)]
    exact = [number for part in frame.components for number in totals(part, found)]
    for seed in range(draws // CELLS):
        noise = Teaching(100 + seed)
        columns = [noise.add([value] * CELLS, sigma) for value, sigma in zip(exact, sigmas, strict=True)]
        (shaped,) = shape(
            plan, CARDS, [number for cell in zip(*columns, strict=True) for number in cell], sigmas
        ).measures
        yield shaped


def coverage(name: str, data: str, rho: str, draws: int = DRAWS) -> tuple[float, float, float]:
    """Share of intervals that hold the truth; real spread over the stated one; share of unreliable cells."""
    measure, truth_of = MEASURES[name]
    truth = float(truth_of(DATA[data]))
    held = squares = doubtful = 0.0
    for shaped in releases(measure, DATA[data], rho, draws):
        for value, error, low, high, doubt in zip(
            shaped.values, shaped.stderr, shaped.low, shaped.high, shaped.unreliable, strict=True
        ):
            held += low - 1e-9 <= truth <= high + 1e-9
            squares += ((value - truth) / error) ** 2
            doubtful += doubt
    return held / draws, math.sqrt(squares / draws), doubtful / draws


def check(name: str, data: str, rho: str, draws: int = DRAWS) -> None:
    held, spread, doubtful = coverage(name, data, rho, draws)
    assert held >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws), f"{name}, {data}, rho {rho}: {held}"
    if doubtful == 0 and data == "skewed" and name != "correlation" and rho in {"1/100", "1/10", "2"}:
        assert 0.9 < spread < 1.1, f"{name}, rho {rho}: errors are {spread} times what is stated"


@pytest.mark.parametrize("data", ["skewed", "few"])
@pytest.mark.parametrize("name", MEASURES)
def test_intervals_hold_the_truth(name, data):
    check(name, data, "1/100")


@pytest.mark.slow
@pytest.mark.parametrize("rho", ["1/1000", "1/10", "2", "20"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", MEASURES)
def test_intervals_hold_the_truth_from_noise_only_to_almost_none(name, data, rho):
    check(name, data, rho, 10_000)


def test_a_cell_that_is_noise_only_is_unreliable_and_its_interval_is_everything():
    for name, bounds in (("variance", (0, 2500)), ("correlation", (-1, 1))):
        for shaped in releases(MEASURES[name][0], [], "1/1000", CELLS):
            doubtful = [index for index, doubt in enumerate(shaped.unreliable) if doubt]
            assert len(doubtful) > 0.99 * CELLS
            for index in doubtful:
                assert shaped.low[index] <= bounds[0]
                assert shaped.high[index] >= bounds[1]


def test_values_stay_within_what_they_can_be():
    for name, low, high in (("variance", 0, 5000), ("std", 0, 30), ("correlation", -1, 1), ("mean", 0, 100)):
        for data in ([], SKEWED[:3], EXTREME[:8]):
            for shaped in releases(MEASURES[name][0], data, "1/1000", CELLS):
                for limits in zip(shaped.low, shaped.values, shaped.high, strict=True):
                    assert low <= limits[0] <= limits[1] + 1e-9
                    assert limits[1] <= limits[2] + 1e-9 <= high + 2e-9
