"""``KMeans`` on handles: what it computes, predicts, says of itself and refuses."""

from __future__ import annotations

from collections.abc import Iterator

import learn_world
import numpy as np
import pytest

import cloister.learn
import cloister.sandbox as cl
from cloister.errors import CloisterError
from cloister.learn import KMeans
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.sandbox import session as sessions

FEATURES = ["age", "cost"]


@pytest.fixture(scope="module")
def exact() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")
    sessions.use(None)


@pytest.fixture(scope="module")
def model(exact: tuple[cl.Frame, learn_world.Clinic]) -> KMeans:
    frame, _ = exact
    return KMeans(3, max_iter=30, random_state=1).fit(frame[FEATURES])


def test_without_noise_centres_are_the_means_of_the_rows_nearest_to_them(model: KMeans) -> None:
    rows = learn_world.rows()
    labels = model.predict(rows)
    for place in range(3):
        own = rows[labels == place]
        assert model.sizes_[place] == pytest.approx(len(own), abs=0.01 * len(rows))
        assert model.cluster_centers_[place] == pytest.approx(own[FEATURES].mean().to_numpy(), rel=0.05)
    assert model.sizes_.sum() == pytest.approx(len(rows))
    assert set(np.unique(labels)) == {0, 1, 2}


def test_its_plan_has_no_target(exact: tuple[cl.Frame, learn_world.Clinic], model: KMeans) -> None:
    _, vault = exact
    plan = codec.decode(vault.releases()[0])
    assert isinstance(plan, a.Fit)
    assert plan.target is None
    assert plan.learner == a.KMeans(3, 30, 1)
    assert model.document.training.parameters == {"n_clusters": "3", "max_iter": "30", "random_state": "1"}


def test_a_handle_and_a_dataframe_are_predicted_alike(
    exact: tuple[cl.Frame, learn_world.Clinic], model: KMeans
) -> None:
    frame, rows = exact[0], learn_world.rows()
    counts = model.predict(frame).value_counts()
    for place, count in zip(*np.unique(model.predict(rows), return_counts=True), strict=True):
        assert float(counts[place]) == pytest.approx(count, abs=2)


def test_labels_and_gaps_have_columns_and_an_empty_cluster_is_told(
    exact: tuple[cl.Frame, learn_world.Clinic],
) -> None:
    frame, _ = exact
    found = KMeans(4, max_iter=2, missing="indicator").fit(frame[["bmi", "smoker", "region"]])
    names = list(found.get_feature_names_out())
    assert found.cluster_centers_.shape == (4, len(names))
    assert "bmi missing" in names
    more = KMeans(8, max_iter=2).fit(frame[["smoker"]])  # two values: six centres at least are left without rows
    assert sum("may have no rows" in note for note in more.document.notes) >= 6


def test_it_is_saved_and_loaded(model: KMeans, tmp_path) -> None:
    model.save(tmp_path / "model.json")
    loaded = cloister.learn.load(tmp_path / "model.json")
    assert isinstance(loaded, KMeans)
    rows = learn_world.rows()
    assert loaded.predict(rows).tolist() == model.predict(rows).tolist()


def test_what_cannot_be_clustered_is_refused_and_costs_nothing(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    frame, vault = exact
    before = len(vault.releases())
    for options, X, code in (
        ({"n_clusters": 0}, frame[["age"]], "api.learn.parameter"),
        ({"n_clusters": True}, frame[["age"]], "api.learn.parameter"),
        ({"max_iter": 0}, frame[["age"]], "api.learn.parameter"),
        ({"random_state": -1}, frame[["age"]], "api.learn.parameter"),
        ({"missing": "no"}, frame[["age"]], "api.learn.parameter"),
        ({}, frame[["bmi"]], "api.learn.missing"),
        ({}, frame[["date"]], "api.learn.feature"),
        ({}, learn_world.rows(), "api.learn.handles"),
    ):
        with pytest.raises(CloisterError) as refused:
            KMeans(**options).fit(X)
        assert refused.value.code == code
    assert len(vault.releases()) == before
