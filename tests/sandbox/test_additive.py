"""``AdditiveClassifier`` on handles: what it computes, encodes, predicts and refuses."""

from __future__ import annotations

from collections.abc import Iterator

import learn_world
import numpy as np
import pandas as pd
import pytest

import cloister.learn
import cloister.sandbox as cl
from cloister.errors import CloisterError
from cloister.learn import AdditiveClassifier
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.sandbox import session as sessions

FEATURES = ["age", "smoker", "region"]


@pytest.fixture(scope="module")
def exact() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")
    sessions.use(None)


@pytest.fixture(scope="module")
def model(exact: tuple[cl.Frame, learn_world.Clinic]) -> AdditiveClassifier:
    frame, _ = exact
    return AdditiveClassifier(bins=5).fit(frame[FEATURES], frame.cost > 600)


def test_without_noise_probabilities_are_those_of_the_same_bins_elsewhere(model: AdditiveClassifier) -> None:
    from sklearn.linear_model import LogisticRegression as Theirs

    rows = learn_world.rows()
    names = list(model.get_feature_names_out())
    assert names[:2] == ["age=[0, 22)", "age=[22, 44)"]
    assert names[5:7] == ["smoker=false", "smoker=true"]
    assert names[7:] == ["region=north", "region=south", "region=east", "region=west", "region=(other)"]
    columns = model.encode(rows)
    assert (columns.to_numpy().sum(axis=1) == 3).all()
    theirs = Theirs(C=1e3, max_iter=2_000).fit(columns, rows.cost > 600)
    wanted, found = theirs.predict_proba(columns)[:, 1], model.predict_proba(rows)[:, 1]
    assert np.corrcoef(wanted, found)[0, 1] > 0.99
    assert np.abs(wanted - found).mean() < 0.03
    assert model.n_ == pytest.approx(len(rows))


def test_effects_can_be_read(model: AdditiveClassifier) -> None:
    shown = model.table()["value"]
    assert shown["smoker=true"] > shown["smoker=false"]
    assert shown["region=west"] > shown["region=north"]
    assert shown["age=[66, 88)"] > shown["age=[22, 44)"]
    assert "AdditiveClassifier(bins=5)" in repr(model)


def test_the_plan_has_closed_features_only(
    exact: tuple[cl.Frame, learn_world.Clinic], model: AdditiveClassifier
) -> None:
    _, vault = exact
    assert model.document.training.parameters["bins"] == "5"
    plan = codec.decode(vault.releases()[0])
    assert isinstance(plan, a.Fit)
    assert isinstance(plan.learner, a.Additive)
    assert [type(term).__name__ for term in plan.features] == ["Cut", "Case", "Col"]


def test_a_handle_and_a_dataframe_are_predicted_alike(
    exact: tuple[cl.Frame, learn_world.Clinic], model: AdditiveClassifier
) -> None:
    frame, rows = exact[0], learn_world.rows()
    on_handle = model.predict_proba(frame)["cost=true"]
    assert float(on_handle.mean()) == pytest.approx(model.predict_proba(rows)[:, 1].mean(), abs=2e-3)
    assert float(model.predict(frame).mean()) == pytest.approx(model.predict(rows).mean(), abs=2e-3)


def test_gaps_are_a_label_of_their_own(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    frame, rows = exact[0], learn_world.rows()
    marked = AdditiveClassifier(bins=3, rounds=4, missing="indicator").fit(frame[["bmi"]], frame.smoker)
    names = list(marked.get_feature_names_out())
    assert len(names) == 4
    assert names[-1] == "bmi missing"
    assert marked.n_ == pytest.approx(len(rows))
    assert (marked.encode(rows).to_numpy().sum(axis=1) == 1).all()
    shares = pd.Series(marked.predict_proba(rows)[:, 1])
    gone = rows.bmi.isna().to_numpy()
    assert shares[gone].mean() == pytest.approx(rows.smoker[gone].mean(), abs=0.05)


def test_it_is_saved_and_loaded(model: AdditiveClassifier, tmp_path) -> None:
    model.save(tmp_path / "model.json")
    loaded = cloister.learn.load(tmp_path / "model.json")
    assert isinstance(loaded, AdditiveClassifier)
    rows = learn_world.rows()
    assert loaded.predict(rows).tolist() == model.predict(rows).tolist()


def test_what_cannot_be_learned_is_refused_and_costs_nothing(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    frame, vault = exact
    before = len(vault.releases())
    for options, X, y, code in (
        ({"bins": 1}, frame[["age"]], frame.smoker, "api.learn.parameter"),
        ({"bins": 2.0}, frame[["age"]], frame.smoker, "api.learn.parameter"),
        ({"rounds": 0}, frame[["age"]], frame.smoker, "api.learn.parameter"),
        # More than a fit may have steps: not cut in silence.
        ({"rounds": 300}, frame[FEATURES], frame.cost > 700, "api.learn.parameter"),
        ({}, frame[["age"]], frame.region, "api.learn.target"),
        ({}, frame[["age"]], frame.cost, "api.learn.target"),
        ({}, frame[["bmi"]], frame.smoker, "api.learn.missing"),
        ({}, frame[["date"]], frame.smoker, "api.learn.feature"),
    ):
        with pytest.raises(CloisterError) as refused:
            AdditiveClassifier(**options).fit(X, y)
        assert refused.value.code == code
    assert len(vault.releases()) == before
