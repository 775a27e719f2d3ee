"""Naive Bayes from one release: what it computes, what it costs, that it is total, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import learn_world
import msgspec
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.learn
import cloister.sandbox as cl
from cloister.errors import ContractError, PlanError
from cloister.learn import PCA, CategoricalNB, GaussianNB, LinearRegression
from cloister.plan import codec
from cloister.plan.shares import COMPANION
from cloister.sandbox import session as sessions
from cloister.vault.analyse import analyse

NUMBERS = ["age", "cost", "smoker"]
LEVELS = ["region", "sex", "smoker"]


@pytest.fixture(scope="module")
def exact() -> Iterator[cl.Frame]:
    """The table with the noise off."""
    yield learn_world.visits(noise=False, epsilon="1000")[0]
    sessions.use(None)


@pytest.fixture(scope="module")
def noisy() -> Iterator[cl.Frame]:
    yield learn_world.visits(noise=True, mode="confidential", epsilon="8")[0]
    sessions.use(None)


def test_gaussian_equals_scikit_learn(exact: cl.Frame) -> None:
    from sklearn.naive_bayes import GaussianNB as Theirs

    rows = learn_world.rows()
    plain = rows[NUMBERS].astype(float)
    ours = GaussianNB(share=0.1).fit(exact[NUMBERS], exact.region)
    theirs = Theirs(var_smoothing=0).fit(plain, rows.region.astype(str))
    order = [list(ours.classes_).index(label) for label in theirs.classes_]
    assert ours.theta_[order] == pytest.approx(theirs.theta_, abs=1e-3)
    assert ours.var_[order] == pytest.approx(theirs.var_, rel=1e-3)
    assert ours.class_count_[order] == pytest.approx(theirs.class_count_)
    assert ours.class_prior_[order] == pytest.approx(theirs.class_prior_, abs=1e-3)
    assert (ours.predict(rows) == theirs.predict(plain)).mean() > 0.99
    assert ours.predict_proba(rows)[:, order] == pytest.approx(theirs.predict_proba(plain), abs=2e-3)
    assert "no more rows than noise would show of (other)" in ours.notes_[0]
    assert ours.score(rows, rows.region) == pytest.approx(theirs.score(plain, rows.region.astype(str)), abs=0.01)


def test_categorical_equals_scikit_learn(exact: cl.Frame) -> None:
    from sklearn.naive_bayes import CategoricalNB as Theirs

    rows = learn_world.rows()
    ours = CategoricalNB(alpha=2, share=0.1).fit(exact[LEVELS], exact.cost > 600)
    codes = ours.codes(rows)
    theirs = Theirs(alpha=2, min_categories=[5, 4, 2]).fit(codes, rows.cost > 600)
    for mine, their in zip(ours.feature_log_prob_, theirs.feature_log_prob_, strict=True):
        assert mine == pytest.approx(their, abs=1e-6)
    assert ours.class_log_prior_ == pytest.approx(theirs.class_log_prior_, abs=1e-6)
    assert list(ours.predict(rows)) == list(theirs.predict(codes))
    assert list(ours.get_feature_names_out())[3:6] == ["region=west", "region=(other)", "sex=F"]


def test_one_feature_and_gaps_as_a_level(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    one = CategoricalNB(share=0.1).fit(exact[["region"]], exact.cost > 600)
    many = CategoricalNB(share=0.1).fit(exact[LEVELS], exact.cost > 600)
    assert one.feature_log_prob_[0] == pytest.approx(many.feature_log_prob_[0])
    heavy = exact.assign(heavy=exact.bmi > 30, band=cl.cut(exact.bmi, [10, 25, 40], labels=["slim", "stout"]))
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        CategoricalNB().fit(heavy[["band"]], heavy.cost > 600)
    marked = CategoricalNB(share=0.1, missing="indicator").fit(heavy[["band", "sex"]], heavy.cost > 600)
    band = pd.cut(rows.bmi, [10, 25, 40], right=False, labels=["slim", "stout"])
    dear = rows.cost > 600
    names = list(marked.get_feature_names_out())
    assert names[:3] == ["band=slim", "band=stout", "band missing"]
    for place, mask in enumerate((band == "slim", band == "stout", band.isna())):
        expected = math.log(((mask & dear).sum() + 1) / (dear.sum() + 3))
        assert marked.feature_log_prob_[0][1, place] == pytest.approx(expected, abs=1e-6)
    table = rows.assign(band=band)
    assert float(marked.predict_proba(heavy)["cost=true"].sum(epsilon=100)) == pytest.approx(
        marked.predict_proba(table)[:, 1].sum(), rel=1e-4
    )
    dropped = CategoricalNB(share=0.1, missing="drop").fit(heavy[["band", "sex"]], heavy.cost > 600)
    assert dropped.class_count_.sum() == pytest.approx(band.notna().sum())


def test_predictions_work_in_the_vault(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    model = GaussianNB(share=0.1).fit(exact[NUMBERS], exact.region)
    expected = model.predict(rows)
    assert int((model.predict(exact) == "west").sum()) == (expected == "west").sum()
    right = float((model.predict(exact) == exact.region).mean())
    assert right == pytest.approx(model.score(rows, rows.region), abs=1e-3)
    with pytest.raises(PlanError) as caught:
        model.score(exact, exact.region)
    assert float(eval(caught.value.nearest[0], {"model": model, "visits": exact})) == pytest.approx(right, abs=1e-3)


# One release ------------------------------------------------------------------------------------------


def test_one_release_one_charge_and_its_price_before(vault: world.Vault, visits: cl.Frame) -> None:
    for model, names in ((GaussianNB(epsilon=1), NUMBERS), (CategoricalNB(epsilon=1), ["sex", "smoker"])):
        before = len(vault.releases())
        price = model.cost(visits[names], visits.region)
        assert len(vault.releases()) == before
        model.fit(visits[names], visits.region)
        assert len(vault.releases()) == before + 1
        assert model.release.rho == price.rho
        assert model.release.epsilon == pytest.approx(1, rel=1e-3)
        assert model.release.receipt
        assert type(model)(epsilon=1).fit(visits[names], visits.region).release.recalled
        assert model.release.value.index[0] == "north: rows"


def test_the_counts_of_all_features_are_one_vector(vault: world.Vault, visits: cl.Frame) -> None:
    """A row reaches sqrt(features) times its unit's rows, whatever the number of levels and classes."""
    target = visits.cost > 600
    errors = {}
    for names in (["sex"], ["region"], LEVELS):
        CategoricalNB(epsilon=1).fit(visits[names], target)
        found = analyse(codec.decode(vault.releases()[-1]), world.CARDS)
        count = found.bounds[0]
        assert count.l2_squared == 4**2 * len(names)
        errors[len(names)] = CategoricalNB(epsilon=1).cost(visits[names], target).stderr
    assert errors[3] == pytest.approx(math.sqrt(3) * errors[1], rel=0.01)
    rho = float(CategoricalNB(epsilon=1).cost(visits[LEVELS], target).rho)
    # The rest of the price says how many rows storage left out.
    assert errors[3] == pytest.approx(4 * math.sqrt(3 / (2 * rho * float(1 - COMPANION))), rel=0.2)


def test_the_price_of_gaussian_divides_as_it_says(vault: world.Vault, visits: cl.Frame) -> None:
    GaussianNB(epsilon=1).fit(visits[NUMBERS], visits.region)
    parts = analyse(codec.decode(vault.releases()[-1]), world.CARDS).layout.components
    weights = {(part.role, part.measure): float(part.weight) for part in parts}
    counts = sum(weight for (role, _), weight in weights.items() if role == "count")
    moments = [weight for (role, _), weight in weights.items() if role in {"centred", "square"}]
    assert len(moments) == 6
    assert max(moments) == pytest.approx(min(moments))
    assert sum(moments) == pytest.approx(2 / 3, abs=0.03)
    assert counts == pytest.approx(1 / 3, abs=0.03)


# Total ------------------------------------------------------------------------------------------------

ODD: dict[str, Callable[[cl.Frame], cl.Frame]] = {
    "one class": lambda d: d[d.region == "north"],
    "no rows": lambda d: d[(d.age < 1) & (d.cost > 1_990)],
    "few units": lambda d: d[d.age == 41],
    "a constant column": lambda d: d[d.smoker],
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("noise", [False, True])
def test_a_fit_is_total(odd: str, noise: bool, exact: cl.Frame, noisy: cl.Frame) -> None:
    frame = ODD[odd](noisy if noise else exact)
    rows = learn_world.rows()
    gaussian = GaussianNB(share=0.1).fit(frame[NUMBERS], frame.region)
    categorical = CategoricalNB(share=0.1).fit(frame[["sex", "smoker"]], frame.region)
    for model in (gaussian, categorical):
        assert np.isfinite(model.predict_proba(rows)).all()
        assert np.isfinite(model.table()[["value", "stderr"]]).all(axis=None)
        assert set(model.predict(rows)) <= set(model.classes_)
        assert np.isfinite(model.predict_proba(frame).mock(20).astype(float)).all(axis=None)
        shown = str(model.model_card())
        for note in model.notes_:
            assert note.split(";")[0] in shown.replace("\\", "")
    if odd in {"one class", "no rows"}:
        assert not gaussian.reliable_
        assert not categorical.reliable_
        assert "nothing to tell apart" in gaussian.notes_[0]
        assert "NOT RELIABLE" in repr(categorical)
    if odd == "one class":
        # The classes that are not there say nothing: they have the numbers of all rows.
        assert (gaussian.theta_ == gaussian.theta_[0]).all()
        shares = categorical.feature_log_prob_[0]
        assert shares == pytest.approx(np.broadcast_to(shares[0], shares.shape))
    assert (gaussian.var_ > 0).all()


@pytest.mark.slow
def test_errors_hold_what_noise_does() -> None:
    """Over 200 draws of the noise, 95 % intervals hold the exact numbers at least 90 % of the time."""
    quiet, _ = learn_world.visits(noise=False, epsilon="1000")
    truth = GaussianNB(share=0.1).fit(quiet[["age", "cost"]], quiet.smoker)
    shares = CategoricalNB(share=0.1).fit(quiet[["region", "sex"]], quiet.smoker)
    frame, _ = learn_world.visits(noise=True, mode="teaching", epsilon="100", seed=5)
    held: dict[str, list[np.ndarray]] = {"theta": [], "var": [], "n": [], "log P": []}
    for _ in range(200):
        ours = GaussianNB(epsilon=8).fit(frame[["age", "cost"]], frame.smoker)
        held["theta"].append(np.abs(ours.theta_ - truth.theta_) <= 1.96 * ours.theta_stderr_)
        held["var"].append(np.abs(ours.var_ - truth.var_) <= 1.96 * ours.var_stderr_)
        counts = CategoricalNB(epsilon=8).fit(frame[["region", "sex"]], frame.smoker)
        held["n"].append(np.abs(counts.class_count_ - shares.class_count_) <= 1.96 * counts.class_count_stderr_)
        table, exact = counts.table(), shares.table()
        real = ~table.index.str.contains("other|rows")
        held["log P"].append((np.abs(table.value - exact.value) <= 1.96 * table.stderr)[real].to_numpy())
    sessions.use(None)
    for name, found in held.items():
        assert np.mean(found) >= 0.90, name
    assert np.mean(held["n"]) <= 0.995


# Refusals ---------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, Callable[[cl.Frame], Any]]] = {
    "pandas": ("api.learn.handles", lambda d: GaussianNB().fit(d.mock(5)[["age"]], d.mock(5).smoker)),
    "a column": ("api.learn.handles", lambda d: CategoricalNB().fit(d.sex, d.smoker)),
    "other rows": ("plan.rows", lambda d: GaussianNB().fit(d[["age"]], d[d.age > 3].smoker)),
    "target as feature": ("api.learn.target", lambda d: CategoricalNB().fit(d[["sex", "region"]], d.region)),
    "number target": ("api.learn.target", lambda d: GaussianNB().fit(d[["age"]], d.cost)),
    "date target": ("api.learn.target", lambda d: GaussianNB().fit(d[["age"]], d.date)),
    "date": ("api.learn.feature", lambda d: GaussianNB().fit(d[["date"]], d.smoker)),
    "number as level": ("api.learn.feature", lambda d: CategoricalNB().fit(d[["age"]], d.smoker)),
    "key": ("api.learn.feature", lambda d: CategoricalNB().fit(d[["patient_id"]], d.smoker)),
    "gaps": ("api.learn.missing", lambda d: GaussianNB().fit(d[["bmi"]], d.smoker)),
    "target gaps": ("api.learn.missing", lambda d: GaussianNB().fit(d[["age"]], cl.cut(d.bmi, [10, 20, 30]))),
    "no features": ("api.learn.features", lambda d: GaussianNB().fit(d[[]], d.smoker)),
    "too many": (
        "api.learn.features",
        lambda d: GaussianNB(missing="drop").fit(d.assign(c=cl.cut(d.age, range(111)))[["c"]], d.smoker),
    ),
    "alpha": ("api.learn.parameter", lambda d: CategoricalNB(alpha=0).fit(d[["sex"]], d.smoker)),
    "priors": ("api.learn.parameter", lambda d: GaussianNB(priors=[0.5, 0.6]).fit(d[["age"]], d.smoker)),
    "missing": ("api.learn.parameter", lambda d: GaussianNB(missing="keep").fit(d[["age"]], d.smoker)),
    "unfitted": ("api.learn.unfitted", lambda d: GaussianNB().predict(d)),
    "score": ("api.learn.score", lambda d: CategoricalNB(share=0.01).fit(d[["sex"]], d.smoker).score(d, d.smoker)),
    "log of a handle": (
        "api.learn.predict",
        lambda d: CategoricalNB(share=0.01).fit(d[["sex"]], d.smoker).predict_log_proba(d),
    ),
    "components": ("api.learn.parameter", lambda d: PCA(3).fit(d[["age", "cost"]])),
    "array": ("api.learn.handles", lambda d: PCA().fit(np.zeros((3, 2)))),
    "nothing": ("api.learn.handles", lambda d: PCA().fit("visits")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fitted_is_refused_before_anything_is_asked(
    name: str, visits: cl.Frame, vault: world.Vault
) -> None:
    code, call = REFUSED[name]
    with pytest.raises(PlanError) as caught:
        call(visits)
    assert caught.value.code == code
    assert caught.value.nearest or caught.value.next_step
    assert len(vault.releases()) == (name in {"score", "log of a handle"})


def test_every_nearest_form_works(visits: cl.Frame) -> None:
    forms: dict[str, None] = {}
    for _, call in REFUSED.values():
        with pytest.raises(PlanError) as caught:
            call(visits)
        forms |= dict.fromkeys(caught.value.nearest)
    names = {"visits": visits.copy(), "edges": [0, 50, 111], "cl": cl}
    names |= {name: getattr(cloister.learn, name) for name in dir(cloister.learn)}
    names["model"] = CategoricalNB(share=0.01).fit(visits[["sex"]], visits.smoker)
    tried = 0
    for form in forms:
        if "sklearn" in form or 'fit(visits[["age"]], visits.cost > 600)' in form or "missing=" in form:
            continue
        exec(form, names)  # the forms are ours
        tried += 1
    assert tried > 6


def test_an_algorithm_the_contract_does_not_list_is_refused_before_anything_is_asked(vault: world.Vault) -> None:
    """What the vault cannot tell from aggregates, the notebook refuses by name."""
    listed = msgspec.structs.replace(vault.terms.contract, algorithms=("CategoricalNB@1",))
    vault.terms = msgspec.structs.replace(vault.terms, contract=listed)
    sessions.use(sessions.Session(vault))
    visits = cl.table("clinic.visits")
    for call in (
        lambda: LinearRegression().fit(visits[["age"]], visits.cost),
        lambda: PCA().fit(visits[["age", "cost"]]),
        lambda: GaussianNB().cost(visits[["age"]], visits.smoker),
    ):
        with pytest.raises(ContractError) as caught:
            call()
        assert (caught.value.code, caught.value.clause) == ("contract.algorithm", "algorithms")
        assert caught.value.nearest == ("CategoricalNB@1",)
        assert caught.value.next_step
    assert {op for op, _ in vault.asked} == {"describe"}
    assert CategoricalNB(epsilon=1).fit(visits[["sex"]], visits.smoker).reliable_
    # And the vault refuses the program, whoever asks for it.
    with pytest.raises(ContractError, match=r"contract\.algorithm"):
        cl.gram(visits, ["age", "cost"])
