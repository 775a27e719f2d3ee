"""Aggregates hold together: margins are sums of cells, shares add up, quantiles are in order; prices come true."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import PlanError

mpl.use("Agg")
import matplotlib.pyplot as plt


def test_margins_are_the_sums_of_the_cells_that_are_shown(visits: cl.Frame, vault: world.Vault) -> None:
    table = cl.crosstab(visits.sex, visits.region, margins=True)
    cells = table.iloc[:-1, :-1]
    assert (table.loc["All"].iloc[:-1] == cells.sum()).all()
    assert (table["All"].iloc[:-1] == cells.sum(axis=1)).all()
    assert table.loc["All", "All"] == cells.to_numpy().sum()
    assert (cells.to_numpy() >= 0).all()
    assert table.release.derived == "margins are computed from the released cells"
    assert len(vault.releases()) == 1


def test_the_error_of_a_margin_grows_with_the_root_of_its_cells(visits: cl.Frame) -> None:
    release = cl.crosstab(visits.sex, visits.region, margins=True).release
    cell = release.stderr.iloc[0, 0]
    assert release.stderr.loc["All", "north"] == pytest.approx(cell * math.sqrt(4), rel=0.01)
    assert release.stderr.loc["All", "All"] == pytest.approx(cell * math.sqrt(20), rel=0.01)
    assert (release.low <= release.value).all(axis=None)
    assert (release.value <= release.high).all(axis=None)


def test_margins_of_means_are_means_of_all_rows(quiet: cl.Frame) -> None:
    d = world.reference(world.VISITS)
    table = quiet.pivot_table("cost", "sex", "region", aggfunc="mean", margins=True)
    assert table.loc["All", "All"] == pytest.approx(d.cost.mean())
    assert table.loc["F", "All"] == pytest.approx(d.cost[d.sex == "F"].mean())
    assert table.loc["All", "west"] == pytest.approx(d.cost[d.region == "west"].mean())


def test_shares_add_up_to_one(visits: cl.Frame) -> None:
    assert cl.crosstab(visits.sex, visits.region, normalize=True).to_numpy().sum() == pytest.approx(1)
    by_row = cl.crosstab(visits.sex, visits.smoker, normalize="index").iloc[:3]
    assert by_row.sum(axis=1).to_list() == pytest.approx([1, 1, 1])
    by_column = cl.crosstab(visits.sex, visits.smoker, normalize="columns")
    assert by_column.sum().to_list() == pytest.approx([1, 1])


def test_quantiles_of_one_release_are_in_order(visits: cl.Frame) -> None:
    levels = [0.05, 0.1, 0.25, 0.5, 0.51, 0.75, 0.9, 0.95]
    for draw in range(20):
        assert visits[visits.cost >= draw].bmi.quantile(levels, epsilon=0.05).is_monotonic_increasing
    summary = visits.bmi.describe()
    assert summary[["1%", "25%", "50%", "75%", "99%"]].is_monotonic_increasing
    assert "quantiles stand where pandas has minimum and maximum" in summary.release.derived


def test_quantiles_lie_between_those_of_pandas(quiet: cl.Frame) -> None:
    d = world.reference(world.VISITS)
    for name in ("bmi", "cost", "age"):
        levels = [0.01, 0.1, 0.333, 0.5, 0.9, 0.99]
        ours = quiet[name].quantile(levels)
        assert (d[name].quantile(levels, interpolation="lower") <= ours + 1e-9).all()
        assert (ours <= d[name].quantile(levels, interpolation="higher") + 1e-9).all()


def test_a_quantile_of_a_date_is_a_date(quiet: cl.Frame) -> None:
    d = world.reference(world.VISITS)
    ours = quiet.date.quantile([0.25, 0.75])
    assert ours.iloc[0] == d.date.quantile(0.25, interpolation="lower")
    assert ours.dtype.kind == "M"


def test_an_empty_group_has_no_spread_and_no_quantiles(quiet: cl.Frame) -> None:
    assert math.isnan(quiet.groupby("sex").bmi.std()["(other)"])
    assert math.isnan(quiet.groupby("sex").bmi.median()["(other)"])
    assert quiet.groupby("sex").bmi.median().release.unreliable["(other)"]


def test_many_aggregates_are_one_release_with_one_price(visits: cl.Frame, vault: world.Vault) -> None:
    group = visits.groupby("sex")
    table = group.agg(n=("bmi", "count"), m=("bmi", "mean"), s=("bmi", "std"), e=("bmi", "sem"), q=("bmi", "median"))
    assert list(table) == ["n", "m", "s", "e", "q"]
    assert len(vault.releases()) == 1
    assert table.release.share == pytest.approx(0.02, rel=1e-3)


def test_every_terminal_tells_its_price(visits: cl.Frame, vault: world.Vault) -> None:
    costs = [
        visits.bmi.std.cost(n=3_000), visits.bmi.var.cost(n=3_000), visits.bmi.sem.cost(n=3_000),
        visits.bmi.median.cost(), visits.bmi.quantile.cost([0.25, 0.5]), visits.bmi.describe.cost(n=3_000),
        visits[["age", "bmi"]].describe.cost(), visits[["age", "bmi"]].corr.cost(n=3_000),
        visits.age.cov.cost(visits.bmi, n=3_000), visits.patient_id.nunique.cost(),
        visits.pivot_table.cost("cost", "sex", "region"), cl.crosstab.cost(visits.sex, visits.region),
        cl.ratio_of_sums.cost(visits.cost, visits.age, n=3_000), visits.bmi.plot.hist.cost(bins=20),
        visits.bmi.plot.box.cost(), visits.groupby("sex").bmi.quantile.cost(0.5),
    ]  # fmt: skip
    assert not vault.releases()
    assert all(cost.share == pytest.approx(0.02, rel=0.01) for cost in costs)
    assert all(repr(cost) for cost in costs)


def test_within_reaches_the_half_width_of_a_spread(visits: cl.Frame) -> None:
    found = visits.bmi.std(within=2, n=2_800).release
    assert 0.3 <= (found.high - found.low) / 2 <= 2.4
    together = visits.age.corr(visits.cost, within=0.1, n=3_000).release
    assert 0.03 <= (together.high - together.low) / 2 <= 0.15
    ratio = cl.ratio_of_sums(visits.cost, visits.age, within=2, n=3_000).release
    assert 0.5 <= (ratio.high - ratio.low) / 2 <= 3
    people = visits.patient_id.nunique(within=20).release
    assert (people.high - people.low) / 2 == pytest.approx(20, abs=1.5)
    with pytest.raises(PlanError, match="one of rank"):
        visits.bmi.median(within=1, n=3_000)


def test_a_price_names_the_error_a_release_then_has(visits: cl.Frame) -> None:
    for terminal, *args in ((visits.bmi.std,), (visits.bmi.var,), (visits.age.cov, visits.bmi)):
        expected, found = terminal.cost(*args, n=2_865).stderr, terminal(*args).release.stderr
        assert found / 5 <= expected / 1 and expected <= 5 * found


def test_top_values_are_taken_of_released_counts(visits: cl.Frame) -> None:
    top = visits.region.value_counts().nlargest(2)
    assert len(top) == 2
    assert top.release.stderr.index.equals(top.index)


def test_numpy_histogram_closes_the_last_bin(quiet: cl.Frame) -> None:
    d = world.reference(world.VISITS)
    ours, edges = np.histogram(quiet.age, bins=[0, 30, 60, 90])
    theirs, theirs_edges = np.histogram(d.age, bins=[0, 30, 60, 90])
    assert ours.tolist() == theirs.tolist()
    assert edges.tolist() == theirs_edges.tolist()


def test_a_histogram_is_drawn_from_one_release_with_its_errors(visits: cl.Frame, vault: world.Vault) -> None:
    axes = visits.bmi.plot.hist(bins=20)
    assert len(axes.patches) == 20
    assert len(vault.releases()) == 1
    assert axes.released.release.stderr.iloc[0] > 0
    assert axes.get_ylabel() == "count (rows)"
    doubtful = int(axes.released.release.unreliable.sum())
    assert sum(text.get_text() == "?" for text in axes.texts) == doubtful > 0
    plt.close("all")


def test_boxes_need_released_quantiles(quiet: cl.Frame) -> None:
    axes = quiet.groupby("sex").bmi.quantile([0.25, 0.5, 0.75]).release.plot.box()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["F", "M", "X"]
    assert quiet.bmi.plot.box() is not None
    with pytest.raises(PlanError, match="quantiles"):
        quiet.groupby("sex").bmi.mean().release.plot.box()
    with pytest.raises(PlanError, match="every point is a person"):
        quiet.groupby("sex").bmi.mean().release.plot.scatter()
    plt.close("all")


def test_pivot_tables_have_pandas_shape(quiet: cl.Frame) -> None:
    d = world.reference(world.VISITS)
    ours = quiet.pivot_table(values=["cost", "age"], index="smoker", columns="sex", aggfunc="mean")
    theirs = d.pivot_table(values=["cost", "age"], index="smoker", columns="sex", aggfunc="mean", observed=False)
    for column in theirs:
        assert ours[column].to_list() == pytest.approx(theirs[column].to_list())
    assert isinstance(ours.columns, pd.MultiIndex)
