"""A model from one release: what it computes, what it costs, what it predicts, what it refuses."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import learn_world
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.learn
import cloister.sandbox as cl
import cloister.sandbox.learn
from cloister.errors import CloisterError, PlanError
from cloister.learn import LinearRegression
from cloister.plan import codec
from cloister.plan.layout import GRAM_SCALE
from cloister.sandbox import session as sessions
from cloister.vault.analyse import analyse
from cloister.vault.interpret_measures import contribution

mpl.use("Agg")
import matplotlib.pyplot as plt

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
def model(noisy: tuple[cl.Frame, learn_world.Clinic]) -> LinearRegression:
    frame, _ = noisy
    return LinearRegression(epsilon=20).fit(frame[FEATURES], frame.cost)


def encoded(frame: pd.DataFrame, *, fill: bool = False) -> pd.DataFrame:
    """The features as scikit-learn users would write them."""
    found = pd.DataFrame({"age": frame.age, "smoker": frame.smoker}).astype(float)
    for level in ("south", "east", "west"):
        found[f"region={level}"] = (frame.region == level).astype(float)
    if fill:
        found["bmi"], found["bmi missing"] = frame.bmi.fillna(35.0), frame.bmi.isna().astype(float)
    return found


def test_least_squares_equal_scikit_learn(exact: cl.Frame) -> None:
    from sklearn.linear_model import LinearRegression as Theirs

    rows = learn_world.rows()
    ours = LinearRegression(alpha=0, share=0.5).fit(exact[FEATURES], exact.cost)
    theirs = Theirs().fit(encoded(rows), rows.cost)
    assert list(ours.get_feature_names_out()) == list(encoded(rows).columns)
    assert list(ours.feature_names_in_) == FEATURES
    assert ours.n_features_in_ == 3
    # The Gram rounds scaled values to 1/4096 of half a range.
    assert ours.coef_ == pytest.approx(theirs.coef_, rel=2e-3, abs=0.05)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-3)
    assert ours.r2_ == pytest.approx(theirs.score(encoded(rows), rows.cost), abs=1e-3)
    assert ours.n_ == pytest.approx(len(rows))
    assert ours.reliable_


@pytest.mark.parametrize("alpha", [0.0, 30.0, 2_000.0])
def test_ridge_equals_scikit_learn_on_the_scaled_and_rounded_table(exact: cl.Frame, alpha: float) -> None:
    from sklearn.linear_model import Ridge

    frame = exact.assign(cheap=exact.cost.clip(300, 700))
    rows = learn_world.rows()
    rows["cheap"] = rows.cost.clip(300, 700)

    def scaled(values: pd.Series, low: float, high: float) -> np.ndarray:
        half = (high - low) / 2
        return np.floor(GRAM_SCALE * (values - low - half) / half + 0.5).to_numpy(dtype=float) / GRAM_SCALE

    z = np.column_stack(
        [scaled(rows.age, 0, 110), *(scaled(encoded(rows)[c], 0, 1) for c in encoded(rows).columns[1:])]
    )
    theirs = Ridge(alpha=alpha).fit(z, scaled(rows.cheap, 300, 700))
    ours = LinearRegression(alpha=alpha).fit(frame[FEATURES], frame.cheap)
    wanted = theirs.coef_ * 200 / np.array([55, 0.5, 0.5, 0.5, 0.5])
    # What is left is the rounding to a hundredth of a standard error.
    assert np.all(np.abs(ours.coef_ - wanted) <= ours.coef_stderr_ / 100)
    assert ours.predict(rows) == pytest.approx(theirs.predict(z) * 200 + 500, abs=0.05)
    assert ours.alpha_ == alpha


def test_missing_values_are_refused_dropped_or_marked(exact: cl.Frame) -> None:
    from sklearn.linear_model import LinearRegression as Theirs

    rows, names = learn_world.rows(), [*FEATURES, "bmi"]
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        LinearRegression().fit(exact[names], exact.cost)
    whole = rows.dropna()
    dropped = LinearRegression(alpha=0, missing="drop").fit(exact[names], exact.cost)
    theirs = Theirs().fit(encoded(whole).assign(bmi=whole.bmi), whole.cost)
    assert dropped.coef_ == pytest.approx(theirs.coef_, rel=2e-3, abs=0.05)
    # dropna() by hand is the same question; a computed feature is known to be there as well.
    there = exact.dropna(subset=["bmi"]).assign(heavy=lambda d: d.bmi * 2)
    by_hand = LinearRegression(alpha=0).fit(there[names], there.cost)
    assert by_hand.document.provenance.plan == dropped.document.provenance.plan
    LinearRegression().fit(there[["heavy"]], there.cost)
    marked = LinearRegression(alpha=0, missing="indicator").fit(exact[names], exact.cost)
    theirs = Theirs().fit(encoded(rows, fill=True), rows.cost)
    assert list(marked.get_feature_names_out()) == list(encoded(rows, fill=True).columns)
    assert marked.coef_ == pytest.approx(theirs.coef_, rel=5e-3, abs=0.1)
    assert np.isnan(dropped.predict(rows)).sum() == rows.bmi.isna().sum()
    assert not np.isnan(marked.predict(rows)).any()


def test_a_target_that_may_be_missing(exact: cl.Frame) -> None:
    with pytest.raises(PlanError, match=r"api\.learn\.missing"):
        LinearRegression().fit(exact[["age"]], exact.bmi)
    dropped = LinearRegression(alpha=0, missing="drop").fit(exact[["age"]], exact.bmi)
    assert dropped.n_ == pytest.approx(learn_world.rows().bmi.notna().sum())


def test_cuts_conditions_and_computed_numbers_are_features(exact: cl.Frame) -> None:
    from sklearn.linear_model import LinearRegression as Theirs

    rows = learn_world.rows()
    frame = exact.assign(
        band=lambda d: cl.cut(d.age, [0, 30, 60, 111], labels=["young", "middle", "old"]),
        old=lambda d: d.age >= 65,
        square=lambda d: d.age**2,
    )
    names = ["band", "old", "square"]
    ours = LinearRegression(alpha=0, missing="drop").fit(frame[names], frame.cost)
    mine = pd.DataFrame({"band=middle": rows.age.between(30, 59), "band=old": rows.age >= 60})
    mine["old"], mine["square"] = rows.age >= 65, rows.age**2
    theirs = Theirs().fit(mine.astype(float), rows.cost)
    assert list(ours.get_feature_names_out()) == list(mine.columns)
    assert ours.coef_ == pytest.approx(theirs.coef_, rel=0.02, abs=0.05)
    table = rows.assign(
        band=pd.cut(rows.age, [0, 30, 60, 111], right=False, labels=["young", "middle", "old"]),
        old=rows.age >= 65,
        square=rows.age**2,
    )
    total = float(ours.predict(frame[frame.age >= 0].dropna(subset=["band"])).sum(epsilon=100))
    assert total == pytest.approx(ours.predict(table).sum(), rel=1e-9)


def test_a_condition_as_target_is_a_rate(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    ours = LinearRegression(alpha=0).fit(exact[["age"]], exact.cost > 600)
    assert ours.predict(pd.DataFrame({"age": [20, 80]})) == pytest.approx(
        np.polyval(np.polyfit(rows.age, rows.cost > 600, 1), [20, 80]), abs=1e-3
    )


# One release ------------------------------------------------------------------------------------------


def test_one_release_one_charge_and_its_price_before(vault: world.Vault, visits: cl.Frame) -> None:
    price = LinearRegression(epsilon=1).cost(visits[FEATURES], visits.cost)
    assert not vault.releases()
    first = LinearRegression(epsilon=1).fit(visits[FEATURES], visits.cost)
    assert len(vault.releases()) == 1
    assert first.release.rho == price.rho
    assert first.release.epsilon == pytest.approx(1, rel=1e-3)
    assert LinearRegression().cost(visits[FEATURES], visits.cost, share=0.1).share == pytest.approx(0.1, rel=1e-3)
    again = LinearRegression(epsilon=1, alpha=5).fit(visits[FEATURES], visits.cost)
    assert again.release.recalled
    assert again.release.receipt
    # The Gram itself is the same question too.
    assert cl.gram(visits, ["age", "smoker", "cost"], epsilon=0.5).fact.recalled is False
    assert LinearRegression(epsilon=0.5).fit(visits[["age", "smoker"]], visits.cost).release.recalled
    with pytest.raises(PlanError, match=r"api\.precision"):
        LinearRegression(epsilon=1, share=0.1).fit(visits[FEATURES], visits.cost)


def test_the_gram_of_conditions_and_levels_has_the_norm_the_analysis_claims(
    vault: world.Vault, visits: cl.Frame
) -> None:
    LinearRegression(missing="indicator").fit(visits[[*FEATURES, "bmi"]], visits.cost)
    plan = codec.decode(vault.releases()[0])
    found = analyse(plan, world.CARDS)
    (part,), (bound,) = found.layout.components, found.bounds
    assert found.operations == {"model"}
    assert part.width == 9 * 10 // 2
    base = {"age": 0, "sex": "F", "smoker": False, "bmi": None, "cost": 0, "patient_id": "p", "date": None}
    corner = {**base, "age": Fraction(110), "cost": Fraction(2000), "region": "(other)", "bmi": Fraction(60)}
    for region in ("north", "south", "(other)"):
        row = contribution(part, {**corner, "region": region})
        # One row of a unit at a corner of all ranges reaches the claim; four such rows are the most a unit has.
        assert 16 * sum(value**2 for value in row) == bound.l2_squared
        assert 4 * sum(map(abs, row)) == bound.l1
    middle = contribution(part, {**corner, "bmi": None, "age": Fraction(55)})
    assert sum(value**2 for value in middle) * 16 < bound.l2_squared


# Predicting -------------------------------------------------------------------------------------------


def test_both_predictions_agree_row_by_row(model: LinearRegression, noisy: tuple[cl.Frame, Any]) -> None:
    frame, _ = noisy
    here = frame.mock(400)
    there = model.predict(frame).mock(400)
    assert model.predict(here) == pytest.approx(there.to_numpy(), rel=1e-12)
    assert there.name == "predicted cost"
    arrays = here[FEATURES].to_numpy()
    assert model.predict(arrays) == pytest.approx(model.predict(here), rel=1e-12)


def test_predictions_work_in_the_vault(exact: cl.Frame) -> None:
    rows = learn_world.rows()
    model = LinearRegression().fit(exact[FEATURES], exact.cost)
    expected = model.predict(rows)
    predicted = model.predict(exact)
    assert float(predicted.sum()) == pytest.approx(expected.sum(), rel=1e-12)
    assert int(exact[predicted > 700].age.count()) == (expected > 700).sum()
    assert float((exact.cost - predicted).abs().mean()) == pytest.approx((rows.cost - expected).abs().mean())
    by_region = predicted.groupby(exact.region).mean()
    assert by_region["west"] == pytest.approx(expected[rows.region == "west"].mean())
    part = exact[exact.age >= 65]
    assert float(model.predict(part).mean()) == pytest.approx(expected[rows.age >= 65].mean())
    again = LinearRegression().fit(exact.assign(guess=predicted)[["guess"]], exact.cost)
    assert again.coef_ == pytest.approx([1.0], abs=0.01)


def test_a_model_of_nothing_predicts_its_intercept(exact: cl.Frame) -> None:
    flat = LinearRegression(alpha=1e12).fit(exact[["age"]], exact.cost)
    assert abs(flat.coef_[0]) < 1e-3
    assert float(flat.predict(exact).mean()) == pytest.approx(learn_world.rows().cost.mean(), rel=1e-3)


def test_coefficients_are_short_numbers_and_little_is_lost(model: LinearRegression) -> None:
    for line in model.document.lines:
        assert Fraction(line.value).denominator <= 10_000
    predicted = learn_world.visits(noise=True)[0]
    grid = model.predict(predicted)._term.grid
    assert grid.points < 2**24
    # so that squares of residuals still fit the exact sums of the vault
    assert ((predicted.cost - model.predict(predicted)) ** 2).mean.cost().epsilon > 0


def test_score_on_rows_here_and_there(exact: cl.Frame) -> None:
    from sklearn.metrics import r2_score

    rows = learn_world.rows()
    model = LinearRegression().fit(exact[FEATURES], exact.cost)
    assert model.score(rows, rows.cost) == pytest.approx(r2_score(rows.cost, model.predict(rows)))
    with pytest.raises(PlanError, match="2 % of your total") as caught:
        model.score(exact, exact.cost)
    assert caught.value.nearest
    released = model.score(exact, exact.cost, share=0.02)
    assert released == pytest.approx(model.score(rows, rows.cost), abs=1e-3)
    assert released.release.stderr > 0
    assert not released.release.unreliable
    part = exact[exact.age >= 65]
    assert model.score(part, part.cost, share=0.02) == pytest.approx(
        model.score(rows[rows.age >= 65], rows.cost[rows.age >= 65]), abs=2e-3
    )


# Refusals ---------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, Callable[[cl.Frame], Any]]] = {
    "pandas": ("api.learn.handles", lambda d: LinearRegression().fit(d.mock(5)[["age"]], d.mock(5).cost)),
    "arrays": ("api.learn.handles", lambda d: LinearRegression().fit(np.zeros((3, 1)), np.zeros(3))),
    "a column": ("api.learn.handles", lambda d: LinearRegression().fit(d.age, d.cost)),
    "a frame as target": ("api.learn.handles", lambda d: LinearRegression().fit(d[["age"]], d[["cost"]])),
    "other rows": ("plan.rows", lambda d: LinearRegression().fit(d[["age"]], d[d.age > 3].cost)),
    "other table": ("plan.rows", lambda d: LinearRegression().fit(cl.table("bank.customers")[["balance"]], d.cost)),
    "target as feature": ("api.learn.target", lambda d: LinearRegression().fit(d[["age", "cost"]], d.cost)),
    "category target": ("api.learn.target", lambda d: LinearRegression().fit(d[["age"]], d.sex)),
    "date target": ("api.learn.target", lambda d: LinearRegression().fit(d[["age"]], d.date)),
    "everything": ("api.learn.feature", lambda d: LinearRegression().fit(d.drop(columns="cost"), d.cost)),
    "date": ("api.learn.feature", lambda d: LinearRegression().fit(d[["date"]], d.cost)),
    "key": ("api.learn.feature", lambda d: LinearRegression().fit(d[["patient_id"]], d.cost)),
    "constant": ("api.learn.feature", lambda d: LinearRegression().fit(d.assign(one=1)[["one"]], d.cost)),
    "one level": ("api.learn.feature", lambda d: LinearRegression().fit(d.assign(x="a")[["x"]], d.cost)),
    "no features": ("api.learn.features", lambda d: LinearRegression().fit(d[[]], d.cost)),
    "too many": (
        "api.learn.features",
        lambda d: LinearRegression(missing="drop").fit(d.assign(c=cl.cut(d.age, range(0, 111, 1)))[["c"]], d.cost),
    ),
    "two of one name": (
        "api.learn.features",
        lambda d: LinearRegression().fit(d.assign(**{"region=south": d.age})[["region", "region=south"]], d.cost),
    ),
    "gaps": ("api.learn.missing", lambda d: LinearRegression().fit(d[["bmi"]], d.cost)),
    "computed gaps": ("api.learn.missing", lambda d: LinearRegression().fit(d.assign(b=d.bmi * 2)[["b"]], d.cost)),
    "target gaps": ("api.learn.missing", lambda d: LinearRegression().fit(d[["age"]], d.bmi)),
    "alpha below zero": ("api.learn.parameter", lambda d: LinearRegression(alpha=-1).fit(d[["age"]], d.cost)),
    "alpha text": ("api.learn.parameter", lambda d: LinearRegression(alpha="big").fit(d[["age"]], d.cost)),
    "alpha nan": ("api.learn.parameter", lambda d: LinearRegression(alpha=float("nan")).fit(d[["age"]], d.cost)),
    "missing": ("api.learn.parameter", lambda d: LinearRegression(missing="keep").fit(d[["age"]], d.cost)),
    "parameter": ("api.learn.parameter", lambda d: LinearRegression().set_params(solver="lbfgs")),
    "unfitted": ("api.learn.unfitted", lambda d: LinearRegression().predict(d)),
    "unfitted coef": ("api.learn.unfitted", lambda d: LinearRegression().coef_),
    "unfitted release": ("api.learn.unfitted", lambda d: LinearRegression().release),
    "unfitted json": ("api.learn.unfitted", lambda d: LinearRegression().to_json()),
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
    assert not vault.releases()


def test_every_nearest_form_works(visits: cl.Frame) -> None:
    from sklearn.linear_model import Ridge

    model = LinearRegression().fit(visits[["age", "region"]], visits.cost)
    forms: dict[str, None] = {}
    for call in [call for _, call in REFUSED.values()] + [
        lambda d: model.score(d, d.cost),
        lambda d: model.predict(d.age),
        lambda d: cloister.learn.RandomForestClassifier,
    ]:
        with pytest.raises(PlanError) as caught:
            call(visits)
        forms |= dict.fromkeys(caught.value.nearest)
    assert len(forms) > 9
    for form in forms:
        names = {"visits": visits.copy(), "model": model} | {n: getattr(cloister.learn, n) for n in dir(cloister.learn)}
        if "sklearn" in form:
            Ridge().fit([[1.0], [2.0]], [1.0, 2.0])
        else:
            exec(form, names)  # the forms are ours


@pytest.mark.parametrize(
    "wrong",
    [
        lambda d: d[["smoker"]],
        lambda d: d.age,
        lambda d: d.mock(5)[["age"]],
        lambda d: d.mock(5).age,
        lambda d: np.zeros((4, 7)),
        lambda d: "age",
        lambda d: d.mock(5).assign(age="old"),
        lambda d: d.assign(age=d.region),
        lambda d: d.assign(region=cl.cut(d.age, [0, 50, 100])),
        lambda d: d.assign(smoker=d.age),
    ],
)
def test_predicting_on_something_else_is_refused(
    model: LinearRegression, noisy: tuple[cl.Frame, Any], wrong: Callable[[cl.Frame], Any]
) -> None:
    with pytest.raises(CloisterError):
        model.predict(wrong(noisy[0]))


def test_the_other_learners_are_refused_with_the_nearest_form() -> None:
    assert "LinearRegression" in dir(cloister.learn)
    assert dir(cloister.learn) == dir(cloister.sandbox.learn)
    for name in ("MLPClassifier", "RandomForestClassifier"):
        with pytest.raises(PlanError, match=r"api\.learn.*this version") as caught:
            exec(f"from cloister.learn import {name}")
        assert "LinearRegression" in caught.value.nearest[0]
    assert not hasattr(cloister.learn, "_private")


def test_other_zones_do_not_carry_it() -> None:
    code = "import sys, cloister, cloister.learn; sys.exit('cloister.sandbox' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tab_knows_the_learners(model: LinearRegression) -> None:
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(shell=None, namespace={"learn": cloister.learn, "model": model}, global_namespace={})
    completer.use_jedi = False
    with provisionalcompleter():
        assert any("LinearRegression" in one.text for one in completer.completions("learn.Lin", 9))
        assert {"coef_", "predict", "model_card"} <= {
            one.text.removeprefix(".") for one in completer.completions("model.", 6)
        }


def test_scikit_learn_knows_it_by_its_words(model: LinearRegression) -> None:
    from sklearn.base import clone
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model)
    fresh = clone(LinearRegression(alpha=3, share=0.1))
    assert fresh.get_params() == {"alpha": 3, "epsilon": None, "share": 0.1, "missing": "refuse"}
    assert repr(fresh.set_params(missing="drop")) == "LinearRegression(alpha=3, share=0.1, missing='drop')"
    assert "LinearRegression" in fresh._repr_html_()
    with pytest.raises(PlanError):
        fresh.coef_  # noqa: B018
    for twin in (copy.copy(model), copy.deepcopy(model)):
        assert np.array_equal(twin.coef_, model.coef_)
        assert twin.release.plan_digest == model.release.plan_digest
    with pytest.raises(TypeError):
        LinearRegression(1)  # type: ignore[misc]


# Showing ----------------------------------------------------------------------------------------------


def test_displays_name_coefficients_errors_price_and_enclave(model: LinearRegression) -> None:
    for shown in (repr(model), model._repr_html_()):
        for word in ("region=west", "±", "privacy noise", "95 %", "R2", "epsilon 20", "signed receipt", "simulated"):
            assert word in shown, word
        assert "mock" not in shown.lower()
        assert "RELIABLE" not in shown
    card = model.model_card()
    for shown in (str(card), repr(card), card._repr_html_()):
        for word in (
            "Purpose", "teaching", "Data", "Visits to a clinic", "at most 4 rows", "Features", "Logic",
            "reference: north", "penalty",
            "Privacy", "epsilon 20", "delta 1e-06", "Metrics", "Limits", "first order", "Receipt", "sha256:",
        ):  # fmt: skip
            assert word in shown, word
    facts = model.release
    assert list(facts.value.index)[:2] == ["intercept", "age"]
    assert facts.interval().shape == (6, 2)
    assert facts.mode == "confidential"
    assert "ridge" in repr(facts)
    wide = model.interval(population=True)
    assert ((wide.high - wide.low) > (model.interval().high - model.interval().low)).all()


def test_a_models_plot_has_error_bars(model: LinearRegression) -> None:
    axes = model.plot.bar()
    assert [text.get_text() for text in axes.get_xticklabels()] == list(model.get_feature_names_out())
    bars = next(found for found in axes.containers if hasattr(found, "errorbar"))
    ends = bars.errorbar.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx(model.interval().loc["age"].to_numpy())
    assert "simulated" in axes.get_title()
    assert not any(patch.get_hatch() for patch in axes.patches)
    heights = [patch.get_height() for patch in model.plot.bar(scaled=True).patches]
    assert heights == pytest.approx(model.coef_ * [110, 1, 1, 1, 1])
    assert len(model.plot.barh(scaled=True, title="mine").patches) == 5
    plt.close("all")


def test_a_mock_model_says_mock_everywhere() -> None:
    frame, _ = learn_world.visits(noise=True, mode="mock")
    model = LinearRegression(epsilon=5).fit(frame[FEATURES], frame.cost)
    assert not model.release.receipt
    loaded = LinearRegression.from_json(model.to_json())
    for one in (model, loaded):
        card = one.model_card()
        for shown in (repr(one), one._repr_html_(), str(card), card._repr_html_(), one.plot.bar().get_title()):
            assert "mock" in shown.lower()
        assert all(patch.get_hatch() for patch in plt.gca().patches)
        plt.close("all")
    assert '"mode": "mock"' in model.to_json()
    assert '"receipt": ""' in model.to_json()
    assert float(model.predict(frame).mean()) > 0
    sessions.use(None)


def test_hostile_names_stay_text(noisy: tuple[cl.Frame, Any]) -> None:
    frame, _ = noisy
    bad = "<script>|`*_x"
    model = LinearRegression().fit(frame.assign(**{bad: frame.age})[[bad]], frame.cost)
    assert "<script>" not in model._repr_html_()
    assert "<script>" not in model.model_card()._repr_html_()
    row = next(line for line in str(model.model_card()).splitlines() if line.startswith("| \\<script"))
    assert row.replace("\\|", "").count("|") == 5
    assert model.predict(pd.DataFrame({bad: [3]})).shape == (1,)
