"""Splits by unit, folds and search: the whole price is said before, and nothing is spent by a loop itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import learn_world
import pytest

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.learn import (
    PCA,
    GaussianNB,
    KMeans,
    LinearRegression,
    cross_validate,
    make_pipeline,
    search,
    train_test_split,
)
from cloister.learn.model_selection import KFold
from cloister.learn.preprocessing import Binner, Fill, WoE
from cloister.sandbox import session as sessions

FEATURES = ["age", "smoker", "region"]


@pytest.fixture(scope="module")
def exact() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")
    sessions.use(None)


def test_parts_share_no_person_and_the_target_goes_with_its_rows(exact: tuple[cl.Frame, Any]) -> None:
    visits, _ = exact
    y = visits.cost > 700
    X_train, X_test, y_train, y_test = train_test_split(visits[FEATURES], y, test_size=0.3, random_state=5)
    rows = learn_world.rows()
    assert float(X_test.age.count() / len(rows)) == pytest.approx(0.3, abs=0.06)
    assert int(X_train.age.count()) + int(X_test.age.count()) == len(rows)
    assert int(y_train.sum()) + int(y_test.sum()) == int((rows.cost > 700).sum())
    people = [part.patient_id.nunique() for part in train_test_split(visits, test_size=0.3, random_state=5)]
    assert sum(map(int, people)) == rows.patient_id.nunique()
    # Features and target are of the same rows, and those of the two sides are not.
    assert float((y_test == (X_test.age > 0)).mean()) > 0
    with pytest.raises(PlanError, match=r"plan\.rows"):
        _ = y_train == (X_test.age > 0)
    folds = list(KFold(3).split(visits[FEATURES], y))
    assert sum(int(y_test.count()) for _, _, _, y_test in folds) == len(rows)
    for _, held, y_rest, y_held in folds:
        assert int(y_rest.count()) + int(held.age.count()) == len(rows)
        assert int(y_held.count()) == int(held.age.count())


def test_cross_validation_costs_what_it_says_and_is_right(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    from sklearn import metrics as theirs

    visits, vault = exact
    X, y = visits[FEATURES], visits.cost > 700
    before = len(vault.releases())
    price = cross_validate.cost(LinearRegression(), X, y, folds=2, share=0.5)
    assert price.share == pytest.approx(0.5, rel=1e-3)
    assert price.usage.models == 2
    assert "2 models" in price.uses
    assert len(vault.releases()) == before
    found = cross_validate(LinearRegression(share=0.9), X, y, folds=2, share=0.5)
    # Two trainings and two evaluations, and the models' own price is not used.
    assert len(vault.releases()) == before + 4
    assert found.fact.share == pytest.approx(0.5, rel=1e-3)
    assert len(found.release.receipts) == 0
    assert len(found.fact.parts) == 4
    rows = learn_world.rows()
    scores = [theirs.roc_auc_score(rows.cost > 700, model.predict(rows)) for model in found.models]
    assert found.mean == pytest.approx(sum(scores) / 2, abs=0.03)
    low, high = found.interval()
    assert low < found.mean < high
    assert "2 trainings and 2 evaluations" in repr(found)
    assert list(found.table.index) == ["fold 1", "fold 2"]
    assert "fold 2" in found._repr_html_()


def test_a_search_trains_all_and_chooses_for_free(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, vault = exact
    X, y = visits[FEATURES], visits.cost > 700
    candidates = {
        "strong": LinearRegression(alpha=1),
        "nothing": LinearRegression(alpha=1e9),
        "weighed": make_pipeline(Fill(), Binner(5), WoE(), LinearRegression()),
    }
    price = search.cost(candidates, X, y, share=0.6)
    assert price.share == pytest.approx(0.6, rel=1e-3)
    before = len(vault.releases())
    found = search(candidates, X, y, share=0.6)
    # One Gram for both penalties: the same question is paid once; WoE asks for each of its two columns.
    assert len(vault.releases()) == before + 8
    assert found.fact.share < 0.6
    assert found.best_name in {"strong", "weighed"}
    assert found.best is found.models[list(found.table.index).index(found.best_name)]
    assert found.table.value.idxmax() == found.best_name
    assert found.best.predict(learn_world.rows()).shape == (3_000,)
    assert "choice is free" in repr(found)
    losses = search([LinearRegression(alpha=1), LinearRegression(alpha=1e9)], X, y, share=0.2, metric="brier")
    assert losses.table.value.idxmin() == losses.best_name
    assert losses.clear


def test_numbers_and_labels_are_compared_too(exact: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, _ = exact
    found = search([LinearRegression(alpha=1), LinearRegression(alpha=1e9)], visits[FEATURES], visits.cost, share=0.3)
    assert found.metric == "r2"
    assert "alpha=1)" in found.best_name
    labels = cross_validate(GaussianNB(), visits[["age", "cost"]], visits.region, folds=2, share=0.3)
    assert labels.metric == "accuracy"
    assert labels.mean == pytest.approx(0.39, abs=0.05)


REFUSED: dict[str, tuple[str, Callable[[cl.Frame], Any]]] = {
    "folds without a price": (
        "api.learn.price",
        lambda d: cross_validate(LinearRegression(share=0.1), d[FEATURES], d.cost > 700),
    ),
    "a price of folds without one": (
        "api.learn.price",
        lambda d: cross_validate.cost(LinearRegression(), d[FEATURES], d.cost > 700),
    ),
    "a search without a price": (
        "api.learn.price",
        lambda d: search([LinearRegression(), LinearRegression(alpha=3)], d[FEATURES], d.cost > 700),
    ),
    "two prices": (
        "api.precision",
        lambda d: cross_validate(LinearRegression(), d[FEATURES], d.cost > 700, epsilon=1, share=0.1),
    ),
    "one fold": ("api.learn.folds", lambda d: cross_validate(LinearRegression(), d, d.smoker, folds=1, share=0.1)),
    "one candidate": ("api.learn.search", lambda d: search([LinearRegression()], d, d.smoker, share=0.1)),
    "no model": ("api.learn.search", lambda d: search([1, 2], d, d.smoker, share=0.1)),
    "another figure": (
        "api.metrics.figure",
        lambda d: cross_validate(LinearRegression(), d[FEATURES], d.cost > 700, metric="r2", share=0.1),
    ),
    "another figure of a search": (
        "api.metrics.figure",
        lambda d: search(
            [LinearRegression(), LinearRegression(alpha=3)], d[FEATURES], d.cost > 700, metric="r2", share=0.1
        ),
    ),
    "clusters, which predict no target": (
        "api.learn.model",
        lambda d: search([KMeans(2), KMeans(3)], d[["age"]], d.smoker, share=0.5),
    ),
    "components": ("api.learn.model", lambda d: search([PCA(1), PCA(2)], d[["age"]], d.smoker, share=0.5)),
    "a pipeline without a model": (
        "api.learn.model",
        lambda d: cross_validate(make_pipeline(WoE(share=0.1)), d[["region"]], d.smoker, share=0.5),
    ),
    "rows here": ("api.learn.handles", lambda d: train_test_split(d.mock(5), d.smoker)),
    "a share": ("api.split", lambda d: train_test_split(d, d.smoker, test_size=1.5)),
    "other rows": ("plan.rows", lambda d: train_test_split(d, d[d.age > 3].smoker)),
    "a feature that may be missing": (
        "api.learn.missing",
        lambda d: cross_validate(LinearRegression(), d[["bmi"]], d.smoker, share=0.5),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_tried_is_refused_uncharged(case: str, vault: Any, visits: cl.Frame) -> None:
    code, call = REFUSED[case]
    with pytest.raises(PlanError) as caught:
        call(visits)
    assert caught.value.code == code
    assert caught.value.nearest or caught.value.next_step
    assert not vault.releases()
    if code == "api.learn.price":
        assert "trainings and" in caught.value.reason
        assert "% of your total" in caught.value.reason


def test_a_part_of_a_part_is_split_anew(exact: tuple[cl.Frame, Any]) -> None:
    """By the same hash a test part of the training part would be nobody: a search would pay for figures of nothing."""
    visits, _ = exact
    rest, _held, y_rest, _y_held = train_test_split(visits[FEATURES], visits.cost > 700)
    whole = int(rest.age.count())
    for inner in (
        train_test_split(rest, y_rest)[1],
        train_test_split(rest)[1],
        next(iter(KFold(4).split(rest, y_rest)))[1],
    ):
        assert int(inner.age.count()) / whole == pytest.approx(0.25, abs=0.1)
    half, _, y_half, _ = next(iter(KFold(2).split(rest, y_rest)))
    _, _, first, second = next(iter(KFold(2).split(half, y_half)))
    assert 0.3 < int(second.count()) / (int(first.count()) + int(second.count())) < 0.7
