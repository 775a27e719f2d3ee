"""Mutation tests of what learners and metrics compute from released numbers; each bug is caught by a fast check.

The mutants of their vector sums, prices and noise are in ``tests/vault/test_mutants_fit.py`` and ``test_mutants.py``.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import learn_world
import numpy as np
import pandas as pd
import pytest
from fit_checks import wide_encoding
from mutants import mutated
from sklearn import metrics as theirs

import cloister.sandbox as cl
from cloister.learn import CategoricalNB, GaussianNB, LinearRegression
from cloister.plan import algebra as a
from cloister.plan.learning import kmeans, natural, seeding, weights
from cloister.plan.learning.encoding import SCALE
from cloister.plan.learning.program import Centres, Linear
from cloister.plan.rounding import to_step
from cloister.sandbox import ridge
from cloister.sandbox.learn import categorical, components, fitting, gaussian, numbers, scoring
from cloister.sandbox.learn.metrics import counts, edges, figures, noise, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import Edges

# Learners ------------------------------------------------------------------------------------------------


@functools.cache
def visits() -> cl.Frame:
    """The clinic with the noise off; what was asked once is recalled."""
    return learn_world.visits(noise=False, epsilon="1000")[0]


@functools.cache
def gram() -> np.ndarray:
    rng = np.random.default_rng(1)
    z = np.column_stack([np.ones(500), rng.uniform(-1, 1, (500, 3))])
    z[:, 3] = 0.3 * z[:, 1] - 0.5 * z[:, 2] + 0.1 * z[:, 3] + 0.2
    return z.T @ z


def noisy(rng: np.random.Generator, stderr: float, exact: np.ndarray | None = None) -> np.ndarray:
    exact = gram() if exact is None else exact
    moved = np.triu(rng.normal(0, stderr, exact.shape))
    return exact + moved + np.triu(moved, 1).T


def told_too_well() -> float:
    """Return how much R2 is told above what it is, in the mean of 300 noises: .0003, and .0015 uncorrected.

    Each noise is taken with both signs, so that what is proportional to it falls out and what it adds on average stays.
    The target is one whose R2 keeps away from 1, where it is cut off.
    """
    rng = np.random.default_rng(1)
    z = np.column_stack([np.ones(500), rng.uniform(-1, 1, (500, 3))])
    z[:, 3] = 0.3 * z[:, 1] - 0.4 * z[:, 2] + 0.4 * z[:, 3]
    rng, stderr, exact = np.random.default_rng(2), 1.5, z.T @ z
    found = []
    for _ in range(300):
        moved = noisy(rng, stderr, exact) - exact
        for sign in (1, -1):
            one = ridge.solve(exact + sign * moved, stderr)
            found.append(one.r2 - ridge.explained(exact, np.append(-one.beta, 1.0), 1e-9)[0])
    return float(np.mean(found))


def check_ridge() -> None:
    """Coefficients are those of the normal equations, and errors the spread of what noise makes of them."""
    found = ridge.solve(gram(), 1e-9, 2.0)
    penalised = gram()[:3, :3] + np.diag([0.0, 2.0, 2.0])
    assert found.beta == pytest.approx(np.linalg.solve(penalised, gram()[:3, 3]), abs=1e-9)
    rng, stderr = np.random.default_rng(2), 4.0
    many = [ridge.solve(noisy(rng, stderr), stderr) for _ in range(600)]
    drawn = np.array([one.beta for one in many])
    told = np.mean([np.sqrt(np.diag(one.noise)) for one in many], axis=0)
    assert told == pytest.approx(drawn.std(axis=0), rel=0.12)
    # R2 is that of the released coefficients on the exact rows, to first order.
    stderr = 1.5
    many = [ridge.solve(noisy(rng, stderr), stderr) for _ in range(600)]
    truth = [ridge.explained(gram(), np.append(-one.beta, 1.0), 1e-9)[0] for one in many]
    apart = np.array([one.r2 for one in many]) - truth
    assert apart.mean() == pytest.approx(0, abs=0.01)
    assert np.mean([one.r2_stderr for one in many]) == pytest.approx(apart.std(), rel=0.4)
    assert told_too_well() == pytest.approx(0, abs=0.0007)
    assert ridge.solve(gram(), 1e-9, 0.0).reliable
    assert not ridge.solve(noisy(rng, 4_000.0), 4_000.0).reliable


def check_linear() -> None:
    """In the features' own units, from a release, as numpy has it on the rows."""
    rows, frame = learn_world.rows(), visits()
    model = LinearRegression(alpha=0).fit(frame[["age", "smoker"]], frame.cost)
    wanted = np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows.age, rows.smoker]), rows.cost, rcond=None)[0]
    # A Gram rounds every value to 1 / 4,096 of its half range.
    assert [model.intercept_, *model.coef_] == pytest.approx(wanted, rel=5e-3)
    table = model.table()
    for reach in (table.high - table.value, table.value - table.low):
        assert reach.to_numpy() == pytest.approx(1.96 * table.stderr.to_numpy(), rel=1e-3)


@functools.cache
def unequal() -> np.ndarray:
    """Of columns whose variances are far apart."""
    rng = np.random.default_rng(6)
    turned = np.linalg.qr(np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]).T)[0]
    z = np.column_stack([np.ones(500), rng.uniform(-1, 1, (500, 3)) * [0.9, 0.5, 0.2] @ turned.T + [0.0, 0.2, -0.1]])
    return z.T @ z


def check_components() -> None:
    found = components.decompose(unequal(), 1e-9, np.ones(3))
    means = unequal()[0, 1:] / 500
    cov = unequal()[1:, 1:] / 500 - np.outer(means, means)
    assert found.variances == pytest.approx(np.linalg.eigvalsh(cov)[::-1] * 500 / 499, abs=1e-9)
    assert found.vectors @ cov @ found.vectors.T == pytest.approx(np.diag(np.linalg.eigvalsh(cov)[::-1]), abs=1e-9)
    assert (found.vectors[np.arange(3), np.abs(found.vectors).argmax(axis=1)] > 0).all()
    rng, stderr = np.random.default_rng(3), 2.0
    many = [components.decompose(noisy(rng, stderr, unequal()), stderr, np.ones(3)) for _ in range(400)]
    for name, errors in (("variances", "variance_errors"), ("vectors", "vector_errors")):
        drawn = np.array([getattr(one, name) for one in many])[:, :2]
        if name == "vectors":
            # Where two entries are equally large, the noise chooses the sign.
            drawn *= np.sign((drawn * found.vectors[:2]).sum(axis=-1, keepdims=True))
        told = np.mean([getattr(one, errors) for one in many], axis=0)[:2]
        assert told == pytest.approx(drawn.std(axis=0), rel=0.15, abs=2e-3), name
    assert components.decompose(noisy(rng, 4_000.0), 4_000.0, np.ones(3)).reliable is False
    assert components.decompose(np.diag([10.0, 12.0, 0.1]), 4.0, np.ones(2)).reliable is False, "ten rows, or none"


def check_gaussian() -> None:
    rows, frame = learn_world.rows(), visits()
    model = GaussianNB().fit(frame[["age", "cost"]], frame.smoker)
    for place, label in enumerate((False, True)):
        part = rows[rows.smoker == label]
        assert model.theta_[place] == pytest.approx([part.age.mean(), part.cost.mean()], rel=1e-6)
        assert model.var_[place] == pytest.approx([part.age.var(ddof=0), part.cost.var(ddof=0)], rel=1e-3)
        assert model.class_prior_[place] == pytest.approx(len(part) / len(rows), abs=1e-6)
        assert model.class_count_[place] == pytest.approx(len(part))
    from sklearn.naive_bayes import GaussianNB as Theirs

    other = Theirs().fit(rows[["age", "cost"]].to_numpy(), rows.smoker)
    assert model.predict_proba(rows) == pytest.approx(other.predict_proba(rows[["age", "cost"]].to_numpy()), abs=2e-3)


def check_categorical() -> None:
    rows, frame = learn_world.rows(), visits()
    model = CategoricalNB(alpha=2.0).fit(frame[["region", "sex"]], frame.smoker)
    for feature, levels, found in zip(
        ("region", "sex"),
        (["north", "south", "east", "west", "(other)"], ["F", "M", "X", "(other)"]),
        model.feature_log_prob_,
        strict=True,
    ):
        for place, label in enumerate((False, True)):
            part = rows[rows.smoker == label][feature].astype(str)
            smoothed = np.array([(part == level).sum() + 2.0 for level in levels])
            assert found[place] == pytest.approx(np.log(smoothed / smoothed.sum()), abs=1e-5), feature
    assert np.exp(model.class_log_prior_) == pytest.approx([(~rows.smoker).mean(), rows.smoker.mean()], abs=1e-5)


def check_natural() -> None:
    """Scaled weights and centres in the units of the features."""
    coded = wide_encoding(2, (3,), 2)
    lines = Linear(((2**16, 2**15, -(2**16), 0, 2**14, 2**16),), 2**16, ((0.1, 0.2, 0.3, 0.0, 0.0, 0.0),))
    (score,) = natural.scores(lines, coded)
    assert (score.intercept, *score.weights) == (1, Fraction(1, 2), -1, 0, Fraction(1, 4), 1)
    blocks = tuple(
        block if block.labels else _with_range(block, low, high)
        for block, (low, high) in zip(coded.blocks, ((10, 30), (-4, 0), (0, 0)), strict=True)
    )
    from cloister.plan.learning.encoding import Encoding

    wide = Encoding(blocks, coded.target, coded.target_grid, coded.classes)
    (score,) = natural.scores(lines, wide)
    # x from 10 to 30 is z = (x - 20) / 10, and x from -4 to 0 is z = (x + 2) / 2.
    assert score.weights[:2] == (Fraction(1, 20), Fraction(-1, 2))
    assert score.intercept == 1 - Fraction(1, 2) * 2 - 1
    assert score.errors[:3] == pytest.approx((math.hypot(0.1, 0.2 * 2, 0.3), 0.02, 0.15))
    centres = Centres(((SCALE // 2, -SCALE, 0, SCALE, 0),), (5.0,))
    assert natural.centres(centres, wide) == ((25, -4, 0, 1, 0),)


def _with_range(block, low: int, high: int):
    import msgspec

    return msgspec.structs.replace(block, grid=msgspec.structs.replace(block.grid, lo=low, hi=high))


def check_clusters() -> None:
    """A centre is the mean of its rows in multiples of 1 / SCALE, where they stand out of the noise."""
    rows, coded = 10 * SCALE, wide_encoding(2, (3,), 2)
    assert kmeans._mean(rows, (5 * SCALE, -20 * SCALE)) == (SCALE // 2, -SCALE)
    assert kmeans._mean(rows, (SCALE, SCALE + 5)) == (round(SCALE / 10), math.floor(SCALE / 10 + 1))

    def goes_to_the_middle(count: int, level: float) -> bool:
        run = kmeans.KMeansProgram(a.KMeans(1, steps=1), coded).run([level])
        next(run)
        with pytest.raises(StopIteration) as end:
            run.send([count] + [0] * (coded.width - 1))
        return not any(end.value.value.centres[0])

    assert goes_to_the_middle(rows, 0.01)
    assert not goes_to_the_middle(rows, rows / 2)
    assert not goes_to_the_middle(SCALE - 1, 0.01)
    first = seeding.initial(3, 0, coded)
    assert len(set(first)) == 3
    for row in first:
        assert all(abs(value) <= SCALE * seeding.INNER for value in row[:2])
        assert sorted(row[2:]) == [0, 0, SCALE]
    assert seeding.initial(3, 1, coded) != first


def check_rounding() -> None:
    found = to_step([0.123456, 2.5], 1e-3, [Fraction(1), Fraction(1, 10)], [1.0, 1.0])
    assert found == [Fraction("0.123"), Fraction("2.5")]
    row = [0.5, 0.25, -0.125]
    weights.centre(row, [10.0, 4.0, 6.0], wide_encoding(0, (2,), 2))
    # What all labels share goes to the constant, weighed by their rows.
    assert row[0] + row[1] == pytest.approx(0.75)
    assert row[0] + row[2] == pytest.approx(0.375)
    assert 4 * row[1] + 6 * row[2] == pytest.approx(0, abs=1e-9)


def check_scores() -> None:
    """Scores of Gaussian naive Bayes on a handle's expressions and on arrays are those of the formula."""
    rows, frame = learn_world.rows(), visits()
    model = GaussianNB().fit(frame[["age", "cost"]], frame.smoker)
    found = scoring.scores_of(model.document)
    values = rows[["age", "cost"]].to_numpy(dtype=float)
    wanted = np.log(model.class_prior_) - 0.5 * (
        np.log(2 * np.pi * model.var_).sum(axis=1)
        + ((values[:, None, :] - model.theta_) ** 2 / model.var_).sum(axis=-1)
    )
    assert found.on_array(values) == pytest.approx(wanted, abs=2e-3)


# Metrics -------------------------------------------------------------------------------------------------


@functools.cache
def table() -> np.ndarray:
    """Counts in ten bins, negatives first."""
    rng = np.random.default_rng(4)
    return np.stack([rng.integers(1, 90, 10)[::-1].cumsum()[::-1], rng.integers(1, 40, 10).cumsum()], -1).astype(float)


def expanded() -> tuple[np.ndarray, np.ndarray]:
    """The rows that have these counts: their class and the middle of their bin."""
    held = table()
    bins = np.repeat(np.tile((np.arange(10) + 0.5) / 10, 2), held.T.ravel().astype(int))
    return np.repeat([0, 1], held.sum(axis=0).astype(int)), bins


def tenths() -> Edges:
    places = [Fraction(place, 10) for place in range(11)]
    return Edges((*places[:-1], Fraction(11, 10)), Fraction(0), Fraction(1))


def check_figures() -> None:
    held, (y, score) = table(), expanded()
    middles = tenths().middles
    assert middles == pytest.approx((np.arange(10) + 0.5) / 10)
    assert float(figures.auc(held)) == pytest.approx(theirs.roc_auc_score(y, score))
    fpr, tpr, _ = theirs.roc_curve(y, score, drop_intermediate=False)
    assert figures.above(held) == pytest.approx(np.column_stack([fpr, tpr]))
    assert figures.distances(held).max() == pytest.approx(np.abs(tpr - fpr).max())
    assert float(figures.average_precision(held)) == pytest.approx(theirs.average_precision_score(y, score))
    precision, _, _ = theirs.precision_recall_curve(y, score)
    assert figures.precisions(held) == pytest.approx(precision[:-1][::-1])
    predicted = score >= 0.6
    assert figures.matrix(held, 6).reshape(2, 2) == pytest.approx(theirs.confusion_matrix(y, predicted))
    assert float(figures.accuracy(held, 6)) == pytest.approx(theirs.accuracy_score(y, predicted))
    assert float(figures.precision(held, 6)) == pytest.approx(theirs.precision_score(y, predicted))
    assert float(figures.recall(held, 6)) == pytest.approx(theirs.recall_score(y, predicted))
    losses = figures.log_losses(middles), figures.brier_losses(middles)
    assert float(figures.mean_loss(held, losses[0])) == pytest.approx(theirs.log_loss(y, score))
    assert float(figures.mean_loss(held, losses[1])) == pytest.approx(theirs.brier_score_loss(y, score))
    groups = np.array([0] * 4 + [1] * 6)
    assert figures.observed(held, groups) == pytest.approx([y[score < 0.4].mean(), y[score >= 0.4].mean()])
    one, two = (held / held.sum(axis=0)).T
    assert float(figures.divergence(held)) == pytest.approx(((one - two) * np.log(one / two)).sum())
    empty = np.array([[0.0, 50.0], [100.0, 50.0]])
    one, two = np.array([0.5, 100]) / 100.5, np.array([0.5, 0.5])
    assert float(figures.divergence(empty)) == pytest.approx(((one - two) * np.log(one / two)).sum())
    assert figures.rising(np.array([0.0, 0.4, 0.2, 1.2])) == pytest.approx([0, 0.3, 0.3, 1])
    assert 0 <= float(figures.auc(-held)) <= 1
    assert float(figures.auc_ties(held)) == pytest.approx(
        (held[:, 0] * held[:, 1]).sum() / (2 * held[:, 0].sum() * held[:, 1].sum())
    )


def check_noise() -> None:
    """Errors and intervals of a sum are those of the normal distribution; draws have the noise's variance."""
    held, sigma = table(), 12.0

    def total(values: np.ndarray) -> np.ndarray:
        return values.sum(axis=(-1, -2))

    drawn = noise.drawn(held, sigma)
    assert (drawn - held).std() == pytest.approx(sigma, rel=0.02)
    error = noise.total_error(sigma, 20)
    assert error == pytest.approx(sigma * math.sqrt(20), rel=1e-3)
    spread = noise.spread(total, held, drawn, (-1e9, 1e9))
    assert float(spread.stderr) == pytest.approx(error, rel=0.06)
    for end, side in ((spread.low, -1), (spread.high, 1)):
        assert float(end) == pytest.approx(float(total(held)) + side * 1.96 * error, abs=0.16 * error)

    def skewed(values: np.ndarray) -> np.ndarray:
        return np.exp(values.sum(axis=(-1, -2)) / 60 - held.sum() / 60)

    # Of a curved figure the interval holds both the percentiles and their mirror image.
    spread, found = noise.spread(skewed, held, drawn, (0.0, 1e9)), skewed(drawn)
    low, high = np.percentile(found, (2.5, 97.5))
    assert float(spread.low) <= min(low, max(2 - high, 0)) + 1e-9
    assert float(spread.high) >= max(high, 2 - low) - 1e-9
    limited = noise.spread(total, held, drawn, (0.0, 5.0))
    assert float(limited.high) == 5.0
    most = noise.largest(lambda values: values[..., 0], held, drawn, (-1e9, 1e9))
    assert float(most.high) - held[:, 0].max() > 2.3 * sigma, "the reach of ten together, not of one"
    wide = noise.sampled(held, sigma, 3) - held
    assert wide.var(axis=0).sum() == pytest.approx((sigma**2 + 3 * held).sum(), rel=0.1)
    assert noise.drawn(held, sigma, stream="other").tolist() != drawn.tolist()


def check_doubt() -> None:
    """A class under three standard errors is not known, and groups together have the noise of all."""
    made = spec.roc_auc()
    few = np.array([[[400.0, 3.0], [300.0, 4.0]]])
    doubtful = made.parts(Counts(few, 5.0, tenths(), None, None))
    assert math.isnan(doubtful["value"][0])
    assert (doubtful["low"][0], doubtful["high"][0], doubtful["unreliable"][0]) == (0.0, 1.0, True)
    both = Counts(np.concatenate([few, few]), 5.0, tenths(), pd.Index(["a", "b"]), None)
    assert both.whole.sigma == pytest.approx(5.0 * math.sqrt(2))
    assert (both.whole.values == 2 * few).all()
    known = Counts(table()[None], 5.0, tenths(), None, None)
    parts = made.parts(known)
    assert parts["low"][0] < parts["value"][0] < parts["high"][0]
    assert parts["population_low"][0] < parts["low"][0] < parts["high"][0] < parts["population_high"][0]
    assert made.hidden(known) == pytest.approx(float(figures.auc_ties(table())))


def check_hidden() -> None:
    """The figure of the unbinned score is within what is said of the binned one."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        y = rng.random(300) < 0.4
        score = np.clip(rng.beta(2, 3, 300) + 0.3 * y * rng.random(300), 0, 0.999999)
        place = (score * 10).astype(int)
        held = np.stack([np.bincount(place[y == label], minlength=10) for label in (False, True)], -1).astype(float)
        unbinned = {
            spec.roc_auc(): theirs.roc_auc_score(y, score),
            spec.gini(): 2 * theirs.roc_auc_score(y, score) - 1,
            spec.ks(): max(np.abs(np.subtract(*theirs.roc_curve(y, score, drop_intermediate=False)[:2]))),
            spec.average_precision(): theirs.average_precision_score(y, score),
            spec.log_loss(tenths()): theirs.log_loss(y, score.clip(0.001, 0.999)),
            spec.brier(tenths()): theirs.brier_score_loss(y, score),
        }
        for figure, value in unbinned.items():
            assert abs(float(figure.value(held)) - value) <= figure.binning(held) + 1e-9, figure.name


def check_edges() -> None:
    frame = visits()
    given = edges.edges_of(frame.age._term, bins=[30, 50])
    assert [float(edge) for edge in given.values] == [0, 30, 50, 111]
    assert given.nearest(30) == 1
    assert given.nearest(45) == 2
    assert given.nearest(200) == 3
    assert (given.lows[0], given.highs[-1]) == (0, 110)
    odds = edges.log_odds_edges(((frame.age - 55) / 4)._term)
    assert (float(odds.low), float(odds.high)) == (-6, 6)
    assert odds.probability
    assert (odds.lows[0], odds.highs[-1]) == (0, 1)
    inside = np.asarray(odds.values[1:-2], dtype=float)
    assert odds.lows[1:-1] == pytest.approx(1 / (1 + np.exp(-inside)), abs=1e-9)
    assert not given.probability
    share = edges.edges_of((frame.age / 110)._term, bins=4)
    assert [float(edge) for edge in share.values[1:-1]] == pytest.approx(
        [math.sin(math.pi / 8) ** 2, 0.5, math.sin(3 * math.pi / 8) ** 2], abs=1e-2
    )


MUTANTS = [
    (ridge, "@ matrix[:size, size]", "@ matrix[:size, 0]", check_ridge),
    (ridge, "[0.0] + [used] * (size - 1)", "[used] * size", check_ridge),
    (ridge, "(1 + beta @ beta) *", "(1 + 4 * beta @ beta) *", check_ridge),
    (ridge, "stderr**2 * ((1", "stderr * ((1", check_ridge),
    (ridge, "return self.margin >= RELIABLE", "return True", check_ridge),
    (ridge, "optimism = 2 *", "optimism = 0 *", check_ridge),
    (ridge, "slope[0, 0] -= mean * mean * share\n    error = stderr", "error = 3 * stderr", check_ridge),
    (fitting, "natural[0] += offsets[-1]", "pass", check_linear),
    (fitting, "scales[-1] / scales[:-1]", "scales[:-1] / scales[-1]", check_linear),
    (numbers, "value - NORMAL_95 * error", "value - error", check_linear),
    (numbers, "value + NORMAL_95 * error", "value + error", check_linear),
    (components, "np.argsort(values)[::-1]", "np.argsort(values)", check_components),
    (components, "- np.outer(mean, mean)) * turned", ") * turned", check_components),
    (components, "variances=values * factor", "variances=values", check_components),
    (components, "upper = np.triu(both + both.T, 1) + np.diag(np.diag(both))", "upper = both", check_components),
    (components, "n >= 3 * stderr and ", "", check_components),
    (gaussian, "math.log(share[row]) - sum(", "math.log(share[row]) + sum(", check_gaussian),
    (gaussian, "return middle + mean, mean_error", "return mean, mean_error", check_gaussian),
    (gaussian, "np.maximum(n, 0.5) / np.maximum(n, 0.5).sum()", "np.full(len(n), 1 / len(n))", check_gaussian),
    (categorical, "np.maximum(counts, 0.0) + alpha", "np.maximum(counts, 0.0) + 1", check_categorical),
    (categorical, "counts[:, place, [keys[2].index(label) for label in wanted]]",
     "counts[:, 0, [keys[2].index(label) for label in wanted]]", check_categorical),
    (categorical, "np.maximum(n, 0.5) / np.maximum(n, 0.5).sum()", "np.full(len(n), 1 / len(n))", check_categorical),
    (natural, "intercept -= weight * middle", "intercept += weight * middle", check_natural),
    (natural, "Fraction(value, model.scale) / half if half", "Fraction(value, model.scale) if half", check_natural),
    (natural, "middle + half * Fraction(value, SCALE)", "half * Fraction(value, SCALE)", check_natural),
    (natural, "squared = first * first", "squared = 0.0", check_natural),
    (kmeans, "max(RELIABLE * level, SCALE)", "SCALE", check_clusters),
    (kmeans, "max(RELIABLE * level, SCALE)", "RELIABLE * level", check_clusters),
    (kmeans, "(2 * SCALE * value + count) // (2 * count), -SCALE)", "SCALE * value // count, -2 * SCALE)",
     check_clusters),
    (scoring, "offset -= mean**2 / (2 * variance)", "pass", check_scores),
    (scoring, "square = -1 / (2 * variance)", "square = -1 / variance", check_scores),
    (figures, "- counts[..., 0] / 2", "- counts[..., 0]", check_figures),
    (figures, "np.cumsum(counts[..., ::-1, :], axis=-2)], axis=-2)", "np.cumsum(counts, axis=-2)], axis=-2)",
     check_figures),
    (figures, "np.clip(held[..., 1] / rows, 0.0, 1.0)", "np.clip(held[..., 0] / rows, 0.0, 1.0)", check_figures),
    (figures, "counts[..., ::-1, 1] / positives", "counts[..., 1] / positives", check_figures),
    (figures, "counts[..., below:, :].sum(axis=-2)", "counts[..., below + 1 :, :].sum(axis=-2)", check_figures),
    (figures, "cells[..., 0] + cells[..., 3]", "cells[..., 1] + cells[..., 2]", check_figures),
    (figures, "cells[..., 1] + cells[..., 3]", "cells[..., 2] + cells[..., 3]", check_figures),
    (figures, "(cells[..., 2] + cells[..., 3], LEAST)", "(cells[..., 1] + cells[..., 3], LEAST)", check_figures),
    (figures, "-np.log1p(-held), -np.log(held)", "-np.log(held), -np.log1p(-held)", check_figures),
    (figures, "[scores**2, (1 - scores) ** 2]", "[(1 - scores) ** 2, scores**2]", check_figures),
    (figures, "joined[..., 1] / np.maximum(joined", "joined[..., 0] / np.maximum(joined", check_figures),
    (figures, "held = np.maximum(counts, least)", "held = counts + least", check_figures),
    (figures, "(first - second) * np.log", "first * np.log", check_figures),
    (figures, "(from_left + from_right) / 2", "from_left", check_figures),
    (figures, "sum(axis=-1) / (2 * negatives * positives), 0.5)", "sum(axis=-1) / (negatives * positives), 0.5)",
     check_figures),
    (noise, "np.clip(np.minimum(low, 2 * value - high), *limits),\n        np.clip(np.maximum(high, 2 * value - low)",
     "np.clip(low, *limits),\n        np.clip(high", check_noise),
    (noise, "_ENDS = (2.5, 97.5)", "_ENDS = (25.0, 75.0)", check_noise),
    (noise, "return deviation(sigma) * math.sqrt(cells)", "return deviation(sigma)", check_noise),
    (noise, "np.percentile(moved, 95, axis=0)", "np.percentile(moved, 50, axis=0)", check_noise),
    (noise, ".max(axis=-1)\n    reach", ".min(axis=-1)\n    reach", check_noise),
    (noise, "per_unit * (rng.poisson", "(rng.poisson", check_noise),
    (noise, "counts + _gaussian(rng, sigma,", "counts + _gaussian(rng, sigma / 2,", check_noise),
    (noise, "/{sigma!r}/{stream}", "/{sigma!r}", check_noise),
    (counts, "< 3 * least", "< 0 * least", check_doubt),
    (counts, "self.sigma * len(self.values) ** 0.5", "self.sigma", check_doubt),
    (spec, "            if doubt:", "            if False:", check_doubt),
    (spec, "noise.sampled(counts, found.sigma, found.per_unit)", "noise.drawn(counts, found.sigma)", check_doubt),
    (spec, "max(best.max() - np.abs(apart).max(), 0.0)", "0.0", check_hidden),
    (spec, "float((lines[:, 1] / positives * np.maximum(far, 0)).sum())", "0.0", check_hidden),
    (spec, "np.maximum(np.abs(losses(edges.lows) - middle), np.abs(losses(edges.highs) - middle))", "0 * middle",
     check_hidden),
    (spec, "lambda c: 2 * float(figures.auc_ties(c))", "lambda c: 0.0", check_hidden),
    (edges, "if low < edge <= high]\n    if len(found)", "if low < edge < 50]\n    if len(found)", check_edges),
    (edges, "1 / (1 + np.exp(-held))", "1 / (1 + np.exp(held))", check_edges),
    (edges, "if threshold > self.highs[-1]:", "if False:", check_edges),
    (edges, "math.sin(math.pi * place / (2 * count)) ** 2", "place / count", check_edges),
    (edges, "return self.log_odds or (self.low", "return (self.low", check_edges),
]  # fmt: skip
EVERY_RUN = (0, 2, 7, 12, 17, 20, 22, 26, 30, 31, 34, 43, 46, 50, 51, 54, 57, 58, 62, 65)
CHECKS = (
    check_ridge, check_linear, check_components, check_gaussian, check_categorical, check_natural, check_clusters,
    check_rounding, check_scores, check_figures, check_noise, check_doubt, check_hidden, check_edges,
)  # fmt: skip


def _cases() -> list:
    return [
        pytest.param(*mutant, id=f"{mutant[0].__name__.split('.')[-1]}-{index}",
                     marks=() if index in EVERY_RUN else pytest.mark.slow)
        for index, mutant in enumerate(MUTANTS)
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), _cases())
def test_the_mutant_is_caught(module, old, new, check) -> None:
    with mutated(module, old, new), pytest.raises((Exception, pytest.fail.Exception)):
        check()


@pytest.mark.parametrize("check", CHECKS)
def test_the_check_passes_without_a_mutant(check) -> None:
    check()
