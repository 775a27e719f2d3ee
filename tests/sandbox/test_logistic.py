"""``LogisticRegression`` on handles: what it computes, costs, predicts and refuses."""

from __future__ import annotations

from collections.abc import Iterator

import learn_world
import numpy as np
import pandas as pd
import pytest

import cloister.learn
import cloister.sandbox as cl
from cloister.errors import CloisterError, PlanError
from cloister.learn import LogisticRegression
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.sandbox import session as sessions
from cloister.sandbox.precision import Precision

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
def model(noisy: tuple[cl.Frame, learn_world.Clinic]) -> LogisticRegression:
    frame, _ = noisy
    return LogisticRegression(epsilon=20).fit(frame[FEATURES], frame.cost > 600)


def encoded(rows: pd.DataFrame) -> pd.DataFrame:
    """The features as scikit-learn users would write them."""
    found = pd.DataFrame({"age": rows.age / 55 - 1, "smoker": rows.smoker}).astype(float)
    for level in ("south", "east", "west"):
        found[f"region={level}"] = (rows.region == level).astype(float)
    return found


def test_without_noise_probabilities_are_those_of_scikit_learn(exact: cl.Frame) -> None:
    from sklearn.linear_model import LogisticRegression as Theirs

    rows = learn_world.rows()
    ours = LogisticRegression().fit(exact[FEATURES], exact.cost > 600)
    theirs = Theirs(C=1e6, max_iter=2_000).fit(encoded(rows), rows.cost > 600)
    wanted, found = theirs.predict_proba(encoded(rows))[:, 1], ours.predict_proba(rows)[:, 1]
    # A small prior stays, however little noise there is. Limits here are about twice what is measured.
    assert np.abs(wanted - found).max() < 0.02
    assert np.abs(wanted - found).mean() < 0.007
    assert np.corrcoef(wanted, found)[0, 1] > 0.9998
    assert ours.classes_.tolist() == [False, True]
    assert list(ours.get_feature_names_out()) == [
        "age", "smoker", "region=north", "region=south", "region=east", "region=west", "region=(other)",
    ]  # fmt: skip
    assert ours.coef_.shape == (1, 7)
    assert ours.coef_[0, 0] * 55 == pytest.approx(theirs.coef_[0, 0], rel=0.04)
    assert ours.coef_[0, 1] == pytest.approx(theirs.coef_[0, 1], rel=0.05)
    assert ours.coef_[0, 5] - ours.coef_[0, 2] == pytest.approx(theirs.coef_[0, 4], rel=0.01)
    assert ours.n_ == pytest.approx(len(rows))


def test_several_classes_have_a_score_each(exact: cl.Frame) -> None:
    from sklearn.linear_model import LogisticRegression as Theirs

    rows = learn_world.rows()
    ours = LogisticRegression().fit(exact[["age", "cost", "smoker"]], exact.region)
    plain = pd.DataFrame({"age": rows.age / 55 - 1, "cost": rows.cost / 1000 - 1, "smoker": rows.smoker}).astype(float)
    theirs = Theirs(C=1e6, max_iter=5_000).fit(plain, rows.region.astype(str))
    assert ours.classes_.tolist() == ["north", "south", "east", "west", "(other)"]
    found = pd.DataFrame(ours.predict_proba(rows), columns=ours.classes_)
    assert found["(other)"].max() < 0.0005
    wanted = pd.DataFrame(theirs.predict_proba(plain), columns=theirs.classes_)
    for label in theirs.classes_:
        assert np.abs(found[label] - wanted[label]).max() < 0.027, label
        assert np.abs(found[label] - wanted[label]).mean() < 0.0085, label
    assert ours.coef_.shape == (5, 3)


def test_a_handle_and_a_dataframe_are_predicted_alike(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    ours = LogisticRegression().fit(exact[FEATURES], exact.cost > 600)
    on_rows = ours.predict_proba(rows)[:, 1]
    on_handle = ours.predict_proba(exact)["cost=true"]
    assert float(on_handle.mean()) == pytest.approx(on_rows.mean(), abs=1e-6)
    assert float(ours.predict(exact).mean()) == pytest.approx(ours.predict(rows).mean(), abs=1e-6)


def test_a_fit_is_one_charge_and_free_the_second_time(
    noisy: tuple[cl.Frame, learn_world.Clinic], model: LogisticRegression
) -> None:
    frame, vault = noisy
    plan = codec.decode(vault.releases()[-1])
    assert isinstance(plan, a.Fit)
    cost = LogisticRegression(epsilon=20).cost(frame[FEATURES], frame.cost > 600)
    assert cost.epsilon == pytest.approx(model.release.epsilon)
    assert cost.rho == model.release.rho
    assert cost.usage.models == 1
    assert set(cost.errors) == {"every sum of a step, in rows"}
    again = LogisticRegression(epsilon=20).fit(frame[FEATURES], frame.cost > 600)
    assert again.release.recalled
    assert again.coef_.tolist() == model.coef_.tolist()


def test_how_precise_a_model_is_cannot_be_asked_or_refined(
    noisy: tuple[cl.Frame, learn_world.Clinic], model: LogisticRegression
) -> None:
    frame, _ = noisy
    question = LogisticRegression()._ask(frame[FEATURES], frame.cost > 600)
    with pytest.raises(PlanError, match=r"api\.within"):
        question.cost(Precision(within=0.1))
    with pytest.raises(PlanError, match=r"api\.refine"):
        model.release.refine(epsilon=30)


def test_a_price_that_buys_noise_alone_is_warned_of_before_it_is_paid(
    noisy: tuple[cl.Frame, learn_world.Clinic],
) -> None:
    frame, vault = noisy
    asked = len(vault.asked)
    with pytest.warns(UserWarning, match=r"a weight.* to about ± [\d.]+ log odds") as found:
        LogisticRegression(epsilon=0.01).fit(frame[["age"]], frame.smoker)
    assert found[0].filename == __file__
    assert [op for op, _ in vault.asked[asked:]] == ["price", "release"]


def test_noise_leaves_the_effect(model: LogisticRegression) -> None:
    assert model.reliable_
    assert model.coef_[0, 0] > 0
    assert model.coef_[0, 1] > 0
    assert abs(model.n_ - len(learn_world.rows())) < 100
    text = repr(model)
    assert text.startswith("LogisticRegression(epsilon=20)")
    assert "region=south" in text
    assert "LogisticRegression" in model.model_card().__str__()


def test_a_model_is_saved_and_loaded(model: LogisticRegression, tmp_path) -> None:
    model.save(tmp_path / "model.json")
    loaded = cloister.learn.load(tmp_path / "model.json")
    assert isinstance(loaded, LogisticRegression)
    rows = learn_world.rows()
    assert loaded.predict(rows).tolist() == model.predict(rows).tolist()
    assert model.to_sklearn().predict_proba(model.encode(rows)) == pytest.approx(model.predict_proba(rows))


def test_missing_values_are_refused_dropped_or_marked(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        LogisticRegression().fit(exact[["bmi"]], exact.smoker)
    dropped = LogisticRegression(missing="drop").fit(exact[["bmi"]], exact.smoker)
    assert dropped.n_ == pytest.approx(int(rows.bmi.notna().sum()))
    marked = LogisticRegression(missing="indicator").fit(exact[["bmi"]], exact.smoker)
    assert list(marked.get_feature_names_out()) == ["bmi", "bmi missing"]
    assert marked.n_ == pytest.approx(len(rows))
    shares = marked.predict_proba(rows)[:, 1]
    assert shares[rows.bmi.isna()].mean() == pytest.approx(rows.smoker[rows.bmi.isna()].mean(), abs=7e-4)
    bands = exact.assign(band=cl.cut(exact.bmi, [10, 25, 40, 61]))
    both = LogisticRegression(missing="indicator").fit(bands[["band"]], bands.smoker)
    assert [name for name in both.get_feature_names_out() if "missing" in name] == ["band missing"]
    assert both.n_ == pytest.approx(len(rows))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"penalty": -1}, "api.learn.parameter"),
        ({"penalty": "1"}, "api.learn.parameter"),
        ({"penalty": float("nan")}, "api.learn.parameter"),
        ({"steps": 0}, "api.learn.parameter"),
        ({"steps": 1.5}, "api.learn.parameter"),
        ({"steps": 10_000}, "plan.learner"),
        ({"missing": "fill"}, "api.learn.parameter"),
    ],
)
def test_parameters_out_of_range_are_refused(exact: cl.Frame, options: dict, code: str) -> None:
    with pytest.raises(CloisterError) as refused:
        LogisticRegression(**options).fit(exact[FEATURES], exact.cost > 600)
    assert refused.value.code == code
    assert refused.value.nearest or refused.value.next_step or code == "api.learn.parameter"


def test_what_cannot_be_learned_is_refused_and_costs_nothing(noisy: tuple[cl.Frame, learn_world.Clinic]) -> None:
    frame, vault = noisy
    before = len(vault.releases())
    for X, y, code in (
        (frame[["age"]], frame.cost, "api.learn.target"),
        (frame[["age", "smoker"]], frame.smoker, "api.learn.target"),
        (frame[["date"]], frame.smoker, "api.learn.feature"),
        (frame[["patient_id"]], frame.smoker, "api.learn.feature"),
        (learn_world.rows(), frame.smoker, "api.learn.handles"),
        (frame[["age"]], frame[frame.age > 20].smoker, "plan.rows"),
    ):
        with pytest.raises(CloisterError) as refused:
            LogisticRegression(share=0.01).fit(X, y)
        assert refused.value.code == code
    with pytest.raises(PlanError, match=r"api\.learn\.unfitted"):
        _ = LogisticRegression().coef_
    assert len(vault.releases()) == before


def test_features_that_are_strongly_related_are_named(exact: cl.Frame) -> None:
    twins = exact.assign(again=lambda d: d.age * 2 + d.smoker)
    found = LogisticRegression().fit(twins[["age", "again", "cost"]], exact.smoker)
    (note,) = [note for note in found.notes_ if "strongly related" in note]
    assert note.startswith("age and again: ")
    assert "not one by one" in str(found.model_card())
    alone = LogisticRegression().fit(exact[["age", "cost"]], exact.smoker)
    assert not any("strongly related" in note for note in alone.notes_)
