"""The errors of a model are what they say: coverage over many draws of noise, and no end of the world without data."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator

import learn_world
import numpy as np
import pytest

from cloister.learn import LinearRegression
from cloister.sandbox import ridge
from cloister.sandbox import session as sessions

FEATURES = ["age", "smoker", "region"]
DRAWS = int(os.environ.get("CLOISTER_STUDIES", "150"))
NEEDED = 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    sessions.use(None)


def exact_model(alpha: float, names: list[str]) -> LinearRegression:
    """The same ridge without noise."""
    frame, _ = learn_world.visits(noise=False, epsilon="1000")
    return LinearRegression(alpha=alpha, share=0.5, missing="drop").fit(frame[names], frame.cost)


@pytest.mark.parametrize(("epsilon", "names"), [(20, FEATURES), (6, ["age", "bmi"])])
def test_intervals_cover_the_coefficients_without_noise(epsilon: float, names: list[str]) -> None:
    frame, vault = learn_world.visits(noise=True, mode="confidential", epsilon="100", seed=11)
    part, target = frame[names], frame.cost
    model = LinearRegression(epsilon=epsilon, missing="drop").fit(part, target)
    truth = exact_model(model.alpha_, names)
    wanted = np.append(truth.intercept_, truth.coef_)
    rows = learn_world.rows()
    rows = rows.dropna() if "bmi" in names else rows
    encoded, cost = truth.encode(rows).to_numpy(), rows.cost.to_numpy()
    inside, r2_inside, reliable, values, errors = [], [], [], [], []
    for _ in range(DRAWS):
        model.fit(part, target)
        found = model.table()
        inside.append((found.low <= wanted) & (wanted <= found.high))
        values.append(found.value)
        errors.append(found.stderr)
        reliable.append(model.reliable_)
        actual = 1 - np.mean((cost - encoded @ model.coef_ - model.intercept_) ** 2) / np.var(cost)
        r2_inside.append(abs(model.r2_ - actual) <= 1.96 * model.r2_stderr_)
    assert len(vault.releases()) == DRAWS + 1
    assert np.mean(reliable) > 0.99
    covered = np.mean(inside, axis=0)
    assert (covered >= NEEDED).all(), covered
    # and no wider than needed
    assert (covered <= 0.995).all(), covered
    assert np.std(values, axis=0) == pytest.approx(np.mean(errors, axis=0), rel=0.2)
    assert np.mean(r2_inside) >= 0.9


def test_population_intervals_cover_the_truth_rows_were_drawn_from() -> None:
    rng = np.random.default_rng(5)
    truth, stderr, rows, hits = np.array([0.1, 0.3, -0.2]), 4.0, 1_500, []
    for _ in range(DRAWS):
        z = np.column_stack([np.ones(rows), rng.uniform(-1, 1, (rows, 2))])
        table = np.column_stack([z, z @ truth + rng.normal(0, 0.2, rows)])
        noise = np.triu(rng.normal(0, stderr, (4, 4)))
        solved = ridge.solve(table.T @ table + noise + np.triu(noise, 1).T, stderr, 0.0)
        error = np.sqrt(np.diag(solved.noise + solved.sampling))
        hits.append(np.abs(solved.beta - truth) <= 1.96 * error)
    covered = np.mean(hits, axis=0)
    assert (covered >= NEEDED).all(), covered
    assert (covered <= 0.99).all(), covered


@pytest.mark.parametrize("alpha", [None, 0.0, 50.0])
@pytest.mark.parametrize("how", ["nobody", "few", "no epsilon"])
def test_without_data_a_model_is_total_and_says_so(how: str, alpha: float | None) -> None:
    frame, _ = learn_world.visits(noise=True, mode="confidential", epsilon="8", seed=3)
    part = {"nobody": frame[frame.age > 200], "few": frame[frame.age == 30], "no epsilon": frame}[how]
    epsilon = 0.01 if how == "no epsilon" else 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "epsilon .* is too little for")
        for _ in range(8):
            model = LinearRegression(alpha=alpha, epsilon=epsilon).fit(part[FEATURES], part.cost)
            numbers = model.table(population=True)[["value", "stderr", "low", "high"]].to_numpy()
            assert np.isfinite(numbers).all()
            assert (numbers[:, 1] > 0).all()
            assert 0 <= model.r2_ <= 1
            assert 0 <= model.r2_stderr_ <= 1
            assert model.n_ >= 0
            assert not model.reliable_
            assert model.release.unreliable.all()
            for shown in (repr(model), str(model.model_card()), model._repr_html_(), model.model_card()._repr_html_()):
                assert "NOT RELIABLE" in shown
            assert LinearRegression.from_json(model.to_json()).document == model.document
            assert np.isfinite(model.predict(frame.mock(5))).all()
            assert model.predict(part).mean.cost(n=100).epsilon > 0


def test_reliable_is_about_the_directions_the_data_have() -> None:
    frame, _ = learn_world.visits(noise=True, mode="confidential", epsilon="8", seed=1)
    assert LinearRegression(epsilon=4).fit(frame[["age", "smoker"]], frame.cost).reliable_
    # Nearly the same feature twice: many rows, and still nothing to tell the two apart.
    twins = frame.assign(again=lambda d: d.age + d.smoker)
    assert not LinearRegression(epsilon=4).fit(twins[["age", "again", "smoker"]], frame.cost).reliable_


def test_the_default_penalty_is_the_noise_level_and_never_looks_at_data() -> None:
    frame, _ = learn_world.visits(noise=True, mode="confidential", epsilon="8", seed=1)
    everybody = LinearRegression(epsilon=1).fit(frame[FEATURES], frame.cost)
    nobody = LinearRegression(epsilon=1).fit(frame[frame.age > 200][FEATURES], frame[frame.age > 200].cost)
    noise = float(everybody.document.privacy.noise)
    assert everybody.alpha_ == nobody.alpha_ == pytest.approx(noise * math.sqrt(6))
    dearer = LinearRegression(epsilon=4).fit(frame[FEATURES], frame.cost)
    assert dearer.alpha_ < everybody.alpha_ / 3


def test_the_default_penalty_predicts_better_than_none_under_noise() -> None:
    rows = learn_world.rows()
    scores: dict[float | None, list[float]] = {None: [], 0.0: []}
    for alpha, found in scores.items():
        frame, _ = learn_world.visits(noise=True, mode="confidential", epsilon="8", seed=2)
        part = frame[FEATURES]
        found += [
            LinearRegression(alpha=alpha, epsilon=1.5).fit(part, frame.cost).score(rows, rows.cost) for _ in range(60)
        ]
    assert np.mean(scores[None]) > np.mean(scores[0.0])


def test_rows_of_one_unit_count_once_in_population_intervals() -> None:
    frame, _ = learn_world.visits(noise=False, epsilon="1000")
    whole = LinearRegression(alpha=0, share=0.5).fit(frame[["age"]], frame.cost)
    one = frame.cap(1)
    capped = LinearRegression(alpha=0, share=0.5).fit(one[["age"]], one.cost)

    def sampling(model: LinearRegression) -> float:
        wide, narrow = model.table(population=True).stderr["age"], model.table().stderr["age"]
        return float(np.sqrt(wide**2 - narrow**2))

    rows = learn_world.rows()
    slope, start = np.polyfit(rows.age, rows.cost, 1)
    residual = (rows.cost - start - slope * rows.age).std()
    plain = residual / (rows.age.std() * math.sqrt(len(rows)))
    assert sampling(whole) == pytest.approx(2 * plain, rel=0.03)
    assert capped.document.training.rows_per_unit == 1
    assert sampling(capped) == pytest.approx(plain * math.sqrt(len(rows) / capped.n_), rel=0.05)
