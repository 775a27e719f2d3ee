"""Steps and pipelines: decided by the data card or a charged release, alike on handles and rows, saved as data."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import learn_world
import numpy as np
import pandas as pd
import pytest

import cloister.sandbox as cl
from cloister.errors import CloisterError, MalformedError, PlanError
from cloister.learn import LinearRegression, Pipeline, evaluate, make_pipeline, metrics
from cloister.learn import preprocessing as pp
from cloister.learn.preprocessing import (
    Binner,
    Clip,
    Fill,
    MissingIndicator,
    OneHot,
    Scaler,
    WoE,
    class_weights,
)
from cloister.sandbox import session as sessions
from cloister.wire import canonical

FEATURES = ["age", "smoker", "region", "bmi"]


@pytest.fixture(scope="module")
def exact() -> Iterator[cl.Frame]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def fitted(exact: cl.Frame) -> Pipeline:
    pipeline = make_pipeline(
        MissingIndicator(),
        Clip({"age": (18, 90)}),
        Binner(6, columns=["age"]),
        Binner(4, strategy="quantile", columns=["bmi"], share=0.02),
        WoE(share=0.02),
        LinearRegression(share=0.1),
    )
    return pipeline.fit(exact[FEATURES], exact.cost > 700)


STEPS: dict[str, pp.Step] = {
    "scaler": Scaler(),
    "scaler to 0..1": Scaler((0, 1), columns=["age"]),
    "clip": Clip({"age": (18, 90), "bmi": (None, 40)}),
    "clip all": Clip((20, 50)),
    "bins": Binner(7),
    "edges": Binner({"age": [18, 40, 65], "bmi": 3}),
    "one-hot": OneHot(),
    "one-hot with a reference": OneHot(drop="first"),
    "fill": Fill(),
    "fill with": Fill(20, columns="bmi"),
    "indicator": MissingIndicator(),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_does_the_same_to_a_handle_and_to_rows(name: str, exact: cl.Frame) -> None:
    step = STEPS[name].clone().fit(exact[FEATURES])
    here = exact[FEATURES].mock(400)
    there = step.transform(exact[FEATURES]).mock(400)
    found = step.transform(here)
    assert list(found.columns) == list(there.columns)
    assert list(step.transform(exact[FEATURES]).columns) == list(found.columns)
    for column in found:
        ours, theirs = found[column], there[column]
        gone = ours.isna().to_numpy()
        assert (gone == theirs.isna().to_numpy()).all(), column
        if ours.dtype == object or isinstance(ours.dtype, pd.CategoricalDtype):
            assert (ours[~gone].astype(str) == theirs[~gone].astype(str)).all(), column
        else:
            assert ours[~gone].to_numpy(dtype=float) == pytest.approx(theirs[~gone].to_numpy(dtype=float)), column


def test_free_steps_ask_nothing_and_follow_the_card(vault: Any, visits: cl.Frame) -> None:
    for step in STEPS.values():
        assert step.cost(visits[FEATURES]) is None
        step.clone().fit_transform(visits[FEATURES])
    assert not vault.releases()
    scaled = Scaler().fit_transform(visits[["age"]]).age._term.grid
    assert (scaled.lo * scaled.step, scaled.hi * scaled.step) == (-1, 1)
    assert list(OneHot().fit_transform(visits[["sex"]]).columns) == ["sex=F", "sex=M", "sex=X"]
    assert Binner(2).fit(visits[["age"]]).edges_ == {"age": [0, 56, 111]}
    assert list(MissingIndicator().fit_transform(visits[["bmi", "age"]])) == ["bmi", "bmi missing", "age"]


def test_quantile_bins_are_one_release(vault: Any, visits: cl.Frame) -> None:
    step = Binner(4, strategy="quantile", share=0.1)
    price = step.cost(visits[["age", "cost"]])
    assert price.share == pytest.approx(0.1, rel=1e-3)
    assert not vault.releases()
    step.fit(visits[["age", "cost"]])
    assert len(vault.releases()) == 1
    rows = learn_world.world.reference(learn_world.world.VISITS)
    inner = step.edges_["age"][1:-1]
    assert inner == pytest.approx(rows.age.quantile([0.25, 0.5, 0.75]).to_list(), abs=6)
    assert step.edges_["age"][0] == 0
    assert step.edges_["age"][-1] == 111


# By the target -----------------------------------------------------------------------------------------


def test_weights_of_evidence_and_information_values_by_hand(exact: cl.Frame) -> None:
    rows, y = learn_world.rows(), exact.cost > 700
    step = WoE(share=0.1).fit(exact[["region", "sex"]], y)
    table = pd.crosstab(rows.region, rows.cost > 700)
    shares = table / table.sum()
    expected = np.log(shares[True] / shares[False])
    for level in ("north", "south", "east", "west"):
        line = step.table_.loc[("region", level)]
        assert line.woe == pytest.approx(expected[level], abs=2e-3)
        assert line.low <= expected[level] <= line.high
    value = ((shares[True] - shares[False]) * expected).loc[["north", "south", "east", "west"]].sum()
    assert step.iv_.loc["region", "iv"] == pytest.approx(value, abs=2e-3)
    assert step.iv_.loc["region", "low"] <= value <= step.iv_.loc["region", "high"]
    # A level that nobody has weighs nothing, whatever the noise says.
    other = step.table_.loc[("region", "(other)")]
    assert other.woe == 0
    assert other.unreliable
    assert len(step.fact.parts) == 2
    assert step.fact.share == pytest.approx(0.1, rel=1e-3)
    assert step.cost(exact[["region", "sex"]], y).share == pytest.approx(0.1, rel=1e-3)
    found = step.transform(rows[["region", "sex"]])
    assert found.region.to_numpy() == pytest.approx(rows.region.astype(str).map(expected).to_numpy(), abs=2e-3)
    mean = step.transform(exact[["region", "sex"]]).region.mean()
    assert float(mean) == pytest.approx(found.region.mean(), abs=1e-6)


def test_too_little_epsilon_is_warned_of_before_counts_are_paid(vault: Any, visits: cl.Frame) -> None:
    with pytest.raises(UserWarning, match=r"too little for a WoE: each of 10 counts of region"):
        WoE(epsilon=0.01).fit(visits[["region"]], visits.smoker)
    with pytest.raises(UserWarning, match=r"too little for psi"):
        metrics.psi(visits[visits.smoker].age, visits[~visits.smoker].age, epsilon=0.01)
    assert not vault.releases()


def test_weights_of_one_class_are_zero(exact: cl.Frame) -> None:
    step = WoE(share=0.1).fit(exact[["region"]], exact.age > 200)
    assert (step.table_.woe == 0).all()
    assert step.table_.unreliable.all()
    assert step.iv_.unreliable.all()


def test_class_weights_are_balanced_ones(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    found = class_weights(exact.region)
    expected = len(rows) / (4 * rows.region.value_counts())
    for level in ("north", "south", "east", "west"):
        assert found[level] == pytest.approx(expected[level])
        assert found.release.low[level] <= expected[level] <= found.release.high[level]
    assert "(other)" not in found
    one = class_weights(exact.age > 200)
    assert np.isnan(one[True])
    assert one.release.unreliable[True]
    assert class_weights.cost(exact.region, share=0.1).share == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("wish", [{"epsilon": 0.5}, {"share": 0.1}, {}], ids=["epsilon", "share", "default"])
def test_class_weights_cost_what_was_said_and_their_counts_are_all_there_is_to_pay(
    vault: Any, visits: cl.Frame, wish: dict[str, float]
) -> None:
    announced = class_weights.cost(visits.region, **wish)
    assert not vault.releases()
    found = class_weights(visits.region, **wish)
    (plan,) = vault.releases()
    paid = found.release.fact
    assert Fraction(plan["rho"]) >= paid.rho > 0, "one question, whose price holds the counts"
    assert (paid.rho, paid.epsilon, paid.share) == (announced.rho, announced.epsilon, announced.share)
    assert [account.rho for account in paid.accounts] == [account.rho for account in announced.accounts]
    again = class_weights(visits.region, **wish)
    assert again.release.fact.recalled
    assert again.tolist() == found.tolist()


# Pipelines ---------------------------------------------------------------------------------------------


def test_a_pipeline_fits_predicts_and_leaves_as_data(fitted: Pipeline, exact: cl.Frame, tmp_path: Any) -> None:
    here = exact[FEATURES].mock(300)
    found = fitted.predict(here)
    assert found == pytest.approx(fitted.predict(exact).mock(300).to_numpy(), rel=1e-9)
    assert not np.isnan(found).any()
    fitted.save(tmp_path / "pipeline.json")
    again = Pipeline.load(tmp_path / "pipeline.json")
    assert (again.predict(here) == found).all()
    assert again.to_json() == fitted.to_json()
    assert float(evaluate(again, exact, exact.cost > 700).roc_auc) == float(
        evaluate(fitted, exact, exact.cost > 700).roc_auc
    )
    with pytest.raises(PlanError, match=r"api\.learn\.loaded"):
        again.fit(exact[FEATURES], exact.cost > 700)
    with pytest.raises(PlanError, match=r"api\.pickle"):
        pickle.dumps(fitted)
    assert "Binner" in repr(fitted)
    assert "LinearRegression" in repr(again)


def test_its_price_is_told_before_and_is_that_of_all_its_parts(vault: Any, visits: cl.Frame) -> None:
    pipeline = make_pipeline(Fill(), Binner(4), WoE(share=0.1), LinearRegression(share=0.3))
    price = pipeline.cost(visits[["age", "region"]], visits.smoker)
    assert price.share == pytest.approx(0.4, rel=1e-3)
    assert not vault.releases()
    pipeline.fit(visits[["age", "region"]], visits.smoker)
    paid = pipeline.steps[2][1].fact.share + pipeline.model.release.share
    assert paid == pytest.approx(0.4, rel=1e-3)
    repriced = pipeline.priced(0.2)
    assert repriced.cost(visits[["age", "region"]], visits.smoker).share == pytest.approx(0.2, rel=1e-3)
    assert repriced.set_params(woe__share=0.05).get_params()["woe__share"] == 0.05
    assert pipeline.clone().get_params()["linearregression__share"] == 0.3


def test_a_model_that_cannot_use_the_columns_is_refused_before_the_steps_are_paid(vault: Any, visits: cl.Frame) -> None:
    pipeline = make_pipeline(WoE(columns=["region"], share=0.1), LinearRegression(share=0.3))
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        pipeline.fit(visits[["bmi", "region"]], visits.smoker)
    assert not vault.releases()


def test_weights_that_are_all_equal_still_make_a_model(exact: cl.Frame) -> None:
    """That they are equal is known after they were paid: a refusal then would have cost the counts."""
    pipeline = make_pipeline(WoE(share=0.02), LinearRegression(share=0.1))
    pipeline.fit(exact[["region", "sex"]], exact.age > 200)
    assert (pipeline.steps[0][1].table_.woe == 0).all()
    here = exact[["region", "sex"]].mock(40)
    assert (pipeline.transform(here) == 0).all(axis=None)
    assert (pipeline.transform(exact[["region", "sex"]]).mock(40) == 0).all(axis=None)
    assert pipeline.predict(exact).mock(40).to_numpy() == pytest.approx(pipeline.predict(here), abs=1e-9)


def test_quantiles_that_are_all_one_still_make_two_bins(exact: cl.Frame) -> None:
    flat = exact.assign(flat=(exact.age > 108) * 3)[["flat"]]
    step = Binner(4, strategy="quantile", share=0.02).fit(flat)
    assert len(step.edges_["flat"]) == 3
    assert LinearRegression(share=0.1).fit(step.transform(flat), exact.smoker).n_features_in_ == 1


def test_a_fit_that_fails_leaves_the_pipeline_as_it_was(exact: cl.Frame) -> None:
    pipeline = make_pipeline(Scaler(), LinearRegression(share=0.1)).fit(exact[["age"]], exact.cost > 700)
    before, scaler = pipeline.to_json(), pipeline.steps[0][1].operations
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        pipeline.fit(exact[["bmi"]], exact.cost > 700)
    assert pipeline.steps[0][1].operations == scaler
    assert pipeline.to_json() == before


@pytest.mark.parametrize(("value", "levels"), [(None, ("thin", "wide")), ("wide", ("thin", "wide")), ("?", None)])
def test_filled_bins_keep_their_labels(exact: cl.Frame, value: Any, levels: Any) -> None:
    banded = exact.assign(band=cl.cut(exact.bmi, [10, 25, 60], labels=["thin", "wide"]))[["band"]]
    step = Fill(value).fit(banded)
    there = step.transform(banded)
    assert set(there.band._term.domain) == set(levels or ("thin", "wide", "?"))
    here = banded.mock(200)
    assert here.band.isna().any()
    assert there.mock(200).band.astype(str).tolist() == step.transform(here).band.astype(str).tolist()
    assert not there.mock(200).band.isna().any()


def test_numbers_beyond_the_card_count_in_the_nearest_bin(exact: cl.Frame) -> None:
    step = Binner([18, 40, 65]).fit(exact[["age"]])
    found = step.transform(pd.DataFrame({"age": [-5.0, 300.0, np.nan, 18.0]})).age
    assert [None if pd.isna(value) else value for value in found] == ["[0, 18)", "[65, 111)", None, "[18, 40)"]
    wider = exact.assign(age=exact.age * 3 - 50)[["age"]]
    there = step.transform(wider).mock(200).age.astype(str).tolist()
    assert there == step.transform(wider.mock(200)).age.astype(str).tolist()
    assert "[65, 111)" in there


def test_a_pipeline_that_could_not_be_read_again_is_not_written(
    fitted: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("cloister.sandbox.learn.preprocessing.pipeline.MAX_BYTES", 1_000)
    with pytest.raises(PlanError, match=r"api\.learn\.size"):
        fitted.save(tmp_path / "pipeline.json")
    assert not (tmp_path / "pipeline.json").exists()


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field more": lambda d: d | {"code": "print()"},
    "an unknown operation": lambda d: d | {"operations": [{"op": "eval", "column": "age"}]},
    "a field more in an operation": lambda d: d | {"operations": [d["operations"][0] | {"run": "x"}]},
    "edges that do not ascend": lambda d: d | {"operations": [{"op": "bins", "column": "a", "edges": ["2", "1"]}]},
    "a number that is none": lambda d: (
        d | {"operations": [{"op": "affine", "column": "a", "offset": "x", "factor": "1"}]}
    ),
    "a factor of zero": lambda d: d | {"operations": [{"op": "affine", "column": "a", "offset": "0", "factor": "0"}]},
    "limits that do not ascend": lambda d: (
        d | {"operations": [{"op": "limit", "column": "a", "low": "2", "high": "1"}]}
    ),
    "a fill of no kind": lambda d: d | {"operations": [{"op": "fill", "column": "a", "value": "x", "kind": "text"}]},
    "weights that do not fit": lambda d: (
        d | {"operations": [{"op": "weigh", "column": "a", "levels": ["x"], "weights": []}]}
    ),
    "another version": lambda d: d | {"version": 2},
    "a model of no kind": lambda d: d | {"model": {"format": "cloister.model", "version": 1, "kind": "os.system"}},
    "no format": lambda d: {name: value for name, value in d.items() if name != "format"},
}


@pytest.mark.parametrize("name", WRONG)
def test_another_document_is_refused(name: str, fitted: Pipeline) -> None:
    fields = json.loads(fitted.to_json())
    del fields["digest"]
    wrong = WRONG[name](fields)
    with pytest.raises(MalformedError):
        Pipeline.from_json(json.dumps(wrong | {"digest": canonical.digest(wrong)}))


def test_an_altered_document_is_refused(fitted: Pipeline) -> None:
    text = fitted.to_json()
    for changed in (text.replace('"value": "35', '"value": "36', 1), "[1]", "{", b"\xff", " " * (2**21 + 1)):
        assert changed != text
        with pytest.raises(MalformedError):
            Pipeline.from_json(changed)


REFUSED: dict[str, tuple[str, Callable[[cl.Frame], Any]]] = {
    "rows here": ("api.learn.handles", lambda d: Scaler().fit(d.mock(5))),
    "an array": ("api.learn.handles", lambda d: Scaler().fit(d[["age"]]).transform(np.zeros((2, 1)))),
    "a category scaled": ("api.step.kind", lambda d: Scaler(columns=["region"]).fit(d)),
    "no such column": ("plan.column", lambda d: Scaler(columns=["moon"]).fit(d)),
    "one bin": ("api.step.bins", lambda d: Binner(1).fit(d[["age"]])),
    "quantiles at edges": ("api.step.bins", lambda d: Binner([1, 2], strategy="quantile").fit(d[["age"]])),
    "a strategy": ("api.learn.parameter", lambda d: Binner(strategy="kmeans").fit(d[["age"]])),
    "reversed limits": ("api.learn.parameter", lambda d: Clip((9, 3)).fit(d[["age"]])),
    "a range": ("api.learn.parameter", lambda d: Scaler((1, 0)).fit(d[["age"]])),
    "a drop": ("api.learn.parameter", lambda d: OneHot(drop="last").fit(d[["sex"]])),
    "a parameter": ("api.learn.parameter", lambda d: Scaler().set_params(scale=3)),
    "no target": ("api.metrics.target", lambda d: WoE().fit(d[["region"]])),
    "a number as a target": ("api.metrics.target", lambda d: WoE().fit(d[["region"]], d.age)),
    "a target of other rows": ("plan.rows", lambda d: WoE().fit(d[["region"]], d[d.age > 3].smoker)),
    "nothing to weigh": ("api.step.kind", lambda d: WoE().fit(d[["age"]], d.smoker)),
    "weights of a number": ("api.metrics.target", lambda d: class_weights(d.age)),
    "unfitted": ("api.learn.unfitted", lambda d: Scaler().transform(d)),
    "an unfitted pipeline": ("api.learn.unfitted", lambda d: make_pipeline(Scaler(), LinearRegression()).predict(d)),
    "no step": ("api.learn.pipeline", lambda _: make_pipeline(3, LinearRegression())),
    "no model": ("api.learn.pipeline", lambda _: make_pipeline(Scaler(), 3)),
    "no steps": ("api.learn.pipeline", lambda _: Pipeline([])),
    "one name twice": ("api.learn.pipeline", lambda _: Pipeline([("a", Scaler()), ("a", Fill())])),
    "a parameter of no step": ("api.learn.parameter", lambda _: make_pipeline(Scaler()).set_params(moon__x=1)),
    "another category": (
        "api.step.level",
        lambda d: OneHot(columns=["sex"]).fit(d).transform(d.assign(sex=d.region)),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_step_can_do_is_refused_uncharged(case: str, vault: Any, visits: cl.Frame) -> None:
    code, call = REFUSED[case]
    with pytest.raises(CloisterError) as caught:
        call(visits)
    assert caught.value.code == code
    assert caught.value.nearest or caught.value.next_step
    assert not vault.releases()


def test_every_nearest_form_works(exact: cl.Frame, fitted: Pipeline) -> None:
    forms: dict[str, None] = {}
    for code, call in REFUSED.values():
        with pytest.raises(CloisterError) as caught:
            call(exact)
        if code.startswith(("api.step", "api.learn")):
            forms |= dict.fromkeys(caught.value.nearest)
    assert len(forms) > 8
    names = {name: getattr(pp, name) for name in pp.__dir__()}
    given = {"visits": exact.copy(), "y": exact.smoker, "model": LinearRegression(), "pipeline": fitted}
    for form in forms:
        if "sklearn" not in form and "save" not in form:
            exec(form.partition("  #")[0], names | given | {"LinearRegression": LinearRegression})
