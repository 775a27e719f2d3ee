"""Intervals of evaluations for the population: sampling error beside the noise, and which of them is shown where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import learn_world
import numpy as np
import pytest

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.learn import GaussianNB, LinearRegression, LogisticRegression, evaluate, metrics, model_selection
from cloister.sandbox import session as sessions
from cloister.sandbox.learn.metrics import noise, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import Edges

RATE = 0.3


@pytest.fixture(scope="module")
def exact() -> Iterator[cl.Frame]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


def chances(edges: Edges) -> np.ndarray:
    """How likely each bin and class is in the population: a score between two beta distributions."""
    from scipy.stats import beta

    ends = [float(edge) for edge in edges.values]
    ends[-1] = 1.0
    return np.stack([(1 - RATE) * np.diff(beta.cdf(ends, 2, 3)), RATE * np.diff(beta.cdf(ends, 3, 2))], axis=-1)


def covered(
    figure: spec.Figure,
    edges: Edges,
    *,
    studies: int,
    units: int,
    per_unit: int,
    sigma: float,
    of: str = "population_",
) -> int:
    """How many studies of units drawn from the population have an interval that holds the population's figure."""
    rng, share = np.random.default_rng(11), chances(edges)
    truth, found = float(figure.value(1e9 * share)), 0
    for _ in range(studies):
        # All rows of a unit say the same: the worst there is.
        drawn = per_unit * rng.multinomial(units, share.ravel() / share.sum()).reshape(share.shape)
        held = Counts((drawn + np.rint(rng.normal(0, sigma, share.shape)))[None], sigma, edges, None, None, per_unit)
        parts = figure.parts(held, population=bool(of))
        found += bool(parts[f"{of}low"][0] <= truth <= parts[f"{of}high"][0])
    return found


def bins(many: int = 16) -> Edges:
    places = tuple(Fraction(place, many) for place in range(many + 1))
    return Edges((*places[:-1], Fraction(1) + Fraction(1, 1000)), Fraction(0), Fraction(1))


def test_intervals_with_sampling_cover_the_figure_of_the_population() -> None:
    edges = bins()
    # Of 60 studies at 95 %, fewer than 52 are covered once in 300; those of the noise alone cover about a third.
    assert covered(spec.roc_auc(), edges, studies=60, units=600, per_unit=2, sigma=3.0) >= 52


def test_those_of_the_noise_alone_do_not() -> None:
    world = {"studies": 60, "units": 600, "per_unit": 2, "sigma": 3.0}
    assert covered(spec.roc_auc(), bins(), **world, of="") < 48


@pytest.mark.slow
@pytest.mark.parametrize("world", [(600, 1, 3.0), (2_000, 4, 10.0), (300, 2, 1.0)])
def test_every_figure_is_covered_over_many_studies(world: tuple[int, int, float]) -> None:
    units, per_unit, sigma = world
    edges = bins()
    made = [spec.roc_auc(), spec.gini(), spec.ks(), spec.average_precision(), spec.accuracy(edges, 0.5),
            spec.precision(edges, 0.5), spec.recall(edges, 0.5), spec.log_loss(edges), spec.brier(edges)]  # fmt: skip
    studies = 1_000
    least = studies * (0.95 - 3 * math.sqrt(0.95 * 0.05 / studies))
    for figure in made:
        many = covered(figure, edges, studies=studies, units=units, per_unit=per_unit, sigma=sigma)
        assert many >= least, (figure.name, many)


def test_without_noise_it_is_as_wide_as_delong_says_times_the_root_of_the_rows_of_a_unit(exact: cl.Frame) -> None:
    found = metrics.roc_auc(exact.smoker, exact.age, bins=22)
    rows = learn_world.rows()
    cut = rows.age // 5
    positives, negatives = cut[rows.smoker].to_numpy(), cut[~rows.smoker].to_numpy()
    pairs = (positives[:, None] > negatives) + (positives[:, None] == negatives) / 2
    error = math.sqrt(pairs.mean(axis=1).var(ddof=1) / len(positives) + pairs.mean(axis=0).var(ddof=1) / len(negatives))
    low, high = found.release.interval(population=True)
    expected = 2 * 1.96 * error * math.sqrt(exact._rows.schema.rows)
    assert high - low == pytest.approx(expected, rel=0.12)
    narrow = found.release.interval()
    assert low < narrow.low <= narrow.high < high


def test_a_report_says_which_interval_is_which(exact: cl.Frame) -> None:
    model = LinearRegression().fit(exact[["age", "smoker"]], exact.cost > 700)
    report = evaluate(model, exact, exact.cost > 700)
    for shown in (repr(report), report._repr_html_()):
        assert "95 % of the noise" in shown
        assert "95 % with sampling" in shown
    table = report.table()
    assert (table.population_low < table.low).all()
    assert (table.high < table.population_high).all()
    many = GaussianNB().fit(exact[["age", "cost"]], exact.region)
    labelled = evaluate(many, exact, exact.region).accuracy.release
    wide, narrow = labelled.interval(population=True), labelled.interval()
    assert wide.low < narrow.low <= narrow.high < wide.high
    numbers = evaluate(LinearRegression().fit(exact[["age"]], exact.cost), exact, exact.cost)
    assert "not known" in repr(numbers), "R2 has none"
    assert np.isfinite(numbers.table().loc["mean_absolute_error", "population_low"])


def test_nothing_is_known_of_nobody(exact: cl.Frame) -> None:
    found = metrics.roc_auc(exact.age > 200, exact.age)
    assert tuple(found.release.interval(population=True)) == (0, 1)


def test_draws_with_sampling_have_the_variance_of_both() -> None:
    counts = np.full((1, 2), 400.0)
    moved = noise.sampled(counts, 10.0, 3) - counts
    assert moved.mean() == pytest.approx(0, abs=5)
    assert moved.var() == pytest.approx(10.0**2 + 3 * 400, rel=0.15)
    # A count below zero is noise: nobody was sampled.
    assert noise.sampled(np.full((1, 2), -50.0), 0.01, 3).var() < 1e-6


# Words ---------------------------------------------------------------------------------------------------


def test_a_target_by_name_is_refused_in_the_words_of_what_was_called(exact: cl.Frame) -> None:
    model, X = LinearRegression().fit(exact[["age"]], exact.cost > 700), exact[["age"]]
    calls: dict[str, Any] = {
        "evaluate": lambda: evaluate(model, X, "cost"),
        "drop_importance": lambda: metrics.drop_importance(model, X, "cost"),
        "cross_validate": lambda: model_selection.cross_validate(model, X, "cost"),
        "search": lambda: model_selection.search([model, model], X, "cost"),
        "train_test_split": lambda: model_selection.train_test_split(X, "cost"),
        "fit": lambda: LinearRegression().fit(X, "cost"),
    }
    for name, call in calls.items():
        with pytest.raises(PlanError) as refused:
            call()
        assert refused.value.code == "api.learn.handles"
        assert refused.value.reason.startswith(f"{name} takes a handle of features and a column")
        assert refused.value.nearest[0].startswith("visits['cost']")
        assert name.partition(".")[0] in refused.value.nearest[1]


def test_where_noise_is_all_there_is_no_weight_has_an_interval(exact: cl.Frame) -> None:
    visits, _ = learn_world.visits(noise=True, mode="confidential", epsilon="100")
    with pytest.warns(UserWarning, match="log odds"):
        lost = LogisticRegression(epsilon=1e-9).fit(visits[["age", "smoker"]], visits.cost > 600)
    assert not lost.reliable_
    assert "NOT RELIABLE" in repr(lost)
    assert np.isnan(lost.coef_stderr_).all()
    table = lost.table()
    assert table[["stderr", "low", "high"]].isna().all(axis=None)
    known = LogisticRegression(epsilon=20).fit(visits[["age", "smoker"]], visits.cost > 600)
    assert np.isfinite(known.coef_stderr_).all()
