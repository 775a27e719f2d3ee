"""PCA from one noisy Gram: what it computes, the errors of its directions, that it is total."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import learn_world
import numpy as np
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.learn import PCA, LinearRegression
from cloister.sandbox import session as sessions
from cloister.sandbox.learn.components import decompose

NAMES = ["age", "cost", "smoker"]


@pytest.fixture(scope="module")
def exact() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


def test_it_equals_scikit_learn(exact: cl.Frame) -> None:
    from sklearn.decomposition import PCA as Theirs

    plain = learn_world.rows()[NAMES].astype(float)
    for scaled, halves in ((False, [1, 1, 1]), (True, [55, 1_000, 0.5])):
        ours = PCA(2, scaled=scaled, share=0.1).fit(exact[NAMES])
        theirs = Theirs(2).fit(plain / halves)
        assert ours.components_ == pytest.approx(theirs.components_, abs=1e-3)
        assert ours.explained_variance_ == pytest.approx(theirs.explained_variance_, rel=1e-3)
        assert ours.explained_variance_ratio_ == pytest.approx(theirs.explained_variance_ratio_, abs=1e-4)
        assert ours.mean_ == pytest.approx(plain.mean().to_numpy(), rel=1e-3)
        assert ours.transform(learn_world.rows()) == pytest.approx(theirs.transform(plain / halves), abs=0.5)
        assert ours.n_ == pytest.approx(len(plain))
        assert ours.reliable_


def test_it_is_the_release_of_the_gram(vault: world.Vault, visits: cl.Frame) -> None:
    price = PCA(epsilon=1).cost(visits[NAMES])
    assert not vault.releases()
    first = PCA(1, epsilon=1).fit(visits[NAMES])
    assert first.release.rho == price.rho
    assert PCA(scaled=True, epsilon=1).fit(visits[NAMES]).release.recalled
    assert cl.gram(visits, NAMES, epsilon=1).fact.recalled
    assert LinearRegression(epsilon=1).fit(visits[["age", "cost"]], visits.smoker).release.recalled
    assert len(first.components_) == 1
    assert first.fit_transform(visits[NAMES]).columns.tolist() == ["component 1"]
    assert "one noisy Gram" in first.release.derived


def test_errors_hold_what_noise_does(exact: cl.Frame) -> None:
    """Over 300 draws of the noise, 95 % intervals hold the exact numbers, and are not much too wide."""
    answer = cl.gram(exact, NAMES, epsilon=900)
    true = answer.matrix.to_numpy()
    source, stderr, ones = np.random.default_rng(3), 12.0, np.ones(3)
    reference = decompose(true, 1e-9, ones)
    held: dict[str, list[np.ndarray]] = {"vectors": [], "variances": []}
    for _ in range(300):
        upper = np.triu(source.normal(0, stderr, true.shape))
        found = decompose(true + upper + np.triu(upper, 1).T, stderr, ones)
        held["vectors"].append(np.abs(found.vectors - reference.vectors) <= 1.96 * found.vector_errors + 1e-12)
        held["variances"].append(np.abs(found.variances - reference.variances) <= 1.96 * found.variance_errors)
    for name, rows in held.items():
        assert 0.92 <= np.mean(rows) <= 0.99, name


def test_components_closer_than_the_noise_are_called_mixed() -> None:
    matrix = 1_000.0 * np.diag([1.0, 0.30, 0.301, 0.1])
    found = decompose(matrix, 5.0, np.ones(3))
    assert found.mixed == (0,)
    assert found.vector_errors[:2, :2].max() == pytest.approx(1.0)
    assert found.vector_errors[2].max() < 0.1


@pytest.fixture(scope="module")
def noisy() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=True, epsilon="100")[0]
    sessions.use(None)


@pytest.mark.parametrize(("scaled", "epsilon"), [(False, 0.01), (True, 8.0)])
def test_a_fit_is_total(scaled: bool, epsilon: float, noisy: cl.Frame) -> None:
    frame = noisy
    # Some of these are paid too little, and say so.
    warnings.filterwarnings("ignore", "epsilon .* is too little for a PCA")
    sick = frame[(frame.age < 1) & (frame.cost > 1_990)]
    for part in (frame, sick, frame[frame.smoker]):
        model = PCA(scaled=scaled, epsilon=epsilon).fit(part[NAMES])
        assert np.isfinite(model.table()[["value", "stderr"]]).all(axis=None)
        assert (model.explained_variance_ >= 0).all()
        assert np.isfinite(model.transform(learn_world.rows())).all()
        assert np.linalg.norm(model.components_, axis=1) == pytest.approx(1, abs=0.02)
    lost = PCA(epsilon=0.01).fit(sick[NAMES])
    assert not lost.reliable_
    assert "NOT RELIABLE" in repr(lost)
