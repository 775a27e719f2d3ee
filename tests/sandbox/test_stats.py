"""Tests on released values do what they say: equal to SciPy and statsmodels without noise, honest with it."""

from __future__ import annotations

import math
import os

import numpy as np
import pandas as pd
import pytest
import sandbox_world as world
import stats_world
import statsmodels.api as sm
from scipy import stats as scipy_stats

import cloister.sandbox as cl
from cloister.errors import CloisterError, PlanError

STUDIES = int(os.environ.get("CLOISTER_STUDIES", "150"))
ROWS = 300
SLACK = 3 * math.sqrt(0.05 * 0.95 / STUDIES)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return stats_world.draw(np.random.default_rng(1), 800, effect=1.0)


@pytest.fixture(scope="module")
def exact(rows: pd.DataFrame) -> cl.Frame:
    """The study with the noise off."""
    frame, vault = stats_world.study(noise=False)
    vault.hold(rows)
    return frame


@pytest.fixture(scope="module")
def null() -> cl.Frame:
    """Many studies in which nothing depends on anything (but y on x), with noise."""
    frame, vault = stats_world.study(noise=True, seed=3)
    vault.hold(stats_world.draws(STUDIES, ROWS, seed=11))
    return frame


@pytest.fixture(scope="module")
def effect() -> cl.Frame:
    """One study with effects, with noise."""
    frame, vault = stats_world.study(noise=True, seed=3)
    vault.hold(stats_world.draw(np.random.default_rng(2), 5_000, effect=1.0))
    return frame


# Without noise ---------------------------------------------------------------------------------------------


def test_independence_is_pearsons_chi_square(exact: cl.Frame, rows: pd.DataFrame) -> None:
    for first, second in (("colour", "member"), ("colour", "shape")):
        found = cl.stats.independence(exact[first], exact[second], share=0.5)
        table = pd.crosstab(rows[first], rows[second])
        theirs = scipy_stats.chi2_contingency(table, correction=False)
        assert found.statistic == pytest.approx(theirs.statistic, rel=1e-3)
        assert found.dof == theirs.dof
        assert found.p_value == pytest.approx(theirs.pvalue, abs=0.03)
        assert sorted(found.estimates.expected) == pytest.approx(sorted(theirs.expected_freq.ravel()), rel=1e-3)
        assert found.reliable
    phi = (theirs.statistic - theirs.dof) / len(rows)
    assert found.effect["Cramer's V"] == pytest.approx(math.sqrt(max(phi, 0)), abs=0.01)


def test_goodness_of_fit_is_pearsons_chi_square(exact: cl.Frame, rows: pd.DataFrame) -> None:
    wanted = {"red": 0.45, "green": 0.3, "blue": 0.25}
    found = cl.stats.goodness_of_fit(exact.colour, wanted, share=0.5)
    theirs = scipy_stats.chisquare(rows.colour.value_counts()[list(wanted)], len(rows) * np.array([0.45, 0.3, 0.25]))
    assert found.statistic == pytest.approx(theirs.statistic, rel=1e-3)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.01)
    assert found.dof == 2
    assert list(cl.stats.goodness_of_fit(exact["shape"], share=0.5).estimates.expected) == pytest.approx(
        [400, 400], rel=1e-3
    )


@pytest.mark.parametrize("what", ["x", "y"])
def test_ttest_is_welchs(exact: cl.Frame, rows: pd.DataFrame, what: str) -> None:
    found = cl.stats.ttest(exact[what], exact.member, share=0.5)
    theirs = scipy_stats.ttest_ind(rows[what][rows.member], rows[what][~rows.member], equal_var=False)
    assert found.statistic == pytest.approx(theirs.statistic, rel=1e-3)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=0.02)
    assert found.dof == pytest.approx(theirs.df, rel=1e-3)
    low, high = theirs.confidence_interval()
    assert found.estimates.low["difference"] == pytest.approx(low, rel=1e-2)
    assert found.estimates.high["difference"] == pytest.approx(high, rel=1e-2)


def test_rates_compare_as_means(exact: cl.Frame, rows: pd.DataFrame) -> None:
    found = cl.stats.ttest(exact.member, exact.colour, groups=["red", "blue"], share=0.5)
    red, blue = (rows.member[rows.colour == name].astype(float) for name in ("red", "blue"))
    theirs = scipy_stats.ttest_ind(blue, red, equal_var=False)
    assert found.statistic == pytest.approx(theirs.statistic, rel=1e-3)
    assert found.estimates.estimate["red"] == pytest.approx(red.mean(), abs=1e-4)
    pooled = math.sqrt((red.var() * (len(red) - 1) + blue.var() * (len(blue) - 1)) / (len(red) + len(blue) - 2))
    assert found.effect["Cohen's d"] == pytest.approx((blue.mean() - red.mean()) / pooled, rel=1e-3)


def test_ols_is_least_squares(exact: cl.Frame, rows: pd.DataFrame) -> None:
    found = cl.stats.ols("y ~ x + w + C(colour)", exact, share=0.5)
    levels = {f"colour={name}": (rows.colour == name).astype(float) for name in ("green", "blue")}
    fitted = sm.OLS(rows.y, sm.add_constant(pd.concat([rows[["x", "w"]], pd.DataFrame(levels)], axis=1))).fit()
    ours = found.estimates
    assert list(ours.index) == ["intercept", "x", "w", "colour=green", "colour=blue"]
    assert ours.coef.to_numpy() == pytest.approx(fitted.params.to_numpy(), rel=1e-3, abs=2e-3)
    assert ours["total s.e."].to_numpy() == pytest.approx(fitted.bse.to_numpy(), rel=1e-2)
    assert ours.p.to_numpy() == pytest.approx(fitted.pvalues.to_numpy(), rel=0.02, abs=2e-3)
    assert ours.low.to_numpy() == pytest.approx(fitted.conf_int()[0].to_numpy(), rel=2e-2, abs=1e-2)
    assert found.effect["R2"] == pytest.approx(fitted.rsquared, abs=2e-3)
    same = cl.stats.ols(exact[["x", "w", "colour"]], exact.y, share=0.5)
    pd.testing.assert_frame_equal(same.estimates, ours)


# With noise: false alarms ----------------------------------------------------------------------------------


def test_independence_seldom_sees_what_is_not_there(null: cl.Frame) -> None:
    alarms, naive = [], []
    for number in range(STUDIES):
        part = null[null.study == number]
        found = cl.stats.independence(part.colour, part.member, epsilon=0.5)
        alarms.append(found.p_value <= 0.05)
        counts = found.estimates["count"].to_numpy().reshape(-1, 2).clip(0.5)
        naive.append(scipy_stats.chi2_contingency(counts, correction=False).pvalue <= 0.05)
    assert np.mean(alarms) <= 0.05 + SLACK, np.mean(alarms)
    # The test is not merely deaf, and the noise matters: an ordinary test on the same counts fails.
    assert np.mean(alarms) >= 0.02, np.mean(alarms)
    assert np.mean(naive) > 0.10, np.mean(naive)


def test_goodness_of_fit_seldom_sees_what_is_not_there(null: cl.Frame) -> None:
    wanted = {"red": 0.5, "green": 0.3, "blue": 0.2}
    alarms = [
        cl.stats.goodness_of_fit(null[null.study == number].colour, wanted, epsilon=0.5).p_value <= 0.05
        for number in range(STUDIES)
    ]
    assert 0.02 <= np.mean(alarms) <= 0.05 + SLACK, np.mean(alarms)


def test_ttest_seldom_sees_what_is_not_there_and_covers(null: cl.Frame) -> None:
    alarms, naive, covered = [], [], []
    for number in range(STUDIES):
        part = null[null.study == number]
        found = cl.stats.ttest(part.x, part.member, epsilon=1)
        line = found.estimates.loc["difference"]
        sampling = math.sqrt(line["total s.e."] ** 2 - line["privacy s.e."] ** 2)
        alarms.append(found.p_value <= 0.05)
        naive.append(abs(line.estimate) > 1.96 * sampling)
        covered.append(line.low <= 0 <= line.high)
    assert np.mean(alarms) <= 0.05 + SLACK, np.mean(alarms)
    assert np.mean(alarms) >= 0.02, np.mean(alarms)
    assert np.mean(naive) > 0.10, np.mean(naive)
    assert np.mean(covered) >= 0.95 - SLACK, np.mean(covered)


def test_rates_seldom_differ_where_they_do_not(null: cl.Frame) -> None:
    alarms = []
    for number in range(STUDIES):
        part = null[null.study == number]
        alarms.append(cl.stats.ttest(part.member, part["shape"], epsilon=1).p_value <= 0.05)
    assert 0.02 <= np.mean(alarms) <= 0.05 + SLACK, np.mean(alarms)


def test_ols_covers_the_truth_and_seldom_sees_what_is_not_there(null: cl.Frame) -> None:
    truth = {"intercept": 60.0, "x": 0.6, "w": 0.0}
    inside, alarms, reliable = [], [], []
    for number in range(STUDIES):
        part = null[null.study == number]
        found = cl.stats.ols("y ~ x + w", part, epsilon=6)
        table = found.estimates
        inside.append([table.low[name] <= value <= table.high[name] for name, value in truth.items()])
        alarms.append(table.p["w"] <= 0.05)
        reliable.append(found.reliable)
    assert np.mean(reliable) > 0.95, np.mean(reliable)
    assert (np.mean(inside, axis=0) >= 0.95 - SLACK).all(), np.mean(inside, axis=0)
    assert 0.01 <= np.mean(alarms) <= 0.05 + SLACK, np.mean(alarms)


# With noise: what is there ---------------------------------------------------------------------------------


def test_effects_are_found(effect: cl.Frame) -> None:
    assert cl.stats.independence(effect.colour, effect.member, epsilon=1).p_value < 0.01
    assert cl.stats.ttest(effect.x, effect.member, epsilon=1).p_value < 0.001
    assert cl.stats.ols("y ~ x + w", effect, epsilon=1).estimates.p["x"] < 0.001
    assert cl.stats.goodness_of_fit(effect.colour, epsilon=1).p_value < 0.01


# Conduct ---------------------------------------------------------------------------------------------------


def test_one_release_each_priced_and_recalled(vault: world.Vault) -> None:
    visits = cl.table("visits")
    assert cl.stats.independence.cost(visits.sex, visits.smoker).epsilon > 0
    assert cl.stats.ttest.cost(visits.cost, visits.smoker, epsilon=0.5).epsilon == pytest.approx(0.5, rel=1e-3)
    assert cl.stats.ols.cost("cost ~ age", visits).epsilon > 0
    assert not vault.releases()
    table = cl.crosstab(visits.sex, visits.smoker)
    first = cl.stats.independence(visits.sex, visits.smoker)
    again = cl.stats.independence(visits.sex, visits.smoker)
    # The cross-table was asked before; the same counts give the same p-value.
    assert first.fact.recalled
    assert first.fact.plan_digest == table.release.plan_digest
    assert first.p_value == again.p_value


def test_rows_of_one_person_count_once(vault: world.Vault) -> None:
    visits = cl.table("visits")
    several = cl.stats.ttest(visits.cost, visits.smoker, share=0.5)
    one = cl.stats.ttest(visits.cap(1).cost, visits.cap(1).smoker, share=0.5)
    assert "at most 4 rows each" in several.summary()
    assert "each person has one" in one.summary()
    line = several.estimates.loc["difference"]
    groups = world.reference(world.VISITS).groupby("smoker").cost
    plain = math.sqrt((groups.var() / groups.size()).sum())
    sampling = math.sqrt(line["total s.e."] ** 2 - line["privacy s.e."] ** 2)
    assert sampling == pytest.approx(2 * plain, rel=0.15)


def test_without_data_results_are_total_and_say_so(vault: world.Vault) -> None:
    nobody = cl.table("visits").query("age > 200")
    found = [
        cl.stats.independence(nobody.sex, nobody.smoker),
        cl.stats.goodness_of_fit(nobody.region),
        cl.stats.ttest(nobody.cost, nobody.smoker),
        cl.stats.ttest(nobody.smoker, nobody.sex, groups=["F", "M"]),
        cl.stats.ols("cost ~ age", nobody),
    ]
    for result in found:
        assert not result.reliable
        assert 0 <= result.p_value <= 1
        assert "NOT RELIABLE" in result.summary()
        assert "not reliable" in result._repr_html_()
        assert np.isfinite(result.estimates.to_numpy(dtype=float)).all()


def test_a_result_shows_what_it_rests_on(mock_visits: cl.Frame) -> None:
    found = cl.stats.ttest(mock_visits.cost, mock_visits.smoker, epsilon=1)
    text, page = found.summary(), found._repr_html_()
    assert repr(found) == text
    for part in ("assumes:", "privacy s.e.", "total s.e.", "Cohen's d", "MOCK", "epsilon 1"):
        assert part in text
    assert "mock" in page
    assert "<script" not in cl.stats.goodness_of_fit(mock_visits.region.rename("<script>"))._repr_html_()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: cl.stats.independence(v.sex, "smoker"),
        lambda v: cl.stats.independence(v.patient_id, v.sex),
        lambda v: cl.stats.goodness_of_fit(v.region, {"north": 1}),
        lambda v: cl.stats.goodness_of_fit(v.region, {"north": 1, "south": -1}),
        lambda v: cl.stats.goodness_of_fit(v.region, {"north": 1, "moon": 1}),
        lambda v: cl.stats.ttest(v.sex, v.smoker),
        lambda v: cl.stats.ttest(v.cost, v.sex),
        lambda v: cl.stats.ttest(v.cost, v.sex, groups=["F", "Q"]),
        lambda v: cl.stats.ttest(v.cost, v.sex, groups=["F", "F"]),
        lambda v: cl.stats.ttest(v.cost.mock(5), v.smoker),
        lambda v: cl.stats.ols("cost ~ age * bmi", v),
        lambda v: cl.stats.ols("cost", v),
        lambda v: cl.stats.ols("cost ~ nothing", v),
        lambda v: cl.stats.ols("cost ~ __import__('os')", v),
        lambda v: cl.stats.ols(v[["age"]], v.age),
    ],
)
def test_what_cannot_be_tested_is_refused_before_it_is_paid(vault: world.Vault, wrong: object) -> None:
    with pytest.raises(CloisterError) as caught:
        wrong(cl.table("visits"))
    assert caught.value.next_step
    assert not vault.releases()


def test_stats_are_reached_from_the_package() -> None:
    import cloister

    assert cloister.stats.ttest is cl.stats.ttest
    with pytest.raises(PlanError):
        cloister.stats.ttest(1, 2)
