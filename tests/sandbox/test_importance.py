"""Importance of features: trained anew without one (drop), and held constant in a trained model (ablation)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import learn_world
import pytest

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.learn import LinearRegression, evaluate, make_pipeline, metrics
from cloister.learn.preprocessing import Fill, Scaler
from cloister.sandbox import session as sessions


@pytest.fixture(scope="module")
def exact() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")
    sessions.use(None)


def test_ablation_falls_with_what_the_model_uses(exact: tuple[cl.Frame, Any]) -> None:
    visits, _ = exact
    X, y = visits[["age", "sex"]], visits.cost > 700
    model = LinearRegression().fit(visits[["age"]], y)
    price = metrics.ablation_importance.cost(model, X, y, share=0.2)
    assert price.share == pytest.approx(0.2, rel=1e-3)
    found = metrics.ablation_importance(model, X, y, share=0.2)
    # A column the model does not use is not asked about.
    assert list(found.table.index) == ["age"]
    # Held at one value the model tells nobody apart.
    assert found.table.value["age"] == pytest.approx(float(evaluate(model, visits, y).roc_auc) - 0.5, abs=1e-3)
    assert "not trained anew" in repr(found)
    assert found.release.share == pytest.approx(0.2, rel=1e-3)


def test_a_feature_that_another_one_repeats_is_dropped_without_loss(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, vault = exact
    X, y = visits.assign(again=visits.age * 2)[["age", "again", "region"]], visits.cost > 700
    model = LinearRegression(alpha=1).fit(X, y)
    before = len(vault.releases())
    price = metrics.drop_importance.cost(model, X, y, share=0.4)
    assert len(vault.releases()) == before
    assert price.share == pytest.approx(0.4, rel=1e-3)
    # With every feature, and without each of three.
    assert price.usage.models == 4
    found = metrics.drop_importance(model, X, y, share=0.4)
    assert len(vault.releases()) == before + 8
    assert found.release.share == pytest.approx(0.4, rel=1e-3)
    fall = found.table.value
    assert abs(fall["age"]) < 0.01
    assert fall["region"] > 0.05
    assert "trained anew" in repr(found)
    for shown in (repr(found), found._repr_html_()):
        assert "noise of the evaluations, 15 % wider for that of the trainings" in shown
    held = metrics.ablation_importance(model, X, y, share=0.2).table.value
    assert held["age"] > 0.01, "the model uses it, though it could do without"


class Percent:
    """A model of one's own, whose predictions are no probabilities."""

    def __init__(self, model: Any = None) -> None:
        self.own = LinearRegression() if model is None else model

    def clone(self) -> Percent:
        return Percent(LinearRegression(**self.own.get_params()))

    def set_params(self, **params: Any) -> Percent:
        return Percent(self.own.set_params(**params))

    def fit(self, X: cl.Frame, y: cl.Column) -> Percent:
        self.own.fit(X, y)
        return self

    def cost(self, X: cl.Frame, y: cl.Column) -> Any:
        return self.own.cost(X, y)

    @property
    def release(self) -> Any:
        return self.own.release

    def predict(self, X: cl.Frame) -> Any:
        return self.own.predict(X) * 100


def test_a_figure_the_models_may_not_have_is_refused_before_any_is_trained(
    exact: tuple[cl.Frame, learn_world.Clinic],
) -> None:
    visits, vault = exact
    X, y = visits[["age", "region"]], visits.smoker
    before = len(vault.releases())
    for metric in ("log_loss", "brier", "accuracy"):
        with pytest.raises(PlanError, match=metric) as refused:
            metrics.drop_importance(Percent(), X, y, metric=metric, share=0.3)
        assert refused.value.code == "api.metrics.figure"
        assert "roc_auc" in refused.value.next_step
        # Of these models it is known that they predict probabilities.
        for known in (LinearRegression(), make_pipeline(Fill(), Scaler(), LinearRegression())):
            metrics.drop_importance.cost(known, X, y, metric=metric, share=0.3)
    assert len(vault.releases()) == before


def test_only_some_features_and_pipelines(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, _ = exact
    pipeline = make_pipeline(Fill(), Scaler(), LinearRegression())
    X, y = visits[["age", "smoker", "bmi"]], visits.cost
    found = metrics.drop_importance(pipeline, X, y, features="smoker", metric="mean_absolute_error", share=0.3)
    assert list(found.table.index) == ["smoker"]
    # A figure of which less is better: the fall is what the error grows by.
    assert found.table.value["smoker"] > 0
    with pytest.raises(PlanError, match="3 trainings and 3 evaluations") as refused:
        metrics.drop_importance(pipeline, X, y, features=["smoker", "age"])
    assert refused.value.code == "api.learn.price"
    with pytest.raises(PlanError):
        metrics.drop_importance(pipeline, X, y, features="nothing", share=0.3)
