"""Evaluation as charged releases: equal to scikit-learn without noise, one price for all, refused uncharged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import learn_world
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as theirs

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.learn import GaussianNB, LinearRegression, evaluate, metrics
from cloister.plan.gaussian import deviation
from cloister.sandbox import session as sessions
from cloister.sandbox.learn.metrics import figures, noise, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import Edges, edges_of, log_odds_edges
from cloister.sandbox.learn.metrics.positive import score_of
from cloister.vault.sampler import Teaching

mpl.use("Agg")
FEATURES = ["age", "smoker", "region"]


@pytest.fixture(scope="module")
def exact() -> Iterator[cl.Frame]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def noisy() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    yield learn_world.visits(noise=True, mode="confidential", epsilon="100")
    sessions.use(None)


@pytest.fixture(scope="module")
def model(exact: cl.Frame) -> LinearRegression:
    return LinearRegression().fit(exact[FEATURES], exact.cost > 700)


@pytest.fixture(scope="module")
def rows(model: LinearRegression) -> pd.DataFrame:
    """The same rows here, with the target and the model's score."""
    frame = learn_world.rows()
    return frame.assign(y=frame.cost > 700, score=model.predict(frame).clip(0, 1))


def binned(values: Any, edges: Edges) -> np.ndarray:
    """What a score becomes: the middle of its bin."""
    place = np.searchsorted([float(edge) for edge in edges.values], np.asarray(values, dtype=float), side="right") - 1
    return edges.middles[np.clip(place, 0, edges.bins - 1)]


# Equal to scikit-learn ---------------------------------------------------------------------------------


def test_every_figure_of_a_score_equals_scikit_learn_on_the_binned_score(
    exact: cl.Frame, model: LinearRegression, rows: pd.DataFrame
) -> None:
    report = evaluate(model, exact, exact.cost > 700)
    edges = report.counts.edges
    score, y = binned(rows.score, edges), rows.y
    expected = {
        "roc_auc": theirs.roc_auc_score(y, score),
        "gini": 2 * theirs.roc_auc_score(y, score) - 1,
        "ks": max(np.abs(np.subtract(*theirs.roc_curve(y, score)[:2]))),
        "average_precision": theirs.average_precision_score(y, score),
        "accuracy": theirs.accuracy_score(y, rows.score >= 0.5),
        "precision": theirs.precision_score(y, rows.score >= 0.5),
        "recall": theirs.recall_score(y, rows.score >= 0.5),
        "log_loss": theirs.log_loss(y, score.clip(0.001, 0.999)),
        "brier": theirs.brier_score_loss(y, score),
    }
    assert set(report.figures) == set(expected)
    for name, value in expected.items():
        assert float(report.figures[name]) == pytest.approx(value, abs=1e-9), name
        assert report.figures[name].release.low <= value <= report.figures[name].release.high
    # And what binning hides of the score itself is within what is said.
    unbinned = {
        "roc_auc": theirs.roc_auc_score(y, rows.score),
        "ks": max(np.abs(np.subtract(*theirs.roc_curve(y, rows.score, drop_intermediate=False)[:2]))),
        "average_precision": theirs.average_precision_score(y, rows.score),
        "log_loss": theirs.log_loss(y, rows.score.clip(0.001, 0.999)),
        "brier": theirs.brier_score_loss(y, rows.score),
    }
    table = report.table()
    for name, value in unbinned.items():
        assert abs(value - table.value[name]) <= table.binning[name] + 1e-9, name
    # The bound is a bound; the middle of the bins is much nearer.
    assert table.value["roc_auc"] == pytest.approx(unbinned["roc_auc"], abs=2e-3)
    fpr, tpr, _ = theirs.roc_curve(y, score, drop_intermediate=False)
    shown = report.roc.table
    ours = np.interp(fpr, shown["false positive rate"], shown["true positive rate"])
    assert ours[np.append(np.diff(fpr) > 0, True)] == pytest.approx(tpr[np.append(np.diff(fpr) > 0, True)], abs=1e-9)
    cells = report.confusion_matrix(0.5).to_numpy()
    assert (cells == theirs.confusion_matrix(y, rows.score >= 0.5)).all()
    rates = report.calibration.table
    groups = np.minimum((score * 10).astype(int), 9)
    assert rates.observed.to_numpy() == pytest.approx(y.groupby(groups).mean().to_numpy(), abs=1e-9)
    assert rates.rows.to_numpy() == pytest.approx(y.groupby(groups).size().to_numpy())


def test_a_column_is_a_score_and_groups_are_public(exact: cl.Frame, rows: pd.DataFrame) -> None:
    found = metrics.roc_auc(exact.smoker, exact.age, by=exact.sex, bins=[20, 30, 40, 50, 60, 70, 80, 90])
    cut = np.searchsorted([20, 30, 40, 50, 60, 70, 80, 90], rows.age, side="right")
    for name, part in rows.assign(cut=cut).groupby("sex", observed=True):
        assert found[name] == pytest.approx(theirs.roc_auc_score(part.smoker, part.cut), abs=1e-9)
    # A group nobody is in is a group, and nothing is known of it.
    assert math.isnan(found["(other)"])
    assert found.release.unreliable["(other)"]
    assert tuple(found.release.interval().loc["(other)"]) == (0.0, 1.0)
    report = metrics.evaluate(_Given(exact.age / 110), exact, exact.smoker, by=exact.sex)
    part = rows[rows.sex == "F"]
    score = binned(part.age / 110, report.counts.edges)
    assert report.by.loc[("F", "brier"), "value"] == pytest.approx(theirs.brier_score_loss(part.smoker, score))
    whole = binned(rows.age / 110, report.counts.edges)
    assert float(report.brier) == pytest.approx(theirs.brier_score_loss(rows.smoker, whole))


def test_labels_and_numbers(exact: cl.Frame, model: LinearRegression, rows: pd.DataFrame) -> None:
    y, score = exact.cost > 700, model.predict(exact)
    table = metrics.confusion_matrix(y, score, threshold=0.5)
    assert (table.to_numpy() == theirs.confusion_matrix(rows.y, rows.score >= 0.5)).all()
    shares = metrics.confusion_matrix(y, score >= 0.5, normalize="true")
    assert shares.to_numpy() == pytest.approx(theirs.confusion_matrix(rows.y, rows.score >= 0.5, normalize="true"))
    assert float(metrics.accuracy(y, score, threshold=0.5)) == pytest.approx((rows.y == (rows.score >= 0.5)).mean())
    by = metrics.accuracy(exact.region, exact.region, by=exact.smoker)
    assert by.to_list() == [1, 1]
    prediction = exact.age * 10
    mine, truth = rows.age * 10, rows.cost
    error = metrics.mean_absolute_error(truth := exact.cost, prediction)
    assert float(error) == pytest.approx(theirs.mean_absolute_error(rows.cost, mine))
    limited = metrics.mean_absolute_error(truth, prediction, limit=100)
    assert float(limited) == pytest.approx((rows.cost - mine).abs().clip(upper=100).mean())
    assert float(metrics.mean_squared_error(truth, prediction)) == pytest.approx(
        theirs.mean_squared_error(rows.cost, mine)
    )
    # A missing value on either side is no error: the row does not count.
    gaps = metrics.mean_absolute_error(exact.bmi, exact.bmi.where(exact.smoker) + 1)
    assert float(gaps) == pytest.approx(1)
    known = metrics.accuracy(exact.bmi >= 30, exact.bmi.where(exact.smoker) >= 30)
    assert 0 < float(known) < 1
    fitted = LinearRegression(alpha=0).fit(exact[FEATURES], exact.cost)
    expected = theirs.r2_score(rows.cost, fitted.predict(rows))
    assert float(metrics.r2(exact.cost, fitted.predict(exact))) == pytest.approx(expected, abs=2e-3)
    report = evaluate(fitted, exact, exact.cost)
    assert float(report.r2) == pytest.approx(expected, abs=2e-3)
    assert float(report.mean_absolute_error) == pytest.approx(
        theirs.mean_absolute_error(rows.cost, fitted.predict(rows))
    )
    with pytest.raises(PlanError, match=r"api\.metrics\.curve"):
        _ = report.roc


def test_population_stability_by_hand(exact: cl.Frame, rows: pd.DataFrame) -> None:
    edges = [20, 40, 60, 80]
    one, two = rows[rows.smoker], rows[~rows.smoker]
    first, second = (np.bincount(np.searchsorted(edges, part.age, side="right"), minlength=5) for part in (one, two))
    a, b = first / first.sum(), second / second.sum()
    found = metrics.psi(exact[exact.smoker].age, exact[~exact.smoker].age, bins=edges)
    assert float(found) == pytest.approx(((a - b) * np.log(a / b)).sum())
    assert len(found.release.fact.parts) == 2
    assert found.release.share == pytest.approx(0.02, rel=1e-6)
    assert found.release.low <= float(found) <= found.release.high
    same = metrics.psi(exact.region, exact.region)
    assert float(same) == 0
    left, right = exact[exact.smoker].region, exact[~exact.smoker].region
    counts = pd.crosstab(rows.region, rows.smoker).reindex(["north", "south", "east", "west"])
    shares = np.append(counts.to_numpy(), [[0.5, 0.5]], axis=0)
    shares = shares / shares.sum(axis=0)
    expected = ((shares[:, 1] - shares[:, 0]) * np.log(shares[:, 1] / shares[:, 0])).sum()
    # The empty level counts as what its noise is, here under a row.
    assert float(metrics.psi(left, right)) == pytest.approx(expected, abs=2e-3)


def test_a_classifier_is_evaluated_by_its_log_odds_and_labels(exact: cl.Frame, rows: pd.DataFrame) -> None:
    fitted = GaussianNB().fit(exact[["age", "smoker"]], exact.cost > 700)
    report = evaluate(fitted, exact, exact.cost > 700)
    shares = fitted.predict_proba(rows)[:, 1]
    table = report.table()
    for name, value in {
        "roc_auc": theirs.roc_auc_score(rows.y, shares),
        "log_loss": theirs.log_loss(rows.y, shares),
        "brier": theirs.brier_score_loss(rows.y, shares),
    }.items():
        assert table.value[name] == pytest.approx(value, abs=2e-3), name
        assert abs(table.value[name] - value) <= table.binning[name]
    assert float(report.accuracy) == pytest.approx(theirs.accuracy_score(rows.y, shares >= 0.5))
    many = GaussianNB().fit(exact[["age", "cost"]], exact.region)
    labelled = evaluate(many, exact, exact.region)
    truth, found = rows.region.astype(object), many.predict(rows)
    assert float(labelled.accuracy) == pytest.approx(theirs.accuracy_score(truth, found))
    levels = ["north", "south", "east", "west"]
    assert (
        labelled.confusion_matrix().loc[levels, levels].to_numpy()
        == theirs.confusion_matrix(truth, found, labels=levels)
    ).all()


# Odd data ----------------------------------------------------------------------------------------------


def test_one_class_constant_scores_and_empty_bins_are_data(exact: cl.Frame) -> None:
    nobody = exact.age > 200
    found = metrics.roc_auc(nobody, exact.age)
    assert math.isnan(found)
    assert found.release.unreliable
    assert tuple(found.release.interval()) == (0, 1)
    report = evaluate(_Given(exact.age / 110), exact, nobody)
    assert all(math.isnan(figure) for figure in report.figures.values())
    assert "unreliable" in repr(report)
    constant = metrics.roc_auc(exact.smoker, exact.age * 0 + 0.3)
    assert float(constant) == 0.5
    assert float(metrics.ks(exact.smoker, exact.age * 0)) == 0
    certain = metrics.roc_auc(exact.smoker, exact.smoker)
    assert float(certain) == 1
    assert float(metrics.roc_auc(exact.smoker, exact.age, bins=[109.5])) == pytest.approx(0.5, abs=0.02)
    assert evaluate(_Given(exact.smoker), exact, exact.smoker).calibration.table.observed.to_list() == [0, 1]


def test_edges_cover_every_score_and_follow_its_public_range(exact: cl.Frame, model: LinearRegression) -> None:
    age = edges_of(exact.age._term, bins=11)
    assert (age.lows[0], age.highs[-1], age.bins) == (0, 110, 11)
    share = edges_of((exact.bmi / 60)._term, bins=16)
    assert 0.5 in share.lows
    assert np.diff(share.lows)[0] < np.diff(share.lows)[8]
    given = edges_of(exact.age._term, bins=[50])
    assert [float(edge) for edge in given.values] == [0, 50, 111]
    # A long expression is rounded, a short one cut.
    assert edges_of(model.predict(exact).clip(0, 1)._term).width is not None
    assert age.width is None
    assert edges_of(exact.smoker._term).bins == 2
    for wrong in (0, True, 501, "ten", [3, 2]):
        with pytest.raises(PlanError, match=r"api\.metrics\.bins"):
            edges_of(exact.age._term, bins=wrong)


# Price -------------------------------------------------------------------------------------------------


def test_all_figures_of_a_score_are_one_release(noisy: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, vault = noisy
    before = len(vault.releases())
    price = metrics.roc_auc.cost(visits.smoker, visits.age, epsilon=20)
    assert len(vault.releases()) == before
    first = metrics.roc_auc(visits.smoker, visits.age, epsilon=20)
    assert first.release.rho == price.rho
    assert first.release.receipt
    assert not first.release.recalled
    others = (metrics.ks, metrics.average_precision, metrics.gini, metrics.roc_curve, metrics.precision_recall_curve)
    for other in (*others, metrics.ks_distribution):
        assert other(visits.smoker, visits.age, epsilon=20).release.recalled
    assert len(set(map(str, vault.releases()[before:]))) == 1
    report = evaluate(_Given(visits.age), visits, visits.smoker, epsilon=20)
    assert report.release.recalled
    assert float(report.roc_auc) == float(first)
    assert report.roc_auc.release.stderr == first.release.stderr
    finer = first.release.refine(epsilon=40)
    assert finer.release.stderr < first.release.stderr
    assert "public bins" in repr(first.release)


def test_the_expected_error_is_told_before_and_is_about_right(noisy: tuple[cl.Frame, Any]) -> None:
    visits, _ = noisy
    price = metrics.roc_auc.cost(visits.cost > 700, visits.cost, epsilon=20, n=3_000)
    found = metrics.roc_auc(visits.cost > 700, visits.cost, epsilon=20)
    assert price.errors["roc_auc"] == pytest.approx(found.release.stderr, rel=0.6)
    with pytest.raises(PlanError, match=r"api\.within"):
        metrics.roc_auc.cost(visits.smoker, visits.age, within=0.1)


def test_too_little_epsilon_is_warned_of_with_the_expected_error_before_anything_is_paid(
    vault: Any, visits: cl.Frame
) -> None:
    with pytest.warns(UserWarning, match=r"too little for roc_auc: .* to about ± 0\.\d+, even if all"):
        metrics.roc_auc(visits.smoker, visits.age, epsilon=0.05)
    asked = vault.asked[: [op for op, _ in vault.asked].index("release")]
    assert [op for op, _ in asked if op == "price"]
    # The session turns warnings into errors: this one comes while nothing is paid.
    paid = len(vault.releases())
    with pytest.raises(UserWarning, match="too little"):
        metrics.ks(visits.smoker, visits.cost, epsilon=0.05, n=500)
    assert len(vault.releases()) == paid


class _Given:
    """A model that predicts a column."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def predict(self, _X: Any) -> Any:
        return self._column


REFUSED: dict[str, tuple[str, Callable[[cl.Frame], Any]]] = {
    "target is a number": ("api.metrics.target", lambda d: metrics.roc_auc(d.cost, d.age)),
    "target is a category": ("api.metrics.target", lambda d: metrics.roc_auc(d.region, d.age)),
    "no such label": ("api.metrics.target", lambda d: metrics.roc_auc(d.region, d.age, pos_label="moon")),
    "score is a category": ("api.metrics.score", lambda d: metrics.roc_auc(d.smoker, d.region)),
    "rows that are here": ("api.metrics", lambda d: metrics.roc_auc(np.zeros(3), np.zeros(3))),
    "other rows": ("plan.rows", lambda d: metrics.ks(d.smoker, d[d.age > 3].age)),
    "other rows of labels": ("plan.rows", lambda d: metrics.accuracy(d.smoker, d[d.age > 3].smoker)),
    "other rows of numbers": ("plan.rows", lambda d: metrics.r2(d.cost, d[d.age > 3].cost)),
    "no probability": ("api.metrics.probability", lambda d: metrics.log_loss(d.smoker, d.age)),
    "no calibration": ("api.metrics.probability", lambda d: metrics.calibration_curve(d.smoker, d.age)),
    "open group": ("plan.key", lambda d: metrics.roc_auc(d.smoker, d.age, by=d.patient_id)),
    "score for a label": ("api.metrics.threshold", lambda d: metrics.accuracy(d.smoker, d.age)),
    "normalize": ("api.option", lambda d: metrics.confusion_matrix(d.smoker, d.smoker, normalize="rows")),
    "numbers": ("api.metrics.number", lambda d: metrics.r2(d.cost, d.region)),
    "kinds": ("api.metrics.psi", lambda d: metrics.psi(d.age, d.region)),
    "no column": ("api.metrics", lambda d: metrics.psi(d.age, 3)),
    "bins": ("api.metrics.bins", lambda d: metrics.roc_auc(d.smoker, d.age, bins=0)),
    "no model": ("api.learn.model", lambda d: evaluate(object(), d, d.smoker)),
    "a figure the model has not": (
        "api.metrics.figure",
        lambda d: metrics.ablation_importance(_Given(d.age), d[["age"]], d.smoker, metric="log_loss", share=0.1),
    ),
    "here already": ("api.learn.handles", lambda d: evaluate(_Given(0), d.mock(5), d.smoker)),
    "no price": ("api.learn.price", lambda d: metrics.ablation_importance(_Given(d.age), d[["age"]], d.smoker)),
    "no price of trainings": (
        "api.learn.price",
        lambda d: metrics.drop_importance(LinearRegression(), d[["age", "cost"]], d.smoker),
    ),
    "nothing is left": (
        "api.metrics.importance",
        lambda d: metrics.drop_importance(LinearRegression(), d[["age"]], d.smoker, share=0.1),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_is_refused_uncharged(case: str, vault: Any, visits: cl.Frame) -> None:
    code, call = REFUSED[case]
    with pytest.raises(PlanError) as caught:
        call(visits)
    assert caught.value.code == code
    assert caught.value.nearest or caught.value.next_step
    assert not vault.releases()


def test_every_nearest_form_works(exact: cl.Frame, model: LinearRegression) -> None:
    forms: dict[str, None] = {}
    for _, call in REFUSED.values():
        with pytest.raises(PlanError) as caught:
            call(exact)
        if caught.value.code.startswith(("api.metrics", "api.learn")):
            forms |= dict.fromkeys(caught.value.nearest)
    assert len(forms) > 12
    y = exact.smoker
    given = {"y": y, "score": exact.age / 110, "model": model, "train": exact, "test": exact[exact.smoker]}
    given |= {
        "visits": exact.copy(),
        "a": exact.sex,
        "b": exact.sex,
        "cl": cl,
        "metrics": metrics,
        "evaluate": evaluate,
    }
    for form in forms:
        if "sklearn" not in form and "LinearRegression" not in form:
            exec(form.partition("  #")[0], dict(given))


# What is shown -----------------------------------------------------------------------------------------


def test_curves_and_reports_show_their_bands_and_say_what_they_are(
    mock_visits: cl.Frame, noisy: tuple[cl.Frame, Any]
) -> None:
    import matplotlib.pyplot as plt

    visits, _ = noisy
    report = evaluate(_Given(visits.age / 110), visits, visits.smoker, epsilon=20)
    for curve in (report.roc, report.distribution):
        target = curve.plot()
        assert target.collections
        assert "privacy noise" in target.texts[-1].get_text()
        assert "simulated" in target.texts[-1].get_text()
        plt.close("all")
    table = report.roc.table
    for name in ("true positive rate", "false positive rate"):
        assert (np.diff(table[name]) >= 0).all()
        assert (table[f"{name} low"] <= table[name]).all()
        assert (table[name] <= table[f"{name} high"]).all()
    for shown in (report, report.roc, report.calibration):
        assert "roc_auc" in repr(shown) or "score" in repr(shown)
        assert shown._repr_html_().startswith('<div class="cloister">')
    with pytest.warns(UserWarning, match="too little"):
        mock = metrics.roc_curve(mock_visits.smoker, mock_visits.age, epsilon=0.1)
    assert "MOCK" in repr(mock)
    assert mock.mode == "mock"


# Intervals ---------------------------------------------------------------------------------------------

WORLDS = {"balanced": (4_000, 0.5, 9.0), "rare": (20_000, 0.04, 6.0), "small": (600, 0.3, 2.0)}


def tables(name: str) -> tuple[Edges, np.ndarray, float]:
    """Return public edges, true counts per bin and class, and the noise of a study."""
    size, rate, sigma = WORLDS[name]
    rng = np.random.default_rng(3)
    edges = _probability(24)
    scores = rng.beta(1, 2, int(size * (1 - rate))), rng.beta(2, 1, int(size * rate))
    bins = [float(edge) for edge in edges.values]
    return edges, np.stack([np.histogram(part, bins)[0] for part in scores], axis=-1).astype(float), sigma


def _probability(bins: int) -> Edges:
    from fractions import Fraction

    from cloister.plan.grid import Grid
    from cloister.sandbox.terms import Term, a

    return edges_of(Term(a.Col("score"), Grid("number", 0, 10_000, Fraction(1, 10_000))), bins=bins)


def covered(name: str, studies: int, draws: int) -> dict[str, float]:
    """Return how often the interval of each figure holds that of the exact counts."""
    edges, true, sigma = tables(name)
    made = [spec.roc_auc(), spec.ks(), spec.average_precision(), spec.log_loss(edges), spec.brier(edges)]
    made += [build(edges, 0.5) for build in (spec.accuracy, spec.precision, spec.recall)]
    hits = dict.fromkeys([figure.name for figure in made] + ["divergence", "calibration"], 0.0)
    groups = np.minimum((edges.middles * 8).astype(int), 7)
    more: dict[str, tuple[Any, tuple[float, float]]] = {
        "divergence": (lambda c: figures.divergence(c, max(0.5, sigma)), (0.0, np.inf)),
        "calibration": (lambda c: figures.observed(c, groups), (0.0, 1.0)),
    }
    sampler = Teaching(11)
    for _ in range(studies):
        counts = np.array(sampler.add([int(value) for value in true.reshape(-1)], sigma), dtype=float)
        released = counts.reshape(true.shape)
        fresh = noise.drawn(released, sigma, draws=draws)
        for figure in made:
            way = noise.largest if figure.largest else noise.spread
            found = way(figure.statistic, released, fresh, figure.limits)
            hits[figure.name] += bool(found.low - 1e-12 <= figure.value(true) <= found.high + 1e-12)
        for key, (statistic, limits) in more.items():
            found, value = noise.spread(statistic, released, fresh, limits), statistic(true)
            hits[key] += float(np.mean((found.low - 1e-12 <= value) & (value <= found.high + 1e-12)))
    return {key: hit / studies for key, hit in hits.items()}


def test_intervals_cover_what_the_exact_counts_give() -> None:
    for figure, share in covered("balanced", 60, 250).items():
        assert share >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 60) - 0.01, figure


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_intervals_cover_over_many_studies(name: str) -> None:
    studies = 2_000
    for figure, share in covered(name, studies, noise.DRAWS).items():
        assert share >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies), figure


def test_the_same_release_has_the_same_interval_and_its_draws_the_noise_of_the_vault() -> None:
    _, true, _ = tables("small")
    one, two = noise.drawn(true, 2.0), noise.drawn(true, 2.0)
    assert (one == two).all()
    assert not (noise.drawn(true, 2.0, stream="other") == one).all()
    for sigma in (0.3, 2.0, 30.0):
        rest = noise.drawn(true, sigma) - true
        assert rest.std() == pytest.approx(deviation(sigma), rel=0.1)
        assert (rest == np.rint(rest)).all()


def test_groups_together_have_the_noise_of_all_of_them() -> None:
    edges, true, sigma = tables("small")
    found = Counts(np.stack([true, true, true, true]), sigma, edges, pd.Index(list("abcd")), None)  # type: ignore[arg-type]
    assert found.whole.sigma == 2 * sigma
    assert (found.whole.values[0] == 4 * true).all()
    assert not found.doubtful.any()


def test_a_long_score_is_a_column_of_its_own_that_bins_mention(exact: cl.Frame) -> None:
    """A model of 200 levels fits into a plan: its score is written down once for the bins, not at each."""
    wide = exact.age * 0
    for place in range(150):
        wide = wide + (exact.age == place % 110) * (place % 7)
    found = metrics.roc_auc(exact.smoker, wide)
    assert "public bins" in found.release.derived
    assert edges_of(wide._term).width is not None
    rows = learn_world.rows()
    mine = sum((rows.age == place % 110) * (place % 7) for place in range(150))
    assert abs(float(found) - theirs.roc_auc_score(rows.smoker, mine)) <= 0.02


def test_rows_without_a_score_do_not_count(exact: cl.Frame) -> None:
    fitted = LinearRegression(missing="drop").fit(exact[["bmi", "age"]], exact.cost > 700)
    report = evaluate(fitted, exact, exact.cost > 700, by=exact.smoker)
    rows = learn_world.rows().dropna(subset=["bmi"])
    assert report.counts.whole.values.sum() == len(rows)
    score = fitted.predict(rows).clip(0, 1)
    assert abs(float(report.roc_auc) - theirs.roc_auc_score(rows.cost > 700, score)) <= 2e-3
    for smokes, part in rows.assign(score=score).groupby("smoker"):
        found = report.by.loc[(smokes, "roc_auc"), "value"]
        assert found == pytest.approx(theirs.roc_auc_score(part.cost > 700, part.score), abs=5e-3)


# No score lies on an edge, where a float of the test and an exact decimal could part.
@pytest.mark.parametrize(
    ("low", "factor"), [(-40.03, 0.7301), (-1.13, 0.0913), (-5.93, 0.1103), (-0.31, 0.0047), (7.03, 0.0181)]
)
def test_log_odds_are_counted_between_minus_six_and_six_as_far_as_they_reach(
    exact: cl.Frame, low: float, factor: float
) -> None:
    score = low + exact.age * factor
    edges = log_odds_edges(score._term)
    assert edges.bins <= 49
    found = evaluate(_Odds(score), exact, exact.smoker)
    assert found.counts.edges.bins == edges.bins
    odds = (low + learn_world.rows().age * factor).clip(-6, 6)
    place = np.searchsorted([float(edge) for edge in edges.values], odds.to_numpy(), side="right") - 1
    middles = edges.middles[np.clip(place, 0, edges.bins - 1)]
    assert float(found.brier) == pytest.approx(theirs.brier_score_loss(learn_world.rows().smoker, middles), abs=1e-6)
    assert 0 <= edges.lows[0] <= edges.highs[-1] <= 1


def test_a_threshold_is_a_probability_where_log_odds_are_counted(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    odds = -3.003 + rows.age * 0.0101
    for threshold in (0.1, 0.5):
        found = evaluate(_Odds(-3.003 + exact.age * 0.0101), exact, exact.smoker, threshold=threshold)
        edges = found.counts.edges
        assert edges.highs[-1] < 0.2
        below = edges.nearest(threshold)
        called = odds >= float(edges.values[below])
        assert called.any() == (threshold == 0.1)
        assert float(found.accuracy) == pytest.approx(theirs.accuracy_score(rows.smoker, called))
        assert float(found.recall) == pytest.approx(theirs.recall_score(rows.smoker, called))


def test_the_other_class_can_be_the_positive_one(exact: cl.Frame, model: LinearRegression) -> None:
    y = exact.cost > 700
    fitted = GaussianNB().fit(exact[["age", "smoker"]], y)
    for one in (model, fitted):
        usual, other = evaluate(one, exact, y), evaluate(one, exact, y, pos_label=False)
        assert float(usual.roc_auc) > 0.6
        assert float(other.roc_auc) == pytest.approx(float(usual.roc_auc), abs=0.01)
        assert float(other.brier) == pytest.approx(float(usual.brier), abs=0.01)


def test_of_several_labels_the_positive_one_is_said(exact: cl.Frame) -> None:
    many = GaussianNB().fit(exact[["age", "cost"]], exact.region)
    for label in ("north", "west"):
        score, log_odds = score_of(many, exact, exact.region, label)
        assert score._term.scalar == many.predict_proba(exact)[f"region={label}"]._term.scalar
        assert not log_odds
    with pytest.raises(PlanError, match="which of them is positive was not said"):
        evaluate(many, exact, exact.region == "north")


def test_edges_for_a_classifier_are_probabilities(exact: cl.Frame, rows: pd.DataFrame) -> None:
    fitted = GaussianNB().fit(exact[["age", "smoker"]], exact.cost > 700)
    mine = fitted.predict_proba(rows)[:, 1]
    inner = [0.15, 0.3, 0.5]
    assert mine.min() < inner[0] < inner[-1] < mine.max()
    found = evaluate(fitted, exact, exact.cost > 700, bins=inner)
    assert found.counts.edges.lows[1:] == pytest.approx(inner, abs=1e-6)
    counted = np.bincount(np.searchsorted(inner, mine, side="right"), minlength=4)
    assert found.counts.whole.values[0].sum(axis=1) == pytest.approx(counted)
    assert float(found.accuracy) == pytest.approx(theirs.accuracy_score(rows.y, mine >= 0.5))
    for wrong in ([-1, 0.5], [0.5, 2], [0.5, 0.1], "x"):
        with pytest.raises(PlanError, match=r"api\.metrics\.bins"):
            evaluate(fitted, exact, exact.cost > 700, bins=wrong)


class _Odds(GaussianNB):
    """A classifier of two classes with a given score."""

    classes_ = np.array([False, True])  # type: ignore[assignment]

    def __init__(self, score: Any) -> None:
        self._score = score

    def decision_function(self, _X: Any) -> Any:
        return self._score


def test_what_the_guide_imports_is_there() -> None:
    import cloister.learn as outside
    import cloister.sandbox.learn as inside

    assert outside.__all__ == inside.__all__
    # A room that was imported by its own name is a module of its own, which finds everything inside.
    rooms = {"metrics", "model_selection", "preprocessing"}
    other = [name for name in outside.__all__ if getattr(outside, name) is not getattr(inside, name)]
    assert set(other) <= rooms
    assert all(dir(getattr(outside, name)) == sorted(getattr(inside, name).__all__) for name in other)
    assert outside.roc_auc is outside.metrics.roc_auc
