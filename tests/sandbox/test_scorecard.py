"""The points table: whole points from a model, the same score wherever it runs, and how a score comes about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import kinds_world
import learn_world
import numpy as np
import pytest

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.learn import CategoricalNB, LogisticRegression, Scorecard, evaluate
from cloister.sandbox import session as sessions
from cloister.sandbox.learn.document import digest


@pytest.fixture(scope="module")
def frame() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def models(frame: cl.Frame) -> dict[str, Any]:
    return kinds_world.every(frame)


@pytest.mark.parametrize(("base", "odds", "pdo"), [(600, 50, 20), (500, 1, -40), (0, 0.5, 3.5)])
def test_points_add_up_to_the_score_of_the_model(
    models: dict[str, Any], frame: cl.Frame, base: float, odds: float, pdo: float
) -> None:
    model = models["Additive"]
    card = Scorecard(base=base, odds=odds, pdo=pdo).of(model)
    rows = frame.mock(500)
    scores = card.predict(rows)
    assert scores.dtype == np.int64
    exact = base + pdo / math.log(2) * (-model.decision_function(rows) - math.log(odds))
    rounding = float(card.document.rounding)
    assert rounding == (1 + len(card.document.features)) / 2
    assert np.abs(scores - exact).max() <= rounding
    assert np.abs(scores - exact).max() > 0
    assert card.explain(rows).sum(axis=1).tolist() == scores.tolist()
    low, high = card.range_
    assert low <= scores.min() < scores.max() <= high
    assert card.predict_proba(rows) == pytest.approx(model.predict_proba(rows), abs=rounding * math.log(2) / abs(pdo))
    table = card.points()
    assert table.points.dtype.kind == "i"
    # Whoever has one level of a feature for certain starts at nothing for it.
    for name in ("sex", "cost", "smoker", "bmi"):
        assert table[table.feature == name].points.min() == 0
    assert set(table[table.feature == "bmi"].level) == {"[10, 25)", "[25, 30.5)", "[30.5, 60)", "missing"}


def test_a_scorecard_of_a_fitted_logistic_regression(frame: cl.Frame) -> None:
    cut = frame.assign(band=cl.cut(frame.age, [0, 30, 60, 111], labels=["young", "middle", "old"]))
    model = LogisticRegression(steps=12, missing="drop", share=0.2).fit(
        cut[["band", "region", "smoker"]], cut.cost > 650
    )
    card = Scorecard(base=600, odds=1, pdo=40).of(model)
    points = card.points().set_index(["feature", "level"]).points
    # Dear are the old, the west and smokers: the event is a high cost, and points are against it.
    assert points["band", "old"] < points["band", "middle"] < points["band", "young"]
    assert points["region", "west"] == 0 == points["region"].min()
    assert points["smoker", "true"] < 0
    assert card.release.plan_digest == model.release.plan_digest
    rows = cut.assign(score=card.predict(cut)).mock(100)
    assert rows.score.tolist() == card.predict(rows).tolist()


def test_a_handle_gives_whole_points_that_can_be_delivered(models: dict[str, Any], frame: cl.Frame) -> None:
    card = models["Scorecard"]
    score = card.predict(frame)
    assert score._term.grid.step.denominator == 1
    low, high = card.range_
    assert (score._term.grid.lo * score._term.grid.step, score._term.grid.hi * score._term.grid.step) <= (low, high)
    rows = frame.assign(score=score).mock(150)
    assert rows.score.tolist() == card.predict(rows).tolist()
    expected = card.predict(learn_world.rows())
    assert float(score.mean(epsilon=100)) == pytest.approx(expected.mean(), rel=1e-6)


def test_it_says_where_it_comes_from(models: dict[str, Any]) -> None:
    model, card = models["Additive"], models["Scorecard"]
    assert card.document.source == digest(model.document)
    assert card.document.provenance == model.document.provenance
    assert card.document.privacy == model.document.privacy
    shown = str(card.model_card()).replace("\\", "")
    for word in ("600 points are odds of 50 to 1 against smoker", "20 points more double them", digest(model.document)):
        assert word in shown
    assert repr(Scorecard(pdo=30)) == "Scorecard(pdo=30)"
    loaded = Scorecard.from_json(Scorecard(base=500, odds=2, pdo=15).of(model).to_json())
    assert loaded.get_params() == {"base": 500.0, "odds": 2.0, "pdo": 15.0}


REFUSED: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "bayes": ("api.learn.scorecard", lambda m: Scorecard().of(m["CategoricalNB"])),
    "unfitted": ("api.learn.scorecard", lambda m: Scorecard().of(CategoricalNB())),
    "no model": ("api.learn.scorecard", lambda m: Scorecard().of("model")),
    "several classes": ("api.learn.scorecard", lambda m: Scorecard().of(m["MultinomialLogistic"])),
    "a number": ("api.learn.scorecard", lambda m: Scorecard().of(m["LogisticRegression"])),
    "no pdo": ("api.learn.parameter", lambda m: Scorecard(pdo=0).of(m["Additive"])),
    "no odds": ("api.learn.parameter", lambda m: Scorecard(odds=-1).of(m["Additive"])),
    "text": ("api.learn.parameter", lambda m: Scorecard(base="high").of(m["Additive"])),
    "too many points": ("api.learn.scorecard", lambda m: Scorecard(pdo=10**6).of(m["Additive"])),
    "not made": ("api.learn.unfitted", lambda m: Scorecard().points()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_scorecard_is_refused(models: dict[str, Any], name: str) -> None:
    code, call = REFUSED[name]
    with pytest.raises(PlanError) as caught:
        call(models)
    assert caught.value.code == code
    assert caught.value.nearest or caught.value.next_step


def test_probabilities_of_a_handle_are_those_of_the_model(models: dict[str, Any], frame: cl.Frame) -> None:
    with pytest.raises(PlanError, match=r"api\.learn\.predict") as caught:
        models["Scorecard"].predict_proba(frame)
    assert "card.predict(visits)" in caught.value.nearest


@pytest.mark.parametrize("pdo", [20, -20])
def test_a_scorecard_is_evaluated_as_its_model_whichever_way_its_points_run(
    models: dict[str, Any], frame: cl.Frame, pdo: float
) -> None:
    model = models["Additive"]
    card = Scorecard(pdo=pdo).of(model)
    wanted = float(evaluate(model, frame, frame.smoker).roc_auc)
    assert abs(wanted - 0.5) > 0.04, "turned round it would look the same"
    for other in (None, False):
        found = evaluate(card, frame, frame.smoker, pos_label=other)
        assert float(found.roc_auc) == pytest.approx(wanted, abs=0.03)
