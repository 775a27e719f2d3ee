"""A released value is an ordinary number or table that knows its error, price and receipt, and only while it is one."""

from __future__ import annotations

import json
import pickle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import CloisterError
from cloister.plan import codec, precision
from cloister.plan.algebra import Capped, Clipped, Col, Count, Filter, Mean, Table
from cloister.sandbox.release import Interval, Release, ReleasedFloat, ReleasedInt

mpl.use("Agg")
import matplotlib.pyplot as plt


def test_a_mean_is_a_float_with_a_release(visits: cl.Frame) -> None:
    m = visits.bmi.mean()
    assert isinstance(m, float)
    assert isinstance(m, ReleasedFloat)
    release = m.release
    assert release.value == m
    assert isinstance(release.interval(), Interval)
    assert release.interval().low < m < release.interval().high
    assert release.stderr > 0
    assert release.receipt is not None
    assert release.plan_digest.startswith("sha256:")
    assert release.unreliable is False
    assert release.mode == "confidential"


def test_arithmetic_gives_plain_numbers(visits: cl.Frame) -> None:
    m, n = visits.bmi.mean(), visits.bmi.count()
    assert isinstance(n, ReleasedInt)
    for value in (m * 2, m + n, -m, round(m, 2), abs(m)):
        assert type(value) is float
    assert type(n + 1) is int
    assert type(pickle.loads(pickle.dumps(m))) is float
    assert json.loads(json.dumps({"m": m})) == {"m": float(m)}
    assert np.mean([m, m]) == pytest.approx(m)


def test_the_standard_error_is_what_the_noise_does(visits: cl.Frame, vault: world.Vault) -> None:
    exact = world.reference(world.VISITS)
    found = [visits.age[visits.cost >= k].count() for k in range(80)]
    truth = [int((exact.cost >= k).sum()) for k in range(80)]
    scores = [(a - b) / a.release.stderr for a, b in zip(found, truth, strict=True)]
    assert abs(np.mean(scores)) < 0.5
    assert 0.7 < np.std(scores) < 1.35
    inside = [a.release.low <= b <= a.release.high for a, b in zip(found, truth, strict=True)]
    assert np.mean(inside) > 0.85


def test_the_same_question_is_the_same_plan_however_it_is_staged(visits: cl.Frame, vault: world.Vault) -> None:
    first = visits[visits.age >= 65].bmi.mean()
    visits["senior"] = visits.age >= 65
    visits["unrelated"] = visits.cost * 3
    second = visits[visits.senior].bmi.mean()
    third = visits.query("age >= 65")[["bmi", "sex"]].bmi.mean()
    fourth = visits.loc[lambda d: d.age >= 65, "bmi"].mean()
    assert first == second == third == fourth
    assert [m.release.recalled for m in (first, second, third, fourth)] == [False, True, True, True]
    assert first.release.cost > 0
    assert second.release.cost == 0.0


def test_the_plan_is_the_one_the_protocol_means(visits: cl.Frame, vault: world.Vault) -> None:
    visits[visits.smoker].groupby("sex").bmi.agg(["count", "mean"])
    plan = codec.decode(vault.releases()[-1])
    assert plan.source == Filter(Table("clinic.visits"), Col("smoker"))
    assert plan.keys == ("sex",)
    beside = (Clipped("bmi clipped", Col("bmi")), Capped("capped"))
    assert plan.measures == (Count("bmi count", Col("bmi")), Mean("bmi mean", Col("bmi")), *beside)


def test_precision_is_turned_into_rho_by_public_functions(visits: cl.Frame, vault: world.Vault) -> None:
    account = visits._rows.session.account(world.VISITS)
    delta = precision.Fraction(account.delta)
    assert visits.age.mean(epsilon=0.5).release.rho <= precision.rho_of_epsilon(precision.Fraction(1, 2), delta)
    assert visits.age.mean(epsilon=0.5).release.epsilon == pytest.approx(0.5, rel=1e-3)
    assert visits.age.mean(share=0.01).release.share == pytest.approx(0.01, rel=1e-3)
    default = visits.age.mean().release
    assert default.rho <= precision.Fraction(account.default_rho)
    assert default.share == pytest.approx(0.02, rel=1e-3)
    assert float(account.mine) == pytest.approx(float(precision.Fraction(account.rho_total)) / 2)


def test_within_reaches_the_half_width(visits: cl.Frame, vault: world.Vault) -> None:
    n = visits.age.count(within=20).release
    assert (n.high - n.low) / 2 == pytest.approx(20, abs=1.5)
    m = visits.age.mean(within=5, n=3_000).release
    assert (m.high - m.low) / 2 <= 5.2


def test_within_of_a_mean_says_what_knowing_the_rows_would_cost(visits: cl.Frame, vault: world.Vault) -> None:
    with pytest.raises(CloisterError) as caught:
        visits.age.mean(within=5)
    assert caught.value.code == "api.within"
    assert "2 % of your budget for a count to within" in caught.value.next_step
    assert not vault.releases()
    told = visits.age.count()
    assert visits.age.mean(within=5, n=told).release.epsilon > 0, "a released count is what is meant"


def test_a_price_spends_nothing_and_comes_true(visits: cl.Frame, vault: world.Vault) -> None:
    cost = visits.groupby("sex").size.cost(epsilon=0.3)
    assert not vault.releases()
    paid = visits.groupby("sex").size(epsilon=0.3).release
    assert cost.rho == paid.rho
    assert cost.epsilon == paid.epsilon
    assert cost.stderr == pytest.approx(paid.stderr.iloc[0])
    assert cost.cells == 4
    assert "epsilon 0.3" in repr(cost)
    assert "nothing" in repr(cost) or "not spent" in repr(cost)
    mean = visits.bmi.mean.cost(n=3_000)
    assert mean.n == 3_000
    assert mean.stderr >= visits.bmi.mean().release.stderr * 0.9
    assert set(visits.groupby("sex").cost.agg.cost(["count", "mean"]).errors) == {"count", "mean"}


def test_tables_are_plain_pandas_and_know_their_release(visits: cl.Frame) -> None:
    g = visits.groupby(["sex", "smoker"]).cost.agg(["count", "mean"])
    assert type(g) is pd.DataFrame
    release = g.release
    assert isinstance(release, Release)
    assert list(release.stderr.columns) == ["count", "mean"]
    assert list(release.interval().columns) == [("count", "low"), ("count", "high"), ("mean", "low"), ("mean", "high")]
    assert release.table().shape == (16, 5)
    series = visits.region.value_counts()
    assert type(series) is pd.Series
    assert list(series.release.interval().columns) == ["low", "high"]
    assert series.index.equals(series.release.stderr.index)


def test_a_selection_keeps_its_release_and_a_computation_loses_it(visits: cl.Frame) -> None:
    g = visits.groupby("sex").cost.agg(["count", "mean"])
    assert g["mean"].release.stderr.equals(g.release.stderr["mean"])
    assert g.loc["F"].release.stderr["count"] == g.release.stderr.loc["F", "count"]
    assert list(g.sort_values("count").release.value["count"]) == sorted(g["count"])
    assert g.head(2).release.value.shape == (2, 2)
    booleans = visits.groupby("smoker").cost.mean()
    assert booleans.release.stderr.shape == (2,)
    for other in (g * 2, g["mean"] + 1, g.assign(x=1), g.T, g.rename(columns={"mean": "m"}), pd.DataFrame({"a": [1]})):
        assert not hasattr(other, "release")
        with pytest.raises(CloisterError, match=r"release\.derived"):
            other.release  # noqa: B018
    g.loc["F", "count"] = 7
    assert not hasattr(g, "release")


def test_shares_of_counts_say_they_are_derived(visits: cl.Frame) -> None:
    shares = visits.region.value_counts(normalize=True)
    assert shares.sum() == pytest.approx(1)
    assert "delta method" in repr(shares.release)
    assert (shares.release.stderr > 0).all()


def test_an_empty_group_is_missing_as_in_pandas_and_unreliable(visits: cl.Frame) -> None:
    g = visits.groupby("sex").cost.mean()
    assert np.isnan(g["(other)"])
    assert g.release.unreliable["(other)"]
    assert not g.release.unreliable["F"]
    assert g.release.value.isna().sum() == 1
    assert "n/a" in g.release._repr_html_()


def test_every_display_names_error_price_and_mode(visits: cl.Frame) -> None:
    m = visits.bmi.mean()
    text = repr(m.release)
    assert "±" in text
    assert "privacy noise" in text
    assert "epsilon 0.64 = 2 % of your total (charged)" in text
    assert "simulated" in text
    assert "recalled" in repr(visits.bmi.mean().release)
    html = visits.groupby("sex").cost.mean().release._repr_html_()
    assert "<table>" in html
    assert "privacy noise" in html
    assert "<b>" in m.release._repr_html_()


def caption(axes: Any) -> str:
    """The text under a plot."""
    return next(text.get_text() for text in axes.texts if text.get_gid() == "caption")


def test_mock_values_say_mock_everywhere(mock_visits: cl.Frame) -> None:
    m = mock_visits.bmi.mean()
    assert m.release.receipt is None
    assert m.release.cost == 0.0
    g = mock_visits.groupby("sex").cost.mean()
    for shown in (
        repr(m.release), m.release._repr_html_(), repr(g.release), g.release._repr_html_(), repr(mock_visits),
        mock_visits._repr_html_(), repr(mock_visits.age), repr(mock_visits.groupby("sex")), repr(cl.tables()),
        cl.tables()._repr_html_(), repr(cl.contract()), cl.contract()._repr_html_(), repr(cl.budget()),
        cl.budget()._repr_html_(), repr(mock_visits.age.mean.cost()), repr(cl.gram(mock_visits, ["age", "bmi"])),
        caption(g.release.plot.bar()),
    ):  # fmt: skip
        assert "mock" in shown.lower()
    plt.close("all")


def test_a_scalar_shows_its_error_in_a_notebook(visits: cl.Frame) -> None:
    from IPython.lib.pretty import pretty

    m = visits.bmi.mean()
    assert "±" in pretty(m)
    assert repr(m) == repr(float(m))


def test_plots_have_error_bars(visits: cl.Frame) -> None:
    series = visits.groupby("region").cost.mean()
    axes = series.release.plot.bar()
    assert len(axes.patches) == 5
    bars = next(found for found in axes.containers if hasattr(found, "errorbar"))
    low, high = bars.errorbar.lines[2][0].get_segments()[0][:, 1]
    assert low == pytest.approx(series.release.low.iloc[0])
    assert high == pytest.approx(series.release.high.iloc[0])
    assert "simulated" in caption(axes)
    assert "95 % interval (privacy noise)" in caption(axes)
    both = visits.groupby("sex").cost.agg(["count", "mean"]).release.plot.barh()
    assert len(both) == 2
    _, axis = plt.subplots()
    assert series.release.plot.bar(ax=axis, title="mine") is axis
    assert axis.get_title() == "mine"
    with pytest.raises(CloisterError):
        visits.bmi.mean().release.plot.bar()
    plt.close("all")


def test_a_mock_plot_is_hatched(mock_visits: cl.Frame) -> None:
    axes = mock_visits.groupby("sex").cost.mean().release.plot.bar()
    assert all(patch.get_hatch() for patch in axes.patches)
    plt.close("all")


def test_a_gram_that_is_mostly_noise_computes_nothing(visits: cl.Frame) -> None:
    gram = cl.gram(visits[visits.age > 200], ["age"])
    with pytest.raises(CloisterError):
        gram.mean()
    with pytest.raises(CloisterError):
        cl.gram(visits, ["age", "cost"], epsilon=5).ridge("bmi")


def test_functions_of_the_module_have_a_price_too(visits: cl.Frame, vault: world.Vault) -> None:
    assert cl.gram.cost(visits, ["age", "bmi"], epsilon=1).epsilon == pytest.approx(1, rel=1e-3)
    assert cl.crosstab.cost(visits.sex, visits.region).cells == 20
    assert not vault.releases()
    assert cl.crosstab(visits.sex, visits.region, epsilon=1).release.stderr.shape == (4, 5)


def test_a_cap_lowers_the_noise(visits: cl.Frame) -> None:
    assert visits.cap(1).age.count.cost().stderr < visits.age.count.cost().stderr / 2
