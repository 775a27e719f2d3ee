"""Too little epsilon: every learner, figure and charged step says what the noise would do before anything is paid.

``PAID`` lists what of ``cloister.learn`` is charged, ``FREE`` what is not: a new learner or figure that is in neither
fails. The session turns warnings into errors, so a warning that comes after a charge leaves a release behind.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import learn_world
import msgspec
import numpy as np
import pytest

import cloister.learn
import cloister.sandbox as cl
from cloister.learn import (
    PCA,
    AdditiveClassifier,
    CategoricalNB,
    GaussianNB,
    KMeans,
    LinearRegression,
    LogisticRegression,
    contribution,
    cross_validate,
    evaluate,
    make_pipeline,
    metrics,
    model_selection,
    preprocessing,
    search,
)
from cloister.learn.preprocessing import Binner, WoE, class_weights
from cloister.plan import algebra as a
from cloister.sandbox import doubts, ridge
from cloister.sandbox import session as sessions
from cloister.sandbox.cost import Cost
from cloister.sandbox.learn import expected
from cloister.sandbox.learn.features import Feature, describe

FEATURES, LITTLE, PLENTY = ["age", "smoker", "region"], 0.005, 150.0


@dataclasses.dataclass(frozen=True)
class Case:
    """What is asked at an epsilon, and its price."""

    name: str
    ask: Callable[[cl.Frame, float], Any]
    cost: Callable[[cl.Frame, float], Cost]
    what: str
    """What has an expected error, as the warning names it."""


def _fitted(name: str, made: Callable[..., Any], args: Callable[[cl.Frame], tuple[Any, ...]], what: str) -> Case:
    return Case(
        name,
        lambda visits, epsilon: made(epsilon=epsilon).fit(*args(visits)),
        lambda visits, epsilon: made(epsilon=epsilon).cost(*args(visits)),
        what,
    )


def _called(
    name: str, terminal: Any, args: Callable[[cl.Frame], tuple[Any, ...]], what: str = "", **options: Any
) -> Case:
    return Case(
        name,
        lambda visits, epsilon: terminal(*args(visits), **options, epsilon=epsilon),
        lambda visits, epsilon: terminal.cost(*args(visits), **options, epsilon=epsilon),
        what or name,
    )


def _numbers(visits: cl.Frame) -> tuple[Any, ...]:
    return visits.cost, visits.age * 10


def _labels(visits: cl.Frame) -> tuple[Any, ...]:
    return visits.smoker, visits.cost > 600


def _score(visits: cl.Frame) -> tuple[Any, ...]:
    return visits.smoker, visits.cost


def _probability(visits: cl.Frame) -> tuple[Any, ...]:
    return visits.smoker, visits.cost / 2000


def _pipeline(epsilon: float) -> Any:
    return make_pipeline(WoE(epsilon=epsilon), LogisticRegression(epsilon=epsilon, steps=2))


class _Says:
    """A model that predicts a column."""

    feature_names_in_ = ("age",)

    def __init__(self, of: Callable[[cl.Frame], Any]) -> None:
        self._of = of

    def predict(self, X: cl.Frame) -> Any:
        return self._of(X)


PAID = [
    _fitted("LinearRegression", LinearRegression, lambda v: (v[FEATURES], v.cost), "a coefficient"),
    _fitted("PCA", PCA, lambda v: (v[["age", "cost"]],), "the variance of a component"),
    _fitted("LogisticRegression", LogisticRegression, lambda v: (v[FEATURES], v.cost > 600), "a weight"),
    _fitted("LogisticRegression, several classes", LogisticRegression, lambda v: (v[["age"]], v.region), "a weight"),
    _fitted("AdditiveClassifier", AdditiveClassifier, lambda v: (v[["age"]], v.cost > 600), "a weight"),
    _fitted("GaussianNB", GaussianNB, lambda v: (v[["age", "cost"]], v.smoker), "the mean of a feature"),
    _fitted("CategoricalNB", CategoricalNB, lambda v: (v[["region", "sex"]], v.smoker), "each of 9 counts"),
    _fitted("KMeans", lambda epsilon: KMeans(3, epsilon=epsilon), lambda v: (v[["age", "cost"]],), "a centre"),
    _called("contribution", contribution, lambda v: (v,), "R2", target="cost", blocks={"one": "age", "two": "smoker"}),
    _called(
        "contribution of rows",
        contribution,
        lambda v: ([v[v.smoker][["age", "cost"]], v[~v.smoker][["age", "cost"]]],),
        "R2",
        target="cost",
        names=["one", "two"],
    ),
    _fitted("Pipeline", _pipeline, lambda v: (v[["age", "region"]], v.smoker), "a weight"),
    _fitted(
        "Binner",
        lambda epsilon: Binner(5, strategy="quantile", epsilon=epsilon),
        lambda v: (v[["age"]],),
        "an edge would be off",
    ),
    _fitted("WoE", WoE, lambda v: (v[["region", "sex"]], v.smoker), "each of 10 counts of region"),
    _called("class_weights", class_weights, lambda v: (v.region,), "each of 5 counts"),
    _called("class_weights of a condition", class_weights, lambda v: (v.smoker,), "each of 2 counts"),
    _called("cross_validate", cross_validate, lambda v: (LinearRegression(), v[["age"]], v.cost), "r2", folds=2),
    _called(
        "search",
        search,
        lambda v: ([GaussianNB(), LogisticRegression(steps=2)], v[["age", "smoker"]], v.cost > 600),
        "a weight",
    ),
    _called("evaluate", evaluate, lambda v: (_Says(lambda X: X.age), v[["age"]], v.smoker), "roc_auc"),
    _called(
        "evaluate, a number", evaluate, lambda v: (_Says(lambda X: X.age), v[["age"]], v.cost), "r2|mean_absolute_error"
    ),
    _called("evaluate, labels", evaluate, lambda v: (_Says(lambda X: X.region), v[["region"]], v.region), "accuracy"),
    *(_called(name, getattr(metrics, name), _score) for name in ("roc_auc", "gini", "ks", "average_precision")),
    *(_called(name, getattr(metrics, name), _probability) for name in ("log_loss", "brier")),
    Case(
        "roc_auc in groups",
        lambda visits, epsilon: metrics.roc_auc(*_score(visits), by=visits.sex, epsilon=epsilon),
        lambda visits, epsilon: metrics.roc_auc.cost(*_score(visits), by=visits.sex, epsilon=epsilon),
        "roc_auc",
    ),
    _called("roc_curve", metrics.roc_curve, _score),
    _called("precision_recall_curve", metrics.precision_recall_curve, _score),
    _called("ks_distribution", metrics.ks_distribution, _score, "ks_curve"),
    _called("calibration_curve", metrics.calibration_curve, _probability),
    _called("accuracy", metrics.accuracy, _labels),
    _called("confusion_matrix", metrics.confusion_matrix, _labels, "each of 2 counts"),
    _called("r2", metrics.r2, _numbers, "R2"),
    _called("mean_absolute_error", metrics.mean_absolute_error, _numbers),
    _called("mean_squared_error", metrics.mean_squared_error, _numbers),
    _called("psi", metrics.psi, lambda v: (v[v.smoker].age, v[~v.smoker].age), "each of 10 counts"),
    _called(
        "drop_importance",
        metrics.drop_importance,
        lambda v: (GaussianNB(), v[["age", "smoker"]], v.cost > 600),
        "the mean of a feature",
        features="age",
    ),
    _called(
        "ablation_importance",
        metrics.ablation_importance,
        lambda v: (_Says(lambda X: X.age), v[["age"]], v.smoker),
        "roc_auc",
    ),
]  # fmt: skip
FREE = {
    "Scorecard": "made of a model that is released",
    "load": "reads a file",
    "make_pipeline": "nothing is fitted",
    "metrics": "a room",
    "model_selection": "a room",
    "preprocessing": "a room",
    "train_test_split": "a part of the rows",
    "Clip": "by the card", "Fill": "by the card", "MissingIndicator": "by the card", "OneHot": "by the card",
    "Scaler": "by the card", "Step": "abstract", "KFold": "parts of the rows",
    "Curve": "a result", "Importance": "a result", "Report": "a result", "CrossValidation": "a result",
    "Search": "a result",
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[cl.Frame, learn_world.Clinic]]:
    yield learn_world.visits(noise=True, mode="confidential", epsilon="400")
    sessions.use(None)


def test_everything_that_is_charged_is_in_the_list() -> None:
    rooms = (cloister.learn, metrics, model_selection, preprocessing)
    public = {name for room in rooms for name in room.__all__}
    named = {case.name for case in PAID}
    assert public - FREE.keys() - named == set(), "what is charged says what its noise would do: add it to PAID"
    assert not FREE.keys() & named
    # A program that a plan may carry has an expectation of its own (mypy says so too).
    for learner in (a.Logistic(), a.Additive(), a.KMeans(2)):
        assert callable(expected.fit(learner)[1])


@pytest.mark.parametrize("case", PAID, ids=lambda case: case.name)
def test_a_price_that_is_too_little_is_said_before_anything_is_paid(
    world: tuple[cl.Frame, learn_world.Clinic], case: Case
) -> None:
    visits, vault = world
    paid = len(vault.releases())
    price = case.cost(visits, LITTLE)
    assert "TOO LITTLE" in repr(price)
    assert "TOO LITTLE" in price._repr_html_()
    with pytest.raises(UserWarning) as said:
        case.ask(visits, LITTLE)
    assert len(vault.releases()) == paid, "paid before it was said"
    texts = [str(doubt) for doubt in price.doubts]
    assert str(said.value) == texts[0]
    assert any(re.search(case.what, text) for text in texts), texts
    for text in texts:
        assert re.match(r"epsilon 0\.00\d*( of all together)? is too little for ", text), text
        assert "± " in text
        # Of two handles of one table there are twice as many.
        assert re.search(r"even if all (8,192|16,384) rows that are declared were there", text)
        assert re.search(
            r"At least epsilon=[\d.]+( of all together)? is needed \([\d.e-]+ % of your total\), or ", text
        )


@pytest.mark.parametrize("case", PAID, ids=lambda case: case.name)
def test_what_is_said_to_be_needed_is_enough_and_hardly_more(
    world: tuple[cl.Frame, learn_world.Clinic], case: Case
) -> None:
    visits, vault = world
    paid = len(vault.releases())
    needed = max(float(found[1]) for doubt in case.cost(visits, LITTLE).doubts
                 if (found := re.search(r"At least epsilon=([\d.]+)", str(doubt))))  # fmt: skip
    # A pipeline's parts have prices of their own.
    assert not case.cost(visits, needed).doubts
    assert case.cost(visits, 0.7 * needed).doubts
    assert not case.cost(visits, PLENTY).doubts
    assert len(vault.releases()) == paid


def test_what_is_useful_is_not_warned_of(world: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, vault = world
    paid = len(vault.releases())
    LinearRegression(epsilon=8).fit(visits[["age"]], visits.cost)
    metrics.roc_auc(visits.smoker, visits.cost, epsilon=8)
    assert len(vault.releases()) == paid + 2


def test_a_loop_says_everything_once_before_its_first_release(world: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, vault = world
    asked = len(vault.asked)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cross_validate(GaussianNB(), visits[["age"]], visits.smoker, folds=2, epsilon=0.05)
    texts = [str(found.message) for found in said]
    assert [text.split(" is too little for ")[1].split(":")[0] for text in texts] == ["a GaussianNB", "an evaluation"]
    assert all("of all together" in text for text in texts)
    # One price would have to do for all of it.
    assert len({re.search(r"epsilon=([\d.]+)", text)[1] for text in texts}) == 1  # type: ignore[index]
    assert {found.filename for found in said} == {__file__}
    ops = [op for op, _ in vault.asked[asked:]]
    # Inside of the loop nothing is priced again.
    assert "price" not in ops[ops.index("release") :]
    with pytest.raises(UserWarning):
        GaussianNB(epsilon=0.012).fit(visits[["age"]], visits.smoker)


def test_a_pipeline_says_what_its_model_lacks_before_its_steps_are_paid(
    world: tuple[cl.Frame, learn_world.Clinic],
) -> None:
    visits, vault = world
    paid = len(vault.releases())
    pipeline = make_pipeline(WoE(epsilon=9), GaussianNB(epsilon=0.013))
    with pytest.raises(UserWarning, match="a GaussianNB"):
        pipeline.fit(visits[["region"]], visits.smoker)
    assert len(vault.releases()) == paid


def test_it_is_said_each_time_and_at_the_line_that_asks(world: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, _ = world
    with warnings.catch_warnings(record=True) as said:
        # As Python does without being told: once per line.
        warnings.simplefilter("default")
        for name in ("age", "cost"):
            KMeans(2, epsilon=0.011, max_iter=2).fit(visits[[name]])
    assert len(said) == 2
    assert {found.filename for found in said} == {__file__}


def test_rows_that_the_analyst_says_count_in_place_of_the_declared(world: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, _ = world
    assert not metrics.accuracy.cost(*_labels(visits), epsilon=0.5).doubts
    (doubt,) = metrics.accuracy.cost(*_labels(visits), epsilon=0.5, n=20).doubts
    assert "at 20 rows" in str(doubt)
    (doubt,) = metrics.roc_auc.cost(*_score(visits), epsilon=8, n=20).doubts
    assert "at 20 rows" in str(doubt)


def test_what_no_epsilon_of_the_analyst_buys_is_said_to_be_so(world: tuple[cl.Frame, learn_world.Clinic]) -> None:
    visits, _ = world
    (doubt,) = LogisticRegression(epsilon=LITTLE).cost(visits[["age"]], visits.smoker).doubts
    poor = msgspec.structs.replace(doubt.account, rho_analyst="1/100000")
    text = str(dataclasses.replace(doubt, account=poor))
    assert "Not even your whole total (epsilon 0.0" in text
    assert text.endswith("is enough; try fewer features or labels")


# What noise comes to -------------------------------------------------------------------------------------


def test_the_gram_expected_of_even_rows_is_that_of_even_rows() -> None:
    features = (
        Feature("age", "number", "0", "100"),
        Feature("smoker", "condition"),
        Feature("region", "category", levels=("n", "e", "s", "w")),
    )
    rng = np.random.default_rng(1)
    rows = 200_000
    region = rng.integers(0, 4, rows)
    columns = [np.ones(rows), rng.normal(0, expected.SPREAD, rows), rng.choice([-1, 1], rows)]
    z = np.stack([*columns, *(np.where(region == level, 1, -1) for level in (1, 2, 3))], axis=1)
    assert expected._even_gram(features) == pytest.approx(z.T @ z / rows, abs=0.01)


def test_a_linear_regression_is_doubted_where_even_rows_would_make_it_unreliable(
    world: tuple[cl.Frame, learn_world.Clinic],
) -> None:
    visits, _ = world
    part = visits[FEATURES]
    gram = expected._even_gram(describe(part, "refuse")[1])
    for epsilon in np.geomspace(0.02, 4, 12):
        price = LinearRegression(epsilon=float(epsilon)).cost(part, visits.cost)
        stderr = price.errors["every entry of the Gram"]
        rows = 8_192 * np.block([[gram, gram[:, :1]], [gram[:1], np.ones((1, 1))]])
        assert bool(price.doubts) == (not ridge.solve(rows, stderr).reliable), epsilon


def test_numbers_are_written_for_people() -> None:
    wanted = {0.001: "0.001", 0.123: "0.12", 9.87: "9.9", 99.0: "99", 1_234.0: "1,200", 1_300_000.0: "1,300,000"}
    assert {value: doubts.number(value) for value in wanted} == wanted
